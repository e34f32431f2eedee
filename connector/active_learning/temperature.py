"""The temperature that makes a model's probabilities fit the labels of several annotators. Pure."""

from __future__ import annotations

import numpy as np

from connector.active_learning.labels import Floats, layout

LEAST_PROBABILITY = 1e-30
TEMPERATURES = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)
FINE_STEPS = 4
ROWS_A_TIME = 1 << 15  # what stays in a processor's cache
DIGITS = 12  # of the cross-entropy: what two orders of summation agree on


def best_temperature(votes: Floats, counts: Floats, pred_probs: Floats) -> float:
    """The temperature T at which probabilities fit the distribution of each task's labels best (soft cross-entropy).

    `votes` (n, k), `counts` (n,): its row sums, `pred_probs` (n, k). Minimises the mean over tasks of
    -sum over classes of p_emp * log softmax(log p_M / T), with p_emp the share of the task's labels of that class
    (ActiveLab, arXiv 2301.11856). A coarse search, then a finer one around the best, over the temperatures that
    cleanlab 2.9 tries.

    cleanlab finds another T if labels are floating-point numbers, as they are wherever a task lacks an annotator's
    label: it then counts a task's labels in the first columns, whatever their classes
    (docs/decisions/0061-label-counts-under-their-classes.md).
    """
    task, label = np.nonzero(votes)
    share = votes[task, label] / counts[task]
    starts = np.searchsorted(task, np.arange(0, len(votes) + ROWS_A_TIME, ROWS_A_TIME))
    log_probs = np.full_like(pred_probs, -np.inf, order=layout(pred_probs.shape[1]))
    np.log(pred_probs, where=pred_probs > 0, out=log_probs)

    def cross_entropy(temperature: float) -> float:
        total = 0.0
        for part, start in enumerate(range(0, len(votes), ROWS_A_TIME)):
            cells = slice(starts[part], starts[part + 1])
            softmax = log_probs[start : start + ROWS_A_TIME] / temperature
            np.exp(softmax, out=softmax)
            rows = task[cells] - start
            of_label = softmax[rows, label[cells]] / softmax.sum(axis=1)[rows]
            total -= float(share[cells] @ np.log(np.maximum(of_label, LEAST_PROBABILITY)))
        return round(total / len(votes), DIGITS)  # so that the order of classes or tasks does not decide a tie

    at = int(np.argmin([cross_entropy(each) for each in TEMPERATURES]))
    candidates: list[float] = []
    if at > 0:
        candidates += np.linspace(TEMPERATURES[at - 1], TEMPERATURES[at], FINE_STEPS, endpoint=False).tolist()
    if at < len(TEMPERATURES) - 1:
        candidates += np.linspace(TEMPERATURES[at], TEMPERATURES[at + 1], FINE_STEPS + 1).tolist()
    return candidates[int(np.argmin([cross_entropy(each) for each in candidates]))]


def scaled(pred_probs: Floats, temperature: float) -> Floats:
    """Probabilities (n, k) at another temperature, softmax(log p / T), rows summing to one."""
    probs = np.maximum(pred_probs, LEAST_PROBABILITY, order=layout(pred_probs.shape[1]))
    probs /= probs.sum(axis=1, keepdims=True)
    np.log(probs, out=probs)
    probs /= temperature
    np.exp(probs, out=probs)
    probs /= probs.sum(axis=1, keepdims=True)
    probs /= probs.sum(axis=1, keepdims=True)
    return probs
