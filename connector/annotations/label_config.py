"""Finds the control that the connector serves in a labelling config."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from connector.annotations.controls import CONTROLS, control_of
from connector.annotations.controls import Control as Control
from connector.annotations.form.conditions import conditions
from connector.annotations.form.config import BrokenConfig, Form, NotServable, Tag, read_form
from connector.annotations.objects import OBJECTS
from connector.annotations.questions import Questions
from connector.errors import UsageError

MAX_CLASSES = 1000  # that the ML backend takes


class Listed(NamedTuple):
    """A control of a labelling config. `reason`: why it cannot be served. "": it can."""

    tag: str
    name: str
    reason: str
    control: Control | None = None

    def __str__(self) -> str:
        return f"{self.tag} '{self.name}' ({self.reason or 'can be served'})"


def list_controls(label_config: str) -> list[Listed]:
    """The controls of `label_config`, in its order. Raises UsageError if it cannot be read."""
    try:
        form = read_form(label_config)
    except BrokenConfig as error:
        raise UsageError(f"The labelling config cannot be read: {error}.") from error
    found = []
    for tag in form.controls:
        try:
            found.append(Listed(tag.tag, tag.name, "", _control(tag, form)))
        except NotServable as reason:
            found.append(Listed(tag.tag, tag.name, str(reason)))
    return found


def servable(label_config: str) -> dict[str, Control]:
    """The controls of `label_config` that can be served, by name and in its order. Raises UsageError."""
    return {row.name: row.control for row in list_controls(label_config) if row.control is not None}


def find_control(label_config: str, name: str | None = None) -> Control:
    """The control of `label_config` to serve: the only one that can be served, or the one called `name`.

    Raises UsageError if there is none, or several and no `name`. The message lists all controls.
    """
    listed = list_controls(label_config)
    servable = [row.control for row in listed if row.control is not None]
    kinds = f"{_or(CONTROLS)} on a {_or(OBJECTS)}"
    found = ", ".join(map(str, listed)) or "no control at all"
    if name is not None:
        for control in servable:
            if control.name == name:
                return control
        raise UsageError(f"The labelling config has no {kinds} called '{name}' that can be served. Found: {found}.")
    if not servable:
        raise UsageError(f"The labelling config needs a {kinds}, with at least two answers. Found: {found}.")
    if len(servable) > 1:
        names = ", ".join(f"--control {shlex.quote(control.name)}" for control in servable)
        raise UsageError(f"The labelling config has several controls that can be served. Choose one: {names}.")
    return servable[0]


def find_questions(label_config: str, names: Sequence[str] = (), *, missing_allowed: bool = False) -> Questions:
    """The controls of `label_config` to serve: those called `names` in this order, or without any, all that can be.

    Raises UsageError if there is none, or if one of `names` cannot be served. With `missing_allowed`, that one is left
    out if others are there.
    """
    rows = list_controls(label_config)
    found = {row.name: row.control for row in rows if row.control is not None}
    names = names or list(found)
    reasons = {row.name: row.reason for row in rows}
    missing = {name: reasons.get(name, "") for name in names if name not in found}
    if not names or (missing and not missing_allowed) or len(missing) == len(names):
        find_control(label_config, next(iter(missing), None))  # raises
    controls = tuple(found[name] for name in names if name in found)
    # If a control that is not served hides one, nothing is known about that.
    known = {
        name: tuple(rule for rule in rules if rule.control in names)
        for name, rules in conditions(label_config).items()
        if name in names
    }
    return Questions(
        controls, {name: rules for name, rules in known.items() if rules}, missing, tuple(dict.fromkeys(names))
    )


def packaged_label_config() -> str:
    """`label_config.xml` as it was installed, or from the checkout that the package is in."""
    package = Path(__file__).parents[1]
    packaged, checkout = package / "label_config.xml", package.parent / "label_config.xml"
    return (packaged if packaged.exists() else checkout).read_text(encoding="utf-8")


def _or(names: Collection[str]) -> str:
    """Names as in a sentence: "Text, List or Table"."""
    *others, last = names
    return f"{', '.join(others)} or {last}"


def _control(tag: Tag, form: Form) -> Control:
    """The control that a tag describes. Raises NotServable if there is nothing to learn in it."""
    control = control_of(tag, form)
    if len(control.classes) < 2:
        raise NotServable(f"fewer than two {control.noun}")
    if len(control.classes) > MAX_CLASSES:
        raise NotServable(f"more than {MAX_CLASSES:,} {control.noun}")
    return control
