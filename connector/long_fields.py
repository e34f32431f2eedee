"""Texts of any length in CSV files: Python's reader gives up at 131,072 letters of a field unless told otherwise."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator

LONGEST = 2**31 - 1  # letters: the most that every platform takes


@contextlib.contextmanager
def long_fields() -> Iterator[None]:
    """CSV files are read with fields of any length meanwhile."""
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
