"""The questions of a project: the controls of its form that are served. One annotation answers all of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from connector.annotations.controls import Control, from_json
from connector.annotations.controls.control import ReadLabel, Target
from connector.annotations.form.conditions import Condition, shown_labels
from connector.annotations.form.data import CONTENT_SEPARATOR, Shown
from connector.annotations.form.regions import quoted
from connector.annotations.objects.content import NOUNS
from connector.annotations.objects.linked import links_in
from connector.annotations.objects.medium import PAGE_SEPARATOR
from connector.annotations.records import digest
from connector.formatting import listed


@dataclass(frozen=True)
class Questions:
    """The controls that are served, in the order of the config.

    A joint label says how an annotation answers them. Of one question, it is the label itself. Of several, it is a JSON
    object, {control: label}, without those that have no answer. A joint text is what models read of a task: one text if
    all questions read the same, else one for each distinct content.

    Attributes:
        controls: At least one.
        conditions: When the form shows a control, by its name. Those that it always shows are not in it.
        missing: Controls that are to be served, and why they cannot be: "" if the config does not have them any more.
        order: All names that are to be served. The first one's model is that of the project.
    """

    controls: tuple[Control, ...]
    conditions: Mapping[str, tuple[Condition, ...]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self.controls) > 1

    @property
    def names(self) -> list[str]:
        """The names of the controls."""
        return [control.name for control in self.controls]

    @property
    def not_served(self) -> list[str]:
        """Each of the missing controls in a sentence: what follows its name."""
        gone = "the labelling config no longer has"
        return [
            f"{quoted(name)}, which {f'cannot be served any more ({why})' if why else gone}"
            for name, why in self.missing.items()
        ]

    @property
    def described(self) -> str:
        """Names and classes in a sentence."""
        return describe([(control.name, control.classes) for control in self.controls])

    @property
    def data_keys(self) -> tuple[str, ...]:
        """The keys of a task's data that models read."""
        return tuple(dict.fromkeys(key for control in self.controls for key in control.data_keys))

    @property
    def fields(self) -> tuple[str, ...]:
        """The keys of a task's data that the models of all questions read in place of the objects. (): the objects."""
        return self.controls[0].fields

    @property
    def targets(self) -> list[Target]:
        """The objects that the controls are on."""
        return list({target.name: target for control in self.controls for target in control.targets}.values())

    @property
    def objects(self) -> str:
        """The tags of these objects in a sentence."""
        return listed(list(dict.fromkeys(target.content for target in self.targets)))

    @property
    def contents(self) -> list[str]:
        """What a task's data should have under the keys: "a text"."""
        return list(dict.fromkeys(words for control in self.controls for words in control.contents))

    @property
    def content(self) -> str:
        """What the models read of a task, in a word: "text", "image", "recording", or "content" of several kinds."""
        kinds = {control.kind for control in self.controls}
        return NOUNS[kinds.pop()] if len(kinds) == 1 else "content"

    @property
    def has_media(self) -> bool:
        """Whether a model reads images or recordings."""
        return any(control.kind != "text" for control in self.controls)

    @property
    def has_links(self) -> bool:
        """Whether texts that models read are in files."""
        return any(control.has_links for control in self.controls)

    @property
    def shown_keys(self) -> str:
        """The keys in a sentence."""
        return " and ".join(f"'{key}'" for key in self.data_keys)

    @property
    def notes(self) -> list[str]:
        """Sentences about parts of the config that are left out."""
        return list(dict.fromkeys(note for control in self.controls for note in control.notes))

    @property
    def imports_in_bulk(self) -> bool:
        """Whether Label Studio's import of many predictions takes the answers that the form shows."""
        return all(control.imports_in_bulk for control in self.controls)

    def with_fields(self, fields: Sequence[str]) -> Questions:
        """The questions whose models read these keys of a task's data. Without any, they read their objects."""
        return replace(self, controls=tuple(control.with_fields(fields) for control in self.controls))

    def model_key(self, project: int | str, name: str) -> str:
        """The key of a question's model in the ML backend. The first question has that of the project itself.

        Args:
            project: The project's id.
            name: The control's name.
        """
        if name == (self.order or self.names)[0]:
            return str(project)
        plain = re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
        return f"{project}/questions/{name if plain else hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"

    # -- contents --------------------------------------------------------------------------------------------------

    @cached_property
    def _readers(self) -> list[Control]:
        """The first control of each distinct content."""
        readers: list[Control] = []
        for control in self.controls:
            if not any(_reads_alike(control, reader) for reader in readers):
                readers.append(control)
        return readers

    @property
    def read_alike(self) -> bool:
        """Whether the models of all questions read the same."""
        return len(self._readers) == 1

    def shown(self, data: Any) -> Shown:
        """The joint text of a task with these data, or why there is nothing to label."""
        if self.read_alike:
            return self.controls[0].shown(data)
        contents = [reader.shown(data) for reader in self._readers]
        problem = " and ".join(dict.fromkeys(content.problem for content in contents if content.problem))
        if all(content.text is None for content in contents):
            return Shown(None, problem)
        return Shown(CONTENT_SEPARATOR.join(content.text or "" for content in contents), problem)

    def text_of(self, joint: str, place: int) -> str | None:
        """What the model of the question at `place` reads of a task. None: the task lacks it."""
        if self.read_alike:
            return joint
        alike = (_reads_alike(self.controls[place], reader) for reader in self._readers)
        return joint.split(CONTENT_SEPARATOR)[list(alike).index(True)] or None

    def without_media(self, joint: str, failed: Mapping[str, str]) -> tuple[str, list[str]]:
        """A joint text without the media and the texts in files that could not be fetched, and why they could not.

        `failed`: {digest of a medium's address, or of a link: why}.
        """
        contents, gone = joint.split(CONTENT_SEPARATOR), list[str]()
        for place, (reader, content) in enumerate(zip(self._readers, contents, strict=True)):
            parts = [content] if content and reader.kind != "text" else links_in(content)
            problems = [failed[key] for part in parts if (key := digest(part)) in failed]
            if problems:
                contents[place] = ""
                gone += problems
        return CONTENT_SEPARATOR.join(contents), gone

    def with_addresses(self, joint: str, write: Callable[[str], str]) -> str:
        """A joint text with each address of a medium as `write` gives it."""
        contents = joint.split(CONTENT_SEPARATOR)
        for place, reader in enumerate(self._readers):
            if reader.kind != "text":
                contents[place] = PAGE_SEPARATOR.join(map(write, contents[place].split(PAGE_SEPARATOR)))
        return CONTENT_SEPARATOR.join(contents)

    # -- labels ----------------------------------------------------------------------------------------------------

    def joint(self, labels: Mapping[str, str]) -> str:
        """The joint label of labels by control. There is at least one."""
        if not self.several:
            return labels[self.controls[0].name]
        return json.dumps({name: labels[name] for name in self.names if name in labels}, ensure_ascii=False)

    def labels_of(self, joint: str) -> dict[str, str]:
        """The labels by control in a joint label. None in a label from before there were several questions."""
        if not self.several:
            return {self.controls[0].name: joint}
        try:
            labels = json.loads(joint)
        except ValueError:
            return {}
        return labels if isinstance(labels, dict) else {}

    def read(self, result: Any) -> ReadLabel:
        """The joint label in the `result` of an annotation. None: it answers no question."""
        if not self.several:
            return self.controls[0].read(result)
        read = {control.name: control.read(result) for control in self.controls}
        # An answer that the form hides again is none, and neither is no answer of a control that allows that.
        labels = self.shown_labels({name: found.label for name, found in read.items() if found.label is not None})
        problems = [f"{name}: {found.problem}" for name, found in read.items() if found.problem]
        # One flag is for all: what cannot be read is worse than what the config no longer has.
        unreadable = any(found.problem and not found.unknown for found in read.values())
        unknown = any(found.unknown for found in read.values()) and not unreadable
        return ReadLabel(self.joint(labels) if labels else None, unknown, ", ".join(problems))

    def shown_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Those labels whose question the form shows, if they are the answers to the others."""
        if not self.conditions:
            return dict(labels)
        chosen = {name: self._control(name).classes_of(label) for name, label in labels.items()}
        return {name: labels[name] for name in shown_labels(self.conditions, chosen)}

    def result(self, joint: str) -> list[dict[str, Any]]:
        """The `result` that shows the joint label in the form, without questions that the form would hide."""
        labels = self.shown_labels(self.labels_of(joint))
        return [region for name, label in labels.items() for region in self._control(name).result(label)]

    def _control(self, name: str) -> Control:
        return next(control for control in self.controls if control.name == name)

    # -- the state -------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The questions as the state stores them: `questions_from_json` reads them."""
        if not self.several and not self.missing:
            return self.controls[0].to_json()
        return {
            "questions": [control.to_json() for control in self.controls],
            "conditions": {name: [list(rule) for rule in rules] for name, rules in self.conditions.items()},
            "missing": dict(self.missing),
            "order": list(self.order),
        }


