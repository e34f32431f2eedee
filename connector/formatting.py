"""Numbers, texts and times as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

from dateutil.tz import tzlocal

_ORDINALS = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def now_here() -> datetime:
    """The present moment in the local time zone, which gives each date its own offset (summer time)."""
    # Not datetime.astimezone(): its time zone has the offset of one moment for all others too.
    return datetime.now(tzlocal())


def count(number: int, one: str, many: str | None = None) -> str:
    """1670, "label": "1,670 labels"; 1: "1 label". `many`: the plural, if it is not formed with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def verb(number: int, one: str = "is", many: str = "are") -> str:
    """The verb that agrees with so many things: 1: "is", 2: "are"."""
    return one if number == 1 else many


def share(value: float) -> str:
    """0.8213: "82 %". Only 1 is "100 %", and only 0 is "0 %"."""
    percent = 100 * value
    if 0 < percent < 0.5 or 99.5 <= percent < 100:
        return f"{min(max(percent, 0.1), 99.9):.1f} %"
    return f"{percent:.0f} %"


def share_within(value: float, low: float, high: float) -> str:
    """A share with its interval: "82 % (75 to 88 %)"."""
    return f"{share(value)} ({share(low).removesuffix(' %')} to {share(high)})"


def next_opinion(labels: int) -> str:
    """What a task with so many labels is asked for. 0: "first label", 1: "second opinion", 2: "third opinion"."""
    if not labels:
        return "first label"
    if labels > len(_ORDINALS):
        return f"opinion number {labels + 1}"
    return f"{_ORDINALS[labels - 1]} opinion"


def ago(seconds: int) -> str:
    """How long ago something was, in its largest unit: "2 days ago"."""
    for name, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return f"{count(seconds // length, name)} ago"
    return "less than a minute ago"


def embedding_words(embedding: str, since: str | None, zone: tzinfo | None = None) -> str:
    """What a model's features come from: "fine-tuned embeddings since 2026-11-29", by the local date.

    Args:
        embedding: "frozen", "fine-tuned" or "transformer", as the ML backend says.
        since: an ISO 8601 time. None: unknown.
        zone: the time zone of the date, by default the local one.
    """
    words = "a fine-tuned transformer" if embedding == "transformer" else f"{embedding} embeddings"
    if since is None:
        return words
    return f"{words} since {datetime.fromisoformat(since).astimezone(zone or tzlocal()).date().isoformat()}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in a sentence. Of many, the first and how many there are: "A, B, … (500 in all)"."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])}, … ({len(names):,} in all)"


def one_line(text: str) -> str:
    """The text in one line, without characters that a terminal could take for a command."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def format_value(value: object) -> str:
    """The value of a setting: on or off, a text in quotes, or a number."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"'{value}'" if isinstance(value, str) else str(value)


def with_article(noun: str) -> str:
    """A noun in the singular, such as "a text" or "an image"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
