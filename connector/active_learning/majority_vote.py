"""Consensus labels by majority vote, and the rule that a consensus label is one that an annotator gave."""

from __future__ import annotations

import numpy as np

from connector.active_learning.labels import Floats, Ints, Labels


def majority_vote(labels: Labels) -> Ints:
    """Consensus labels (n_tasks,) before there are probabilities: the class that most annotators chose.

    A tie goes to the class that is more frequent in all labels, then to the one that comes first in the config.
    """
    votes = labels.votes()
    frequency = votes.sum(axis=0) / max(len(labels.label), 1)
    return np.asarray(np.argmax(votes + 0.5 * frequency, axis=1), np.int64)  # 0.5 * frequency < 1 only breaks ties


def restrict_to_given_labels(chosen: Ints, labels: Labels, pred_probs: Floats) -> Ints:
    """`chosen` (n_tasks,) if an annotator gave the task that label, else the majority's label, ties by the model.

    Where most tasks have one label, CROWDLAB trusts the model above its annotators. A model trained on labels of its
    own making confirms itself (docs/decisions/0030-the-consensus-rule.md has the measurement).

    `pred_probs` (n_tasks, n_classes). Returns (n_tasks,).
    """
    votes = labels.votes()
    is_given = votes[np.arange(labels.n_tasks), chosen] > 0
    return np.where(is_given, chosen, np.argmax(votes + 0.5 * pred_probs, axis=1)).astype(np.int64)
