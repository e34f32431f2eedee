"""Numbers as Label Studio's form writes them, which is JavaScript's way."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any

from ml_backend.labeling.form.regions import Unreadable, kind_of


def written(number: float) -> str:
    """A number as JavaScript writes it: 5.0 is "5", and from 1e21 on it has an exponent."""
    if isinstance(number, int):
        return str(number)  # of any size: Label Studio's pages read large integers as they are
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "0"
    if 1e-6 <= abs(number) < 1e21:
        digits = f"{Decimal(repr(number)):f}"
        return digits.rstrip("0").rstrip(".") if "." in digits else digits
    mantissa, _, exponent = repr(number).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"


def number_in(answer: Any, noun: str, *, empty: Collection[Any]) -> bool:
    """Whether an answer is a number, and not one of `empty`. Raises Unreadable if it is something else."""
    if isinstance(answer, bool) or not (answer is None or isinstance(answer, (int, float))):
        raise Unreadable(f"its {noun} is {kind_of(answer)}")
    return answer not in empty
