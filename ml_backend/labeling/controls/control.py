"""What every kind of control has in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from ml_backend.labeling.form.config import Field, Tag
from ml_backend.labeling.form.data import Shown
from ml_backend.labeling.form.regions import answer_in, quoted, read_regions
from ml_backend.labeling.objects import OBJECTS
from ml_backend.labeling.objects.linked import link_in

_NAMED = 3  # names that a problem gives


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


class Target(NamedTuple):
    """An object that a control is on.

    Attributes:
        name: Its name.
        content: Its tag, a key of `objects.OBJECTS`.
        field: What it shows.
    """

    name: str
    content: str
    field: Field

    def read(self, data: Any) -> Shown:
        """What it shows of a task's data as a text, or the link to that."""
        if self.is_link:
            return link_in(data, self.content, self.field)
        return OBJECTS[self.content].read(data, self.field)

    @property
    def is_link(self) -> bool:
        """Whether the task's data have the address of a text."""
        return "url" in self.field.options

    @property
    def words(self) -> str:
        """What the task's data should have: "a text"."""
        words = OBJECTS[self.content].words
        return f"the address of {words}" if self.is_link else words


class Chosen(NamedTuple):
    """The classes of an answer.

    Attributes:
        classes: In the config's order. None: there is no answer, or it gives no label.
        gone: Names that are no class of the config.
        problem: Why the answer gives no label, in words. "": it does, or there is none.
    """

    classes: list[str] | None
    gone: list[str]
    problem: str = ""


