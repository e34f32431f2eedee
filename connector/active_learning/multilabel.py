"""Several classes per task: CROWDLAB and ActiveLab on each class against the rest, and one score per task. Pure.

Whether a class applies is a binary question that every annotator of the task has answered, by choosing the class or by
not choosing it. Each is scored as a labelling problem of its own, with the model's probabilities (1 - p, p).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connector.active_learning.consensus import ConsensusMethod, ConsensusResult, by_majority
from connector.active_learning.labels import Floats, Ints, Labels, ScoreFunction

Sets = NDArray[np.bool_]

YES = 0.5  # a class is predicted from this probability on


@dataclass(frozen=True)
class ClassSets:
    """Annotators' sets in sparse form, one row per answer: `task`, `annotator` (m,) as in Labels, `chosen` (m, k)."""

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


def majority(labels: ClassSets) -> ConsensusResult:
    """Consensus sets before there are probabilities: the classes that most of a task's annotators chose.

    A tie goes to what is more frequent for the class in all answers, then to no.
    """
    return _join([by_majority(labels.of(index)) for index in range(labels.n_classes)])


def consensus(labels: ClassSets, pred_probs: Floats, method: ConsensusMethod) -> ConsensusResult:
    """Consensus sets (n_tasks, k): for each class the label of its yes-or-no question by `method`.

    `pred_probs` (n_tasks, k). If `method` only chooses labels that were given, a set has no class that nobody chose and
    lacks none that all chose. The set as a whole may be one that no annotator gave.
    """
    return _join([method(labels.of(index), binary(pred_probs[:, index])) for index in range(labels.n_classes)])


def _join(by_class: list[ConsensusResult]) -> ConsensusResult:
    """Sets from the answers to each class. A set is as probable as the answer to its least certain class.

    That estimates the share of right sets far better than the product over the classes, which takes their errors as
    independent. docs/decisions/0028-multiple-choice-is-one-question-per-class.md has the measurement. All sets weigh
    the same: a model trained on sets weighted by their least certain class was less accurate (docs/selection.md).
    """
    chosen = np.stack([result.label == 1 for result in by_class], axis=1)
    return ConsensusResult(chosen, np.asarray(np.min([result.probability for result in by_class], axis=0), np.float64))


def scores(
    labels: ClassSets, pred_probs: Floats, pred_probs_unlabeled: Floats, score_class: ScoreFunction
) -> tuple[Floats, Floats]:
    """Scores of labelled and unlabelled tasks: the mean over the classes of the scores of their yes-or-no questions.

    Args:
        labels: annotators' sets.
        pred_probs: out-of-sample probabilities (n_tasks, k) of each class for labelled tasks.
        pred_probs_unlabeled: the same (u, k) for unlabelled tasks.
        score_class: scores one class, such as `activelab.scores`.

    Returns:
        Scores (n_tasks,) and (u,). The lowest is worth most.
    """
    labeled = np.empty((labels.n_tasks, labels.n_classes))
    unlabeled = np.empty(pred_probs_unlabeled.shape)
    for index in range(labels.n_classes):
        of_class = binary(pred_probs[:, index]), binary(pred_probs_unlabeled[:, index])
        labeled[:, index], unlabeled[:, index] = score_class(labels.of(index), *of_class)
    return combine(labeled), combine(unlabeled)


def combine(by_class: Floats) -> Floats:
    """One score per task (n,) from those of its classes (n, k)."""
    return np.asarray(by_class.mean(axis=1), np.float64)


def predicted(pred_probs: Floats) -> Sets:
    """The sets (n, k) that the model predicts."""
    return np.asarray(pred_probs >= YES)


def binary(probs: Floats) -> Floats:
    """The probabilities (n, 2) of no and yes from those of yes (n,)."""
    return np.stack([1 - probs, probs], axis=1)
