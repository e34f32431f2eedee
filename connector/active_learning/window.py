"""From scores to the next window: which tasks may be asked, and in which order. Pure, and free of NumPy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from connector.annotations.records import Annotation, Task, is_answered, moment

ACTIVE_DAYS = 14
TAIL_MINIMUM = 10
TAIL_PER_ANNOTATOR = 3

# (tasks in rank order, count) -> the first `count` of them that are no near-duplicates of each other
Distinct = Callable[[list[int], int], Collection[int]]


@dataclass(frozen=True)
class Slot:
    """A place in the window: a task, and whether it has answers already and asks for one more (`relabel`).

    `audit`: it was drawn at random, whatever its score. `gold`: its class is known, and it judges annotators.
    """

    task: int
    relabel: bool
    audit: bool = field(default=False, compare=False)
    gold: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Candidate:
    """A task that can be annotated next. The lowest `score` is worth most.

    `relabel`: it has answers and would get a further one. `unfinished`: it has fewer labels than the team wants on
    every task.
    """

    task: int
    score: float
    relabel: bool
    unfinished: bool = False


def active_annotators(annotations: Iterable[Annotation]) -> set[int]:
    """The annotators who annotated or skipped within ACTIVE_DAYS of the project's latest annotation.

    Imported ground truth does not count as an annotator's work.
    """
    rows = [(moment(row.updated_at), row) for row in annotations if row.annotator and not row.ground_truth]
    if not rows:
        return set()
    since = max(when for when, _ in rows) - timedelta(days=ACTIVE_DAYS)
    return {row.annotator for when, row in rows if when >= since}


def eligible(
    tasks: Mapping[int, Task],
    label_counts: Mapping[int, int],
    active: Collection[int],
    *,
    max_annotations: int,
    skip_queue: str,
) -> tuple[list[int], list[int]]:
    """Unlabelled and labelled tasks, ascending ids each, that an active annotator can still be given.

    Left out are tasks without a text, tasks with `max_annotations` labels, and tasks that every active annotator has
    labelled or skipped. Tasks that were only skipped are left out, too, if they are complete under the project's skip
    rule or belong to the annotator who skipped them. A task whose answers give no label is unlabelled until it has
    `max_annotations` of them.

    Args:
        tasks: the project's tasks by id.
        label_counts: how many labels each task has.
        active: the active annotators.
        max_annotations: most labels per task.
        skip_queue: the project's rule for skipped tasks, as Label Studio names it.
    """
    unlabelled: list[int] = []
    labelled: list[int] = []
    for task in tasks.values():
        seen = {row.annotator for row in task.annotations}
        if task.digest is None or (active and seen.issuperset(active)):
            continue
        count = label_counts.get(task.id, 0)
        if count:
            if count < max_annotations:
                labelled.append(task.id)
        elif is_answered(task.annotations):
            if sum(not row.skipped for row in task.annotations) < max_annotations:
                unlabelled.append(task.id)
        elif not task.is_labeled and (not task.annotations or skip_queue == "REQUEUE_FOR_OTHERS"):
            unlabelled.append(task.id)
    return sorted(unlabelled), sorted(labelled)


def choose_window(
    candidates: Iterable[Candidate], size: int, n_active: int, distinct: Distinct | None = None
) -> list[Slot]:
    """The window in rank order: the `size` best candidates, then a tail of new tasks.

    Unfinished tasks come first, then the lowest score, ties by task id. The tail lengthens the window until it ends in
    TAIL_PER_ANNOTATOR new tasks for each of `n_active` annotators and TAIL_MINIMUM in all, if there are enough new
    tasks. Label Studio answers 404 if other annotators hold all that is left in a window.

    With `distinct`, the window holds only the best of a group of near-duplicates, as long as there are other tasks. The
    rest of the group has to wait until the label of that one is known. Unfinished tasks do not wait.
    """
    order = sorted(candidates, key=lambda candidate: (not candidate.unfinished, candidate.score, candidate.task))
    tail = max(TAIL_MINIMUM, TAIL_PER_ANNOTATOR * n_active)
    if distinct is not None:
        order = _distinct_first(order, size + tail, distinct)
    window, rest = order[:size], order[size:]
    ending = 0
    for candidate in reversed(window):
        if candidate.relabel:
            break
        ending += 1
    if tail > ending:
        window += [candidate for candidate in rest if not candidate.relabel][: tail - ending]
    return [Slot(candidate.task, candidate.relabel) for candidate in window]


def _distinct_first(order: list[Candidate], count: int, distinct: Distinct) -> list[Candidate]:
    """Unfinished candidates, then distinct ones, `count` of both together, then all others. Each in rank order."""
    unfinished = [candidate for candidate in order if candidate.unfinished]
    finished = [candidate for candidate in order if not candidate.unfinished]
    missing = max(count - len(unfinished), 0)
    chosen = set(distinct([candidate.task for candidate in finished], missing)) if missing and finished else set()
    return unfinished + sorted(finished, key=lambda candidate: candidate.task not in chosen)


def open_places(
    window: Sequence[Slot], answers: Mapping[int, int], tasks: Mapping[int, Task]
) -> dict[int, tuple[int, bool]]:
    """{task: (rank in the window from 1, whether it is a second opinion)} without tasks answered since.

    `answers`: how many annotations and skips each task of the window had when it was published. Tasks that it lacks
    belong to a newer window.
    """
    return {
        slot.task: (rank, slot.relabel)
        for rank, slot in enumerate(window, start=1)
        if slot.task in tasks and len(tasks[slot.task].annotations) <= answers.get(slot.task, -1)
    }
