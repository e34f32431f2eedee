"""The kinds of controls that can be served: a file each, and a line in CONTROLS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connector.annotations.controls.choices import Choices
from connector.annotations.controls.control import Control as Control
from connector.annotations.controls.control import Target
from connector.annotations.controls.number import Number
from connector.annotations.controls.pairwise import Pairwise
from connector.annotations.controls.rating import Rating
from connector.annotations.controls.taxonomy import Taxonomy
from connector.annotations.form.config import Form, NotServable, Tag
from connector.annotations.form.regions import Unreadable, region_type
from connector.annotations.objects import OBJECTS

CONTROLS: dict[str, type[Control]] = {kind.tag: kind for kind in (Choices, Taxonomy, Rating, Number, Pairwise)}


def control_of(tag: Tag, form: Form) -> Control:
    """The control that a tag of the config describes. Raises NotServable if it cannot be served."""
    kind = next((kind for kind in CONTROLS.values() if tag.is_a(kind.tag)), None)
    if kind is None:
        raise NotServable("another kind of control")
    if len(tag.to_name) != kind.objects:
        raise NotServable("toName names several objects" if kind.objects == 1 else "toName does not name two objects")
    return kind.from_tag(tag, [_target(form.objects.get(name)) for name in tag.to_name])


def _target(tag: Tag | None) -> Target:
    """An object of the config. Raises NotServable if its content cannot be read."""
    name = next((name for name in OBJECTS if tag is not None and tag.is_a(name)), None)
    if tag is None or name is None:
        raise NotServable(f"on {'nothing' if tag is None else tag.tag}")
    return Target(tag.name, name, OBJECTS[name].field(tag))


def read_answers(result: Any, controls: Iterable[Control] = ()) -> dict[str, list[str]] | None:
    """What the `result` of an annotation answers in each control, by the control's name.

    `controls` are those that the config has. Any other is read by the type of its regions. What cannot be read is "".
    None: nothing of it can be read.
    """
    if not isinstance(result, list):
        return {} if result is None else None
    regions = [region for region in result if isinstance(region, dict)]
    named = [region for region in regions if isinstance(region.get("from_name"), str)]
    if not named and len(regions) < len(result):
        return None
    answers: dict[str, list[str]] = {}
    kinds = {control.name: type(control) for control in controls}
    types = {kind.type: kind for kind in CONTROLS.values()}
    for region in named:
        kind = kinds.get(region["from_name"]) or types.get(region_type(region, Choices.type))
        try:
            names = kind.read_region(region) if kind is not None else [""]
        except Unreadable:
            names = [""]
        answers.setdefault(region["from_name"], []).extend(names)
    return answers


def from_json(value: dict[str, Any]) -> Control:
    """The control that `Control.to_json` has written."""
    fields = {name: _tuples(field) for name, field in value.items()}
    return CONTROLS[fields.pop("tag")](**fields)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
