"""CROWDLAB: consensus labels, how probable each class is given the labels and the model, and how good annotators are.

As in Goh, Tkachenko and Mueller, "CROWDLAB: Supervised learning to infer consensus labels and quality scores for data
with multiple annotators" (arXiv 2210.06812), and equal to cleanlab's wherever cleanlab answers (the tests compare
them), from labels in sparse form and without loops over tasks or annotators. Pure: arrays in, arrays out, nothing
printed, nothing random.

Where cleanlab raises, prints or draws lots, the rules here are: an annotator without labels is left out; where every
task has one label, or none has any, model and annotators weigh 1 each and probabilities stay as they are; the last
tie goes to the class that comes first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from connector.calibration import best_temperature, scaled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_WEIGHT = 1e-6  # of an annotator or the model, and the least error rate that they are measured by


@dataclass(frozen=True)
class Labels:
    """Annotators' labels in sparse form, one row a label: three arrays (m,) of indices from 0.

    A task has at most one label of each annotator, and every task from 0 to `n_tasks` - 1 has at least one label.
    Raises ValueError, naming the first bad row, where that is not so.
    """

    task: Ints
    annotator: Ints
    label: Ints
    n_tasks: int
    n_classes: int

    def __post_init__(self) -> None:
        if not self.task.shape == self.annotator.shape == self.label.shape or self.task.ndim != 1:
            raise ValueError(
                f"task, annotator and label must be arrays of one length, not {self.task.shape}, "
                f"{self.annotator.shape} and {self.label.shape}."
            )
        if self.n_classes < 2:
            raise ValueError(f"n_classes must be at least 2, not {self.n_classes}.")
        _check_range("task", self.task, self.n_tasks)
        _check_range("annotator", self.annotator, None)
        _check_range("label", self.label, self.n_classes)
        missing = np.flatnonzero(np.bincount(self.task, minlength=self.n_tasks) == 0)
        if len(missing):
            raise ValueError(f"task: task {missing[0]} has no label.")
        pairs = self.task.astype(np.int64) * (int(self.annotator.max(initial=0)) + 1) + self.annotator
        order = np.argsort(pairs, kind="stable")
        twice = np.flatnonzero(np.diff(pairs[order]) == 0)
        if len(twice):
            raise ValueError(f"annotator: row {order[twice[0] + 1]} is a second label of one annotator on one task.")

    def votes(self) -> Floats:
        """How many annotators chose each class, (n_tasks, n_classes)."""
        cells = np.bincount(self.task * self.n_classes + self.label, minlength=self.n_tasks * self.n_classes)
        return cells.reshape(self.n_tasks, self.n_classes).astype(np.float64)


@dataclass(frozen=True)
class Consensus:
    """What CROWDLAB makes of the labels of n tasks by a annotators, k classes.

    `label` (n,): consensus labels; `probs` (n, k): the probability of each class given the labels and the model;
    `quality` (n,): that of the consensus label; `agreement` (n,): share of a task's annotators who chose it.
    `model_weight` and `annotator_weight` (a,): how they are weighed; `annotators` (a,): who they are, ascending;
    `temperature`: by which the model's probabilities were scaled.
    """

    label: Ints
    probs: Floats
    agreement: Floats
    model_weight: float
    annotators: Ints
    annotator_weight: Floats
    temperature: float = 1.0

    @property
    def quality(self) -> Floats:
        return self.of(self.label)

    def of(self, label: Ints) -> Floats:
        """The probability (n,) that each of `label` (n,) is right."""
        return np.asarray(self.probs[np.arange(len(label)), label], np.float64)


@dataclass(frozen=True)
class AnnotatorStats:
    """The annotators (a,) of `annotators`: how good their labels are.

    `quality` in [0, 1]; `agreement`: share of their labels that are the consensus; `worst_class`: the class of their
    labels that agrees least often; `n_labels`.
    """

    annotators: Ints
    quality: Floats
    agreement: Floats
    worst_class: Ints
    n_labels: Ints


def crowdlab(labels: Labels, pred_probs: Floats, *, calibrate: bool = False) -> Consensus:
    """CROWDLAB's consensus labels and weights.

    `pred_probs` (n_tasks, n_classes): out-of-sample class probabilities; `calibrate` scales them by the temperature
    that fits the labels best. Raises ValueError, naming the first bad row, when they are none.
    """
    check_probs("pred_probs", pred_probs, labels.n_tasks, labels.n_classes)
    votes, rows = labels.votes(), _by_annotator(labels)
    counts = votes.sum(axis=1)
    if (counts == 1).all():
        chosen = votes.argmax(axis=1)
        weights = np.ones(len(rows.annotators))
        return Consensus(chosen, pred_probs, np.ones(len(chosen)), 1.0, rows.annotators, weights)
    temperature = 1.0
    if calibrate:
        temperature = best_temperature(votes, counts, pred_probs)
        pred_probs = scaled(pred_probs, temperature)
    majority = _majority(rows, votes, pred_probs)
    first = _weighted(rows, votes, counts, majority, pred_probs)
    tied = (first.probs == first.probs.max(axis=1, keepdims=True)).sum(axis=1) > 1
    chosen = np.where(tied, majority, first.probs.argmax(axis=1))
    return replace(_weighted(rows, votes, counts, chosen, pred_probs), temperature=temperature)


def annotator_stats(labels: Labels, known: Consensus) -> AnnotatorStats:
    """The quality of each annotator, from the consensus `known` of the same labels.

    Quality is the weighted mean of how probable the annotator's labels are and how often they are the consensus on
    tasks that others have labelled too; where there are none of those, the former alone.
    """
    rows = _by_annotator(labels)
    size = len(rows.annotators)
    counts = np.bincount(labels.task, minlength=labels.n_tasks)
    n_labels = np.bincount(rows.annotator, minlength=size)
    right = (known.label[rows.task] == rows.label).astype(np.float64)
    probable = np.bincount(rows.annotator, weights=known.probs[rows.task, rows.label], minlength=size) / n_labels
    shared = counts[rows.task] > 1
    n_shared = np.bincount(rows.annotator[shared], minlength=size)
    agreed = np.bincount(rows.annotator[shared], weights=right[shared], minlength=size) / np.maximum(n_shared, 1)
    annotators_weight = known.annotator_weight.sum() * counts.mean() / max(size, 1) if len(counts) else 0.0
    share = known.model_weight / (known.model_weight + annotators_weight)
    quality = np.where(n_shared > 0, share * probable + (1 - share) * agreed, probable)
    return AnnotatorStats(
        rows.annotators,
        quality,
        np.bincount(rows.annotator, weights=right, minlength=size) / n_labels,
        _worst_class(rows, right, known.quality, labels.n_classes),
        n_labels,
    )


@dataclass(frozen=True)
class _Rows:
    """Labels in the order of their annotators, numbered from 0 without gaps; `annotators` has the old numbers."""

    task: Ints
    annotator: Ints
    label: Ints
    annotators: Ints


def _by_annotator(labels: Labels) -> _Rows:
    """cleanlab adds up annotator by annotator: in this order sums come out the same to the last bit."""
    annotators, compact = np.unique(labels.annotator, return_inverse=True)
    order = np.argsort(compact, kind="stable")
    return _Rows(labels.task[order], compact[order], labels.label[order], annotators)


def _weighted(rows: _Rows, votes: Floats, counts: Floats, consensus: Ints, pred_probs: Floats) -> Consensus:
    """The weighted mean of the model and the annotators (CROWDLAB, section 3)."""
    n_tasks, n_classes = votes.shape
    agreement = votes[np.arange(n_tasks), consensus] / counts
    shared = counts != 1
    likely = float(np.mean(agreement[shared]))
    unlikely = (1 - likely) / (n_classes - 1)
    of_shared = consensus[shared]
    # The error of always answering the most frequent class, against which annotators and the model are measured.
    baseline = max(float(np.mean(of_shared != np.bincount(of_shared, minlength=n_classes).argmax())), LEAST_WEIGHT)
    weight = np.maximum(1 - (1 - _agreement_with_others(rows, votes, counts)) / baseline, LEAST_WEIGHT)
    model_error = float(np.mean(pred_probs[shared].argmax(axis=1) != of_shared))
    model_weight = max(1 - model_error / baseline, LEAST_WEIGHT) * float(np.sqrt(counts.mean()))

    of_row = weight[rows.annotator]
    total = np.bincount(rows.task, weights=of_row, minlength=n_tasks) + model_weight
    # The model comes first and the annotators in their order, as in cleanlab: sums are the same to the last bit.
    place = np.concatenate([np.arange(n_tasks), rows.task])
    probs = np.empty((n_tasks, n_classes))
    for index in range(n_classes):
        said = np.where(rows.label == index, of_row * likely, of_row * unlikely)
        added = np.concatenate([pred_probs[:, index] * model_weight, said])
        probs[:, index] = np.bincount(place, weights=added, minlength=n_tasks) / total
    return Consensus(consensus, probs, agreement, model_weight, rows.annotators, weight)


def _agreement_with_others(rows: _Rows, votes: Floats, counts: Floats) -> Floats:
    """How often each annotator (a,) agrees with the others who labelled the same tasks; the mean where nobody did."""
    size = len(rows.annotators)
    others = np.bincount(rows.annotator, weights=counts[rows.task] - 1, minlength=size)
    agreeing = np.bincount(rows.annotator, weights=votes[rows.task, rows.label] - 1, minlength=size)
    overlap = others > 0
    agreement = np.divide(agreeing, others, out=np.zeros(size), where=overlap)
    agreement[~overlap] = agreement[overlap].mean()
    return agreement


def _majority(rows: _Rows, votes: Floats, pred_probs: Floats) -> Ints:
    """The class most annotators chose (n,).

    Ties go to the class with the higher probability, then to the one with fewer labels in all, then to the one whose
    annotators agree more often with the majority elsewhere, then to the first.
    """
    best = votes == votes.max(axis=1, keepdims=True)
    chosen: Ints = best.argmax(axis=1)
    clear = best.sum(axis=1) == 1
    tied = np.flatnonzero(~clear)
    if not len(tied):
        return chosen
    left = best[tied]
    left = _keep_highest(pred_probs[tied], left)
    left = _keep_highest(np.broadcast_to(-votes.sum(axis=0), left.shape), left)
    if (left.sum(axis=1) > 1).any():
        left = _keep_highest(_reputation(rows, chosen, clear, tied, votes.shape[1]), left)
    chosen[tied] = left.argmax(axis=1)
    return chosen


def _keep_highest(values: Floats, candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the candidates, both (t, k), whose value is the row's highest."""
    values = np.where(candidates, values, -np.inf)
    return np.asarray(values == values.max(axis=1, keepdims=True)) & candidates


