"""ActiveLab and CROWDLAB: what one more annotation is worth, and what the annotations so far say.

The scores are those of Goh and Mueller, "ActiveLab: Active Learning with Re-Labeling by Multiple Annotators"
(arXiv 2301.11856); consensus labels, their quality and that of the annotators are CROWDLAB's (Goh, Tkachenko and
Mueller, arXiv 2210.06812). Both equal cleanlab's wherever cleanlab answers (the tests compare them), from labels in
sparse form and without loops over tasks or annotators. Pure: arrays in, arrays out, nothing printed, nothing random.

Where cleanlab raises, prints or draws lots, the rules here are: an annotator without labels is left out; where every
task has one label, or none has any, model and annotators weigh 1 each and probabilities stay as they are; the last
tie goes to the class that comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_WEIGHT = 1e-6  # of an annotator or the model, and the least error rate that they are measured by
LEAST_PROBABILITY = 1e-30
TEMPERATURES = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)
FINE_STEPS = 4
ROWS_A_TIME = 1 << 15  # what stays in a processor's cache


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
    `model_weight` and `annotator_weight` (a,): how they are weighed; `annotators` (a,): who they are, ascending.
    """

    label: Ints
    probs: Floats
    agreement: Floats
    model_weight: float
    annotators: Ints
    annotator_weight: Floats

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


def majority_vote(labels: Labels) -> Ints:
    """Consensus labels (n_tasks,) before there are probabilities: the class most annotators chose.

    A tie goes to the class that is more frequent in all labels, then to the one that comes first in the config.
    """
    votes = labels.votes()
    frequency = votes.sum(axis=0) / max(len(labels.label), 1)
    return np.asarray(np.argmax(votes + 0.5 * frequency, axis=1), np.int64)  # 0.5 * frequency < 1 only breaks ties


def crowdlab(labels: Labels, pred_probs: Floats, *, calibrate: bool = False) -> Consensus:
    """CROWDLAB's consensus labels and weights.

    `pred_probs` (n_tasks, n_classes): out-of-sample class probabilities; `calibrate` scales them by the temperature
    that fits the labels best. Raises ValueError, naming the first bad row, when they are none.
    """
    _check_probs("pred_probs", pred_probs, labels.n_tasks, labels.n_classes)
    votes, rows = labels.votes(), _by_annotator(labels)
    counts = votes.sum(axis=1)
    if (counts == 1).all():
        chosen = votes.argmax(axis=1)
        weights = np.ones(len(rows.annotators))
        return Consensus(chosen, pred_probs, np.ones(len(chosen)), 1.0, rows.annotators, weights)
    if calibrate:
        pred_probs = _scaled(pred_probs, _best_temperature(votes, counts, pred_probs))
    majority = _majority(rows, votes, pred_probs)
    first = _weighted(rows, votes, counts, majority, pred_probs)
    tied = (first.probs == first.probs.max(axis=1, keepdims=True)).sum(axis=1) > 1
    chosen = np.where(tied, majority, first.probs.argmax(axis=1))
    return _weighted(rows, votes, counts, chosen, pred_probs)


def heard_consensus(labels: Labels, pred_probs: Floats) -> Ints:
    """Consensus labels (n_tasks,) to train on: CROWDLAB's, but never a class that nobody chose for the task.

    Where most tasks have one label, CROWDLAB trusts the model above its annotators, and a model trained on labels of
    its own making confirms itself (docs/decisions.md has the measurement). Where its choice is nobody's, the majority
    decides, ties by the model.
    """
    chosen = crowdlab(labels, pred_probs).label
    votes = labels.votes()
    heard = votes[np.arange(labels.n_tasks), chosen] > 0
    return np.where(heard, chosen, np.argmax(votes + 0.5 * pred_probs, axis=1)).astype(np.int64)


