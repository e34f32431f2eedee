"""Whether annotators were served in the window's order, from the times of their answers. Pure: no I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from connector.annotations.records import Annotation, Task, moment

# A person who works on a task keeps it from the others for about as long as each of them needs for one task. So a place
# that each of them was passed over for this often, on average, is held by a person who left.
PASSED_OVER = 3
LONGEST_LEAD_TIME = 30 * 86_400.0  # seconds: annotations made through the API may have any number


@dataclass(frozen=True)
class ServedAnswer:
    """An annotation or a skip made in Label Studio's page since the window was published.

    `served`: when the annotator got the task. `certain`: they got it since the window was published. The first task of
    each annotator may be one that they held before.
    """

    task: int
    annotator: int
    served: datetime
    certain: bool


def answers_since(published: datetime, tasks: Mapping[int, Task]) -> list[ServedAnswer]:
    """The answers of all annotators since `published`, an aware datetime.

    A task was served its lead time before the answer, but not before the same annotator's last answer: an update adds
    to the lead time. Rows without a lead time were imported, not made in the page.
    """
    by_annotator: defaultdict[int, list[Annotation]] = defaultdict(list)
    for task in tasks.values():
        for row in task.annotations:
            if row.annotator and not row.ground_truth and row.lead_time is not None:
                by_annotator[row.annotator].append(row)
    answers = []
    for annotator, rows in by_annotator.items():
        last = None
        for row in sorted(rows, key=lambda row: (moment(row.created_at), row.id)):
            created = moment(row.created_at)
            if created >= published:
                served = created - timedelta(seconds=min(row.lead_time or 0.0, LONGEST_LEAD_TIME))
                certain = last is not None and last >= published
                answers.append(ServedAnswer(row.task, annotator, max(served, last) if last else served, certain))
            last = created
    return answers


def count_out_of_order(
    window: Sequence[int], answers: Collection[ServedAnswer], tasks: Mapping[int, Task], annotators: int
) -> tuple[int, int]:
    """How many answers say something about the order, and how many of those were served out of order.

    An answer was served out of order if more tasks of better rank than there are `annotators` were first served later,
    and its author had answered none of them: each annotator can have held one of them and let it go. Answers to tasks
    outside the window count only if they were served out of order.

    Args:
        window: the window's tasks in rank order.
        answers: as `answers_since` returns them.
        tasks: {id: task}, at least those of the window.
        annotators: how many annotators are active.
    """
    place = {task: rank for rank, task in enumerate(window)}
    first: dict[int, datetime] = {}
    for answer in sorted(answers, key=lambda answer: answer.served):
        first.setdefault(answer.task, answer.served)
    begun: dict[tuple[int, int], datetime] = {}  # {(task of the window, annotator): their first answer}
    for task in window:
        for row in tasks[task].annotations:
            created = moment(row.created_at)
            begun[task, row.annotator] = min(begun.get((task, row.annotator), created), created)
    judged = wrong = 0
    for answer in answers:
        if not answer.certain:
            continue
        better = window[: place.get(answer.task, len(window))]
        free = sum(
            task in first
            and first[task] > answer.served
            and begun.get((task, answer.annotator), first[task]) > answer.served
            for task in better
        )
        out_of_order = free > annotators
        judged += out_of_order or answer.task in place
        wrong += out_of_order
    return judged, wrong


def find_held_tasks(
    window: Sequence[int], unanswered: Collection[int], answers: Collection[ServedAnswer], tasks: Mapping[int, Task]
) -> list[int]:
    """The `unanswered` tasks of the window that everyone is passed over for: a person who left probably holds them."""
    place = {task: rank for rank, task in enumerate(window)}
    held = []
    for rank, task in enumerate(window):
        if task not in unanswered:
            continue
        authors = {row.annotator for row in tasks[task].annotations}
        passed_over = Counter(
            answer.annotator
            for answer in answers
            if answer.certain and place.get(answer.task, len(window)) > rank and answer.annotator not in authors
        )
        if passed_over and sum(passed_over.values()) >= PASSED_OVER * len(passed_over):
            held.append(task)
    return held
