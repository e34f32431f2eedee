"""What every kind of control has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, NamedTuple

from connector.annotations.form.config import NotServable as NotServable
from connector.annotations.form.config import Tag, TextField


class ReadLabel(NamedTuple):
    """The label in a `result`.

    Attributes:
        label: None if there is none.
        unknown: A class that the config no longer has is left out.
        problem: Why there is no label, or only a part of it, in words. "": nothing is left out.
    """

    label: str | None
    unknown: bool
    problem: str = ""


@dataclass(frozen=True)
class Control(ABC):
    """A control that is served.

    A label is one string everywhere: a class's name, or, if `multiple`, a set of classes as `label_of` writes it.

    Attributes:
        data_key: The key of a task's data, or a path of keys, under which the object's content is.
        classes: Spelled as annotations spell them.
        multiple: Whether a label is a set of classes.
        content: The tag of the object, a key of `objects.OBJECTS`.
        encoding: That of the content.
        notes: Sentences about parts of the config that are left out.
    """

    name: str
    to_name: str
    data_key: str
    classes: tuple[str, ...]
    multiple: bool = field(default=False, kw_only=True)
    content: str = field(default="Text", kw_only=True)
    encoding: str = field(default="none", kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    tag: ClassVar[str]

    @property
    def shows_predictions(self) -> bool:
        """Whether the form shows the answers in predictions that Label Studio imports."""
        return True

    @classmethod
    @abstractmethod
    def check(cls, tag: Tag) -> None:
        """Raises NotServable if a tag of the config cannot be served, whatever object it is on."""

    @classmethod
    @abstractmethod
    def from_tag(cls, tag: Tag, content: str, shown: TextField) -> Control:
        """The control that a tag of the config describes, on an object of the kind `content` that shows `shown`."""

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
