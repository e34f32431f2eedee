"""`Taxonomy`: one or several nodes of a tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ml_backend.labeling.controls.control import Control, Target
from ml_backend.labeling.form.choice_tree import Choice, classes_of, names_of_paths, read_choices
from ml_backend.labeling.form.config import NotServable, Tag, check_whole_task, none_counts


@dataclass(frozen=True)
class Taxonomy(Control):
    """A control of paths in a tree. With leafsOnly, the form lets people choose only what has nothing inside.

    Attributes:
        paths: The path of each class.
    """

    paths: tuple[tuple[str, ...], ...] = field(kw_only=True)

    tag: ClassVar[str] = "Taxonomy"
    type: ClassVar[str] = "taxonomy"
    key: ClassVar[str] = "taxonomy"
    noun: ClassVar[str] = "choices"

    @classmethod
    def from_tag(cls, tag: Tag, targets: Sequence[Target]) -> Control:
        """The control of the tag's tree. A tree from elsewhere raises NotServable."""
        check_whole_task(tag)
        if tag.get("apiUrl"):
            raise NotServable("its choices come from an address (apiUrl)")
        if tag.is_on("labeling"):
            raise NotServable('labeling="true"')
        choices, only_leaves = _first_of_each_value(tag), tag.is_on("leafsOnly")
        found = classes_of(choices, lambda choice: choice.leaf or not only_leaves)
        multiple = tag.get("maxUsages") != "1"
        return cls.of(
            tag,
            targets[0],
            tuple(found.paths),
            spellings=found.spellings,
            multiple=multiple,
            none_counts=multiple and none_counts(tag),
            notes=found.notes,
            paths=tuple(found.paths.values()),
            inner=tuple(name for choice in choices if only_leaves and not choice.leaf for name in choice.spellings),
        )

    @staticmethod
    def names_in(answer: Any) -> list[str]:
        """The names of the paths in a list of paths."""
        return names_of_paths(answer)

    def answer_of(self, classes: Sequence[str]) -> list[list[str]]:
        """The paths."""
        paths = dict(zip(self.classes, self.paths, strict=True))
        return [list(paths[name]) for name in classes]


def _first_of_each_value(tag: Tag) -> list[Choice]:
    """The choices that the form shows: of several with one value, beside each other, the first."""
    found: dict[tuple[str, ...], Choice] = {}
    for choice in read_choices(tag.element, through=False):
        found.setdefault(choice.values, choice)
    return list(found.values())
