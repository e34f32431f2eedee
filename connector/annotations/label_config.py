"""Finds the `Choices` on a `Text` that the connector serves in a labelling config, and how it writes labels."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from connector.errors import UsageError

# What the form takes for a key of the task's data, wherever it stands in a choice's value: it shows, and submits, what
# the task has there, or "undefined". An alias is submitted as it stands.
_REFERENCE = re.compile(r"\$[\w\[\].{}]+", re.ASCII)


@dataclass(frozen=True)
class Control:
    """A control of choices: its names, the task's text key and its classes.

    `classes` are spelled as annotations spell them: a choice's alias where it has one, else its value. `spellings` maps
    every way an annotation may spell a class (value or alias) to the class. `multiple`: a label is a set of classes;
    `none_counts`: the empty set too, where the form can be submitted with nothing chosen.

    A label is one string everywhere: a class's name, or, of a multiple control, its set as `label_of` writes it.
    """

    name: str
    to_name: str
    data_key: str
    classes: tuple[str, ...]
    spellings: dict[str, str]
    multiple: bool = False
    none_counts: bool = False

    def label_of(self, chosen: Collection[str]) -> str:
        """The label that stands for the classes `chosen`: a JSON list in the config's order, where several may be."""
        if not self.multiple:
            (name,) = chosen
            return name
        return json.dumps([name for name in self.classes if name in chosen], ensure_ascii=False)

    def classes_of(self, label: str) -> list[str]:
        """The classes that a label stands for, in the config's order; of a single choice, the one."""
        return list(json.loads(label)) if self.multiple else [label]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Control:
        return cls(**{**value, "classes": tuple(value["classes"])})


def find_control(label_config: str, name: str | None = None) -> Control:
    """The control of `label_config` to serve: the only one that can be, or the one called `name`.

    Raises UsageError when there is none, or several and no name, telling what was found.
    """
    # Takes half a second to import, and a sync with an unchanged config never needs it.
    from label_studio_sdk.label_interface.interface import LabelInterface

    try:
        interface = LabelInterface(label_config)
        controls = list(interface.controls)
        objects = {tag.name: tag for tag in interface.objects}
    except Exception as error:  # the SDK raises plain exceptions of many kinds on a broken config
        raise UsageError(f"The project's labelling config cannot be read: {error}") from error

    servable: list[Control] = []
    found: list[str] = []
    nested = _nested_choices(label_config)
    for tag in controls:
        control, reason = (None, "nested choices") if tag.name in nested else _servable(tag, objects)
        if control is not None:
            servable.append(control)
            found.append(f"{tag.tag} '{tag.name}' (can be served)")
        else:
            found.append(f"{tag.tag} '{tag.name}' ({reason})")
    listing = ", ".join(found) or "no control at all"
    if name is not None:
        for control in servable:
            if control.name == name:
                return control
        raise UsageError(
            f"The labelling config has no Choices on a Text called '{name}' that can be served; found: {listing}."
        )
    if not servable:
        raise UsageError(f"The labelling config needs a Choices on a Text with at least two choices; found: {listing}.")
    if len(servable) > 1:
        names = ", ".join(f"--control {control.name}" for control in servable)
        raise UsageError(f"The labelling config has several controls that can be served; choose one: {names}.")
    return servable[0]


def packaged_label_config() -> str:
    """`label_config.xml` as it was installed, or as it lies beside the package in a checkout."""
    package = Path(__file__).parents[1]
    packaged, checkout = package / "label_config.xml", package.parent / "label_config.xml"
    return (packaged if packaged.exists() else checkout).read_text(encoding="utf-8")


def _nested_choices(label_config: str) -> set[str | None]:
    """Names of the Choices that hold choices within choices: their annotations are paths, not classes."""
    root = ElementTree.fromstring(label_config)
    return {tag.get("name") for tag in root.iter("Choices") if tag.find(".//Choice//Choice") is not None}


def _servable(tag: Any, objects: dict[str, Any]) -> tuple[Control | None, str]:
    """The tag as a Control, or None and why it cannot be served."""
    attributes = tag.attr
    if tag.tag != "Choices":
        return None, "not Choices"
    kind = attributes.get("choice", "single")
    if kind not in ("single", "single-radio", "multiple"):
        return None, f'choice="{kind}"'
    for flag in ("perRegion", "perItem"):
        if str(attributes.get(flag, "false")).lower() == "true":
            return None, f'{flag}="true"'
    if str(attributes.get("value", "")).startswith("$"):
        return None, "its choices come from the task's data"
    if len(tag.to_name) != 1:
        return None, "toName names several objects"
    target = objects.get(tag.to_name[0])
    if target is None or target.tag != "Text":
        return None, f"on {target.tag if target is not None else 'nothing'}, not on a Text"
    if str(target.attr.get("valueType", "text")).lower() == "url":
        return None, "its Text holds a URL"
    value = str(target.attr.get("value", ""))
    if not value.startswith("$"):
        return None, "its Text shows no task data"
    spellings: dict[str, str] = {}
    classes: list[str] = []
    for written, choice in tag.labels_attrs.items():
        if not choice.attr.get("alias") and (key := _REFERENCE.search(written)):
            return None, f"the form puts task data for '{key[0]}' in the choice '{written}': give it an alias"
        classes.append(written)
        spellings[choice.attr.get("value", written)] = written
    spellings.update({written: written for written in classes})
    if len(set(classes)) < 2:
        return None, "fewer than two choices"
    multiple = kind == "multiple"
    # A form that insists on a choice, or hides the control, says nothing where it is left empty.
    insists = str(attributes.get("required", "false")).lower() == "true" or "visibleWhen" in attributes
    none_counts = multiple and not insists
    return Control(tag.name, tag.to_name[0], value[1:], tuple(classes), spellings, multiple, none_counts), ""
