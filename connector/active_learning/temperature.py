"""The temperature that makes a model's probabilities fit the labels of several annotators. Pure."""

from __future__ import annotations

import numpy as np

from connector.active_learning.labels import Floats, layout

LEAST_PROBABILITY = 1e-30
TEMPERATURES = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)
FINE_STEPS = 4
ROWS_A_TIME = 1 << 15  # what stays in a processor's cache


def best_temperature(votes: Floats, counts: Floats, pred_probs: Floats) -> float:
    """The temperature T at which probabilities fit the distribution of each task's labels best (soft cross-entropy).

    `votes` (n, k), `counts` (n,): its row sums, `pred_probs` (n, k). Minimises the mean over tasks of
    -sum over classes of p_emp * log softmax(log p_M / T), with p_emp the share of the task's labels of that class
    (ActiveLab, arXiv 2301.11856). A coarse search, then a finer one around the best, as cleanlab 2.9 does it: the
    counts of the chosen classes are in the first columns, whichever classes they are (its counts of floating-point
    labels come out that way).
    """
    wanted = _in_front(votes) / counts[:, None]
    log_probs = np.full_like(pred_probs, -np.inf, order=layout(pred_probs.shape[1]))
    np.log(pred_probs, where=pred_probs > 0, out=log_probs)
    at = int(np.argmin([_cross_entropy(wanted, log_probs, each) for each in TEMPERATURES]))
    candidates: list[float] = []
    if at > 0:
        candidates += np.linspace(TEMPERATURES[at - 1], TEMPERATURES[at], FINE_STEPS, endpoint=False).tolist()
    if at < len(TEMPERATURES) - 1:
        candidates += np.linspace(TEMPERATURES[at], TEMPERATURES[at + 1], FINE_STEPS + 1).tolist()
    return candidates[int(np.argmin([_cross_entropy(wanted, log_probs, each) for each in candidates]))]


def _in_front(votes: Floats) -> Floats:
    """Each row's votes (n, j) without the zeros between them, j the most classes that one task was given."""
    chosen = votes > 0
    place = chosen.cumsum(axis=1) - 1
    front = np.zeros((len(votes), int(place[:, -1].max(initial=0)) + 1), order="F")
    for index in range(votes.shape[1]):
        rows = np.flatnonzero(chosen[:, index])
        front[rows, place[rows, index]] = votes[rows, index]
    return front


def _cross_entropy(wanted: Floats, log_probs: Floats, temperature: float) -> float:
    rows, (_, most_wanted) = np.empty(len(wanted)), wanted.shape
    for start in range(0, len(wanted), ROWS_A_TIME):
        part = slice(start, start + ROWS_A_TIME)
        scaled = log_probs[part] / temperature
        np.exp(scaled, out=scaled)
        total = scaled.sum(axis=1, keepdims=True)
        scaled = scaled[:, :most_wanted]  # the rest would be multiplied by zero
        scaled /= total
        np.clip(scaled, LEAST_PROBABILITY, None, out=scaled)
        np.log(scaled, out=scaled)
        scaled *= wanted[part]
        rows[part] = -scaled.sum(axis=1)
    return float(np.mean(rows / np.log(log_probs.shape[1])))


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
