"""What is sent to a model for one task, and the label in its answer. Pure: no I/O.

Each task is a request of its own, so nothing in its content can reach the label of another one. The content is in a
message of its own, between two lines that it cannot contain. The answer can be nothing but classes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from connector.annotations.controls import Control
from connector.annotations.form.data import PAIR_SEPARATOR
from connector.annotations.form.numbers import written
from connector.annotations.questions import Questions
from connector.annotations.records import digest

Message = dict[str, Any]

NOT_JSON = "its answer is no JSON object"
NO_CLASS = "its answer is none of the classes"
NO_ANSWER = "its answer is empty"
_THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)  # that some servers leave in an answer
_FENCED = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)
_PNG = b"\x89PNG"


class Example(NamedTuple):
    """A task with the label that it has: what a model is shown.

    Attributes:
        text: Its content.
        label: As annotations have it.
    """

    text: str
    label: str


class ReadAnswer(NamedTuple):
    """The label in an answer.

    Attributes:
        label: As annotations have it. None: there is none.
        problem: Why there is none, without a word of the answer.
    """

    label: str | None
    problem: str = ""


@dataclass(frozen=True)
class Prompt:
    """What all tasks of a run have in common.

    Attributes:
        questions: Those that are asked.
        instructions: As `instructions.instructions` writes them.
        examples: Tasks with their labels.
    """

    questions: Questions
    instructions: str
    examples: tuple[Example, ...] = ()

    def messages(self, text: str, images: Sequence[bytes] = ()) -> list[Message]:
        """The messages for a task.

        Args:
            text: The task's content, a joint text.
            images: Its images, JPEG or PNG.
        """
        shown = self._task(text)
        content: str | list[Message] = shown
        if images:
            content = [{"type": "text", "text": shown}]
            content += [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images]
        return [*self._before(), {"role": "user", "content": content}]

    def correction(self, answer: str) -> list[Message]:
        """The messages after an answer that gives no label: the second and last attempt."""
        return [
            {"role": "assistant", "content": answer or "(no answer)"},
            {"role": "user", "content": f"This is not an answer to the question. Answer with {self._form}"},
        ]

    @property
    def setup(self) -> str:
        """All that is the same for every task: with a task's content, it decides what the answer is."""
        return json.dumps([self._before(), self.schema], ensure_ascii=False, sort_keys=True)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer: the classes of each question, and nothing else."""
        return {
            "type": "object",
            "properties": {control.name: self._schema_of(control) for control in self.questions.controls},
            "required": self.questions.names,
            "additionalProperties": False,
        }

    def answer(self, label: str) -> str:
        """The answer that gives a label."""
        labels = self.questions.labels_of(label)
        return json.dumps(
            {control.name: _value(control, labels.get(control.name)) for control in self.questions.controls},
            ensure_ascii=False,
        )

    def read(self, answer: str | None) -> ReadAnswer:
        """The label in an answer: a JSON object as `schema` says, or of one question a class alone."""
        text = _THOUGHTS.sub("", answer or "", count=1).strip()
        if fenced := _FENCED.fullmatch(text):
            text = fenced[1]
        if not text:
            return ReadAnswer(None, NO_ANSWER)
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            if text[0] in "{[":
                return ReadAnswer(None, NOT_JSON)
            values = text
        controls = self.questions.controls
        if not isinstance(values, dict):
            if len(controls) > 1 or isinstance(values, list) != controls[0].multiple:
                return ReadAnswer(None, NOT_JSON)
            values = {controls[0].name: values}
        return self._label(values)

    def _label(self, values: Mapping[str, Any]) -> ReadAnswer:
        labels: dict[str, str] = {}
        for control in self.questions.controls:
            value = values.get(control.name)
            if value is None and control.name in self.questions.conditions:
                continue
            label = _label_of(control, value)
            if label is None:
                return ReadAnswer(None, NO_CLASS)
            labels[control.name] = label
        shown = self.questions.shown_labels(labels)
        # A question that the form shows needs an answer.
        for name in self.questions.names:
            if name not in labels and name in self.questions.shown_labels({**labels, name: self._any_label(name)}):
                return ReadAnswer(None, NO_CLASS)
        return ReadAnswer(self.questions.joint(shown)) if shown else ReadAnswer(None, NO_CLASS)

    def _any_label(self, name: str) -> str:
        control = next(control for control in self.questions.controls if control.name == name)
        return control.label_of([control.classes[0]])

    def _before(self) -> list[Message]:
        """The messages before the task's own."""
        before = [{"role": "system", "content": f"{self.instructions}\n\nAnswer with {self._form}"}]
        for example in self.examples:
            before.append({"role": "user", "content": self._task(example.text)})
            before.append({"role": "assistant", "content": self.answer(example.label)})
        return before

    @property
    def _form(self) -> str:
        """What an answer looks like, for models that no schema restricts."""
        values = ", ".join(
            f"{json.dumps(control.name, ensure_ascii=False)}: {'[CLASS, ...]' if control.multiple else 'CLASS'}"
            for control in self.questions.controls
        )
        return (
            f"one JSON object and nothing else: {{{values}}}. Each CLASS is a string, exactly as it is spelled above."
        )

    def _schema_of(self, control: Control) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string", "enum": list(control.classes)}
        if control.multiple:
            schema = {"type": "array", "items": schema}
        # Not a list of types, which some servers read without the classes.
        return {"anyOf": [schema, {"type": "null"}]} if control.name in self.questions.conditions else schema

    def _task(self, text: str) -> str:
        """The content between two lines that it cannot contain, since they have its own digest."""
        mark = digest(text)[:12]
        return f"<task {mark}>\n{shown_content(self.questions, text)}\n</task {mark}>"


