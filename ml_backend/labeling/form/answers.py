"""What an annotation's `result` answers in a `Choices`, whatever it holds.

Label Studio stores any JSON. Its form submits lists of names or of paths, and shows an error in place of anything else.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Answers(NamedTuple):
    """The answers to one control.

    Attributes:
        chosen: The choices of each region of the control that can be read.
        problems: What cannot be read, in words, one per region.
    """

    chosen: list[list[str]]
    problems: list[str]


def read_choices(result: Any, control: str) -> Answers:
    """The answers to the `Choices` that is called `control`."""
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
            chosen, problem = _read_region(region)
            if problem:
                answers.problems.append(problem)
            else:
                answers.chosen.append(chosen)
    return answers


def kind_of(value: Any) -> str:
    """What kind of JSON value it is, in words: "null", "true", "a number", …"""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    for kinds, word in (((int, float), "a number"), (str, "a string"), (list, "a list")):
        if isinstance(value, kinds):
            return word
    return "an object"


def _read_region(region: dict[str, Any]) -> tuple[list[str], str]:
    """The choices of a region of the control, or why they cannot be read."""
    kind = region.get("type") or "choices"
    if not isinstance(kind, str) or kind.lower() != "choices":
        return [], f"its type is {quoted(kind) if isinstance(kind, str) else kind_of(kind)} instead of choices"
    value = region.get("value")
    if not isinstance(value, dict):
        return [], f"its value is {kind_of(value)}"
    choices = value.get("choices")
    if isinstance(choices, str):  # from an import, where it can mean one choice alone
        return [choices], ""
    if not isinstance(choices, list):
        return [], f"its choices are {kind_of(choices)}"
    names: list[str] = []
    for choice in choices:
        if isinstance(choice, list) and len(choice) == 1:  # with allowNested, the form submits paths
            choice = choice[0]
        if not isinstance(choice, str):
            what = "a path" if isinstance(choice, list) else kind_of(choice)
            return [], f"one of its choices is {what}"
        names.append(choice)
    return names, ""


def quoted(name: str, longest: int = 40) -> str:
    """A name of any characters in quotes, as a message and a database can have it."""
    return repr(name if len(name) <= longest else name[: longest - 1] + "…")
