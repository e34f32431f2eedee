"""`Choices`: one of several classes (single choice), or any number of them (multiple choice)."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar

from connector.annotations.controls.control import Control, NotServable, ReadLabel
from connector.annotations.form.answers import quoted, read_choices
from connector.annotations.form.config import Tag, TextField, choices_of

MAX_CHOICES = 1000
_NAMED = 3  # choices that a problem names


@dataclass(frozen=True)
class Choices(Control):
    """A control of choices.

    A class is a choice's alias if it has one, else its value. `spellings` maps every way in which an annotation may
    spell a class, value or alias, to the class. `none_counts`: no choice at all is a label, too, because the form
    can be submitted that way. `nested`: the form has allowNested, which makes a path of each choice.
    """

    spellings: dict[str, str]
    none_counts: bool = field(default=False, kw_only=True)
    nested: bool = field(default=False, kw_only=True)

    tag: ClassVar[str] = "Choices"

    @property
    def shows_predictions(self) -> bool:
        """Not with allowNested: the form wants paths, and Label Studio's import refuses them."""
        return not self.nested

    @classmethod
    def check(cls, tag: Tag) -> None:
        """Raises NotServable for nested choices, choices of regions or items, and choices from the task's data.

        Fewer than two choices are nothing to learn, and the ML backend takes no more than MAX_CHOICES.
        """
        classes = choices_of(tag).classes
        if len(classes) < 2:
            raise NotServable("fewer than two choices")
        if len(classes) > MAX_CHOICES:
            raise NotServable(f"more than {MAX_CHOICES:,} choices")

    @classmethod
    def from_tag(cls, tag: Tag, content: str, shown: TextField) -> Choices:
        """The control of the tag's choices."""
        choices = choices_of(tag)
        return cls(
            tag.name,
            tag.to_name[0],
            shown.key,
            choices.classes,
            choices.spellings,
            multiple=choices.multiple,
            none_counts=choices.none_counts,
            nested=choices.nested,
            content=content,
            encoding=shown.encoding,
            notes=choices.left_out,
        )

    def label_of(self, chosen: Collection[str]) -> str:
        """The label for the classes `chosen`: if `multiple`, a JSON list in the config's order."""
        if not self.multiple:
            (name,) = chosen
            return name
        return json.dumps([name for name in self.classes if name in chosen], ensure_ascii=False)

    def classes_of(self, label: str) -> list[str]:
        """The classes in a label, in the config's order. Of a single choice, the one."""
        return list(json.loads(label)) if self.multiple else [label]

    def read(self, result: Any) -> ReadLabel:
        """The label in a `result`. Of several choices, those that the config still has."""
        chosen, problems = self._choices(result)
        if chosen is None:
            return ReadLabel(None, unknown=False, problem=", ".join(problems))
        classes = {self.spellings[name] for name in chosen if name in self.spellings}
        gone = list(dict.fromkeys(name for name in chosen if name not in self.spellings))
        if gone:
            more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
            problems = [" and ".join(map(quoted, gone[:_NAMED])) + more, *problems]
        # If all choices of an annotator are gone from the config, it is unknown which of the others apply.
        label = None if gone and not classes else self.label_of(classes)
        return ReadLabel(label, bool(gone), ", ".join(problems))

    def answer(self, result: Any) -> str | list[str] | None:
        """What was chosen. An empty list: none of the choices applies. None: the control was not answered."""
        chosen, _ = self._choices(result)
        return chosen if chosen is None or self.multiple else chosen[0]

    def result(self, label: str) -> list[dict[str, Any]]:
        """The `result` that shows `label` chosen: empty if the label is none of the classes."""
        chosen = self.classes_of(label)
        value = {"choices": chosen}
        region = {"from_name": self.name, "to_name": self.to_name, "type": "choices", "value": value}
        return [region] if chosen else []

    def _choices(self, result: Any) -> tuple[list[str] | None, list[str]]:
        """The choices in a `result`, exactly one if only one is allowed, and what cannot be read.

        None: the control was not answered.
        """
        answers, problems = read_choices(result, self.name)
        if self.multiple:
            chosen = [name for answer in answers for name in answer]
            # A region that cannot be read does not mean that nothing was chosen.
            return (chosen if chosen or (self.none_counts and not problems) else None), problems
        # The form shows one region of several, so it is unknown which of different choices was meant.
        chosen = list({self.spellings.get(name, name): name for answer in answers for name in answer}.values())
        if len(chosen) == 1:
            return chosen, problems
        too_many = [f"it has {len(chosen)} choices, and the control takes one"] * bool(chosen)
        return None, [*too_many, *problems]
