"""Numbers, texts and times as a person reads them."""

from __future__ import annotations

from datetime import datetime

from dateutil.tz import tzlocal


def now_here() -> datetime:
    """The present moment in the local time zone, which gives each date its own offset (summer time)."""
    # Not datetime.astimezone(): its time zone has the offset of one moment for all others too.
    return datetime.now(tzlocal())


def count(number: int, one: str, many: str | None = None) -> str:
    """1670, "label": "1,670 labels"; 1: "1 label". `many`: the plural, if it is not formed with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def ago(seconds: int) -> str:
    """How long ago something was, in its largest unit: "2 days ago"."""
    for name, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return f"{count(seconds // length, name)} ago"
    return "less than a minute ago"


def one_line(text: str) -> str:
    """The text in one line, without characters that a terminal could take for a command."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def format_value(value: object) -> str:
    """The value of a setting: on or off, a text in quotes, or a number."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"'{value}'" if isinstance(value, str) else str(value)
