"""The temperature that makes a model's probabilities fit the labels of several annotators. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_PROBABILITY = 1e-30
TEMPERATURES = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)
FINE_STEPS = 4
ROWS_A_TIME = 1 << 15  # what stays in a processor's cache


def best_temperature(votes: Floats, counts: Floats, pred_probs: Floats) -> float:
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


def scaled(pred_probs: Floats, temperature: float) -> Floats:
    """Probabilities (n, k) at another temperature, rows summing to one."""
    probs = np.clip(pred_probs, LEAST_PROBABILITY, None)
    probs /= probs.sum(axis=1, keepdims=True)
    probs = np.exp(np.log(probs, out=probs) / temperature)
    probs /= probs.sum(axis=1, keepdims=True)
    return np.asarray(probs / probs.sum(axis=1, keepdims=True), np.float64)
