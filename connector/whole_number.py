"""Whole numbers as options of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _Number = click.ParamType[int]
else:
    _Number = click.ParamType  # which older versions of click do not subscript

LARGEST = 2**31 - 1  # what every database keeps in a column of whole numbers, Label Studio's ids among them
_MOST_DIGITS = 1000  # Python converts no more than some thousand


class WholeNumber(_Number):
    """A whole number from `least` to `most`, or up to LARGEST. Its errors say so in these words."""

    name = "number"

    def __init__(self, least: int = 1, most: int | None = None) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The value as a number."""
        text = str(value).strip()
        try:
            number = LARGEST + 1 if text.isdecimal() and len(text) > _MOST_DIGITS else int(text)
        except ValueError:
            number = self.least - 1
        if self.most is None and number > LARGEST:
            shown = text if len(text) <= 40 else f"{text[:40]}…"
            self.fail(f"'{shown}' is too large: the largest number is {LARGEST:,}.", param, ctx)
        if number < self.least or (self.most is not None and number > self.most):
            bounds = f"of at least {self.least:,}" if self.most is None else f"from {self.least:,} to {self.most:,}"
            self.fail(f"'{value}' is not a whole number {bounds}.", param, ctx)
        return number
