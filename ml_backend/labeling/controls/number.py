"""`Number`: one of a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from ml_backend.labeling.controls.control import Control, Target
from ml_backend.labeling.form.config import NotServable, Tag, check_whole_task
from ml_backend.labeling.form.numbers import number_in, written

MAX_NUMBERS = 20


@dataclass(frozen=True)
class Number(Control):
    """A control of the numbers from `min` to `max` in steps of `step`. Each is a class, such as "0.5"."""

    tag: ClassVar[str] = "Number"
    type: ClassVar[str] = "number"
    key: ClassVar[str] = "number"
    noun: ClassVar[str] = "numbers"
    ordered: ClassVar[bool] = True
    way_back: ClassVar[str] = "Set min, max and step so that the form has these again, or correct those annotations."

    @classmethod
    def from_tag(cls, tag: Tag, targets: Sequence[Target]) -> Control:
        """The control of the tag's numbers."""
        check_whole_task(tag)
        lowest, highest = _attribute(tag, "min"), _attribute(tag, "max")
        step = _attribute(tag, "step") if tag.get("step") else Decimal(1)
        try:
            steps = int((highest - lowest) / step) + 1 if step > 0 and highest >= lowest else 0
            numbers = tuple(written(float(lowest + count * step)) for count in range(min(steps, MAX_NUMBERS + 1)))
        except (ArithmeticError, ValueError):
            numbers = ()
        if not 0 < len(numbers) <= MAX_NUMBERS or len(set(numbers)) < len(numbers) or "Infinity" in numbers:
            raise NotServable(f"its min, max and step do not give 2 to {MAX_NUMBERS} numbers")
        return cls.of(tag, targets[0], numbers)

    @staticmethod
    def names_in(answer: Any) -> list[str]:
        """The number. None: there is none."""
        return [written(answer)] if number_in(answer, "number", empty=(None,)) else []

    def answer_of(self, classes: Sequence[str]) -> int | float:
        """The number."""
        (name,) = classes
        number = float(name)
        return int(number) if number.is_integer() else number


def _attribute(tag: Tag, name: str) -> Decimal:
    """A number in an attribute of the tag. Raises NotServable if there is none."""
    try:
        number = Decimal(tag.get(name))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise NotServable(f"no number as its {name}")
    return number
