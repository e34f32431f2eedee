"""Reads a labelling config as Label Studio's form does (label-studio 1.23.2, `Tree.tsx`, `Choices.jsx`, `RichText`).

The form takes the names of tags and attributes in any case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

MAX_CHOICE_LENGTH = 10_000  # characters that the ML backend takes
# What the form takes for a key of the task's data, anywhere in a value.
_REFERENCE = re.compile(r"\$[\w\[\].{}]+", re.ASCII)
_ENCODINGS = ("none", "base64", "base64unicode")


class BrokenConfig(Exception):
    """The labelling config is no XML that Label Studio takes. The text says why."""


class NotServable(Exception):
    """A control, or the object that it is on, cannot be served. The text says why."""


class Tag(NamedTuple):
    """An element of a labelling config.

    Attributes:
        tag: Its name, as it is written.
        attributes: By their names in small letters.
        element: The element itself.
        repeated: Whether it is inside a `Repeater`.
    """

    tag: str
    attributes: Mapping[str, str]
    element: ElementTree.Element
    repeated: bool

    @property
    def name(self) -> str:
        """The attribute `name`."""
        return self.get("name")

    @property
    def to_name(self) -> list[str]:
        """The names in the attribute `toName`."""
        return [name for name in self.get("toName").split(",") if name]

    def get(self, name: str) -> str:
        """An attribute in any case. "": there is none."""
        return self.attributes.get(name.lower(), "")

    def is_on(self, name: str) -> bool:
        """Whether an attribute is "true"."""
        return self.get(name).lower() == "true"

    def is_a(self, tag: str) -> bool:
        """Whether this is the tag called `tag`, in any case."""
        return self.tag.lower() == tag.lower()

    @property
    def inner_text(self) -> str:
        """The text inside, which the form takes in place of `value`. "": none, or other elements."""
        return "" if len(self.element) else (self.element.text or "").strip()


class Form(NamedTuple):
    """The tags of a labelling config that have a name: the controls in order, and all others by name."""

    controls: list[Tag]
    objects: dict[str, Tag]

    def object_of(self, control: Tag) -> Tag | None:
        """The object that a control is on. None: there is none. Raises NotServable if it is on several."""
        if len(control.to_name) > 1:
            raise NotServable("toName names several objects")
        return self.objects.get(control.to_name[0]) if control.to_name else None


class ChoiceSet(NamedTuple):
    """The choices of a `Choices`.

    Attributes:
        classes: As annotations spell them: a choice's alias if it has one, else its value.
        spellings: {value or alias: class}.
        multiple: Whether several may be chosen.
        none_counts: Whether no choice at all is an answer, too, because the form can be submitted that way.
        nested: Whether the form submits each choice as a path, a list of one name.
        left_out: Sentences about choices that are no classes.
    """

    classes: tuple[str, ...]
    spellings: dict[str, str]
    multiple: bool
    none_counts: bool
    nested: bool
    left_out: tuple[str, ...]


class TextField(NamedTuple):
    """What a `Text` shows: the key of a task's data (a path such as `llm.outputs` or `a[0]`), and its encoding."""

    key: str
    encoding: str


def read_form(config: str) -> Form:
    """The named tags of a labelling config. Raises BrokenConfig."""
    if re.search(r"<!(DOCTYPE|ENTITY)", config, re.IGNORECASE):
        raise BrokenConfig("it has a DOCTYPE or an entity, which Label Studio forbids")
    try:
        root = ElementTree.fromstring(config)
    except (ElementTree.ParseError, ValueError) as error:  # half a surrogate pair is a ValueError
        raise BrokenConfig(str(error)) from error
    form = Form([], {})
    # With a list of what is left, because a config may nest deeper than Python's stack.
    left = [(root, False)]
    while left:
        element, repeated = left.pop()
        tag = Tag(element.tag, {key.lower(): value for key, value in element.attrib.items()}, element, repeated)
        if tag.name and tag.to_name and not tag.is_a("Filter"):
            form.controls.append(tag)
        elif tag.name:
            form.objects.setdefault(tag.name, tag)
        repeated = repeated or tag.is_a("Repeater")
        left.extend((child, repeated) for child in reversed(element))
    return form