def _reputation(rows: _Rows, chosen: Ints, clear: NDArray[np.bool_], tied: Ints, n_classes: int) -> Floats:
    """How often those who chose each class of the tied tasks agree with the majority of clear ones, (t, k)."""
    size = len(rows.annotators)
    on_clear = clear[rows.task]
    n_clear = np.bincount(rows.annotator[on_clear], minlength=size)
    right = (chosen[rows.task] == rows.label) & on_clear
    agreement = np.bincount(rows.annotator[right], minlength=size) / np.maximum(n_clear, 1)
    known = n_clear > 0
    agreement[~known] = agreement[known].mean() if known.any() else 0.0
    position = np.full(len(clear), -1)
    position[tied] = np.arange(len(tied))
    mine = position[rows.task] >= 0
    cell = position[rows.task[mine]] * n_classes + rows.label[mine]
    voters = np.bincount(cell, minlength=len(tied) * n_classes)
    total = np.bincount(cell, weights=agreement[rows.annotator[mine]], minlength=len(tied) * n_classes)
    return np.asarray((total / np.maximum(voters, 1)).reshape(len(tied), n_classes), np.float64)


def _worst_class(rows: _Rows, right: Floats, quality: Floats, n_classes: int) -> Ints:
    """The class (a,) whose labels by an annotator are the consensus least often.

    Ties: the one given more often, then the one whose tasks have the better consensus, then the first.
    """
    size = len(rows.annotators)
    cell = rows.annotator * n_classes + rows.label
    shape = (size, n_classes)
    given = np.bincount(cell, minlength=size * n_classes).reshape(shape)
    often = np.maximum(given, 1)
    accuracy = np.bincount(cell, weights=right, minlength=size * n_classes).reshape(shape) / often
    mean_quality = np.bincount(cell, weights=quality[rows.task], minlength=size * n_classes).reshape(shape) / often
    left = _keep_highest(-accuracy, given > 0)
    left = _keep_highest(given.astype(np.float64), left)
    left = _keep_highest(mean_quality, left)
    return np.asarray(left.argmax(axis=1), np.int64)


def _check_range(name: str, values: Ints, below: int | None) -> None:
    wrong = np.flatnonzero((values < 0) if below is None else (values < 0) | (values >= below))
    if len(wrong):
        allowed = "0 or more" if below is None else f"between 0 and {below - 1}"
        raise ValueError(f"{name}: row {wrong[0]} is {values[wrong[0]]}, not {allowed}.")


def check_probs(name: str, probs: Floats, rows: int, columns: int) -> None:
    if probs.shape != (rows, columns):
        raise ValueError(f"{name} must have the shape {(rows, columns)}, not {probs.shape}.")
    wrong = np.flatnonzero(~(np.isfinite(probs) & (probs >= 0)).all(axis=1))
    if len(wrong):
        raise ValueError(f"{name}: row {wrong[0]} holds {probs[wrong[0]].tolist()}, not probabilities.")
    sums = probs.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1) > 1e-4)
    if len(wrong):
        raise ValueError(f"{name}: row {wrong[0]} sums to {sums[wrong[0]]:.6g}, not to one.")
