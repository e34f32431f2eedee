"""A network of PyTorch as a model of images: batches on a device, and vectors of length 1."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml_backend.features import device
from ml_backend.features.finetune import variant
from ml_backend.features.lazy_encoder import fingerprint_of
from ml_backend.features.media_encoder import Matrix

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Inputs = Mapping[str, npt.NDArray[Any]]  # by the names of the network's arguments, each (n, …)


class TorchModel:
    """A network, and what is done before and after it."""

    def __init__(
        self,
        network: "torch.nn.Module",
        preprocess: "Callable[[Sequence[Image]], Inputs]",
        forward: "Callable[..., torch.Tensor]",
        details: Iterable[object],
    ) -> None:
        """Take a network with its weights, and try it.

        Args:
            network: The network, on any device and in any precision.
            preprocess: Makes the network's inputs of n images in RGB.
            forward: Makes a tensor (n, d) by the network, or by a variant of it, of these inputs as keywords.
            details: What else decides about the vectors, such as the size that images are resized to.

        Raises:
            ValueError: The vectors are not finite, or depend on chance.
        """
        import torch

        self.fingerprint = fingerprint_of(network.state_dict(), details)
        # Weights in half precision are stored so to save space. Few processors compute in it.
        network = network.float().eval().requires_grad_(False)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions are faster
        self._network = network.to(device.name())
        self._device = next(network.parameters()).device
        self._preprocess = preprocess
        self._forward = forward
        self._try()

    @property
    def chunk_size(self) -> int:
        """How many images are computed while others wait: some batches."""
        return device.chunk_size(self._device.type, "images")

    @property
    def threads(self) -> int:
        """How many threads may compute at a time."""
        return device.threads(self._device.type)

    def prepare(self, images: "Sequence[Image]") -> Inputs:
        """The inputs of the network, as arrays."""
        return self._preprocess(images)

    def vectors(self, prepared: Inputs) -> Matrix:
        """Vectors of length 1, float32 (n, d)."""
        return device.compute(self._device.type, partial(self._batches, prepared), "images")

    @property
    def network(self) -> "torch.nn.Module":
        """The network."""
        return self._network

    def variant(self, trained: "Mapping[str, torch.Tensor] | None" = None) -> "TorchModel":
        """A copy in which only the layers of the network require gradients, with the parameters `trained` if given.

        Of a network without a list of layers, everything is one layer.
        """
        other = copy.copy(self)
        other._network = variant(self._network, trained, needs_layers=False)
        return other

    def embed(self, images: "Sequence[Image]") -> "torch.Tensor":
        """Vectors of length 1, float32 (n, d), with their gradients."""
        import torch

        return torch.nn.functional.normalize(self._features(self.prepare(images)).float(), dim=1)

    def _features(self, inputs: Inputs) -> "torch.Tensor":
        """What the network makes of its inputs (n, d), in the precision of the device."""
        with device.precision(self._device):
            return self._forward(self._network, **{name: self._tensor(array) for name, array in inputs.items()})

    def _batches(self, inputs: Inputs, batch_size: int) -> Matrix:
        import torch

        parts = []
        with torch.inference_mode():
            for start in range(0, len(next(iter(inputs.values()))), batch_size):
                parts.append(
                    self._features({name: array[start : start + batch_size] for name, array in inputs.items()})
                )
            vectors: Matrix = torch.nn.functional.normalize(torch.cat(parts).float(), dim=1).cpu().numpy()
        return vectors

    def _tensor(self, array: npt.NDArray[Any]) -> "torch.Tensor":
        import torch

        tensor = torch.from_numpy(array)
        layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
        return tensor.to(self._device, memory_format=layout)

    def _try(self) -> None:
        """Raise an error if it cannot embed images of any shape, each always in the same way."""
        from PIL import Image

        upright, wide = (Image.radial_gradient("L").resize(size).convert("RGB") for size in ((48, 64), (64, 48)))
        vectors = self.vectors(self.prepare([upright, wide, upright]))
        if not np.isfinite(vectors).all():
            raise ValueError("The vectors are not finite.")
        if not np.allclose(vectors[0], vectors[2], atol=1e-4):
            raise ValueError("The vectors depend on chance.")
