"""Consensus methods: from labels and probabilities to one label per task, how probably it is right, and its weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connector.active_learning.crowdlab import crowdlab
from connector.active_learning.dawid_skene import label_weights, posterior
from connector.active_learning.labels import Floats, Ints, Labels
from connector.active_learning.majority_vote import majority_vote, restrict_to_given_labels

TIE_WEIGHT = 0.05  # not zero, because a class may have no other labels yet


@dataclass(frozen=True)
class ConsensusResult:
    """Consensus labels of n tasks.

    Attributes:
        label: class indices (n,), or for multiple choice whether each class applies (n, n_classes).
        probability: the probability (n,) that the label is right.
        weight: how much each label counts in a training (n,). None: all count alike.
    """

    label: Ints | NDArray[np.bool_]
    probability: Floats
    weight: Floats | None = None


# From labels and out-of-sample class probabilities (n_tasks, n_classes) to consensus labels.
ConsensusMethod = Callable[[Labels, Floats], ConsensusResult]


def by_majority(labels: Labels, pred_probs: Floats | None = None) -> ConsensusResult:
    """The majority's label. Its probability is the share of the task's labels, since no model is asked.

    A label that won a tie counts TIE_WEIGHT in a training. All ties go to the more frequent class, so a model would
    learn from them that doubtful texts are of that class (docs/decisions/0072).
    """
    chosen, votes = majority_vote(labels), labels.votes()
    won = votes[np.arange(labels.n_tasks), chosen]
    is_tie = (votes == won[:, None]).sum(axis=1) > 1
    weight = np.where(is_tie, TIE_WEIGHT, 1.0) if is_tie.any() and not is_tie.all() else None
    return ConsensusResult(chosen, won / votes.sum(axis=1), weight)


def by_crowdlab(labels: Labels, pred_probs: Floats) -> ConsensusResult:
    """CROWDLAB's label, which may be a class that no annotator gave the task."""
    result = crowdlab(labels, pred_probs)
    return ConsensusResult(result.label, result.quality)


def by_crowdlab_among_given(labels: Labels, pred_probs: Floats) -> ConsensusResult:
    """CROWDLAB's label if an annotator gave it, else the majority's label. See `restrict_to_given_labels`."""
    result = crowdlab(labels, pred_probs)
    chosen = restrict_to_given_labels(result.label, labels, pred_probs)
    return ConsensusResult(chosen, result.probability_of(chosen))


def by_posterior(labels: Labels, pred_probs: Floats) -> ConsensusResult:
    """The likeliest label by Dawid and Skene's posterior if an annotator gave it, else the majority's label."""
    probs = posterior(labels, pred_probs)
    chosen = restrict_to_given_labels(probs.argmax(axis=1).astype(np.int64), labels, probs)
    probability = np.asarray(probs[np.arange(labels.n_tasks), chosen], np.float64)
    return ConsensusResult(chosen, probability, label_weights(labels, pred_probs, probs, chosen))
