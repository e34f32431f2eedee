"""From labels and probabilities to the next window: strategies, which tasks may be asked, in which order. Pure.

The function of a strategy returns scores of the labelled tasks (n,) and of the unlabelled ones (u,) on one scale, the
lowest is worth most; `pred_probs` (n, n_classes) and `pred_probs_unlabeled` (u, n_classes) are out-of-sample.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from connector.annotations.records import Annotation, Task, moment

if TYPE_CHECKING:  # NumPy is imported where it is used: a sync with nothing to do must not pay for it
    from connector.active_learning.crowdlab import Floats, Labels

ACTIVE_DAYS = 14
TAIL_MINIMUM = 10
TAIL_PER_ANNOTATOR = 3

Scores = tuple["Floats", "Floats"]
Consensus = Literal["majority", "crowdlab", "posterior"]


@dataclass(frozen=True)
class Slot:
    """A place in the window: a task, and whether it is asked for one more annotation on top of those it has."""

    task: int
    relabel: bool


@dataclass(frozen=True)
class Candidate:
    """A task that somebody could annotate next; the lowest `score` is worth most.

    `unfinished`: it has labels, but fewer than the team wants on every task.
    """

    task: int
    score: float
    relabel: bool
    unfinished: bool = False


def active_annotators(annotations: Iterable[Annotation]) -> set[int]:
    """Who annotated or skipped within ACTIVE_DAYS of the project's latest annotation.

    Imported ground truth is nobody's work.
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
    """New and labelled tasks, ascending ids each, that somebody active could still be given.

    Left out: tasks without a text, with `max_annotations` labels, those that every active annotator has labelled or
    skipped, and tasks without a label that are complete under the project's skip rule or belong to whoever skipped
    them.
    """
    new: list[int] = []
    labelled: list[int] = []
    for task in tasks.values():
        seen = {row.annotator for row in task.annotations}
        if task.digest is None or (active and seen.issuperset(active)):
            continue
        count = label_counts.get(task.id, 0)
        if count:
            if count < max_annotations:
                labelled.append(task.id)
        elif not task.is_labeled and (
            not task.annotations
            or (skip_queue == "REQUEUE_FOR_OTHERS" and all(row.skipped for row in task.annotations))
        ):
            new.append(task.id)
    return sorted(new), sorted(labelled)


def choose_window(candidates: Iterable[Candidate], size: int, n_active: int) -> list[Slot]:
    """The window in rank order: the `size` best candidates, then a tail of new tasks.

    Unfinished tasks come first, then the lowest score, ties by task id. The tail lengthens the window until it ends in
    TAIL_PER_ANNOTATOR new tasks for each of `n_active` annotators and TAIL_MINIMUM in all, as far as there are new
    tasks: Label Studio answers 404 when all that is left in a window is locked by others.
    """
    order = sorted(candidates, key=lambda one: (not one.unfinished, one.score, one.task))
    window, rest = order[:size], order[size:]
    ending = 0
    for candidate in reversed(window):
        if candidate.relabel:
            break
        ending += 1
    missing = max(TAIL_MINIMUM, TAIL_PER_ANNOTATOR * n_active) - ending
    if missing > 0:
        window += [candidate for candidate in rest if not candidate.relabel][:missing]
    return [Slot(candidate.task, candidate.relabel) for candidate in window]


def open_places(
    window: Sequence[Slot], answers: Mapping[int, int], tasks: Mapping[int, Task]
) -> dict[int, tuple[int, bool]]:
    """{task: (rank in the window, 1 is the first; whether it is a second opinion)} where nobody has answered since.

    `answers`: how many annotations and skips each task of the window had when it was published; tasks that it lacks are
    of a newer window.
    """
    return {
        slot.task: (rank, slot.relabel)
        for rank, slot in enumerate(window, start=1)
        if slot.task in tasks and len(tasks[slot.task].annotations) <= answers.get(slot.task, -1)
    }


# -- strategies --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strategy:
    """One way to choose: by which scores, which labels to train on, and where to begin.

    `scores`: its function; None for ActiveLab's, by whichever scorer computes them. `relabels`: labelled tasks are
    asked for again. `consensus`: the label to train on, after the first round, which goes by majority: the majority's,
    CROWDLAB's, or the likeliest of those heard (`dawid_skene`). `weighted`: labels count in the training by how
    likely they are right. `spread_start`: the first tasks are spread over the embedding space, else random.
    """

    scores: Callable[[Labels, Floats, Floats], Scores] | None = None
    relabels: bool = True
    consensus: Consensus = "majority"
    weighted: bool = False
    spread_start: bool = False


def at_random(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> Scores:
    """Uniform numbers, others whenever the labels differ."""
    import numpy as np

    seed = zlib.crc32(np.concatenate([labels.task, labels.annotator, labels.label]).astype("<i8").tobytes())
    rng = np.random.default_rng(seed)
    return rng.random(len(pred_probs)), rng.random(len(pred_probs_unlabeled))


def least_confidence(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> Scores:
    """The highest probability (Lewis and Gale, "A sequential algorithm for training text classifiers", 1994)."""
    return pred_probs.max(axis=1), pred_probs_unlabeled.max(axis=1, initial=0.0)


def margin(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> Scores:
    """The highest probability less the second (Scheffer et al., "Active hidden Markov models", 2001)."""
    import numpy as np

    def lead(probs: Floats) -> Floats:
        ordered = np.sort(probs, axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2], np.float64)

    return lead(pred_probs), lead(pred_probs_unlabeled)


def entropy(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> Scores:
    """The negative entropy of the probabilities, in nats (Settles, "Active learning literature survey", 2009, 3.1)."""
    return _negative_entropy(pred_probs), _negative_entropy(pred_probs_unlabeled)


def disagreement(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> Scores:
    """The negative vote entropy, in nats, of a committee of a task's annotators and, with one soft vote, the model.

    Dagan and Engelson, "Committee-based sampling for training probabilistic classifiers" (1995). Of a new task it is
    the negative entropy of the model's probabilities.
    """
    votes = labels.votes()
    committee = (votes + pred_probs) / (votes.sum(axis=1, keepdims=True) + 1)
    return _negative_entropy(committee), _negative_entropy(pred_probs_unlabeled)


def _negative_entropy(probs: Floats) -> Floats:
    import numpy as np

    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    return np.asarray((probs * logs).sum(axis=1), np.float64)


STRATEGIES: dict[str, Strategy] = {
    "random": Strategy(at_random),
    "random-new": Strategy(at_random, relabels=False),
    "least-confidence": Strategy(least_confidence, relabels=False),
    "margin": Strategy(margin, relabels=False),
    "entropy": Strategy(entropy, relabels=False),
    "disagreement": Strategy(disagreement),
    "activelab": Strategy(consensus="crowdlab"),
    "activelab-weighted": Strategy(consensus="posterior", weighted=True, spread_start=True),
}
DEFAULT_STRATEGY = "activelab-weighted"
