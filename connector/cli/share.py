"""Shares as options of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _Number = click.ParamType[float]
else:
    _Number = click.ParamType  # which older versions of click do not subscript


class Share(_Number):
    """A number from 0 to `most`. Its errors say so, and name an `example`.

    Args:
        example: a share that makes sense.
        most: the largest share.
        above_0: 0 is refused.
        below_most: `most` is refused.
    """

    name = "share"

    def __init__(self, example: float, most: float = 1.0, *, above_0: bool = False, below_most: bool = False) -> None:
        self.example, self.most, self.above_0, self.below_most = example, most, above_0, below_most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The value as a number."""
        try:
            share = float(value)
        except ValueError:
            share = float("nan")
        # NaN compares as false with every number.
        if not 0 <= share <= self.most or (self.above_0 and not share) or (self.below_most and share == self.most):
            self.fail(f"'{value}' is not a share {self._bounds()}, such as {self.example:g}.", param, ctx)
        return share

    def _bounds(self) -> str:
        least = "above 0" if self.above_0 else "of at least 0"
        return f"{least} and {'below' if self.below_most else 'at most'} {self.most:g}"
