"""The strength of the penalty and the temperature, chosen by labels that the models did not see."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from ml_backend.classifiers import Classifier, Weights

# C of scikit-learn. If labels are noisy, a low C ranks better, but is not confident enough. The temperature mends that.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 50.0)
_LOG_TEMPERATURE = (-2.5, 1.5)  # from 0.08 to 4.5

HeldOut = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], Weights]


def choose(paths: Sequence[Sequence[Classifier]], held_out: Sequence[HeldOut]) -> tuple[int, float]:
    """Choose the strength and the temperature with the least cross-entropy on held-out labels.

    These are two numbers for all folds together. So a label hardly affects the probabilities of its own item.

    Args:
        paths: For each fold, the classifiers trained without it, one per strength.
        held_out: For each fold, its features, labels and weights.

    Returns:
        The place in STRENGTHS, and the temperature.
    """
    total = sum(len(labels) for _, labels, _ in held_out)
    best = [_temperature(candidates, held_out, total) for candidates in zip(*paths, strict=True)]
    place = int(np.argmin([loss for _, loss in best]))
    return place, best[place][0]


def _temperature(classifiers: Sequence[Classifier], held_out: Sequence[HeldOut], total: int) -> tuple[float, float]:
    """The best temperature of these classifiers, one per fold, and its loss."""

    def loss(log_temperature: float) -> float:
        return sum(
            cross_entropy(classifier.at_temperature(np.exp(log_temperature)).predict_proba(features), labels, w, total)
            for classifier, (features, labels, w) in zip(classifiers, held_out, strict=True)
        )

    minimum = minimize_scalar(loss, bounds=_LOG_TEMPERATURE, method="bounded", options={"xatol": 0.02})
    return float(np.exp(minimum.x)), float(minimum.fun)


def cross_entropy(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], weights: Weights, total: int
) -> float:
    """The weighted sum of the cross-entropy of labels.

    A label counts as (N + 1) / (N + K) of its class and 1 / (N + K) of each other (Platt 1999, section 2.2), with N
    labels and K classes, or K = 2 for yes and no. Otherwise a few labels that are all predicted right would ask for
    certainty.

    Args:
        probabilities: Predicted probabilities (n, k).
        labels: Labels (n,) or (n, k).
        weights: How much each label counts (n,).
        total: N, the number of labels in all folds.
    """
    outcomes = 2 if labels.ndim == 2 else probabilities.shape[1]
    least, most = 1 / (total + outcomes), (total + 1) / (total + outcomes)
    if labels.ndim == 2:
        targets = np.where(labels == 1, most, least)
        losses = targets * np.log(probabilities) + (1 - targets) * np.log1p(-probabilities)
        return float(-weights @ losses.mean(axis=1))
    targets = np.where(labels[:, None] == np.arange(outcomes), most, least)
    return float(-weights @ (targets * np.log(probabilities)).sum(axis=1))
