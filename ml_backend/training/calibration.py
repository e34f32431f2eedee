"""How strong a penalty is and how sure a model may be, chosen by labels that it was not shown."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from ml_backend.classifiers.protocol import Classifier, Weights

# C of scikit-learn. Where labels are noisy a low one ranks better but is too unsure, which the temperature mends.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 50.0)
_LOG_TEMPERATURE = (-2.5, 1.5)  # from 0.08 to 4.5

HeldOut = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], Weights]


def choose(paths: Sequence[Sequence[Classifier]], held_out: Sequence[HeldOut]) -> tuple[int, float]:
    """The place in STRENGTHS and the temperature of the least cross-entropy on what each fold's models were not shown.

    `paths` are the classifiers made without each fold, one a strength; `held_out` the fold's features, labels and
    weights. These are two numbers for all folds together, so a label hardly tells on its own item's probabilities.
    """
    total = sum(len(labels) for _, labels, _ in held_out)
    best = [_temperature(candidates, held_out, total) for candidates in zip(*paths, strict=True)]
    place = int(np.argmin([loss for _, loss in best]))
    return place, best[place][0]


def _temperature(classifiers: Sequence[Classifier], held_out: Sequence[HeldOut], total: int) -> tuple[float, float]:
    def loss(log_temperature: float) -> float:
        return sum(
            cross_entropy(classifier.at_temperature(np.exp(log_temperature)).predict_proba(features), labels, w, total)
            for classifier, (features, labels, w) in zip(classifiers, held_out, strict=True)
        )

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURE, method="bounded", options={"xatol": 0.02})
    return float(np.exp(found.x)), float(found.fun)


def cross_entropy(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], weights: Weights, total: int
) -> float:
    """The weighted sum of the cross-entropy of labels (n,) or (n, k), of which there are `total` with other folds'.

    A label counts as (N + 1) / (N + K) of its class and 1 / (N + K) of each other, K classes or yes and no: else some
    few that are all predicted right would ask for certainty (Platt 1999, section 2.2).
    """
    kinds = 2 if labels.ndim == 2 else probabilities.shape[1]
    least, most = 1 / (total + kinds), (total + 1) / (total + kinds)
    if labels.ndim == 2:
        targets = np.where(labels == 1, most, least)
        each = targets * np.log(probabilities) + (1 - targets) * np.log1p(-probabilities)
        return float(-weights @ each.mean(axis=1))
    targets = np.where(labels[:, None] == np.arange(kinds), most, least)
    return float(-weights @ (targets * np.log(probabilities)).sum(axis=1))
