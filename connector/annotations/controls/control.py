"""What every kind of control has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, NamedTuple
from xml.etree.ElementTree import Element


class NotServable(Exception):
    """The control, or the object that it is on, cannot be served. The text says why."""


class ReadLabel(NamedTuple):
    """The label in a `result`, None if there is none. `unknown`: a class that the config no longer has is left out."""

    label: str | None
    unknown: bool


@dataclass(frozen=True)
class Control(ABC):
    """A control that is served, on an object whose content is in the field `data_key` of a task's data.

    `classes` are spelled as annotations spell them. `multiple`: a label is a set of classes. `content` is the tag of
    the object, a key of `objects.OBJECTS`.

    A label is one string everywhere: a class's name, or, if `multiple`, a set of classes as `label_of` writes it.
    """

    name: str
    to_name: str
    data_key: str
    classes: tuple[str, ...]
    multiple: bool = field(default=False, kw_only=True)
    content: str = field(default="Text", kw_only=True)

    tag: ClassVar[str]

    @classmethod
    @abstractmethod
    def check(cls, tag: Any, element: Element) -> None:
        """Raises NotServable if the attributes of a tag of the config rule it out, whatever object it is on.

        `tag` is the SDK's, `element` the same in XML.
        """

    @classmethod
    @abstractmethod
    def from_tag(cls, tag: Any, content: str, data_key: str) -> Control:
        """The control that a tag of the config describes. Raises NotServable if there is nothing to learn from it."""

    @abstractmethod
    def label_of(self, chosen: Collection[str]) -> str:
        """The label for the classes `chosen`."""

    @abstractmethod
    def classes_of(self, label: str) -> list[str]:
        """The classes in a label, in the config's order."""

    @abstractmethod
    def read(self, result: Any) -> ReadLabel:
        """The label in the `result` of an annotation."""

    @abstractmethod
    def answer(self, result: Any) -> str | list[str] | None:
        """What an annotator gave in a `result`, as it is spelled there: a list if `multiple`, None if nothing."""

    @abstractmethod
    def result(self, label: str) -> list[dict[str, Any]]:
        """The `result` that shows the label in the form, as the form sends it."""

    def to_json(self) -> dict[str, Any]:
        """The control as the state stores it: `controls.from_json` reads it."""
        return {"tag": self.tag, **asdict(self)}