def shown_content(questions: Questions, joint: str) -> str:
    """A task's content as a model reads it. An image is named, since it is sent beside."""
    contents: dict[tuple[str, str], list[str]] = {}
    for place, control in enumerate(questions.controls):
        text = questions.text_of(joint, place)
        if text is not None:
            contents.setdefault((control.kind, text), []).append(control.name)
    shown = {names[0]: _readable(*content) for content, names in contents.items()}
    if len(shown) == 1:
        return next(iter(shown.values()))
    return "\n\n".join(f"For {' and '.join(names)}:\n{shown[names[0]]}" for names in contents.values())


def _readable(kind: str, text: str) -> str:
    if kind != "text":
        return "(the attached image)"
    if PAIR_SEPARATOR in text:
        left, right = text.split(PAIR_SEPARATOR)
        return f"left:\n{left}\n\nright:\n{right}"
    return text


def _value(control: Control, label: str | None) -> str | list[str] | None:
    if label is None:
        return None
    return control.classes_of(label) if control.multiple else label


def _label_of(control: Control, value: Any) -> str | None:
    """The label in the value of an answer. None: it is none."""
    names = value if isinstance(value, list) else [value]
    if isinstance(value, list) != control.multiple:
        return None
    spelled = []
    for name in names:
        if isinstance(name, (int, float)) and not isinstance(name, bool):
            name = written(name)
        if not isinstance(name, str):
            return None
        spelled.append(_class_of(control, name.strip()))
    chosen = control.choose(spelled)
    if chosen.classes is None or chosen.gone or chosen.problem:
        return None
    return control.label_of(chosen.classes)


def _class_of(control: Control, name: str) -> str:
    """The class that a name spells, also with other capitals if that is one class. Otherwise the name."""
    if name in control.spellings:
        return name
    alike = {found for spelling, found in control.spellings.items() if spelling.casefold() == name.casefold()}
    return alike.pop() if len(alike) == 1 else name


def _data_url(image: bytes) -> str:
    kind = "png" if image.startswith(_PNG) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
