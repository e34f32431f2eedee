"""`Choices`: one of several classes (single choice), or any number of them (multiple choice)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

from connector.annotations.controls.control import Control, NotServable, ReadLabel

# What the form takes for a key of the task's data, anywhere in a choice's value: it shows, and submits, what the task
# has there, or "undefined". An alias is submitted as it is written.
_REFERENCE = re.compile(r"\$[\w\[\].{}]+", re.ASCII)


@dataclass(frozen=True)
class Choices(Control):
    """A control of choices.

    A class is a choice's alias if it has one, else its value. `spellings` maps every way in which an annotation may
    spell a class, value or alias, to the class. `none_counts`: no choice at all is a label, too, because the form
    can be submitted that way.
    """

    spellings: dict[str, str]
    none_counts: bool = field(default=False, kw_only=True)

    tag: ClassVar[str] = "Choices"

    @classmethod
    def check(cls, tag: Any, element: Element) -> None:
        """Raises NotServable for nested choices, choices of regions or items, and choices from the task's data."""
        if element.find(".//Choice//Choice") is not None:
            raise NotServable("nested choices")  # their annotations are paths, not classes
        kind = tag.attr.get("choice", "single")
        if kind not in ("single", "single-radio", "multiple"):
            raise NotServable(f'choice="{kind}"')
        for flag in ("perRegion", "perItem"):
            if str(tag.attr.get(flag, "false")).lower() == "true":
                raise NotServable(f'{flag}="true"')
        if str(tag.attr.get("value", "")).startswith("$"):
            raise NotServable("its choices come from the task's data")

    @classmethod
    def from_tag(cls, tag: Any, content: str, data_key: str) -> Choices:
        """The control of the tag's choices. Raises NotServable if there are fewer than two."""
        spellings: dict[str, str] = {}
        classes: list[str] = []
        for written, choice in tag.labels_attrs.items():
            if not choice.attr.get("alias") and (key := _REFERENCE.search(written)):
                raise NotServable(f"the form puts task data for '{key[0]}' in the choice '{written}': give it an alias")
            classes.append(written)
            spellings[choice.attr.get("value", written)] = written
        spellings.update({written: written for written in classes})
        if len(set(classes)) < 2:
            raise NotServable("fewer than two choices")
        multiple = tag.attr.get("choice") == "multiple"
        # In a form that requires a choice, or hides the control, no choice means nothing.
        required = str(tag.attr.get("required", "false")).lower() == "true" or "visibleWhen" in tag.attr
        return cls(
            tag.name,
            tag.to_name[0],
            data_key,
            tuple(classes),
            spellings,
            multiple=multiple,
            none_counts=multiple and not required,
            content=content,
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
        chosen = self._choices(result)
        if chosen is None:
            return ReadLabel(None, unknown=False)
        classes = {self.spellings[name] for name in chosen if name in self.spellings}
        unknown = any(name not in self.spellings for name in chosen)
        # If all choices of an annotator are gone from the config, it is unknown which of the others apply.
        return ReadLabel(None if unknown and not classes else self.label_of(classes), unknown)

    def answer(self, result: Any) -> str | list[str] | None:
        """What was chosen. An empty list: none of the choices applies. None: the control was not answered."""
        chosen = self._choices(result)
        return chosen if chosen is None or self.multiple else chosen[0]

    def result(self, label: str) -> list[dict[str, Any]]:
        """The `result` that shows `label` chosen: empty if the label is none of the classes."""
        chosen = self.classes_of(label)
        value = {"choices": chosen}
        region = {"from_name": self.name, "to_name": self.to_name, "type": "choices", "value": value}
        return [region] if chosen else []

    def _choices(self, result: Any) -> list[str] | None:
        """The choices in a `result`, exactly one if only one is allowed. None if the control was not answered."""
        regions = [region for region in result or [] if region.get("from_name") == self.name]
        answers = [answer for region in regions if (answer := _answer(region)) is not None]
        if not self.multiple:
            return next((answer for answer in answers if len(answer) == 1), None)
        chosen = [name for answer in answers for name in answer]
        # A region that cannot be read comes from another config. It does not mean that nothing was chosen.
        return chosen if chosen or (self.none_counts and len(answers) == len(regions)) else None


def _answer(region: Any) -> list[str] | None:
    """The choices of one region of a `result`, None if it contains something else."""
    if region.get("type", "choices") != "choices":
        return None
    names = region.get("value", {}).get("choices") or []
    return names if all(isinstance(name, str) for name in names) else None
