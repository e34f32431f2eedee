"""Logistic regression of each class against the rest, for several classes per item."""

from copy import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from ml_backend.classifiers.protocol import Weights
from ml_backend.errors import CorruptModel

# As in the logistic classifier: logarithms of the result and of its complement stay finite.
_MIN_PROBABILITY = 1e-7
DECISION_THRESHOLD = 0.5  # a class with this probability or more is predicted


class OneVsRestClassifier:
    """Scikit-learn's logistic regression for each class, or Laplace's estimate if its labels are all alike.

    With n items, a class that none has gets 1 / (n + 2), and one that all have gets (n + 1) / (n + 2).
    """

    def __init__(self, c: float = 10.0) -> None:
        """`c` is the inverse strength of the L2 penalty, as in scikit-learn."""
        self._c = c
        self._weights: npt.NDArray[np.float64]
        self._bias: npt.NDArray[np.float64]

    def fit(
        self,
        features: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        classes: int,
        seed: int,
        weights: Weights | None = None,
    ) -> None:
        """Learn from features (n, d), labels (n, `classes`), 1 for a class that applies, and `weights` (n,)."""
        exact = features.astype(np.float64)
        self._weights, self._bias = np.zeros((classes, features.shape[1])), np.empty(classes)
        for index in range(classes):
            applies = labels[:, index]
            if applies.min() == applies.max():
                self._bias[index] = logit((applies.sum() + 1) / (len(applies) + 2))
                continue
            model = LogisticRegression(C=self._c, max_iter=1000, random_state=seed).fit(exact, applies, weights)
            self._weights[index], self._bias[index] = model.coef_[0], model.intercept_[0]

    def at_temperature(self, temperature: float) -> "OneVsRestClassifier":
        """A copy whose logits are divided by `temperature`, except those of Laplace's estimates."""
        other = copy(self)
        fitted = self._weights.any(axis=1)
        other._weights = self._weights / temperature
        other._bias = np.where(fitted, self._bias / temperature, self._bias)
        return other

    def predict_proba(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The probability (n, `classes`) that each class applies, above 0 and below 1."""
        # float32: half the memory and twice the speed for a large dataset
        logits = features @ self._weights.T.astype(np.float32) + self._bias
        return np.asarray(np.clip(expit(logits), _MIN_PROBABILITY, 1 - _MIN_PROBABILITY))

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        save_file({"weights": self._weights, "bias": self._bias}, path)

    @classmethod
    def load(cls, path: Path) -> "OneVsRestClassifier":
        """Read what `save` wrote, for `predict_proba`. Raises CorruptModel."""
        model = cls()
        try:
            arrays = load_file(path)
            model._weights, model._bias = arrays["weights"], arrays["bias"]
        except Exception as error:  # errors of safetensors and of the file system
            raise CorruptModel("The weights of a model cannot be read. Train again.") from error
        return model
