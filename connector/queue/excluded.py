"""Whose labels do not count: `connector init --exclude EMAIL` and `--include EMAIL`. Label Studio is only read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from connector.annotations.questions import questions_from_json
from connector.errors import UsageError
from connector.formatting import listed
from connector.label_studio.client import LabelStudio
from connector.state.project_state import OUTDATED, ProjectState


@dataclass(frozen=True)
class Excluded:
    """The annotators whose labels do not count, before and after a command. `emails`: {annotator: e-mail address}."""

    before: frozenset[int]
    after: frozenset[int]
    emails: dict[int, str]

    def names(self, annotators: frozenset[int]) -> list[str]:
        """Their e-mail addresses."""
        return sorted(self.emails.get(number, f"user {number}") for number in annotators)


def find_excluded(
    project_id: int, gateway: LabelStudio, state: ProjectState, exclude: Sequence[str], include: Sequence[str]
) -> Excluded:
    """Whose labels are not to count from now on. Nothing is changed.

    Args:
        project_id: the project in Label Studio.
        gateway: Label Studio.
        state: the project's state.
        exclude: annotators to leave out: e-mail addresses, or the ids of accounts that have none any more.
        include: annotators who are to count again.

    Raises:
        UsageError: one of them is no annotator and no user.
    """
    before = state.record().excluded
    if not (exclude or include or before):
        return Excluded(before, before, {})
    emails = gateway.emails()
    numbers = {email.casefold(): number for number, email in emails.items()}
    annotators = {row.annotator for task in state.tasks().values() for row in task.annotations if row.annotator}

    def number_of(name: str) -> int:
        name = name.strip()
        number = int(name) if name.isdecimal() else numbers.get(name.casefold())
        if number is None or number not in {*emails, *annotators, *before}:
            raise UsageError(f"Nothing was changed: {_unknown(name, emails, annotators, project_id)}")
        return number

    left_out, counted = {number_of(name) for name in exclude}, {number_of(name) for name in include}
    return Excluded(before, frozenset((before | left_out) - counted), emails)


def store_excluded(excluded: Excluded, state: ProjectState) -> None:
    """Records whose labels do not count. If that changes, the next sync trains a new model and chooses a window."""
    if excluded.after == excluded.before:
        return
    state.put(found={**(state.record().found or {}), "excluded": sorted(excluded.after)})
    state.remember_annotations_of_excluded(state.tasks())
    questions = questions_from_json(state.record().control or {})
    for name in questions.order:
        memory = state.memory_of(questions, name)
        memory.store_trained(dict.fromkeys(memory.trained(), OUTDATED))
    state.ask_for_a_window()


def _unknown(name: str, emails: dict[int, str], annotators: Collection[int], project_id: int) -> str:
    """Why this is no annotator, and who is one."""
    if not emails and not name.isdecimal():
        return (
            "the token's user may not see the users of Label Studio. Use the token of one who may, or give the "
            "annotator's id."
        )
    what = f"id {name}" if name.isdecimal() else f"e-mail address {name!r}"
    known = sorted(emails.get(number, f"{number} (an id, without an address)") for number in annotators)
    sentence = f"no user of Label Studio has the {what}."
    return f"{sentence} Annotators of project {project_id}: {listed(known)}." if known else sentence
