"""When the form shows a control: `visibleWhen` (label-studio 1.23.2, `Visibility.js`, `SelectedChoiceMixin.js`).

Only conditions about choices are read. Those about regions count as met, because they change while people label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from connector.annotations.form.choice_tree import PATH_SEPARATOR, read_choices
from connector.annotations.form.config import Tag, parse, tag_of

# The tags that can be hidden. The form ignores `visibleWhen` of any other, such as Rating, Number and Pairwise.
_HIDEABLE = ("View", "Choices", "Taxonomy", "TextArea")


class Condition(NamedTuple):
    """A condition on the answers to a task, which must be met for a control to be shown.

    Attributes:
        control: The name of the control whose answer decides. "": any control.
        values: The classes of which one must be chosen, as labels spell them. None: any class.
        selected: Whether one must be chosen. False: none of them may be chosen.
    """

    control: str
    values: tuple[str, ...] | None
    selected: bool


def conditions(config: str) -> dict[str, tuple[Condition, ...]]:
    """The conditions of every control of a labelling config, by its name. Raises BrokenConfig."""
    found: dict[str, tuple[Tag, ...]] = {}  # what can hide each control: itself, and what it is inside of
    tags: dict[str, Tag] = {}
    # With a list of what is left, because a config may nest deeper than Python's stack.
    left: list[tuple[Tag, tuple[Tag, ...]]] = [(tag_of(parse(config)), ())]
    while left:
        tag, around = left.pop()
        if _kind(tag) and (tag.get("visibleWhen") or tag.get("whenChoiceValue")):
            around = (*around, tag)
        if tag.name and tag.to_name and not tag.is_a("Filter"):
            tags.setdefault(tag.name, tag)
            found.setdefault(tag.name, around)
        left.extend((tag_of(child), around) for child in reversed(tag.element))
    return {name: tuple(chain.from_iterable(_read(tag, tags) for tag in hiding)) for name, hiding in found.items()}


def is_shown(conditions: Sequence[Condition], labels: Mapping[str, Sequence[str]]) -> bool:
    """Whether the form shows a control with these conditions.

    Args:
        conditions: Those of the control.
        labels: {name of a control: its chosen classes}. A control that has no answer, or is hidden, is left out.
    """
    return all(_is_met(condition, labels) for condition in conditions)


def shown_labels(
    conditions: Mapping[str, Sequence[Condition]], labels: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """The labels of the controls that the form shows. An answer to a hidden control does not count for others either.

    Args:
        conditions: Those of each control, by its name.
        labels: {name of a control: its chosen classes}.
    """
    shown = dict(labels)
    for _ in labels:  # after n rounds, a control that depends on n - 1 others in a chain is right
        shown = {name: label for name, label in labels.items() if is_shown(conditions.get(name, ()), shown)}
    return shown


def _kind(tag: Tag) -> str:
    return next((kind for kind in _HIDEABLE if tag.is_a(kind)), "")


def _read(tag: Tag, tags: Mapping[str, Tag]) -> list[Condition]:
    """The condition of a tag, if it has one."""
    when, value = tag.get("visibleWhen"), tag.get("whenChoiceValue")
    if not when:
        return [Condition("", (value,), selected=True)] if value else []
    if when not in ("choice-selected", "choice-unselected"):
        return []
    name = tag.get("whenTagName")
    values = _classes(tags.get(name), value) if name else None
    return [Condition(name, values, selected=when == "choice-selected")]


def _classes(tag: Tag | None, value: str) -> tuple[str, ...] | None:
    """The classes of a control that `whenChoiceValue` names, in the form's way. None: any class."""
    kind = _kind(tag) if tag is not None else ""
    if tag is None or kind not in ("Choices", "Taxonomy"):
        return ()  # to the form, another control never has a choice
    if not value:
        return None
    choices = read_choices(tag.element, through=kind == "Choices")
    names: dict[str, None] = {}
    for wanted in value.split(","):
        first = next((choice for choice in choices if wanted in (choice.aliases[-1], choice.values[-1])), None)
        if first is None:
            names[wanted] = None  # the choices may come from elsewhere
        elif kind == "Choices":
            names[PATH_SEPARATOR.join(first.path)] = None
        else:  # a Taxonomy compares the last part of each path
            last = first.path[-1]
            names.update((PATH_SEPARATOR.join(choice.path), None) for choice in choices if choice.path[-1] == last)
    return tuple(names)


def _is_met(condition: Condition, labels: Mapping[str, Sequence[str]]) -> bool:
    answers = [labels.get(condition.control, ())] if condition.control else labels.values()
    chosen = (name for answer in answers for name in answer)
    return any(condition.values is None or name in condition.values for name in chosen) == condition.selected
