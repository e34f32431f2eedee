"""What every kind of content has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ml_backend.labeling.form.config import Field, NotServable, Tag
from ml_backend.labeling.form.data import Shown

# What messages call one of each kind of content.
NOUNS = {"text": "text", "image": "image", "audio": "recording"}


class Content(ABC):
    """The content that an object of the labelling config shows, from one field of a task's data."""

    words: ClassVar[str] = "a text"  # what a task's data should have
    kind: ClassVar[str] = "text"  # what models read: the text itself, or the "image" or "audio" at the address it is

    @abstractmethod
    def field(self, tag: Tag) -> Field:
        """The field that an object of the config shows. Raises NotServable if there is none."""

    @abstractmethod
    def read(self, data: Any, field: Field) -> Shown:
        """What the object shows of a task's data as a text."""


def check_value_type(tag: Tag, *taken: str) -> None:
    """Raises NotServable if the object's content is of another type than those `taken`."""
    value_type = tag.get("valueType").lower()
    if value_type and value_type not in taken:
        raise NotServable(f'its {tag.tag} has valueType="{value_type}"')
