"""What every classifier can do."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]


class Classifier(Protocol):
    """Predicts classes from features."""

    def fit(
        self,
        features: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        classes: int,
        seed: int,
        weights: Weights | None = None,
    ) -> None:
        """Learn from features and labels. Some classes may have no label.

        Args:
            features: float32 (n, d).
            labels: For one class per item, positions from 0 to `classes` - 1 (n,). For several classes per item, 1 for
                each class that applies and else 0 (n, `classes`).
            classes: The number of classes.
            seed: Makes the fit repeatable.
            weights: How much each label counts (n,), above 0. None: 1 each.
        """
        ...

    def at_temperature(self, temperature: float) -> "Classifier":
        """A copy whose logits are divided by `temperature` (temperature scaling, Guo et al. 2017)."""
        ...

    def predict_proba(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probabilities (n, `classes`), each above 0. For one class per item, rows sum to one."""
        ...

    def save(self, path: Path) -> None:
        """Write the fitted model to a file that holds no code."""
        ...

    @classmethod
    def load(cls, path: Path) -> "Classifier":
        """Read what `save` wrote. Raises CorruptModel."""
        ...
