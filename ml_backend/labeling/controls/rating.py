"""`Rating`: a number of stars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ml_backend.labeling.controls.control import Control, Target
from ml_backend.labeling.form.config import NotServable, Tag, check_whole_task
from ml_backend.labeling.form.numbers import number_in, written
from ml_backend.labeling.form.regions import quoted

MAX_STARS = 20


@dataclass(frozen=True)
class Rating(Control):
    """A control of stars. The classes are "1" to maxRating. No star is no answer."""

    tag: ClassVar[str] = "Rating"
    type: ClassVar[str] = "rating"
    key: ClassVar[str] = "rating"
    noun: ClassVar[str] = "ratings"
    ordered: ClassVar[bool] = True
    way_back: ClassVar[str] = "Set maxRating so that the form has these stars again, or correct those annotations."

    @classmethod
    def from_tag(cls, tag: Tag, targets: Sequence[Target]) -> Control:
        """The control of the tag's stars."""
        check_whole_task(tag)
        most = tag.attributes.get("maxrating", "5")
        if not re.fullmatch("[0-9]{1,2}", most) or int(most) > MAX_STARS:
            raise NotServable(f"its maxRating is {quoted(most)}, and no whole number up to {MAX_STARS}")
        stars = tuple(str(number + 1) for number in range(int(most)))
        return cls.of(tag, targets[0], stars)

    @staticmethod
    def names_in(answer: Any) -> list[str]:
        """The rating. None: no star."""
        return [written(answer)] if number_in(answer, "rating", empty=(None, 0)) else []

    def answer_of(self, classes: Sequence[str]) -> int:
        """The number of stars."""
        (stars,) = classes
        return int(stars)
