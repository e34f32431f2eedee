"""The middle of an image as numbers: what most networks for ImageNet were evaluated with, on Pillow and NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class CentreCrop:
    """Resizes the square in the middle, whose side is a `share` of the shorter side, to `side` pixels.

    Colours from 0 to 255 become (colour - `mean`) / `deviation`, one number per channel. `interpolation` is a name of
    Pillow's, such as bicubic.
    """

    side: int
    share: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    interpolation: str = "bicubic"

    def __call__(self, images: "Sequence[Image]") -> npt.NDArray[np.float32]:
        """Colours as float32 (n, 3, side, side)."""
        pixels = np.stack([self._resized(image) for image in images]).astype(np.float32)
        pixels -= np.array(self.mean, np.float32)
        pixels /= np.array(self.deviation, np.float32)
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))

    def _resized(self, image: "Image") -> npt.NDArray[np.uint8]:
        from PIL.Image import Resampling

        length = max(1, int(self.share * min(image.size)))
        left, top = ((side - length + 1) // 2 for side in image.size)
        box = (left, top, left + length, top + length)
        return np.asarray(image.crop(box).resize((self.side, self.side), Resampling[self.interpolation.upper()]))
