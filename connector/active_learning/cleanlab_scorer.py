"""cleanlab itself as the scorer, without its output: CONNECTOR_SCORER=cleanlab.

It is slower by two orders of magnitude, and takes a dense table of tasks by annotators. Pure: arrays in, arrays out.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np

from connector.active_learning.consensus import ConsensusResult
from connector.active_learning.crowdlab import crowdlab
from connector.active_learning.labels import Floats, Ints, Labels, checked_probs
from connector.active_learning.majority_vote import restrict_to_given_labels

NEARLY_TIED = 1e-12


def consensus(labels: Labels, pred_probs: Floats) -> ConsensusResult:
    """As `consensus.by_crowdlab_among_given`, with cleanlab's consensus labels and our probability of them."""
    chosen = consensus_labels(labels, pred_probs)
    return ConsensusResult(chosen, crowdlab(labels, pred_probs).probability_of(chosen))


def consensus_labels(labels: Labels, pred_probs: Floats) -> Ints:
    """cleanlab's consensus labels (n_tasks,) if an annotator gave them, else the majority's."""
    pred_probs = checked_probs("pred_probs", pred_probs, labels.n_tasks, labels.n_classes)
    table, leaning = _dense(labels), without_ties(_at_most_one(pred_probs))
    votes = labels.votes()
    if (votes.sum(axis=1) == 1).all():  # nothing to weigh annotators by: cleanlab refuses
        return np.asarray(votes.argmax(axis=1), np.int64)
    from cleanlab.multiannotator import get_label_quality_multiannotator

    with _silence():
        quality = get_label_quality_multiannotator(
            table, leaning, return_detailed_quality=False, return_annotator_stats=False, verbose=False
        )["label_quality"]
    return restrict_to_given_labels(quality["consensus_label"].to_numpy(np.int64), labels, pred_probs)


def scores(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
    """As `activelab.scores`, by cleanlab's get_active_learning_scores."""
    pred_probs = checked_probs("pred_probs", pred_probs, labels.n_tasks, labels.n_classes)
    pred_probs_unlabeled = checked_probs(
        "pred_probs_unlabeled", pred_probs_unlabeled, len(pred_probs_unlabeled), labels.n_classes
    )
    from cleanlab.multiannotator import get_active_learning_scores

    labeled_probs = without_ties(_at_most_one(pred_probs))
    unlabeled_probs = _at_most_one(pred_probs_unlabeled) if len(pred_probs_unlabeled) else None
    with _silence():
        labeled, unlabeled = get_active_learning_scores(_dense(labels), labeled_probs, unlabeled_probs)
    return np.asarray(labeled, np.float64), np.asarray(unlabeled, np.float64)


def _dense(labels: Labels) -> Floats:
    """The (n_tasks, n_annotators) table of class indices that cleanlab takes, NaN where there is no label.

    Annotators without labels have no column: cleanlab raises on an empty one.
    """
    annotators, column = np.unique(labels.annotator, return_inverse=True)
    table = np.full((labels.n_tasks, len(annotators)), np.nan)
    table[labels.task, column] = labels.label
    return table


def _at_most_one(pred_probs: Floats) -> Floats:
    """`pred_probs` (n, n_classes), where a row with an entry above one is divided by its sum.

    Rounding may leave such an entry, which `checked_probs` allows and cleanlab refuses.
    """
    above = pred_probs.max(axis=1, initial=0.0) > 1
    return np.where(above[:, None], pred_probs / pred_probs.sum(axis=1, keepdims=True), pred_probs)


def without_ties(pred_probs: Floats) -> Floats:
    """`pred_probs` (n, n_classes), where rows with equal entries lean by 1e-9 to the class that comes first.

    cleanlab breaks exact ties at random, and fails if nothing else decides. Between entries that differ by up to 1e-12
    the order of additions would decide.
    """
    tied = np.diff(np.sort(pred_probs, axis=1), axis=1).min(axis=1) < NEARLY_TIED
    lean = 1e-9 * np.arange(pred_probs.shape[1], 0, -1)
    leaning = (pred_probs + lean) / (1 + lean.sum())
    return np.where(tied[:, None], leaning, pred_probs)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hides cleanlab's notices and warnings about small data: a cron job's output is for the connector's messages."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
