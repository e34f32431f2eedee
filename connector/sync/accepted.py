"""Labels of the model that `connector finish` accepts: which count now, and how it tells of them. Free of NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from connector.annotations.questions import Questions
from connector.annotations.records import latest_labels
from connector.errors import UsageError
from connector.formatting import count, listed, verb
from connector.state.rows import Accepted
from connector.state.snapshot import ProjectSnapshot


@dataclass(frozen=True)
class FinishSummary:
    """What `connector finish` did. Its fields are the keys of `--json`.

    Attributes:
        project: the project's id.
        max_error: the limit. None: accepted labels were given up.
        accepted: how many labels of the model are accepted.
        before: how many were accepted before.
        left: how many tasks with content have neither a label nor an accepted one.
        bound: the largest share of errors among the accepted labels, with 95 % confidence. Without any, among those of
            the tasks for which it is lowest. None if no task is without an answer.
        audited: how many labelled tasks drawn at random that goes by: those of which the model is as sure.
        audited_in_all: how many there are.
        model_version: whose labels they are.
        window: how many tasks the published window has.
        dry_run: whether nothing was changed.
    """

    project: int
    max_error: float | None
    accepted: int
    before: int
    left: int
    bound: float | None
    audited: int
    audited_in_all: int
    model_version: str | None
    window: int
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return asdict(self)


def require_served(project_id: int, questions: Questions) -> None:
    """Raises UsageError if labels of such questions cannot be accepted."""
    sets = [control.name for control in questions.controls if control.multiple]
    if sets:
        raise UsageError(
            f"Nothing was accepted: {listed([repr(name) for name in sets])} of project {project_id} "
            f"{verb(len(sets), 'takes', 'take')} several classes per task (multiple choice), and connector finish "
            "knows no bound for such labels."
        )
    if questions.conditions:
        raise UsageError(
            f"Nothing was accepted: the form of project {project_id} shows some questions only after certain answers "
            "to others, and connector finish knows no bound for these."
        )


def still_accepted(snapshot: ProjectSnapshot, accepted: Mapping[int, Accepted]) -> dict[int, Accepted]:
    """Those of tasks that are there, show what they showed, and have no label, for the classes that are served now."""
    if not accepted:
        return {}
    sources = snapshot.sources
    return {
        task: one
        for task, one in accepted.items()
        if sources.get(task) == one.digest
        and not latest_labels(snapshot.tasks[task].annotations)
        and _is_served(one.label, snapshot.questions)
    }


def _is_served(label: str, questions: Questions) -> bool:
    """Whether the label answers all questions, with classes that they have."""
    labels = questions.labels_of(label)
    return all(labels.get(control.name) in control.classes for control in questions.controls)


def without_label(snapshot: ProjectSnapshot) -> int:
    """How many tasks with content have no label."""
    return sum(task.digest is not None and not latest_labels(task.annotations) for task in snapshot.tasks.values())


def share_of(value: float) -> str:
    """A share in per cent, rounded up to a tenth: "2 %", "1.9 %"."""
    return f"{math.ceil(1000 * value - 1e-6) / 10:g} %"


def accepted_words(labels: int, left: int, max_error: float, bound: float) -> str:
    """What status and a report say about accepted labels.

    Args:
        labels: how many count now.
        left: how many tasks with content have neither a label nor an accepted one.
        max_error: the limit that `connector finish` was given.
        bound: what it found, as a share.
    """
    return (
        f"the model's label for {count(labels, 'task')}, since connector finish --max-error {max_error:g}. At most "
        f"{share_of(bound)} of the labels that it accepted are wrong, with 95 % confidence. "
        f"{count(left, 'task is', 'tasks are')} left for people"
    )


def format_finish(done: FinishSummary) -> str:
    """What finish did, as sentences."""
    rest = (
        f"{count(done.left, 'task is', 'tasks are')} left for people. "
        f"{'The window would have' if done.dry_run else 'The window has'} {count(done.window, 'task')}."
        if done.window
        else f"{count(done.left, 'task is', 'tasks are')} left, but cannot be asked for."
        if done.left
        else "No task is left for people."
    )
    return f"Project {done.project}: {_what_is_accepted(done)} {rest}" + (
        f" To take it back: connector finish --project {done.project} --reopen."
        if done.accepted and not done.dry_run
        else ""
    )


def _what_is_accepted(done: FinishSummary) -> str:
    given_up = "would be given up" if done.dry_run else verb(done.before, "was given up", "were given up")
    if done.max_error is None:
        if not done.before:
            return "no label of the model was accepted, so there is nothing to give up."
        return f"{count(done.before, 'accepted label')} of the model {given_up}."
    before = f" {count(done.before, 'label')} accepted before {given_up}." if done.before else ""
    if done.bound is None:
        return f"every task has an answer, so there is nothing to accept.{before}"
    tasks = count(done.audited, "labelled task")
    by = f"with 95 % confidence, by {tasks} drawn at random of which the model is as sure"
    if not done.accepted:
        return (
            f"no label of the model can be accepted. Where it is best, up to {share_of(done.bound)} of its labels may "
            f"be wrong ({by}), and --max-error is {share_of(done.max_error)}. Have more tasks labelled that are drawn "
            f"at random (connector sync --project {done.project} --audit 0.5), or give a higher --max-error.{before}"
        )
    accepts = "would accept" if done.dry_run else "accepted"
    return (
        f"{accepts} the model's label for {count(done.accepted, 'task')}. At most {share_of(done.bound)} of these "
        f"labels are wrong ({by})."
    )