def scores(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
    """ActiveLab scores in [0, 1] of the labelled and the unlabelled tasks; the lowest is worth most.

    `pred_probs` (n_tasks, n_classes): out-of-sample class probabilities of the labelled tasks; `pred_probs_unlabeled`
    (u, n_classes). Returns (n_tasks,) and (u,). The mean of the consensus label's quality and chance (1 / n_classes),
    weighted by what has been heard (model and annotators) against one more annotator of mean weight.
    """
    _check_probs("pred_probs", pred_probs, labels.n_tasks, labels.n_classes)
    _check_probs("pred_probs_unlabeled", pred_probs_unlabeled, len(pred_probs_unlabeled), labels.n_classes)
    chance = 1 / labels.n_classes
    votes = labels.votes()
    counts = votes.sum(axis=1)
    temperature = 1.0
    if not (counts == 1).all():
        temperature = _best_temperature(votes, counts, pred_probs)
        pred_probs = _scaled(pred_probs, temperature)
    known = crowdlab(labels, pred_probs)
    one_more = float(known.annotator_weight.mean()) if len(known.annotator_weight) else 1.0
    place = np.searchsorted(known.annotators, labels.annotator)
    annotators = np.bincount(labels.task, weights=known.annotator_weight[place], minlength=labels.n_tasks)
    heard = annotators + known.model_weight
    labeled = (known.quality * heard + chance * one_more) / (heard + one_more)
    best = _scaled(pred_probs_unlabeled, temperature).max(axis=1, initial=0.0)
    unlabeled = (best * known.model_weight + chance * one_more) / (known.model_weight + one_more)
    return labeled, unlabeled


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


def _best_temperature(votes: Floats, counts: Floats, pred_probs: Floats) -> float:
    """The temperature at which the probabilities fit the distribution of each task's labels best (soft cross-entropy).

    A coarse search, then a finer one around the best, as cleanlab 2.9 does it: with the counts of the classes that were
    chosen in the first columns, whichever classes they are (its counts of floating-point labels come out that way).
    """
    front = np.argsort(votes == 0, axis=1, kind="stable")
    wanted = np.take_along_axis(votes, front, axis=1) / counts[:, None]
    log_probs = np.full(pred_probs.shape, -np.inf)
    np.log(pred_probs, where=pred_probs > 0, out=log_probs)
    at = int(np.argmin([_cross_entropy(wanted, log_probs, one) for one in TEMPERATURES]))
    candidates: list[float] = []
    if at > 0:
        candidates += np.linspace(TEMPERATURES[at - 1], TEMPERATURES[at], FINE_STEPS, endpoint=False).tolist()
    if at < len(TEMPERATURES) - 1:
        candidates += np.linspace(TEMPERATURES[at], TEMPERATURES[at + 1], FINE_STEPS + 1).tolist()
    return candidates[int(np.argmin([_cross_entropy(wanted, log_probs, one) for one in candidates]))]


def _cross_entropy(wanted: Floats, log_probs: Floats, temperature: float) -> float:
    rows = np.empty(len(wanted))
    for start in range(0, len(wanted), ROWS_A_TIME):
        part = slice(start, start + ROWS_A_TIME)
        scaled = np.exp(log_probs[part] / temperature)
        scaled /= scaled.sum(axis=1, keepdims=True)
        np.clip(scaled, LEAST_PROBABILITY, None, out=scaled)
        rows[part] = -np.sum(wanted[part] * np.log(scaled, out=scaled), axis=1)
    return float(np.mean(rows / np.log(wanted.shape[1])))


def _scaled(pred_probs: Floats, temperature: float) -> Floats:
    """Probabilities (n, k) at another temperature, rows summing to one."""
    probs = np.clip(pred_probs, LEAST_PROBABILITY, None)
    probs /= probs.sum(axis=1, keepdims=True)
    probs = np.exp(np.log(probs, out=probs) / temperature)
    probs /= probs.sum(axis=1, keepdims=True)
    return np.asarray(probs / probs.sum(axis=1, keepdims=True), np.float64)


def _check_range(name: str, values: Ints, below: int | None) -> None:
    wrong = np.flatnonzero((values < 0) if below is None else (values < 0) | (values >= below))
    if len(wrong):
        allowed = "0 or more" if below is None else f"between 0 and {below - 1}"
        raise ValueError(f"{name}: row {wrong[0]} is {values[wrong[0]]}, not {allowed}.")


def _check_probs(name: str, probs: Floats, rows: int, columns: int) -> None:
    if probs.shape != (rows, columns):
        raise ValueError(f"{name} must have the shape {(rows, columns)}, not {probs.shape}.")
    wrong = np.flatnonzero(~(np.isfinite(probs) & (probs >= 0)).all(axis=1))
    if len(wrong):
        raise ValueError(f"{name}: row {wrong[0]} holds {probs[wrong[0]].tolist()}, not probabilities.")
    sums = probs.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1) > 1e-4)
    if len(wrong):
        raise ValueError(f"{name}: row {wrong[0]} sums to {sums[wrong[0]]:.6g}, not to one.")
