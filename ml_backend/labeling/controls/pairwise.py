"""`Pairwise`: which of two objects is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ml_backend.labeling.controls.control import Control, Target
from ml_backend.labeling.form.config import Field, Tag
from ml_backend.labeling.form.data import PAIR_SEPARATOR, Shown
from ml_backend.labeling.form.regions import Unreadable, kind_of
from ml_backend.labeling.objects import OBJECTS


@dataclass(frozen=True)
class Pairwise(Control):
    """A control of two objects, of which an annotator chooses one. The classes are "left" and "right".

    Attributes:
        right_key: The key of a task's data under which the right object's content is. `data_key` is the left one's.
        right_content: The right object's tag.
        right_options: How it is read.
    """

    right_key: str = field(kw_only=True)
    right_content: str = field(kw_only=True)
    right_options: dict[str, str] = field(kw_only=True)

    tag: ClassVar[str] = "Pairwise"
    type: ClassVar[str] = "pairwise"
    key: ClassVar[str] = "selected"
    noun: ClassVar[str] = "sides"
    objects: ClassVar[int] = 2

    @property
    def data_keys(self) -> tuple[str, ...]:
        """The keys of both sides."""
        return self.data_key, self.right_key

    @classmethod
    def from_tag(cls, tag: Tag, targets: Sequence[Target]) -> Control:
        """The control of the tag's two objects."""
        left, right = targets
        return cls.of(
            tag,
            left,
            ("left", "right"),
            right_key=right.field.key,
            right_content=right.content,
            right_options=right.field.options,
        )

    def shown(self, data: Any) -> Shown:
        """Both sides, with PAIR_SEPARATOR between them."""
        left = super().shown(data)
        right = OBJECTS[self.right_content].read(data, Field(self.right_key, self.right_options))
        if left.text is None or right.text is None:
            return left if left.text is None else right
        return Shown(f"{left.text}{PAIR_SEPARATOR}{right.text}")

    @staticmethod
    def names_in(answer: Any) -> list[str]:
        """The side. "none" is no answer."""
        if not isinstance(answer, str):
            raise Unreadable(f"its side is {kind_of(answer)}")
        return [] if answer == "none" else [answer]

    def answer_of(self, classes: Sequence[str]) -> str:
        """The side."""
        (side,) = classes
        return side
