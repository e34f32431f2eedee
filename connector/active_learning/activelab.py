"""ActiveLab: what one more annotation is worth, for labelled and unlabelled tasks on one scale.

The scores are those of Goh and Mueller, "ActiveLab: Active Learning with Re-Labeling by Multiple Annotators"
(arXiv 2301.11856, whose equations are cited here by number), equal to cleanlab's wherever cleanlab answers (the tests
compare them). Pure: arrays in, arrays out.
"""

from __future__ import annotations

import numpy as np

from connector.active_learning.crowdlab import Floats, Ints, Labels, checked_probs, crowdlab
from connector.active_learning.temperature import scaled


def majority_vote(labels: Labels) -> Ints:
    """Consensus labels (n_tasks,) before there are probabilities: the class most annotators chose.

    A tie goes to the class that is more frequent in all labels, then to the one that comes first in the config.
    """
    votes = labels.votes()
    frequency = votes.sum(axis=0) / max(len(labels.label), 1)
    return np.asarray(np.argmax(votes + 0.5 * frequency, axis=1), np.int64)  # 0.5 * frequency < 1 only breaks ties


def heard_consensus(labels: Labels, pred_probs: Floats) -> Ints:
    """Consensus labels (n_tasks,) to train on: CROWDLAB's, but never a class that nobody chose for the task.

    Where most tasks have one label, CROWDLAB trusts the model above its annotators, and a model trained on labels of
    its own making confirms itself (docs/decisions.md has the measurement). Where its choice is nobody's, the majority
    decides, ties by the model. `pred_probs` (n_tasks, n_classes): out-of-sample class probabilities. Raises ValueError,
    naming the first bad row, when they are none.
    """
    return among_heard(crowdlab(labels, pred_probs).label, labels, pred_probs)


def among_heard(chosen: Ints, labels: Labels, pred_probs: Floats) -> Ints:
    """`chosen` (n_tasks,) where somebody gave that label, or else the majority's, ties by the model.

    `pred_probs` (n_tasks, n_classes); returns (n_tasks,).
    """
    votes = labels.votes()
    heard = votes[np.arange(labels.n_tasks), chosen] > 0
    return np.where(heard, chosen, np.argmax(votes + 0.5 * pred_probs, axis=1)).astype(np.int64)


def scores(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
    """ActiveLab scores in [0, 1] of the labelled and the unlabelled tasks; the lowest is worth most.

    `pred_probs` (n_tasks, n_classes): out-of-sample class probabilities of the labelled tasks; `pred_probs_unlabeled`
    (u, n_classes). Returns (n_tasks,) and (u,); both may be empty. Raises ValueError, naming the argument and its first
    bad row.

    The mean of the consensus label's probability and chance, weighted by what has been heard against one more annotator
    of mean weight w_A (equation 2 and the one shown with it; the other symbols are explained in `crowdlab`):

        s_i = (p_CR(Y_i) * heard_i + w_A / K) / (heard_i + w_A),  heard_i = w_M + sum over j in J_i of w_j  (labelled)
        s_i = (max p_M * w_M + w_A / K) / (w_M + w_A)                                                     (unlabelled)

    p_M is scaled by the temperature that fits the labels best (`temperature`). Where no task has two labels,
    or none has any, there is nothing to weigh by: w_M = w_j = w_A = 1, and p_M stays as it is.
    """
    unlabeled_probs = checked_probs(
        "pred_probs_unlabeled", pred_probs_unlabeled, len(pred_probs_unlabeled), labels.n_classes
    )
    known = crowdlab(labels, pred_probs, calibrate=True)
    chance = 1 / labels.n_classes
    one_more = float(known.annotator_weight.mean()) if len(known.annotator_weight) else 1.0
    labeled = (known.quality * known.heard + chance * one_more) / (known.heard + one_more)
    best = scaled(unlabeled_probs, known.temperature).max(axis=1, initial=0.0)
    unlabeled = (best * known.model_weight + chance * one_more) / (known.model_weight + one_more)
    return labeled, unlabeled