def choices_of(control: Tag) -> ChoiceSet:
    """The choices of a `Choices`. Raises NotServable if they cannot be served."""
    if control.repeated:
        raise NotServable("inside a Repeater")
    kind = control.attributes.get("choice", "single")
    if kind not in ("single", "single-radio", "multiple"):
        raise NotServable(f'choice="{kind}"')
    for flag in ("perRegion", "perItem"):
        if control.is_on(flag):
            raise NotServable(f'{flag}="true"')
    if control.get("value").startswith("$"):
        raise NotServable("its choices come from the task's data")
    choices = _choices(control.element)
    left_out = _left_out(choices)
    classes: dict[str, None] = {}
    spellings: dict[str, str] = {}
    for value, alias in choices:
        name = alias or value
        if not name or len(name) > MAX_CHOICE_LENGTH:
            continue
        if not alias and (key := _REFERENCE.search(value)):
            raise NotServable(f"the form puts task data for '{key[0]}' in the choice '{value}': give it an alias")
        classes[name] = None
        spellings[value] = name
    spellings.update({name: name for name in classes})
    unnamed = [value for value, alias in choices if (value if alias is None else alias) == ""]
    if len(unnamed) == 1 and unnamed[0] in spellings:  # alias="": the form submits that
        spellings[""] = spellings[unnamed[0]]
    multiple = kind == "multiple"
    # In a form that requires a choice, or hides the control, no choice means nothing.
    required = control.is_on("required") or bool(control.get("visibleWhen"))
    return ChoiceSet(
        tuple(classes), spellings, multiple, multiple and not required, control.is_on("allowNested"), left_out
    )


def text_field(text: Tag) -> TextField:
    """What a `Text` shows. Raises NotServable if that is not one field of the task's data."""
    if text.repeated:
        raise NotServable("its Text is inside a Repeater")
    if text.get("valueType").lower() == "url":
        raise NotServable("its Text holds a URL")
    if text.get("resolver"):
        raise NotServable("its Text shows another file (resolver)")
    encoding = text.attributes.get("encoding", "none")
    if encoding not in _ENCODINGS:
        raise NotServable(f'its Text has encoding="{encoding}"')
    value = text.get("value")
    keys = _REFERENCE.findall(value)
    if text.inner_text or not keys:
        raise NotServable("its Text shows no task data")
    if keys[0] != value:
        raise NotServable(f"the value of its Text is '{value}', of which the form reads {' and '.join(keys)} alone")
    return TextField(value[1:], encoding)


def _choices(element: ElementTree.Element) -> list[tuple[str, str | None]]:
    """Each choice's value and alias. Raises NotServable if a choice is inside another."""
    found: list[tuple[str, str | None]] = []
    left = [(child, False) for child in reversed(element)]
    while left:
        child, inside = left.pop()
        tag = Tag(child.tag, {key.lower(): value for key, value in child.attrib.items()}, child, repeated=False)
        if tag.is_a("Choice"):
            if inside:
                raise NotServable("nested choices")  # their annotations are paths, not classes
            found.append((tag.inner_text or tag.get("value"), tag.attributes.get("alias")))
        left.extend((inner, inside or tag.is_a("Choice")) for inner in reversed(child))
    return found


def _left_out(choices: Sequence[tuple[str, str | None]]) -> tuple[str, ...]:
    """Sentences about choices without a name, or with one that is too long."""
    names = [alias or value for value, alias in choices]
    sentences = []
    if "" in names:
        sentences.append("A Choice without a value is left out: give it a value or an alias.")
    if any(len(name) > MAX_CHOICE_LENGTH for name in names):
        sentences.append(f"A Choice of more than {MAX_CHOICE_LENGTH:,} characters is left out: give it a short alias.")
    return tuple(sentences)
