"""Several classes a task: CROWDLAB and ActiveLab on each class against the rest, and one score a task. Pure.

Whether a class applies is a binary question that every annotator of the task has answered, by choosing the class or by
leaving it. Each is scored as a labelling problem of its own, with the model's probabilities (1 - p, p).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from connector.active_learning.activelab import majority_vote as majority_of_classes
from connector.active_learning.crowdlab import Floats, Ints, Labels, crowdlab

Sets = NDArray[np.bool_]

YES = 0.5  # a class is predicted from this probability on


class Scorer(Protocol):
    """Who finds consensus labels and scores of one class a task: the module `activelab`, or `oracle`."""

    def heard_consensus(self, labels: Labels, pred_probs: Floats) -> Ints: ...

    def scores(self, labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]: ...


@dataclass(frozen=True)
class LabelSets:
    """Annotators' sets in sparse form, one row an answer: `task` and `annotator` (m,) as in Labels, `chosen` (m, k)."""

    task: Ints
    annotator: Ints
    chosen: Sets
    n_tasks: int

    def of(self, index: int) -> Labels:
        """The answers to whether class `index` applies: 1 yes, 0 no."""
        return Labels(self.task, self.annotator, self.chosen[:, index].astype(np.int64), self.n_tasks, 2)

    @property
    def n_classes(self) -> int:
        return int(self.chosen.shape[1])


def majority_vote(labels: LabelSets) -> Sets:
    """Consensus sets (n_tasks, k) before there are probabilities: the classes most of a task's annotators chose.

    A tie goes to what is more frequent for the class in all answers, then to no.
    """
    return np.stack([majority_of_classes(labels.of(index)) == 1 for index in range(labels.n_classes)], axis=1)


def heard_consensus(labels: LabelSets, pred_probs: Floats, scorer: Scorer) -> Sets:
    """Consensus sets (n_tasks, k): class by class what the scorer's `heard_consensus` says; `pred_probs` (n_tasks, k).

    No class is in it that nobody chose, and none is missing that all chose; the set as a whole may be nobody's.
    """
    return np.stack(
        [
            scorer.heard_consensus(labels.of(index), binary(pred_probs[:, index])) == 1
            for index in range(labels.n_classes)
        ],
        axis=1,
    )


def scores(
    labels: LabelSets, pred_probs: Floats, pred_probs_unlabeled: Floats, scorer: Scorer
) -> tuple[Floats, Floats]:
    """ActiveLab scores in [0, 1] of labelled and unlabelled tasks, (n_tasks,) and (u,); the lowest is worth most.

    `pred_probs` (n_tasks, k) and `pred_probs_unlabeled` (u, k). The mean over the classes of each one's binary score.
    """
    labeled = np.empty((labels.n_tasks, labels.n_classes))
    unlabeled = np.empty(pred_probs_unlabeled.shape)
    for index in range(labels.n_classes):
        of_class = binary(pred_probs[:, index]), binary(pred_probs_unlabeled[:, index])
        labeled[:, index], unlabeled[:, index] = scorer.scores(labels.of(index), *of_class)
    return combine(labeled), combine(unlabeled)


def combine(by_class: Floats) -> Floats:
    """One score a task (n,) from those of its classes (n, k)."""
    return np.asarray(by_class.mean(axis=1), np.float64)


def quality(labels: LabelSets, pred_probs: Floats, consensus: Sets) -> Floats:
    """How good each consensus set is (n_tasks,): as good as the answer to its least certain class.

    The least over the classes of CROWDLAB's probability that yes or no is right. Measured (docs/decisions.md), it tells
    how many sets are right far better than the product over the classes, which takes their errors as independent.
    """
    right = [
        crowdlab(labels.of(index), binary(pred_probs[:, index])).of(consensus[:, index].astype(np.int64))
        for index in range(labels.n_classes)
    ]
    return np.asarray(np.min(right, axis=0), np.float64)


def predicted(pred_probs: Floats) -> Sets:
    """The sets (n, k) that the model predicts."""
    return np.asarray(pred_probs >= YES)


def binary(probs: Floats) -> Floats:
    """The probabilities (n, 2) of no and yes from those of yes (n,)."""
    return np.stack([1 - probs, probs], axis=1)
