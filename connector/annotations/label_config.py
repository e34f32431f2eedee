"""Finds the control that the connector serves in a labelling config."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from connector.annotations.controls import CONTROLS
from connector.annotations.controls import Control as Control
from connector.annotations.controls.control import NotServable
from connector.annotations.objects import OBJECTS
from connector.errors import UsageError


def find_control(label_config: str, name: str | None = None) -> Control:
    """The control of `label_config` to serve: the only one that can be served, or the one called `name`.

    Raises UsageError if there is none, or several and no `name`. The message lists all controls.
    """
    # Here because it takes half a second, and a sync with an unchanged config does not need it. The SDK only parses the
    # config: no server is asked.
    from label_studio_sdk.label_interface.interface import LabelInterface

    try:
        interface = LabelInterface(label_config)
        controls = list(interface.controls)
        objects = {tag.name: tag for tag in interface.objects}
    except Exception as error:  # the SDK raises plain exceptions of many kinds on a broken config
        raise UsageError(f"The project's labelling config cannot be read: {error}") from error

    servable: list[Control] = []
    listing: list[str] = []
    elements = {element.get("name"): element for element in ElementTree.fromstring(label_config).iter()}
    for tag in controls:
        try:
            servable.append(_control(tag, elements[tag.name], objects))
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
        names = ", ".join(f"--control {control.name}" for control in servable)
        raise UsageError(f"The labelling config has several controls that can be served. Choose one: {names}.")
    return servable[0]


def packaged_label_config() -> str:
    """`label_config.xml` as it was installed, or from the checkout that the package is in."""
    package = Path(__file__).parents[1]
    packaged, checkout = package / "label_config.xml", package.parent / "label_config.xml"
    return (packaged if packaged.exists() else checkout).read_text(encoding="utf-8")


def _control(tag: Any, element: ElementTree.Element, objects: dict[str, Any]) -> Control:
    """The control that a tag of the SDK describes. Raises NotServable if it cannot be served."""
    kind = CONTROLS.get(tag.tag)
    if kind is None:
        raise NotServable(f"not {' or '.join(CONTROLS)}")
    kind.check(tag, element)
    if len(tag.to_name) != 1:
        raise NotServable("toName names several objects")
    target = objects.get(tag.to_name[0])
    content = OBJECTS.get(target.tag) if target is not None else None
    if target is None or content is None:
        raise NotServable(f"on {'nothing' if target is None else target.tag}, not on a {' or '.join(OBJECTS)}")
    return kind.from_tag(tag, target.tag, content.data_key(target))
