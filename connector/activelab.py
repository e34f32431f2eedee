"""ActiveLab: what one more annotation is worth, for labelled and unlabelled tasks on one scale.

Scores are those of Goh and Mueller, "ActiveLab: Active Learning with Re-Labeling by Multiple Annotators"
(arXiv 2301.11856), consensus labels and their quality those of CROWDLAB (arXiv 2210.06812), both as cleanlab implements
them. Pure: arrays in, arrays out, nothing printed.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """Annotators' labels in sparse form, one row a label: three arrays (m,) of indices from 0.

    A task has at most one label of each annotator, and every task from 0 to `n_tasks` - 1 has at least one label.
    """

    task: Ints
    annotator: Ints
    label: Ints
    n_tasks: int
    n_classes: int

    def votes(self) -> Floats:
        """How many annotators chose each class, (n_tasks, n_classes)."""
        votes = np.zeros((self.n_tasks, self.n_classes))
        np.add.at(votes, (self.task, self.label), 1.0)
        return votes

    def dense(self) -> Floats:
        """The (n_tasks, n_annotators) table of class indices that cleanlab takes, NaN where there is no label.

        Annotators without labels have no column: cleanlab raises on an empty one.
        """
        annotators, column = np.unique(self.annotator, return_inverse=True)
        table = np.full((self.n_tasks, len(annotators)), np.nan)
        table[self.task, column] = self.label
        return table


def majority_vote(labels: Labels) -> Ints:
    """Consensus labels (n_tasks,) before there are probabilities: the class most annotators chose.

    A tie goes to the class that is more frequent in all labels, then to the one that comes first in the config.
    """
    votes = labels.votes()
    frequency = votes.sum(axis=0) / max(len(labels.label), 1)
    return np.asarray(np.argmax(votes + 0.5 * frequency, axis=1), np.int64)  # 0.5 * frequency < 1 only breaks ties


def consensus(labels: Labels, pred_probs: Floats) -> tuple[Ints, Floats]:
    """CROWDLAB's consensus label and its quality in [0, 1] for each labelled task, both (n_tasks,).

    `pred_probs` (n_tasks, n_classes): out-of-sample class probabilities.
    """
    table, pred_probs = labels.dense(), _without_ties(pred_probs)
    if _one_label_each(table):  # nothing to weigh annotators by: cleanlab's own rule for this case
        chosen = np.nan_to_num(table).sum(axis=1).astype(np.int64)
        return chosen, pred_probs[np.arange(len(chosen)), chosen]
    from cleanlab.multiannotator import get_label_quality_multiannotator

    with _silence():
        quality = get_label_quality_multiannotator(
            table, pred_probs, return_detailed_quality=False, return_annotator_stats=False, verbose=False
        )["label_quality"]
    return quality["consensus_label"].to_numpy(np.int64), quality["consensus_quality_score"].to_numpy(np.float64)


def heard_consensus(labels: Labels, pred_probs: Floats) -> Ints:
    """Consensus labels (n_tasks,) to train on: CROWDLAB's, but never a class that nobody chose for the task.

    Where most tasks have one label, CROWDLAB trusts the model above its annotators, and a model trained on labels of
    its own making confirms itself (docs/decisions.md has the measurement). Where its choice is nobody's, the majority
    decides, ties by the model.
    """
    chosen, _ = consensus(labels, pred_probs)
    votes = labels.votes()
    heard = votes[np.arange(labels.n_tasks), chosen] > 0
    return np.where(heard, chosen, np.argmax(votes + 0.5 * pred_probs, axis=1)).astype(np.int64)


def heard_quality(labels: Labels, pred_probs: Floats, chosen: Ints) -> Floats:
    """CROWDLAB's probability (n_tasks,) that the label `chosen` for each task is right.

    Each of `chosen` (n_tasks,) must be the label of one of the task's annotators, as `heard_consensus` gives them.
    """
    table, pred_probs = labels.dense(), _without_ties(pred_probs)
    rows = np.arange(labels.n_tasks)
    if _one_label_each(table):
        return np.asarray(pred_probs[rows, chosen], np.float64)
    from cleanlab.multiannotator import get_label_quality_multiannotator

    with _silence():
        detailed = get_label_quality_multiannotator(
            table, pred_probs, return_detailed_quality=True, return_annotator_stats=False, verbose=False
        )["detailed_label_quality"].to_numpy(np.float64)
    return np.asarray(detailed[rows, (table == chosen[:, None]).argmax(axis=1)], np.float64)


def scores(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
    """ActiveLab scores in [0, 1] of the labelled and the unlabelled tasks; the lowest is worth most.

    `pred_probs` (n_tasks, n_classes): out-of-sample class probabilities of the labelled tasks; `pred_probs_unlabeled`
    (u, n_classes). Returns (n_tasks,) and (u,).
    """
    from cleanlab.multiannotator import get_active_learning_scores

    with _silence():
        labeled, unlabeled = get_active_learning_scores(
            labels.dense(), _without_ties(pred_probs), pred_probs_unlabeled if len(pred_probs_unlabeled) else None
        )
    return np.asarray(labeled, np.float64), np.asarray(unlabeled, np.float64)


def _without_ties(pred_probs: Floats) -> Floats:
    """Rows with equal entries lean by 1e-9 to the class that comes first in the config.

    cleanlab breaks exact ties at random, and fails where there is nothing else to go by.
    """
    tied = (np.diff(np.sort(pred_probs, axis=1), axis=1) == 0).any(axis=1)
    lean = 1e-9 * np.arange(pred_probs.shape[1], 0, -1)
    leaning = (pred_probs + lean) / (1 + lean.sum())
    return np.where(tied[:, None], leaning, pred_probs)


def _one_label_each(table: Floats) -> bool:
    return bool((np.sum(~np.isnan(table), axis=1) == 1).all())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """cleanlab prints notices and warns about small data; a cron job's output is for the connector's own words."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
