"""ActiveLab: what one more annotation is worth, for labelled and unlabelled tasks on one scale.

The scores are those of Goh and Mueller, "ActiveLab: Active Learning with Re-Labeling by Multiple Annotators"
(arXiv 2301.11856, whose equations are cited here by number), equal to cleanlab's on integer labels wherever cleanlab
answers (the tests compare them). Pure: arrays in, arrays out.
"""

from __future__ import annotations

from connector.active_learning.crowdlab import crowdlab
from connector.active_learning.labels import Floats, Labels, checked_probs
from connector.active_learning.temperature import scaled


def scores(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
    """ActiveLab scores in [0, 1] of the labelled and the unlabelled tasks. The lowest is worth most.

    The mean of the consensus label's probability and chance, weighted by the model and the labels so far against one
    more annotator of mean weight w_A (equation 2 and the one shown with it, the other symbols are those of `crowdlab`):

        s_i = (p_CR(Y_i) * heard_i + w_A / K) / (heard_i + w_A),  heard_i = w_M + sum over j in J_i of w_j  (labelled)
        s_i = (max p_M * w_M + w_A / K) / (w_M + w_A)                                                     (unlabelled)

    p_M is scaled by the temperature that fits the labels best (`temperature`). Where no task has two labels,
    or none has any, there is nothing to weigh by: w_M = w_j = w_A = 1, and p_M stays as it is.

    Args:
        labels: annotators' labels.
        pred_probs: out-of-sample class probabilities (n_tasks, n_classes) of the labelled tasks.
        pred_probs_unlabeled: the same (u, n_classes) of the unlabelled tasks.

    Returns:
        Scores (n_tasks,) and (u,). Both may be empty.

    Raises:
        ValueError: one of the arrays is no probabilities. It names the array and its first bad row.
    """
    unlabeled_probs = checked_probs(
        "pred_probs_unlabeled", pred_probs_unlabeled, len(pred_probs_unlabeled), labels.n_classes
    )
    result = crowdlab(labels, pred_probs, calibrate=True)
    chance = 1 / labels.n_classes
    one_more = float(result.annotator_weight.mean()) if len(result.annotator_weight) else 1.0
    labeled = (result.quality * result.total_weight + chance * one_more) / (result.total_weight + one_more)
    best = scaled(unlabeled_probs, result.temperature).max(axis=1, initial=0.0)
    unlabeled = (best * result.model_weight + chance * one_more) / (result.model_weight + one_more)
    return labeled, unlabeled
