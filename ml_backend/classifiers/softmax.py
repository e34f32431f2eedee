"""Probabilities from logits: the last step of a model that was trained elsewhere."""

from copy import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy.special import expit, softmax

from ml_backend.classifiers.protocol import Weights
from ml_backend.errors import CorruptModel

# As in the logistic classifier: logarithms of the result and of its complement stay finite.
_MIN_PROBABILITY = 1e-7


class SoftmaxClassifier:
    """The softmax of features that are logits, or with `multilabel` the sigmoid of each."""

    def __init__(self, multilabel: bool = False) -> None:
        """If `multilabel`, several classes may apply to an item."""
        self._multilabel = multilabel
        self._classes: int
        self._temperature = 1.0

    def fit(
        self,
        features: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        classes: int,
        seed: int,
        weights: Weights | None = None,
    ) -> None:
        """Take features (n, `classes`) without a change. There is nothing to learn."""
        self._classes = classes

    def at_temperature(self, temperature: float) -> "SoftmaxClassifier":
        """A copy whose logits are divided by `temperature`. Below 1 it is more confident."""
        other = copy(self)
        other._temperature = self._temperature * temperature
        return other

    def predict_proba(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probabilities (n, classes), each above 0. For one class per item, rows sum to one.

        Raises CorruptModel if the number of logits is not that of the classes.
        """
        if features.shape[1] != self._classes:
            raise CorruptModel("A model was made for another number of classes. Train again.")
        logits = features.astype(np.float64) / self._temperature
        if self._multilabel:
            return np.asarray(np.clip(expit(logits), _MIN_PROBABILITY, 1 - _MIN_PROBABILITY))
        probabilities = np.maximum(softmax(logits, axis=1), _MIN_PROBABILITY)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def save(self, path: Path) -> None:
        """Write the number of classes and the temperature as safetensors."""
        numbers = {"classes": self._classes, "multilabel": self._multilabel, "temperature": self._temperature}
        save_file({name: np.array(number, dtype=np.float64) for name, number in numbers.items()}, path)

    @classmethod
    def load(cls, path: Path) -> "SoftmaxClassifier":
        """Read what `save` wrote. Raises CorruptModel."""
        try:
            numbers = {name: float(array) for name, array in load_file(path).items()}
            model = cls(bool(numbers["multilabel"]))
            model._classes, model._temperature = int(numbers["classes"]), numbers["temperature"]
        except Exception as error:  # errors of safetensors and of the file system
            raise CorruptModel("The weights of a model cannot be read. Train again.") from error
        return model
