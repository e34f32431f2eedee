"""Finds the control that the connector serves in a labelling config."""

from __future__ import annotations

import shlex
from pathlib import Path

from connector.annotations.controls import CONTROLS
from connector.annotations.controls import Control as Control
from connector.annotations.form.config import BrokenConfig, Form, NotServable, Tag, read_form
from connector.annotations.objects import OBJECTS
from connector.errors import UsageError


def find_control(label_config: str, name: str | None = None) -> Control:
    """The control of `label_config` to serve: the only one that can be served, or the one called `name`.

    Raises UsageError if there is none, or several and no `name`. The message lists all controls.
    """
    try:
        form = read_form(label_config)
    except BrokenConfig as error:
        raise UsageError(f"The labelling config cannot be read: {error}.") from error
    servable: list[Control] = []
    listing: list[str] = []
    for tag in form.controls:
        try:
            servable.append(_control(tag, form))
            listing.append(f"{tag.tag} '{tag.name}' (can be served)")
        except NotServable as reason:
            listing.append(f"{tag.tag} '{tag.name}' ({reason})")
    kinds = f"{' or '.join(CONTROLS)} on a {' or '.join(OBJECTS)}"
    found = ", ".join(listing) or "no control at all"
    if name is not None:
        for control in servable:
            if control.name == name:
                return control
        raise UsageError(f"The labelling config has no {kinds} called '{name}' that can be served. Found: {found}.")
    if not servable:
        raise UsageError(f"The labelling config needs a {kinds} with at least two choices. Found: {found}.")
    if len(servable) > 1:
        names = ", ".join(f"--control {shlex.quote(control.name)}" for control in servable)
        raise UsageError(f"The labelling config has several controls that can be served. Choose one: {names}.")
    return servable[0]


def packaged_label_config() -> str:
    """`label_config.xml` as it was installed, or from the checkout that the package is in."""
    package = Path(__file__).parents[1]
    packaged, checkout = package / "label_config.xml", package.parent / "label_config.xml"
    return (packaged if packaged.exists() else checkout).read_text(encoding="utf-8")


def _control(tag: Tag, form: Form) -> Control:
    """The control that a tag describes. Raises NotServable if it cannot be served."""
    kind = next((kind for kind in CONTROLS.values() if tag.is_a(kind.tag)), None)
    if kind is None:
        raise NotServable(f"not {' or '.join(CONTROLS)}")
    kind.check(tag)
    target = form.object_of(tag)
    name = next((name for name in OBJECTS if target is not None and target.is_a(name)), None)
    if target is None or name is None:
        raise NotServable(f"on {'nothing' if target is None else target.tag}, not on a {' or '.join(OBJECTS)}")
    return kind.from_tag(tag, name, OBJECTS[name].field(target))
