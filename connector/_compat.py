"""What the standard library has in later versions of Python, or limits in a way that does not suit us."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
LONGEST_FIELD = 2**31 - 1  # characters: the most that every platform accepts

if sys.version_info >= (3, 12):
    from itertools import batched as batched
else:

    def batched(values: Iterable[T], n: int) -> Iterator[tuple[T, ...]]:
        """The values in order, `n` of them at a time, and the rest: itertools.batched of Python 3.12."""
        iterator = iter(values)
        while batch := tuple(islice(iterator, n)):
            yield batch


@contextlib.contextmanager
def long_csv_fields() -> Iterator[None]:
    """Lifts the limit of 131,072 characters per field of the csv module."""
    limit_before = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(limit_before)
