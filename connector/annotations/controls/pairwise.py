"""`Pairwise`: which of two objects is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from connector.annotations.controls.control import Control, Target, paragraphs, read_field
from connector.annotations.form.config import Field, NotServable, Tag, check_whole_task
from connector.annotations.form.data import PAIR_SEPARATOR, Shown
from connector.annotations.form.regions import Unreadable, kind_of
from connector.annotations.objects import OBJECTS


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
    way_back: ClassVar[str] = "Correct those annotations."

    @property
    def targets(self) -> tuple[Target, ...]:
        """Both sides."""
        return *super().targets, Target("", self.right_content, Field(self.right_key, self.right_options))

    @property
    def data_keys(self) -> tuple[str, ...]:
        """The keys of both sides, and of their context."""
        return tuple(dict.fromkeys((*self.fields, self.data_key, self.right_key)))

    @classmethod
    def from_tag(cls, tag: Tag, targets: Sequence[Target]) -> Control:
        """The control of the tag's two objects."""
        check_whole_task(tag)
        left, right = targets
        for target in targets:
            if OBJECTS[target.content].kind != "text":
                raise NotServable(f"it compares texts, and one of its sides is the object {target.content}")
        if left.name == right.name:
            raise NotServable("toName does not name two objects")
        return cls.of(
            tag,
            left,  # the form names the control itself here, and the import of predictions refuses that
            ("left", "right"),
            right_key=right.field.key,
            right_content=right.content,
            right_options=right.field.options,
        )

    def shown(self, data: Any) -> Shown:
        """Both sides, with PAIR_SEPARATOR between them. Other `fields` are context, which comes after each side."""
        left, right = (target.read(data) for target in self.targets)
        if left.text is None or right.text is None:
            return left if left.text is None else right
        sides = {target.field.key for target in self.targets}
        context = paragraphs({key: read_field(data, key) for key in self.fields if key not in sides})
        behind = f"\n\n{context.text}" if context.text else ""  # models may not read to the end of a long text
        return Shown(f"{left.text}{behind}{PAIR_SEPARATOR}{right.text}{behind}", context.problem)

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