def describe(questions: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Names and classes in a sentence: "'tone' with Polite, Rude", or "'tone' (Polite, Rude) and 'stars' (1, 2, 3)"."""
    if len(questions) == 1:
        name, classes = questions[0]
        return f"'{name}' with {listed(classes)}"
    *others, last = [f"'{name}' ({listed(classes)})" for name, classes in questions]
    return f"{', '.join(others)} and {last}"


def _reads_alike(one: Control, other: Control) -> bool:
    if one.fields != other.fields:
        return False
    # With fields, an object is read in its own way only under its own key. A plain Text is read like any field.
    plain = all(target.content == "Text" and not target.field.options for target in (*one.targets, *other.targets))
    return one.targets == other.targets or (bool(one.fields) and plain and one.objects == other.objects == 1)


def questions_from_json(value: Mapping[str, Any]) -> Questions:
    """The questions that `Questions.to_json` has written."""
    if "questions" not in value:
        control = from_json(dict(value))
        return Questions((control,), order=(control.name,))
    conditions = {
        name: tuple(
            Condition(control, None if values is None else tuple(values), selected)
            for control, values, selected in rules
        )
        for name, rules in value["conditions"].items()
    }
    controls = tuple(from_json(control) for control in value["questions"])
    missing = value["missing"]
    if isinstance(missing, list):  # as version 0.1.0 wrote it at first
        missing = dict.fromkeys(missing, "")
    return Questions(controls, conditions, missing, tuple(value["order"]))
