"""Reads a labelling config as Label Studio's form does (label-studio 1.23.2, `Tree.tsx`, `Choices.jsx`, `RichText`).

The form takes the names of tags and attributes in any case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree

# What the form takes for a key of the task's data, anywhere in a value.
REFERENCE = re.compile(r"\$[\w\[\].{}]+", re.ASCII)


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


class Field(NamedTuple):
    """What an object shows: the key of a task's data (a path such as `llm.outputs` or `a[0]`), and how it is read."""

    key: str
    options: dict[str, str]


def read_form(config: str) -> Form:
    """The named tags of a labelling config. Raises BrokenConfig."""
    root = parse(config)
    form = Form([], {})
    # With a list of what is left, because a config may nest deeper than Python's stack.
    left = [(root, False)]
    while left:
        element, repeated = left.pop()
        tag = tag_of(element, repeated=repeated)
        if tag.name and tag.to_name and not tag.is_a("Filter"):
            form.controls.append(tag)
        elif tag.name:
            form.objects.setdefault(tag.name, tag)
        repeated = repeated or tag.is_a("Repeater")
        left.extend((child, repeated) for child in reversed(element))
    return form


def parse(config: str) -> ElementTree.Element:
    """The outermost element of a labelling config. Raises BrokenConfig."""
    if re.search(r"<!(DOCTYPE|ENTITY)", config, re.IGNORECASE):
        raise BrokenConfig("it has a DOCTYPE or an entity, which Label Studio forbids")
    try:
        return ElementTree.fromstring(config)
    except (ElementTree.ParseError, ValueError) as error:  # half a surrogate pair is a ValueError
        raise BrokenConfig(str(error)) from error


def tag_of(element: ElementTree.Element, *, repeated: bool = False) -> Tag:
    """An element as a tag."""
    attributes = {key.lower(): value for key, value in element.attrib.items()}
    return Tag(element.tag, attributes, element, repeated)


def check_whole_task(control: Tag) -> None:
    """Raises NotServable if a control is not one question about the whole task, with answers that the config has."""
    if control.repeated:
        raise NotServable("inside a Repeater")
    for flag in ("perRegion", "perItem"):
        if control.is_on(flag):
            raise NotServable(f'{flag}="true"')
    if control.get("value").startswith("$"):
        raise NotServable("its choices come from the task's data")


def none_counts(control: Tag) -> bool:
    """Whether no answer at all can mean something: not in a form that requires one, or that hides the control."""
    return not (control.is_on("required") or control.get("visibleWhen"))


def key_of(shown: Tag) -> str:
    """The key of the task's data that an object shows. Raises NotServable if it does not show one."""
    if shown.repeated:
        raise NotServable(f"its {shown.tag} is inside a Repeater")
    if shown.get("resolver"):
        raise NotServable(f"its {shown.tag} shows another file (resolver)")
    value = shown.get("value")
    keys = REFERENCE.findall(value)
    if shown.inner_text or not keys:
        raise NotServable(f"its {shown.tag} shows no task data")
    if keys[0] != value:
        raise NotServable(
            f"the value of its {shown.tag} is '{value}', of which the form reads {' and '.join(keys)} alone"
        )
    return value[1:]
