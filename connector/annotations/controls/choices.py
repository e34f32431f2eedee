"""`Choices`: one of several classes (single choice), or any number of them (multiple choice)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from connector.annotations.controls.control import Chosen, Control, Target
from connector.annotations.form.choice_tree import PATH_SEPARATOR, classes_of, names_of_paths, read_choices
from connector.annotations.form.config import NotServable, Tag, check_whole_task, none_counts


@dataclass(frozen=True)
class Choices(Control):
    """A control of choices.

    A class is a choice's alias if it has one, else its value. `nested`: with allowNested, choices can be inside others.
    Then a class is the path to a choice that has none inside.

    Attributes:
        paths: With `nested`, the path of each class.
    """

    nested: bool = field(default=False, kw_only=True)
    paths: tuple[tuple[str, ...], ...] = field(default=(), kw_only=True)

    tag: ClassVar[str] = "Choices"
    type: ClassVar[str] = "choices"
    key: ClassVar[str] = "choices"
    noun: ClassVar[str] = "choices"

    @property
    def imports_in_bulk(self) -> bool:
        """Not with allowNested: the form wants paths, and the import refuses them."""
        return not self.nested

    @classmethod
    def from_tag(cls, tag: Tag, targets: Sequence[Target]) -> Control:
        """The control of the tag's choices. Choices of regions or items, or from the task's data, raise NotServable."""
        kind = tag.attributes.get("choice", "single")
        if kind not in ("single", "single-radio", "multiple"):
            raise NotServable(f'choice="{kind}"')
        check_whole_task(tag)
        nested = tag.is_on("allowNested")
        choices = read_choices(tag.element, through=True)
        if not nested:  # the form shows no choice that is inside another
            choices = [choice for choice in choices if len(choice.values) == 1]
        found = classes_of(choices, lambda choice: choice.leaf or not nested)
        spellings = found.spellings
        submitted = [(choice.values[-1], choice.aliases[-1]) for choice in choices]
        unnamed = [value for value, alias in submitted if (value if alias is None else alias) == ""]
        if len(unnamed) == 1 and unnamed[0] in spellings:  # alias="": the form submits that
            spellings[""] = spellings[unnamed[0]]
        return cls.of(
            tag,
            targets[0],
            tuple(found.paths),
            spellings=spellings,
            multiple=kind == "multiple",
            none_counts=kind == "multiple" and none_counts(tag),
            notes=found.notes,
            nested=nested,
            paths=tuple(found.paths.values()) if nested else (),
            inner=tuple(name for choice in choices if nested and not choice.leaf for name in choice.spellings),
        )

    @staticmethod
    def names_in(answer: Any) -> list[str]:
        """The names in a list of choices. With allowNested, the form submits paths."""
        return names_of_paths(answer)

    def answer_of(self, classes: Sequence[str]) -> list[str] | list[list[str]]:
        """The choices, or their paths."""
        if not self.nested:
            return list(classes)
        paths = dict(zip(self.classes, self.paths, strict=True))
        return [list(paths[name]) for name in classes]

    def choose(self, names: Sequence[str], *, answered: bool = True) -> Chosen:
        """The classes that `names` spell. A choice with all that is inside it is submitted beside these."""
        implied = {
            name
            for name in names
            if name in self.inner and any(other.startswith(f"{name}{PATH_SEPARATOR}") for other in names)
        }
        return super().choose([name for name in names if name not in implied], answered=answered)
