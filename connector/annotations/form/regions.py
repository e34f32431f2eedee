"""The regions of an annotation's `result`, whatever it holds.

Label Studio stores any JSON. Its form submits one region per control, and shows an error in place of anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Unreadable(Exception):
    """A region, or the answer in it, cannot be read. The text says why: "its value is null"."""


class Answers(NamedTuple):
    """The answers to one control.

    Attributes:
        names: What each region of the control that can be read gives.
        problems: What cannot be read, in words, one per region.
    """

    names: list[list[str]]
    problems: list[str]


def read_regions(result: Any, control: str, read: Callable[[Mapping[str, Any]], list[str]]) -> Answers:
    """The answers to the control that is called `control`. `read` reads one of its regions, or raises Unreadable."""
    answers = Answers([], [])
    if result is None:
        return answers
    if not isinstance(result, list):
        answers.problems.append(f"its result is {kind_of(result)}")
        return answers
    for region in result:
        if not isinstance(region, dict):
            answers.problems.append(f"its result has {kind_of(region)} for a region")
        elif region.get("from_name") == control:
            try:
                answers.names.append(read(region))
            except Unreadable as problem:
                answers.problems.append(str(problem))
    return answers


def answer_in(region: Mapping[str, Any], type: str, key: str) -> Any:
    """The answer that a region of this type has under `key` of its value. Raises Unreadable."""
    found = region_type(region, type)
    if found != type:
        shown = quoted(region["type"]) if isinstance(region["type"], str) else kind_of(region["type"])
        raise Unreadable(f"its type is {shown} instead of {type}")
    value = region.get("value")
    if not isinstance(value, dict):
        raise Unreadable(f"its value is {kind_of(value)}")
    return value.get(key)


def region_type(region: Mapping[str, Any], default: str = "") -> str:
    """The type of a region in small letters. `default`: it has none. "": it is no string."""
    found = region.get("type") or default
    return found.lower() if isinstance(found, str) else ""


def kind_of(value: Any) -> str:
    """What kind of JSON value it is, in words: "null", "true", "a number", …"""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    for kinds, word in (((int, float), "a number"), (str, "a string"), (list, "a list")):
        if isinstance(value, kinds):
            return word
    return "an object"


def quoted(name: str, longest: int = 40) -> str:
    """A name of any characters in quotes, as a message and a database can have it."""
    return repr(name if len(name) <= longest else name[: longest - 1] + "…")
