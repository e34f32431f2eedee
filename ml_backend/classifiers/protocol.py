"""One model a file, behind one protocol."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]


class Classifier(Protocol):
    """A model of classes given features."""

    def fit(
        self,
        features: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        classes: int,
        seed: int,
        weights: Weights | None = None,
    ) -> None:
        """Learn from features (n, d) and labels, some classes of which may be absent.

        Where one class applies, labels (n,) are positions in 0 … `classes` - 1; where several may, labels
        (n, `classes`) are 1 for those that do, else 0. `weights` (n,), above 0, say how much each label counts; None
        is 1 each.
        """
        ...

    def at_temperature(self, temperature: float) -> "Classifier":
        """A copy whose logits are divided by `temperature` (temperature scaling, Guo et al. 2017)."""
        ...

    def predict_proba(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probabilities (n, `classes`), each above 0, rows summing to one where one class applies."""
        ...

    def save(self, path: Path) -> None:
        """Write the fitted model to a file that holds no code."""
        ...

    @classmethod
    def load(cls, path: Path) -> "Classifier":
        """Read what `save` wrote; raises CorruptModel."""
        ...
