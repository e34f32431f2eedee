"""Numbers, times and durations as text for the report. A number and its unit stay on one line."""

from __future__ import annotations

from datetime import date

from connector import formatting
from connector.active_learning.interval import Interval
from connector.annotations.records import moment

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
NO_BREAK = "\u00a0"


def count(number: int) -> str:
    """1670: "1,670"."""
    return f"{number:,}"


def share(value: float) -> str:
    """0.8213: "82 %". Only 1 is "100 %", and only 0 is "0 %"."""
    return _unbroken(formatting.share(value))


def percent(value: float) -> str:
    """0.8213: "82.1 %"."""
    return _unbroken(f"{100 * value:.1f} %")


def decimal(value: float) -> str:
    """0.7143: "0.71". Never "-0.00"."""
    return f"{round(value, 2) + 0.0:.2f}"


def span(seconds: float) -> str:
    """3.42: "3.4 s". 200: "3 min 20 s". 5400: "1 h 30 min"."""
    if seconds < 9.95:
        return _unbroken(f"{seconds:.1f} s")
    if seconds < 119.5:
        return _unbroken(f"{seconds:.0f} s")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _unbroken(f"{minutes} min {rest} s")
    return _unbroken(f"{count(minutes // 60)} h {minutes % 60} min")


def share_interval(estimate: Interval) -> str:
    """ "82 % (75 to 88 %)"."""
    value, _, interval = formatting.share_within(estimate.value, estimate.low, estimate.high).partition(" (")
    return f"{_unbroken(value)} {_unbroken(f'({interval}')}"


def format_day(value: date) -> str:
    """ "3 Mar"."""
    return f"{value.day} {_MONTHS[value.month - 1][:3]}"


def when(iso: str) -> str:
    """ISO 8601: "3 March 2026, 14:05 UTC+01:00"."""
    at = moment(iso)
    text = f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M}"
    return f"{text} {at.tzinfo}" if at.tzinfo else text


def _unbroken(text: str) -> str:
    return text.replace(" ", NO_BREAK)
