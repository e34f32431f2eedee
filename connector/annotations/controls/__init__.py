"""The kinds of controls that can be served: a file each, and a line in CONTROLS."""

from __future__ import annotations

from typing import Any

from connector.annotations.controls.choices import Choices
from connector.annotations.controls.control import Control as Control

CONTROLS: dict[str, type[Control]] = {kind.tag: kind for kind in (Choices,)}


def from_json(value: dict[str, Any]) -> Control:
    """The control that `Control.to_json` has written."""
    fields: dict[str, Any] = {name: tuple(field) if isinstance(field, list) else field for name, field in value.items()}
    return CONTROLS[fields.pop("tag")](**fields)
