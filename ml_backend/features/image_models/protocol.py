"""What a kind of features of images is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Matrix = npt.NDArray[np.float32]


class ImageModel(Protocol):
    """Computes a vector of length 1 per image, in two steps."""

    @property
    def fingerprint(self) -> str:
        """Hex digits that depend on the weights, and on what is done before and after them."""

    @property
    def chunk_size(self) -> int:
        """How many images are computed while others wait."""

    @property
    def threads(self) -> int:
        """How many threads may compute at a time, with `device.alone` each."""

    def prepare(self, images: "Sequence[Image]") -> Any:
        """What `vectors` takes, from images in RGB. Several threads may do this at a time."""

    def vectors(self, prepared: Any) -> Matrix:
        """Vectors of length 1, float32 (n, d). `threads` may do this at a time."""
