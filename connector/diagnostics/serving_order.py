"""Whether people were served in the window's order, as the times of their answers tell. Pure: no I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from connector.annotations.records import Annotation, Task, moment

# Somebody who is at work on a task keeps it from the others for about as long as they need for one each. A place that
# each of them has passed over this often on average is held by somebody who is not there.
PASSED_OVER = 3
LONGEST_LEAD_TIME = 30 * 86_400.0  # seconds; annotations made over the API may hold any number


@dataclass(frozen=True)
class Answer:
    """An annotation or a skip made in Label Studio's page since the window was published.

    `served`: when the person was given the task. `certain`: they were given it since the window was published; the
    first task of each person may be one that they had been holding.
    """

    task: int
    annotator: int
    served: datetime
    certain: bool


def answers_since(published: datetime, tasks: Mapping[int, Task]) -> list[Answer]:
    """The answers of all people since `published`.

    A task was served its lead time before the answer, but not before the same person's last answer: an update adds to
    the lead time. Rows without a lead time were imported, not made in the page.
    """
    by_person: defaultdict[int, list[Annotation]] = defaultdict(list)
    for task in tasks.values():
        for row in task.annotations:
            if row.annotator and not row.ground_truth and row.lead_time is not None:
                by_person[row.annotator].append(row)
    answers = []
    for annotator, rows in by_person.items():
        last = None
        for row in sorted(rows, key=lambda row: (moment(row.created_at), row.id)):
            created = moment(row.created_at)
            if created >= published:
                served = created - timedelta(seconds=min(row.lead_time or 0.0, LONGEST_LEAD_TIME))
                certain = last is not None and last >= published
                answers.append(Answer(row.task, annotator, max(served, last) if last else served, certain))
            last = created
    return answers


def out_of_order(
    window: Sequence[int], answers: Collection[Answer], tasks: Mapping[int, Task], annotators: int
) -> tuple[int, int]:
    """How many answers tell of the order, and how many of those were served out of order.

    An answer was, when more tasks of better rank than there are `annotators` were first served later, none of which
    its author had answered: each annotator can have held one of them and let it go. Answers to tasks outside the window
    are counted only where that was wrong.
    """
    place = {task: rank for rank, task in enumerate(window)}
    first: dict[int, datetime] = {}
    for answer in sorted(answers, key=lambda answer: answer.served):
        first.setdefault(answer.task, answer.served)
    begun: dict[tuple[int, int], datetime] = {}  # when somebody first answered a task of the window
    for task in window:
        for row in tasks[task].annotations:
            created = moment(row.created_at)
            begun[task, row.annotator] = min(begun.get((task, row.annotator), created), created)
    telling = wrong = 0
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
        out = free > annotators
        telling += out or answer.task in place
        wrong += out
    return telling, wrong


def held(
    window: Sequence[int], unanswered: Collection[int], answers: Collection[Answer], tasks: Mapping[int, Task]
) -> list[int]:
    """The `unanswered` tasks of the window that everybody is passed over for, probably locked by somebody absent."""
    place = {task: rank for rank, task in enumerate(window)}
    found = []
    for rank, task in enumerate(window):
        if task not in unanswered:
            continue
        had = {row.annotator for row in tasks[task].annotations}
        passed = Counter(
            answer.annotator
            for answer in answers
            if answer.certain and place.get(answer.task, len(window)) > rank and answer.annotator not in had
        )
        if passed and sum(passed.values()) >= PASSED_OVER * len(passed):
            found.append(task)
    return found
