"""Which labels of the model `connector finish` can accept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from connector.active_learning.audit import Audit
from connector.active_learning.finishing import Acceptance, Evidence, accept, needed
from connector.active_learning.labels import Floats
from connector.annotations.records import latest_labels
from connector.errors import UsageError
from connector.state.project_state import now
from connector.state.rows import Accepted, Finish
from connector.state.snapshot import ProjectSnapshot
from connector.sync.label_matrix import align_probabilities, single_labels
from connector.sync.scoring import Scored


@dataclass(frozen=True)
class Finishing:
    """What can be accepted.

    Attributes:
        labels: {task: label}.
        finish: what they are accepted by. None if none is.
        found: the set of tasks. If none is accepted, the one with the lowest bound. None if every task has an answer.
        audited: how many tasks of the audit have a label, of several questions the fewest.
    """

    labels: dict[int, Accepted]
    finish: Finish | None
    found: Acceptance | None
    audited: int


class WeighedLabels:
    """The model's labels of tasks without an answer, and how often it errs, by the audit.

    Attributes:
        tasks: nobody has answered or skipped them, and they lack nothing of what models read.
        audited: how many tasks of the audit have a label, of several questions the fewest.
    """

    def __init__(self, snapshot: ProjectSnapshot, scored: Scored, audit: Audit) -> None:
        """Draws which audited tasks the model gave a wrong class. It takes seconds.

        Args:
            snapshot: the project as it is now.
            scored: its labels and what the model says.
            audit: the tasks that were drawn at random.

        Raises:
            UsageError: a question has no model.
        """
        self._snapshot, self._founds = snapshot, scored.parts or [scored]
        if any(found.probabilities is None or not found.scores for found in self._founds):
            raise UsageError(
                f"Nothing was accepted: project {snapshot.project['id']} has no model. Each question needs labels of "
                "two classes, on two tasks that differ."
            )
        parts = snapshot.by_question()
        self._pairs = list(zip(parts, self._founds, strict=True))
        audited = [sorted(audit.only(Counter(task for task, _ in found.labels))) for found in self._founds]
        self.audited = min(map(len, audited))
        self.tasks = _without_answers(snapshot, parts, {task for found in self._founds for task in found.held_out})
        self._evidence = [
            _evidence(part, found, self.tasks, mine) for (part, found), mine in zip(self._pairs, audited, strict=True)
        ]
        self._sureness = self._sureness_of(self.tasks)
        self._drawn = [
            (self._sureness_of(mine), one.wrong()) for mine, one in zip(audited, self._evidence, strict=True)
        ]

    def accept(self, max_error: float) -> Acceptance | None:
        """The largest set of the surest tasks of whose labels at most `max_error` are wrong. Of several questions, of
        the labels of each.
        """
        return accept(self._sureness, self._drawn, max_error)

    def chosen(self, found: Acceptance | None) -> list[int]:
        """The tasks that are accepted."""
        if found is None or not found.share:
            return []
        return [task for task, at in zip(self.tasks, self._sureness.tolist(), strict=True) if at >= found.sureness]

    def labels(self, tasks: Sequence[int]) -> dict[int, Accepted]:
        """The model's labels of tasks, of several questions joint ones with the lowest of their probabilities."""
        questions, sources = self._snapshot.questions, self._snapshot.sources
        lowest = np.min([_probabilities(*pair, tasks).max(axis=1) for pair in self._pairs], axis=0)
        joint = [
            questions.joint(
                {name: found.predicted[task] for name, found in zip(questions.names, self._founds, strict=True)}
            )
            for task in tasks
        ]
        return {
            task: Accepted(label, probability, sources[task])
            for task, label, probability in zip(tasks, joint, lowest.tolist(), strict=True)
        }

    def _sureness_of(self, tasks: Sequence[int]) -> Floats:
        """Of the question that its model is least sure of."""
        of_questions = [
            one.sureness(_probabilities(*pair, tasks)) for pair, one in zip(self._pairs, self._evidence, strict=True)
        ]
        return np.asarray(np.min(of_questions, axis=0), np.float64)


def find_acceptable(snapshot: ProjectSnapshot, scored: Scored, audit: Audit, max_error: float) -> Finishing:
    """The labels of the model that can be accepted.

    Args:
        snapshot: the project as it is now.
        scored: its labels and what the model says.
        audit: the tasks that were drawn at random.
        max_error: most errors among the accepted labels, as a share.

    Raises:
        UsageError: there is no model, or too few tasks of the audit have a label.
    """
    founds = scored.parts or [scored]
    require_audited(snapshot, audit, max_error, [Counter(task for task, _ in found.labels) for found in founds])
    weighed = WeighedLabels(snapshot, scored, audit)
    found = weighed.accept(max_error)
    chosen = weighed.chosen(found)
    if found is None or not chosen:
        return Finishing({}, None, found, weighed.audited)
    finish = Finish(
        at=now(), max_error=max_error, bound=found.bound, audited=found.audited, model_version=scored.model_version
    )
    return Finishing(weighed.labels(chosen), finish, found, weighed.audited)


def require_audited(
    snapshot: ProjectSnapshot, audit: Audit, max_error: float, labels: Sequence[Mapping[int, int]] | None = None
) -> None:
    """Raises UsageError if too few tasks of the audit have a label for any bound of `max_error`.

    `labels`: of each question, {task: how many labels it has}. None: as the project has them.
    """
    if labels is None:
        labels = [
            {task.id: len(latest_labels(task.annotations)) for task in part.usable_tasks.values() if task.annotations}
            for part in snapshot.by_question()
        ]
    fewest, least = min(len(audit.only(counts)) for counts in labels), needed(max_error)
    if fewest < least:
        project = snapshot.project["id"]
        raise UsageError(
            f"Nothing was accepted: --max-error {max_error:g} takes at least {least:,} labelled tasks that were drawn "
            f"at random, and project {project} has {fewest:,}. Have more labelled, for example with connector sync "
            f"--project {project} --audit 0.5, or give a higher --max-error."
        )


def _without_answers(snapshot: ProjectSnapshot, parts: Sequence[ProjectSnapshot], held_out: set[int]) -> list[int]:
    """The tasks that nobody has answered or skipped, and that lack nothing."""
    return [
        task.id
        for task in snapshot.tasks.values()
        if not task.annotations and not task.problem and task.id not in held_out
        if all(part.tasks[task.id].digest is not None for part in parts)
    ]


def _evidence(part: ProjectSnapshot, found: Scored, fresh: Sequence[int], audited: Sequence[int]) -> Evidence:
    labelled, mine = list(found.consensus), set(audited)
    return Evidence(
        single_labels(found.labels, labelled, part.control),
        _probabilities(part, found, labelled),
        _probabilities(part, found, fresh),
        np.array([task in mine for task in labelled], bool),
    )


def _probabilities(part: ProjectSnapshot, found: Scored, tasks: Sequence[int]) -> Floats:
    assert found.probabilities is not None
    return align_probabilities(found.probabilities, tasks, part.control)
