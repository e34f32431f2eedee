"""How good each annotator's labels are, by CROWDLAB (arXiv 2210.06812, section 2.2). Pure: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connector.active_learning.crowdlab import CrowdlabResult, keep_highest
from connector.active_learning.labels import Floats, Ints, Labels, Rows, by_annotator


@dataclass(frozen=True)
class AnnotatorStats:
    """How good the labels of a annotators are.

    Attributes:
        annotators: their numbers (a,).
        quality: in [0, 1] (a,).
        agreement: share of their labels that are the consensus (a,).
        worst_class: the class of their labels that agrees least often (a,).
        n_labels: how many labels they gave (a,).
    """

    annotators: Ints
    quality: Floats
    agreement: Floats
    worst_class: Ints
    n_labels: Ints


def annotator_stats(labels: Labels, result: CrowdlabResult) -> AnnotatorStats:
    """The quality of each annotator, from the `result` of CROWDLAB for the same labels: w * Q_j + (1 - w) * A_j.

    Q_j is the mean probability of j's labels (equation 11). A_j is how often they are the consensus on tasks that
    others have labelled, too (equation 12). w = w_M / (w_M + w_0) with w_0 the mean weight of an annotator times the
    mean number of labels of a task (equation 13). If j shares no task, quality is Q_j: cleanlab has no number there.
    """
    rows = by_annotator(labels)
    size = len(rows.annotators)
    counts = np.bincount(labels.task, minlength=labels.n_tasks)
    n_labels = np.bincount(rows.annotator, minlength=size)
    right = (result.label[rows.task] == rows.label).astype(np.float64)
    probable = np.bincount(rows.annotator, weights=result.probs[rows.task, rows.label], minlength=size) / n_labels
    shared = counts[rows.task] > 1
    n_shared = np.bincount(rows.annotator[shared], minlength=size)
    agreed = np.bincount(rows.annotator[shared], weights=right[shared], minlength=size) / np.maximum(n_shared, 1)
    annotators_weight = result.annotator_weight.sum() * counts.mean() / max(size, 1) if len(counts) else 0.0
    share = result.model_weight / (result.model_weight + annotators_weight)
    quality = np.where(n_shared > 0, share * probable + (1 - share) * agreed, probable)
    return AnnotatorStats(
        rows.annotators,
        quality,
        np.bincount(rows.annotator, weights=right, minlength=size) / n_labels,
        _worst_class(rows, right, result.quality, labels.n_classes),
        n_labels,
    )


def _worst_class(rows: Rows, right: Floats, quality: Floats, n_classes: int) -> Ints:
    """The class (a,) whose labels by an annotator are the consensus least often.

    Ties: the one given more often, then the one whose tasks have the better consensus, then the first.
    """
    size = len(rows.annotators)
    cell = rows.annotator * n_classes + rows.label
    shape = (size, n_classes)
    counts = np.bincount(cell, minlength=size * n_classes).reshape(shape)
    often = np.maximum(counts, 1)
    accuracy = np.bincount(cell, weights=right, minlength=size * n_classes).reshape(shape) / often
    mean_quality = np.bincount(cell, weights=quality[rows.task], minlength=size * n_classes).reshape(shape) / often
    left = keep_highest(-accuracy, counts > 0)
    left = keep_highest(counts.astype(np.float64), left)
    left = keep_highest(mean_quality, left)
    return np.asarray(left.argmax(axis=1), np.int64)
