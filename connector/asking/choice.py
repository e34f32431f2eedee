"""Which tasks a model is asked for, and which examples it is shown. Does no I/O beside reading texts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from connector._compat import batched
from connector.annotations.ground_truth import ground_truths
from connector.annotations.objects.linked import links_in
from connector.annotations.questions import Questions
from connector.annotations.records import latest_labels
from connector.state.snapshot import TEXTS_AT_ONCE, ProjectSnapshot
from connector.sync.review import Review
from connector.sync.scoring import Scored

SURE = 0.95  # quality from which the label of one annotator is a sure consensus
LONGEST_EXAMPLE = 2_000  # characters, since each request has all examples


class ChosenExample(NamedTuple):
    """A task that a model is shown with its label.

    Attributes:
        label: As annotations have it.
        digest: Of its content.
    """

    label: str
    digest: str


def askable(pulled: ProjectSnapshot) -> list[int]:
    """The tasks that have all that is to be labelled, by id. Those with a text that is still to be fetched do not."""
    whole = [task.id for task in pulled.tasks.values() if task.digest is not None and not task.problem]
    if not pulled.questions.has_links:
        return sorted(whole)
    fetched: list[int] = []
    for part in batched(whole, TEXTS_AT_ONCE):
        fetched += [task for task, text in pulled.texts(part).items() if not links_in(text)]
    return sorted(fetched)


def in_order(tasks: Iterable[int], window: Sequence[int], reviews: Sequence[Review], questions: Questions) -> list[int]:
    """The tasks in the order in which they are asked for: the window by rank, then those the model is least sure of.

    Args:
        tasks: Those that can be asked for.
        window: The published window.
        reviews: Of each question, what the model says. Without a model, the others come by id.
        questions: Those that are served.
    """
    pairs = zip(reviews, questions.controls, strict=True)
    sure = [_sureness(review, multiple=control.multiple) for review, control in pairs]
    rank = {task: place for place, task in enumerate(window)}

    def place(task: int) -> tuple[float, float, int]:
        least = min((of_question[task] for of_question in sure if task in of_question), default=1.0)
        return rank.get(task, len(rank)), least, task

    return sorted(tasks, key=place)


def _sureness(review: Review, *, multiple: bool) -> dict[int, float]:
    """{task: the probability of its most probable class}. Of a set of classes, of the one that is least sure."""
    return {
        task: float(np.maximum(probs, 1 - probs).min() if multiple else probs.max())
        for task, probs in review.pred_probs.items()
    }


def choose_examples(
    pulled: ProjectSnapshot, scored: Scored, drawn: Collection[int], count: int
) -> dict[int, ChosenExample]:
    """Tasks with a sure consensus, {task: example}, as many of each label as possible.

    Sure is a label that all people gave who labelled the task, if they are two or more, or if its quality is SURE.

    Args:
        pulled: The project.
        scored: Its consensus labels and their quality. Labels of machines may have a part in these, so an example has a
            label that people gave.
        drawn: The tasks of the audit, which are never shown: they say how often labels are right.
        count: How many.
    """
    if not count or pulled.questions.has_media:
        return {}
    labels: dict[int, list[str]] = {}
    rows = [row for task in pulled.usable_tasks.values() for row in task.annotations]
    gold = ground_truths(rows)
    for (task, _), label in sorted(latest_labels(rows).items()):
        labels.setdefault(task, []).append(label)
    quality = {
        task: scored.quality.get(task, 0.0) for task, given in labels.items() if scored.consensus.get(task) == given[0]
    }
    whole = set(askable(pulled)) - set(drawn) - gold.keys()
    sure = [
        task
        for task, given in labels.items()
        if task in whole and len(set(given)) == 1 and (len(given) > 1 or quality.get(task, 0.0) >= SURE)
    ]
    sure.sort(key=lambda task: (-len(labels[task]), -quality.get(task, 0.0), task))
    return _balanced(pulled, {task: labels[task][0] for task in sure}, count)


def _balanced(pulled: ProjectSnapshot, sure: Mapping[int, str], count: int) -> dict[int, ChosenExample]:
    """The first of each label, then the second of each, and so on, no two of them alike. `sure`: best first."""
    of_label: dict[str, list[int]] = {}
    for task, label in sure.items():
        of_label.setdefault(label, []).append(task)
    order = sorted(of_label, key=lambda label: _place(pulled.questions, label))
    chosen: dict[int, ChosenExample] = {}
    seen: set[str] = set()
    while order and len(chosen) < count:
        for label in list(order):
            found = _next_short(pulled, of_label[label], seen)
            if found is None:
                order.remove(label)
            elif len(chosen) < count:
                key = str(pulled.tasks[found].digest)
                seen.add(key)
                chosen[found] = ChosenExample(label, key)
    return chosen


def _next_short(pulled: ProjectSnapshot, tasks: list[int], seen: Collection[str]) -> int | None:
    """Takes the first task from the list that is short enough, with a content that is not in `seen`."""
    while tasks:
        task = tasks.pop(0)
        if pulled.tasks[task].digest not in seen and len(pulled.texts([task]).get(task, "")) <= LONGEST_EXAMPLE:
            return task
    return None


def _place(questions: Questions, label: str) -> tuple[tuple[int, ...], str]:
    """Where a label comes among others: by the config's order of its classes."""
    labels = questions.labels_of(label)
    places = [
        control.classes.index(name)
        for control in questions.controls
        if control.name in labels
        for name in control.classes_of(labels[control.name])
        if name in control.classes
    ]
    return tuple(places), label
