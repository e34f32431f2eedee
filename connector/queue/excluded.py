"""Whose labels do not count: `connector init --exclude EMAIL` and `--include EMAIL`. Label Studio is only read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector.errors import UsageError
from connector.formatting import listed
from connector.label_studio.client import LabelStudio
from connector.state.project_state import ProjectState


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
        exclude: e-mail addresses of annotators to leave out.
        include: e-mail addresses of annotators who are to count again.

    Raises:
        UsageError: no user has one of these addresses.
    """
    before = state.record().excluded
    if not (exclude or include or before):
        return Excluded(before, before, {})
    emails = gateway.emails()
    numbers = {email.casefold(): number for number, email in emails.items()}

    def number_of(email: str) -> int:
        number = numbers.get(email.strip().casefold())
        if number is None:
            raise UsageError(f"Nothing was changed: {_unknown(email, emails, project_id, state)}")
        return number

    left_out, counted = {number_of(email) for email in exclude}, {number_of(email) for email in include}
    return Excluded(before, frozenset((before | left_out) - counted), emails)


def store_excluded(excluded: Excluded, state: ProjectState) -> None:
    """Records whose labels do not count. If that changes, the next sync trains a new model and chooses a window."""
    if excluded.after == excluded.before:
        return
    state.put(found={**(state.record().found or {}), "excluded": sorted(excluded.after)})
    state.store_trained({})
    state.ask_for_a_window()


def _unknown(email: str, emails: dict[int, str], project_id: int, state: ProjectState) -> str:
    """Why an address is no annotator's, and which ones are."""
    if not emails:
        return "the token's user may not see the users of Label Studio. Use the token of one who may."
    sentence = f"no user of Label Studio has the e-mail address {email}."
    annotators = {row.annotator for task in state.tasks().values() for row in task.annotations}
    known = sorted(emails[number] for number in annotators if number in emails)
    return f"{sentence} Annotators of project {project_id}: {listed(known)}." if known else sentence
