"""How much one medium may cost, and what a kind of media is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Limits:
    """What one medium may cost. Headers of an answer are limited to about 100 kB by httpcore.

    Attributes:
        bytes: Of an original. Each page of a medium has its own.
        seconds: To read all pages of a medium, from looking up the host to the last byte.
        connect_seconds: To look up a host and connect to it.
        redirects: In a row.
        pixels: Of an image, width times height.
        channels: Of a recording.
        sample_rates: Of a recording, in Hz, the least and the most.
        pages: Of a medium. More are left out.
        failures_in_a_row: After so many, the other media of a host fail at once.
        waits: Seconds before each further attempt, if one failed in a way that may pass.
    """

    bytes: int = 50_000_000
    seconds: float = 30.0
    connect_seconds: float = 10.0
    redirects: int = 5
    pixels: int = 50_000_000
    channels: int = 32
    sample_rates: tuple[int, int] = (1_000, 192_000)
    pages: int = 16
    failures_in_a_row: int = 5
    waits: tuple[float, ...] = (0.5, 1.5)


DEFAULT_LIMITS = Limits()


class Kind(NamedTuple):
    """A kind of media: how originals become small copies. `part` and `whole` are called in other threads.

    Attributes:
        noun: What a message calls one: "image" or "recording".
        check: Raises UsageError if what the kind needs is not installed.
        part: Makes one page small, as `whole` takes it. Raises Unusable if the bytes are not of this kind.
        whole: Joins the pages of a medium to its small copy.
    """

    noun: str
    check: Callable[[], None]
    part: Callable[[bytes, Limits], Any]
    whole: Callable[[Sequence[Any]], bytes]
