"""An image of any shape as the numbers that a network takes, on Pillow and NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Resize:
    """Resizes whole images to `width` and `height`, so what is at their edges counts.

    Colours from 0 to 255 become (colour - `mean`) / `deviation`, with one number per channel. `interpolation` is a name
    of Pillow's, such as bicubic.
    """

    width: int
    height: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    interpolation: str = "bicubic"

    def __call__(self, images: "Sequence[Image]") -> npt.NDArray[np.float32]:
        """Colours of n images in RGB, float32 (n, 3, height, width)."""
        from PIL.Image import Resampling

        filter_ = Resampling[self.interpolation.upper()]
        colours = np.empty((len(images), self.height, self.width, 3), np.float32)
        for place, image in enumerate(images):
            colours[place] = np.asarray(image.resize((self.width, self.height), filter_))
        colours -= np.array(self.mean, np.float32)
        colours /= np.array(self.deviation, np.float32)
        # As networks take it, though in memory the channels are last: so networks compute.
        return colours.transpose(0, 3, 1, 2)
