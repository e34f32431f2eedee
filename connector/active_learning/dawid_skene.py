"""How probable each class is given a task's labels and the model: annotators by their confusions, the model as prior.

Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (1979), with the
classifier's probabilities in the place of the class frequencies as in Raykar et al., "Learning from crowds" (JMLR 11,
2010). With Y_ij the label of annotator j on task i, K classes and p_M the model's probabilities, scaled by the
temperature that fits the labels best (`connector.active_learning.temperature`):

    q_i(k)      ~ p_M(k) * product over annotators j of the task of pi_j(k, Y_ij)
    C_j(k, l)   = sum of q_i(k) over the tasks that j gave the label l

and so on in turn. Few annotators have enough labels for a table of confusions of their own. So each table is drawn to a
simpler estimate (these priors are ours), with S pseudo-labels at every step:

    pooled(k, l) = (sum over j of C_j(k, l) + S K e(k, l)) / (sum over j and l of C_j(k, l) + S K)
    a_j          = (sum over k of C_j(k, k) + S a) / (sum of C_j + S)
    one_j(k, l)  = a_j where k = l, else (1 - a_j) pooled(k, l) / (sum over m other than k of pooled(k, m))
    pi_j(k, l)   = (C_j(k, l) + S one_j(k, l)) / (sum over l of C_j(k, l) + S)

where a is the accuracy of all labels together, and e(k, l) is a where k = l and (1 - a) / (K - 1) elsewhere. No
annotator counts as more accurate than MOST_ACCURATE. Pure: arrays in, arrays out, nothing random.
"""

from __future__ import annotations

import numpy as np

from connector.active_learning.crowdlab import crowdlab
from connector.active_learning.labels import Floats, Ints, Labels, checked_probs
from connector.active_learning.temperature import best_temperature, scaled

PSEUDO_LABELS = 10.0  # S
MOST_ACCURATE = 0.98
LEAST = 1e-12  # of a class by the model, of an answer by an annotator: others can outweigh it
ITERATIONS = 15  # few labels a task: the posterior hardly moves after that
WEIGHT_POWER = 3  # a label that is right with 0.5 counts an eighth of one that is certain
LEAST_PROBABLE = 0.01  # a label that is this unlikely counts next to nothing, but never nothing


def posterior(labels: Labels, pred_probs: Floats) -> Floats:
    """The probability of each class given labels and model (n_tasks, n_classes).

    `pred_probs` (n_tasks, n_classes): out-of-sample class probabilities. Raises ValueError, naming the first bad row,
    if they are no probabilities.
    """
    return posterior_and_likelihood(labels, pred_probs)[0]


def posterior_and_likelihood(labels: Labels, pred_probs: Floats) -> tuple[Floats, Floats]:
    """As `posterior`, and the log probability of each task's labels given each class (n_tasks, n_classes)."""
    pred_probs = checked_probs("pred_probs", pred_probs, labels.n_tasks, labels.n_classes)
    if not labels.n_tasks:
        return pred_probs, np.zeros(pred_probs.shape)
    votes = labels.votes()
    counts = votes.sum(axis=1)
    prior = scaled(pred_probs, best_temperature(votes, counts, pred_probs))
    annotators, annotator = np.unique(labels.annotator, return_inverse=True)
    cell = annotator.reshape(-1) * labels.n_classes + labels.label
    # Classes come first from here on: what is added up lies together in memory, which halves the time of many classes.
    logs = np.log(np.maximum(prior, LEAST)).T.copy()
    probs = ((votes / counts[:, None] + prior) / 2).T.copy()
    of_labels = np.zeros(probs.shape)
    for _ in range(ITERATIONS):
        confusion = confusions(labels.task, cell, len(annotators), probs)
        likely = np.log(np.maximum(confusion, LEAST)).transpose(1, 0, 2).reshape(labels.n_classes, -1)
        for k in range(labels.n_classes):
            of_labels[k] = np.bincount(labels.task, likely[k, cell], labels.n_tasks)
            np.add(logs[k], of_labels[k], out=probs[k])
        probs -= probs.max(axis=0)
        np.exp(probs, out=probs)
        probs /= probs.sum(axis=0)
    return np.asarray(probs.T, np.float64), np.asarray(of_labels.T, np.float64)


def label_weights(labels: Labels, pred_probs: Floats, probs: Floats, chosen: Ints) -> Floats:
    """How much each of the labels `chosen` (n_tasks,) counts in a training, 1 in the mean of every class.

    The weight is the cube of the probability that the label is right. That probability is the geometric mean of
    `posterior`, which weighs annotators by their confusions, and of CROWDLAB, which weighs the model more. Weights are
    divided by their mean over the tasks with the same label. Otherwise a model that leans to a class would give more
    weight to the labels of that class, and lean further. The rule is ours (docs/selection.md has the measurement).

    Args:
        labels: annotators' labels.
        pred_probs: out-of-sample class probabilities (n_tasks, n_classes).
        probs: the `posterior` (n_tasks, n_classes) of `labels` and `pred_probs`.
        chosen: the labels (n_tasks,) to weigh.

    Returns:
        Weights (n_tasks,) above zero.
    """
    rows = np.arange(labels.n_tasks)
    right = np.sqrt(probs[rows, chosen] * crowdlab(labels, pred_probs).probability_of(chosen))
    weights = np.maximum(right, LEAST_PROBABLE) ** WEIGHT_POWER
    sizes = np.bincount(chosen, minlength=labels.n_classes)
    mean = np.bincount(chosen, weights, labels.n_classes) / np.maximum(sizes, 1)
    return np.asarray(weights / mean[chosen], np.float64)


def confusions(task: Ints, cell: Ints, size: int, probs: Floats) -> Floats:
    """pi_j(k, l), the probability that an annotator gives the label l to a task of class k: (annotators, K, K).

    Args:
        task: the task (m,) of each label.
        cell: K times the number of the annotator plus the label (m,).
        size: the number of annotators.
        probs: the probability of each class (K, n_tasks).
    """
    k = len(probs)
    counted = np.stack([np.bincount(cell, of_class[task], size * k) for of_class in probs])
    counts = counted.reshape(k, size, k).transpose(1, 0, 2)
    together = counts.sum(axis=0)
    accuracy = min(float(np.trace(together) / together.sum()), MOST_ACCURATE)
    even = np.full((k, k), (1 - accuracy) / (k - 1))
    np.fill_diagonal(even, accuracy)
    pooled = (together + PSEUDO_LABELS * k * even) / (together.sum(axis=1, keepdims=True) + PSEUDO_LABELS * k)
    wrong = pooled * (1 - np.eye(k))
    wrong /= wrong.sum(axis=1, keepdims=True)
    right = np.einsum("jkk->j", counts)
    own = np.minimum((right + PSEUDO_LABELS * accuracy) / (counts.sum(axis=(1, 2)) + PSEUDO_LABELS), MOST_ACCURATE)
    expected = wrong * (1 - own)[:, None, None] + np.eye(k) * own[:, None, None]
    sums = counts.sum(axis=2, keepdims=True)
    return np.asarray((counts + PSEUDO_LABELS * expected) / (sums + PSEUDO_LABELS), np.float64)