@dataclass(frozen=True)
class Control(ABC):
    """A control that is served.

    A label is one string everywhere: a class's name, or, if `multiple`, a set of classes as `label_of` writes it.

    Attributes:
        data_key: The key of a task's data, or a path of keys, under which the object's content is.
        classes: Each as one string. Those of a tree are paths, joined by PATH_SEPARATOR.
        spellings: {a class as an annotation may spell it: class}.
        multiple: Whether a label is a set of classes.
        none_counts: Whether no class at all is a label, too, because the form can be submitted that way.
        content: The tag of the object, a key of `objects.OBJECTS`.
        options: How the content is read: what `Field.options` has.
        notes: Sentences about parts of the config that are left out.
        fields: Keys of a task's data that models read in place of the object alone. (): they read the object.
        inner: Choices that are no class because others are inside, as `spellings` has classes.
    """

    name: str
    to_name: str
    data_key: str
    classes: tuple[str, ...]
    spellings: dict[str, str]
    multiple: bool = field(default=False, kw_only=True)
    none_counts: bool = field(default=False, kw_only=True)
    content: str = field(default="Text", kw_only=True)
    options: dict[str, str] = field(default_factory=dict, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    fields: tuple[str, ...] = field(default=(), kw_only=True)
    inner: tuple[str, ...] = field(default=(), kw_only=True)

    tag: ClassVar[str]  # in the labelling config
    type: ClassVar[str]  # of its regions
    key: ClassVar[str]  # of the answer in a region's value
    noun: ClassVar[str]  # what an annotator gives, in the plural
    ordered: ClassVar[bool] = False  # whether the classes are in an order, such as ratings
    objects: ClassVar[int] = 1  # that it is on
    # How an answer that the config no longer has counts again, as a sentence.
    way_back: ClassVar[str] = (
        'If a choice was renamed, give the new one its old name as alias, such as <Choice value="New name" '
        'alias="Old name"/>: its labels count again. Otherwise put the choice back into the labelling config, or '
        "correct those annotations."
    )
    # The same of `inner`.
    way_back_of_inner: ClassVar[str] = (
        "A choice that has others inside cannot be chosen any more, since the tag has leafsOnly or allowNested: take "
        "that out, or correct those annotations."
    )

    @property
    def targets(self) -> tuple[Target, ...]:
        """The objects that it is on."""
        return (Target(self.to_name, self.content, Field(self.data_key, self.options)),)

    @property
    def data_keys(self) -> tuple[str, ...]:
        """The keys of a task's data that models read."""
        return self.fields or tuple(target.field.key for target in self.targets)

    @property
    def contents(self) -> list[str]:
        """What a task's data should have under the keys: "a text"."""
        if self.fields:
            return ["a text"]
        return list(dict.fromkeys(target.words for target in self.targets))

    @property
    def kind(self) -> str:
        """What models read: "text", or "image" or "audio" if `shown` gives addresses of such media."""
        return "text" if self.fields else OBJECTS[self.content].kind

    @property
    def has_links(self) -> bool:
        """Whether `shown` gives links in place of texts."""
        return any(target.is_link for target in self.targets)

    @property
    def shown_keys(self) -> str:
        """The keys in a sentence."""
        return " and ".join(f"'{key}'" for key in self.data_keys)

    def with_fields(self, fields: Sequence[str]) -> Control:
        """The control whose models read these keys of a task's data. Without any, they read its object."""
        return replace(self, fields=tuple(fields))

    @property
    def imports_in_bulk(self) -> bool:
        """Whether Label Studio's import of many predictions takes the answers that the form shows."""
        return True

    @classmethod
    @abstractmethod
    def from_tag(cls, tag: Tag, targets: Sequence[Target]) -> Control:
        """The control that a tag describes, on `objects` objects. Raises NotServable if it cannot be served."""

    @classmethod
    def of(cls, tag: Tag, target: Target, classes: Sequence[str], **fields: Any) -> Control:
        """A control of these classes. `fields`: what neither the tag nor its object says."""
        spellings = {name: name for name in classes}
        fields = {"spellings": spellings, "content": target.content, "options": target.field.options, **fields}
        return cls(tag.name, target.name, target.field.key, tuple(classes), **fields)

    @staticmethod
    @abstractmethod
    def names_in(answer: Any) -> list[str]:
        """The names in the answer of a region, each as `spellings` may have it. Raises Unreadable."""

    @abstractmethod
    def answer_of(self, classes: Sequence[str]) -> Any:
        """The answer of a region that gives `classes`, at least one, as the form sends it."""

    def shown(self, data: Any) -> Shown:
        """What models read of a task with these data, or why there is nothing to label.

        With `fields`, it is a paragraph per key. Those that a task lacks are left out, and `problem` says which.
        """
        (target,) = self.targets
        if not self.fields:
            return target.read(data)
        contents = {key: target.read(data) if key == self.data_key else read_field(data, key) for key in self.fields}
        return paragraphs(contents)

    def label_of(self, classes: Collection[str]) -> str:
        """The label for `classes`: if `multiple`, a JSON list in the config's order."""
        if not self.multiple:
            (name,) = classes
            return name
        return json.dumps(sorted(set(classes), key=self.classes.index), ensure_ascii=False)

    def classes_of(self, label: str) -> list[str]:
        """The classes in a label, in the config's order. Of a control that takes one, the one."""
        return list(json.loads(label)) if self.multiple else [label]

    def read(self, result: Any) -> ReadLabel:
        """The label in the `result` of an annotation. Of several classes, those that the config still has."""
        names, problems = self._names(result)
        chosen = self.choose(names, answered=not problems)
        if chosen.problem:
            return ReadLabel(None, unknown=False, problem=", ".join([chosen.problem, *problems]))
        if chosen.gone:
            more = f" and {len(chosen.gone) - _NAMED} more" if len(chosen.gone) > _NAMED else ""
            problems = [" and ".join(map(quoted, chosen.gone[:_NAMED])) + more, *problems]
        label = None if chosen.classes is None else self.label_of(chosen.classes)
        return ReadLabel(label, bool(chosen.gone), ", ".join(problems))

    def answer(self, result: Any) -> str | list[str] | None:
        """What an annotator gave in a `result`, as it is spelled there: a list if `multiple`, None if nothing.

        An empty list: none of the classes applies.
        """
        names, problems = self._names(result)
        chosen = self.choose(names, answered=not problems)
        if chosen.problem or (chosen.classes is None and not chosen.gone):
            return None
        return names if self.multiple else names[0]

    def choose(self, names: Sequence[str], *, answered: bool = True) -> Chosen:
        """The classes that `names` spell.

        Args:
            names: As `names_in` reads them.
            answered: Whether no name at all can mean none of the classes. An answer that cannot be read does not.
        """
        classes = {self.spellings[name] for name in names if name in self.spellings}
        gone = list(dict.fromkeys(name for name in names if name not in self.spellings))
        if self.multiple:
            # If all classes of an annotator are gone from the config, it is unknown which of the others apply.
            label = classes or (not gone and answered and self.none_counts)
            return Chosen(sorted(classes, key=self.classes.index) if label else None, gone)
        # The form shows one answer of several, so it is unknown which of different ones was meant.
        if len(classes) + len(gone) > 1:
            return Chosen(None, [], f"it has {len(classes) + len(gone)} {self.noun}, and the control takes one")
        return Chosen(list(classes) or None, gone)

    def result(self, label: str) -> list[dict[str, Any]]:
        """The `result` that shows the label in the form, as the form sends it. Empty if it is none of the classes."""
        return self.result_of(self.classes_of(label))

    def result_of(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """The `result` that shows `classes` in the form."""
        if not classes:
            return []
        value = {self.key: self.answer_of(classes)}
        return [{"from_name": self.name, "to_name": self.to_name, "type": self.type, "value": value}]

    def to_json(self) -> dict[str, Any]:
        """The control as the state stores it: `controls.from_json` reads it."""
        return {"tag": self.tag, **asdict(self)}

    def _names(self, result: Any) -> tuple[list[str], list[str]]:
        """The names in a `result`, and what cannot be read."""
        answers, problems = read_regions(result, self.name, self.read_region)
        return [name for answer in answers for name in answer], problems

    @classmethod
    def read_region(cls, region: Mapping[str, Any]) -> list[str]:
        """The names in a region of such a control. Raises Unreadable."""
        return cls.names_in(answer_in(region, cls.type, cls.key))


def paragraphs(shown: Mapping[str, Shown]) -> Shown:
    """Several contents as one, each marked with its key. Those that are not there are left out."""
    texts = [f"{key}: {content.text}" for key, content in shown.items() if content.text is not None]
    problems = [content.problem for content in shown.values() if content.problem]
    return Shown("\n\n".join(texts) or None, " and ".join(problems))


def read_field(data: Any, key: str) -> Shown:
    """The text under a key of a task's data."""
    return OBJECTS["Text"].read(data, Field(key, {}))
