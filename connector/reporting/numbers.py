"""Numbers, times and durations as text for the report."""

from __future__ import annotations

from datetime import date

from connector.annotations.records import moment
from connector.reporting.content import Interval

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def count(number: int) -> str:
    """1670: "1,670"."""
    return f"{number:,}"


def share(value: float) -> str:
    """0.8213: "82 %". Only 1 is "100 %", and only 0 is "0 %"."""
    percent = 100 * value
    if 0 < percent < 0.5 or 99.5 <= percent < 100:
        return f"{min(max(percent, 0.1), 99.9):.1f} %"
    return f"{percent:.0f} %"


def decimal(value: float) -> str:
    """0.7143: "0.71". Never "-0.00"."""
    return f"{round(value, 2) + 0.0:.2f}"


def span(seconds: float) -> str:
    """3.42: "3.4 s". 200: "3 min 20 s". 5400: "1 h 30 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{count(minutes // 60)} h {minutes % 60} min"


def share_interval(estimate: Interval) -> str:
    """ "82 % (75 to 88 %)"."""
    return f"{share(estimate.value)} ({share(estimate.low).removesuffix(' %')} to {share(estimate.high)})"


def decimal_interval(estimate: Interval) -> str:
    """ "0.71 (0.65 to 0.78)"."""
    return f"{decimal(estimate.value)} ({decimal(estimate.low)} to {decimal(estimate.high)})"


def format_day(value: date) -> str:
    """ "3 Mar"."""
    return f"{value.day} {_MONTHS[value.month - 1][:3]}"


def when(iso: str) -> str:
    """ISO 8601: "3 March 2026, 14:05 UTC+01:00"."""
    at = moment(iso)
    text = f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M}"
    return f"{text} {at.tzinfo}" if at.tzinfo else text
