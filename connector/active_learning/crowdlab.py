"""CROWDLAB: consensus labels, and how probable each class is given the labels and the model.

As in Goh, Tkachenko and Mueller, "CROWDLAB: Supervised learning to infer consensus labels and quality scores for data
with multiple annotators" (arXiv 2210.06812, whose equations are cited here by number). Equal to cleanlab's wherever
cleanlab answers (the tests compare them), from labels in sparse form and without loops over tasks or annotators. Pure:
arrays in, arrays out, nothing printed, nothing random.

With I+ the tasks that have more than one label, J_i the annotators of task i, Y_ij the label of annotator j on it, Y_i
its consensus label, p_M the model's probabilities, K classes and n tasks:

    agreement_i = mean over j in J_i of [Y_ij = Y_i]                                                    (equation 1)
    P           = mean over i in I+ of agreement_i                                                      (equation 2)
    p_j(k)      = P where k = Y_ij, (1 - P) / (K - 1) elsewhere                                         (equation 3)
    s_j         = the share of pairs with the other labels of j's tasks that are equal                  (equation 4)
    A_M         = mean over i in I+ of [argmax p_M = Y_i]                                               (equation 5)
    A_MLC       = mean over i in I+ of [the most frequent class = Y_i]                                  (equation 6)
    w_j         = 1 - (1 - s_j) / (1 - A_MLC)                                                           (equation 7)
    w_M         = (1 - (1 - A_M) / (1 - A_MLC)) * sqrt(sum over i of |J_i| / n)                         (equation 8)
    p_CR        = (w_M * p_M + sum over j in J_i of w_j * p_j) / (w_M + sum over j in J_i of w_j)     (section 2.1)

Where cleanlab departs from the paper, so does this:

- All is computed first with the majority's labels as consensus, then with the classes that p_CR prefers.
- The most frequent class of equation 6 is that of the consensus labels of I+, not of all labels.
- w_j, w_M and 1 - A_MLC are at least 1e-6.
- An annotator who shares no task has the others' mean s_j.

Where cleanlab raises, prints or draws lots, the rules are:

- An annotator without labels is left out.
- If every task has one label, or there is no labelled task, model and annotators weigh 1 each and probabilities stay
  as they are.
- The last tie goes to the class that comes first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from connector.active_learning.labels import Floats, Ints, Labels, Rows, by_annotator, checked_probs, layout
from connector.active_learning.temperature import best_temperature, scaled

LEAST_WEIGHT = 1e-6  # of an annotator or the model, and the least error rate that they are measured by


@dataclass(frozen=True)
class CrowdlabResult:
    """CROWDLAB's result for the labels of n tasks by a annotators, k classes.

    Attributes:
        label: consensus labels (n,).
        probs: p_CR (n, k), the probability of each class given the labels and the model.
        agreement: share (n,) of a task's annotators who chose the consensus label.
        model_weight: w_M.
        annotators: the annotators' numbers (a,), ascending.
        annotator_weight: w_j (a,).
        total_weight: sum (n,) of w_M and the w_j of a task's annotators.
        temperature: by which the model's probabilities were scaled.
    """

    label: Ints
    probs: Floats
    agreement: Floats
    model_weight: float
    annotators: Ints
    annotator_weight: Floats
    total_weight: Floats
    temperature: float = 1.0

    @property
    def quality(self) -> Floats:
        """The probability (n,) that the consensus label is right."""
        return self.probability_of(self.label)

    def probability_of(self, label: Ints) -> Floats:
        """The probability (n,) that each of `label` (n,) is right."""
        return np.asarray(self.probs[np.arange(len(label)), label], np.float64)


def crowdlab(labels: Labels, pred_probs: Floats, *, calibrate: bool = False) -> CrowdlabResult:
    """CROWDLAB's consensus labels, the class probabilities behind them and the weights (equations 1 to 8).

    The consensus label is the class of the highest p_CR. A tie goes to the majority's class, see `_majority`.

    Args:
        labels: annotators' labels.
        pred_probs: out-of-sample class probabilities (n_tasks, n_classes).
        calibrate: scale the probabilities by the temperature that fits the labels best.

    Raises:
        ValueError: `pred_probs` are no probabilities. It names the first bad row.
    """
    pred_probs = checked_probs("pred_probs", pred_probs, labels.n_tasks, labels.n_classes)
    votes, rows = labels.votes(), by_annotator(labels)
    counts = votes.sum(axis=1)
    if (counts == 1).all():
        chosen = votes.argmax(axis=1)
        ones = np.ones(len(chosen))
        return CrowdlabResult(chosen, pred_probs, ones, 1.0, rows.annotators, np.ones(len(rows.annotators)), 2 * ones)
    temperature = 1.0
    if calibrate:
        temperature = best_temperature(votes, counts, pred_probs)
        pred_probs = scaled(pred_probs, temperature)
    majority = _majority(rows, votes, pred_probs)
    agreeing = _agreement_with_others(rows, votes, counts)
    first = _weighted(rows, votes, counts, majority, pred_probs, agreeing)
    tied = (first.probs == first.probs.max(axis=1, keepdims=True)).sum(axis=1) > 1
    chosen = np.where(tied, majority, first.probs.argmax(axis=1))
    return replace(_weighted(rows, votes, counts, chosen, pred_probs, agreeing), temperature=temperature)


def _weighted(
    rows: Rows, votes: Floats, counts: Floats, consensus: Ints, pred_probs: Floats, agreeing: Floats
) -> CrowdlabResult:
    """p_CR and the weights, with `consensus` (n,) as the labels to measure by and `agreeing` (a,): s_j."""
    n_tasks, n_classes = votes.shape
    agreement = votes[np.arange(n_tasks), consensus] / counts
    shared = counts != 1
    likely = float(np.mean(agreement[shared]))
    unlikely = (1 - likely) / (n_classes - 1)
    of_shared = consensus[shared]
    # 1 - A_MLC: the error of always answering the most frequent class.
    baseline = max(float(np.mean(of_shared != np.bincount(of_shared, minlength=n_classes).argmax())), LEAST_WEIGHT)
    weight = np.maximum(1 - (1 - agreeing) / baseline, LEAST_WEIGHT)
    model_error = float(np.mean(pred_probs[shared].argmax(axis=1) != of_shared))
    model_weight = max(1 - model_error / baseline, LEAST_WEIGHT) * float(np.sqrt(counts.mean()))

    of_row = weight[rows.annotator]
    total_weight = np.full(n_tasks, model_weight)
    total_weight += np.bincount(rows.task, weights=of_row, minlength=n_tasks)
    # The model comes first and the annotators in their order, as in cleanlab: sums are the same to the last bit.
    place = np.concatenate([np.arange(n_tasks), rows.task])
    added = np.empty(len(place))
    right, wrong = of_row * likely, of_row * unlikely
    probs = np.empty((n_tasks, n_classes), order=layout(n_classes))
    for index in range(n_classes):
        np.multiply(pred_probs[:, index], model_weight, out=added[:n_tasks])
        added[n_tasks:] = np.where(rows.label == index, right, wrong)
        np.divide(np.bincount(place, weights=added, minlength=n_tasks), total_weight, out=probs[:, index])
    return CrowdlabResult(consensus, probs, agreement, model_weight, rows.annotators, weight, total_weight)


def _agreement_with_others(rows: Rows, votes: Floats, counts: Floats) -> Floats:
    """s_j (a,), how often annotators agree with others on the same tasks (equation 4). The mean if they share none."""
    size = len(rows.annotators)
    other_labels = np.bincount(rows.annotator, weights=counts[rows.task] - 1, minlength=size)
    agreeing = np.bincount(rows.annotator, weights=votes[rows.task, rows.label] - 1, minlength=size)
    overlap = other_labels > 0
    agreement = np.divide(agreeing, other_labels, out=np.zeros(size), where=overlap)
    agreement[~overlap] = agreement[overlap].mean()
    return agreement


def _majority(rows: Rows, votes: Floats, pred_probs: Floats) -> Ints:
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
    left = keep_highest(pred_probs[tied], left)
    left = keep_highest(np.broadcast_to(-votes.sum(axis=0), left.shape), left)
    if (left.sum(axis=1) > 1).any():
        left = keep_highest(_reputation(rows, chosen, clear, tied, votes.shape[1]), left)
    chosen[tied] = left.argmax(axis=1)
    return chosen


def keep_highest(values: Floats, candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the candidates (t, k) whose value (t, k) is the row's highest."""
    values = np.where(candidates, values, -np.inf)
    return np.asarray(values == values.max(axis=1, keepdims=True)) & candidates


def _reputation(rows: Rows, chosen: Ints, clear: NDArray[np.bool_], tied: Ints, n_classes: int) -> Floats:
    """How often those who chose each class of the tied tasks agree with the majority of clear ones, (t, k)."""
    size = len(rows.annotators)
    on_clear = clear[rows.task]
    n_clear = np.bincount(rows.annotator[on_clear], minlength=size)
    right = (chosen[rows.task] == rows.label) & on_clear
    agreement = np.bincount(rows.annotator[right], minlength=size) / np.maximum(n_clear, 1)
    rated = n_clear > 0
    agreement[~rated] = agreement[rated].mean() if rated.any() else 0.0
    position = np.full(len(clear), -1)
    position[tied] = np.arange(len(tied))
    mine = position[rows.task] >= 0
    cell = position[rows.task[mine]] * n_classes + rows.label[mine]
    voters = np.bincount(cell, minlength=len(tied) * n_classes)
    total = np.bincount(cell, weights=agreement[rows.annotator[mine]], minlength=len(tied) * n_classes)
    return np.asarray((total / np.maximum(voters, 1)).reshape(len(tied), n_classes), np.float64)
