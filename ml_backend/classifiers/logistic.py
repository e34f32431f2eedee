"""Multinomial logistic regression."""

from copy import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from ml_backend.classifiers.protocol import Weights
from ml_backend.errors import CorruptModel

# Far below any probability that matters, far above the smallest float32. Logarithms of the result stay finite.
_MIN_PROBABILITY = 1e-7


class LogisticClassifier:
    """Scikit-learn's logistic regression over the classes with labels, and Laplace's estimate for the others.

    With n labels, K classes and m of them without a label, each of these m gets 1 / (n + K), as add-one smoothing gives
    a count of zero. The probabilities of the regression are scaled to the rest, 1 - m / (n + K).
    """

    def __init__(self, c: float = 10.0) -> None:
        """`c` is the inverse strength of the L2 penalty, as in scikit-learn."""
        self._c = c
        self._weights: npt.NDArray[np.float64]
        self._bias: npt.NDArray[np.float64]
        self._present: npt.NDArray[np.int64]
        self._counts: npt.NDArray[np.int64]  # labels, classes

    def fit(
        self,
        features: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        classes: int,
        seed: int,
        weights: Weights | None = None,
    ) -> None:
        """Learn from features (n, d), labels (n,) and `weights` (n,). One class is enough."""
        self._present = np.unique(labels).astype(np.int64)
        self._counts = np.array([len(labels), classes], dtype=np.int64)
        if len(self._present) == 1:
            self._weights, self._bias = np.zeros((1, features.shape[1])), np.zeros(1)
            return
        model = LogisticRegression(C=self._c, max_iter=1000, random_state=seed)
        model.fit(features.astype(np.float64), labels, weights)
        self._weights, self._bias = model.coef_, model.intercept_
        if len(self._present) == 2:  # one row of weights, for the second class against the first
            self._weights = np.vstack([np.zeros_like(self._weights), self._weights])
            self._bias = np.concatenate([[0.0], self._bias])

    def at_temperature(self, temperature: float) -> "LogisticClassifier":
        """A copy whose logits are divided by `temperature`. Below 1 it is more confident."""
        other = copy(self)
        other._weights, other._bias = self._weights / temperature, self._bias / temperature
        return other

    def predict_proba(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probabilities (n, classes), each above 0. Rows sum to one."""
        labels, classes = self._counts.tolist()
        absent = 1 / (labels + classes)
        probabilities = np.full((len(features), classes), absent)
        rest = 1 - (classes - len(self._present)) * absent
        # float32: half the memory and twice the speed for a large dataset
        logits = features @ self._weights.T.astype(np.float32) + self._bias
        probabilities[:, self._present] = rest * softmax(logits, axis=1)
        probabilities = np.maximum(probabilities, _MIN_PROBABILITY)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        arrays = {"weights": self._weights, "bias": self._bias, "present": self._present, "counts": self._counts}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)

    @classmethod
    def load(cls, path: Path) -> "LogisticClassifier":
        """Read what `save` wrote, for `predict_proba`. Raises CorruptModel."""
        model = cls()
        try:
            arrays = load_file(path)
            model._weights, model._bias = arrays["weights"], arrays["bias"]
            model._present, model._counts = arrays["present"], arrays["counts"]
        except Exception as error:  # errors of safetensors and of the file system
            raise CorruptModel("The weights of a model cannot be read. Train again.") from error
        return model
