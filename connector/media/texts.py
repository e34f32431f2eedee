"""Texts in files: they are kept as they are, because what a file means depends on the object that shows it."""

from __future__ import annotations

from collections.abc import Sequence

from connector.media.limits import Kind, Limits

# A file with more is no text that a person reads. All at once may be in memory 16 times.
LIMITS = Limits(bytes=5_000_000, pages=1)


def _check() -> None:
    """Nothing needs to be installed."""


def _part(original: bytes, limits: Limits) -> bytes:
    return original


def _whole(parts: Sequence[bytes]) -> bytes:
    return parts[0]


TEXTS = Kind("text", _check, _part, _whole)
