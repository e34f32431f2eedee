"""A network of PyTorch as a model of recordings: batches of equally long windows, and vectors of length 1."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ml_backend.features import device
from ml_backend.features.image_models.torch_model import Inputs, TorchModel
from ml_backend.features.media_encoder import Matrix
from ml_backend.features.recordings import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    import torch


class AudioTorchModel(TorchModel):
    """A network, and what is done before and after it. `preprocess` gets one window.

    Some networks read windows of any length. In a batch, shorter ones would need silence at their end, which changes
    their vectors. So only windows of the same length are in one batch.
    """

    @property
    def chunk_size(self) -> int:
        """How many windows are computed while others wait: some batches."""
        return device.chunk_size(self._device.type, "recordings")

    def prepare(self, parts: Sequence[Samples]) -> list[Inputs]:  # type: ignore[override]
        """The inputs of the network for each window, as arrays (1, …)."""
        return [self._preprocess(part) for part in parts]  # type: ignore[arg-type]

    def vectors(self, prepared: Sequence[Inputs]) -> Matrix:  # type: ignore[override]
        """Vectors of length 1, float32 (n, d)."""
        rows: dict[int, Matrix] = {}
        for places, inputs in _equally_long(prepared):
            found = device.compute(self._device.type, partial(self._batches, inputs), "recordings")
            rows.update(zip(places, found, strict=True))
        return np.stack([rows[place] for place in range(len(prepared))])

    def embed(self, parts: Sequence[Samples]) -> "torch.Tensor":  # type: ignore[override]
        """Vectors of length 1, float32 (n, d), with their gradients."""
        import torch

        rows: dict[int, torch.Tensor] = {}
        for places, inputs in _equally_long(self.prepare(parts)):
            rows.update(zip(places, self._features(inputs), strict=True))
        vectors = torch.stack([rows[place] for place in range(len(parts))])
        return torch.nn.functional.normalize(vectors.float(), dim=1)

    def _try(self) -> None:
        """Raise an error if it cannot embed windows of any length, each always in the same way."""
        times = [np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE for seconds in (1, 0.1, 1)]
        vectors = self.vectors(self.prepare([np.sin(2_765 * time) for time in times]))
        if not np.isfinite(vectors).all():
            raise ValueError("The vectors are not finite.")
        if not np.allclose(vectors[0], vectors[2], atol=1e-4):
            raise ValueError("The vectors depend on chance.")


def _equally_long(prepared: Sequence[Inputs]) -> Iterator[tuple[list[int], Inputs]]:
    """The places of windows whose inputs have the same shapes, and these inputs as one."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for place, inputs in enumerate(prepared):
        groups.setdefault(tuple(array.shape for array in inputs.values()), []).append(place)
    for places in groups.values():
        group = [prepared[place] for place in places]
        yield places, {name: np.concatenate([inputs[name] for inputs in group]) for name in group[0]}
