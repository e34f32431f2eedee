"""Long lists, some at a time: what one call or one statement takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")


def parts(values: Sequence[_T], size: int) -> Iterator[list[_T]]:
    """The values in order, `size` of them at a time, and the last ones."""
    for start in range(0, len(values), size):
        yield list(values[start : start + size])
