"""Features of images without weights, as TF-IDF is for texts: colours over a coarse grid, and gradients.

Colours are histograms of lightness, and of the two axes of colour in CIE L*a*b*, per cell of a grid. A pixel counts in
the two bins next to its value, so that a small change of the image changes them little. Their square roots make the
dot product the similarity of Bhattacharyya (1943). Gradients are histograms of their directions (Dalal and Triggs,
"Histograms of oriented gradients for human detection", 2005).

All images have much of this in common. Most of what a grey image of all shades and directions has is taken away,
so that different images are hardly ever more than 0.85 similar, and near-duplicates hardly ever less.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml_backend.errors import EncoderUnavailable
from ml_backend.features.images import INSTALL_LIBRARIES
from ml_backend.features.media_encoder import Matrix

if TYPE_CHECKING:
    from PIL.Image import Image

NAME = "pixels"
VERSION = 1  # of the definition below: another one gives other features
SIDE = 64  # pixels that each image is resized to
_CELLS = 3  # per side, for colours
_BINS = 8  # per channel
_RANGES = ((0.0, 100.0), (-60.0, 60.0), (-60.0, 60.0))  # of L*, a* and b*. Few colours of photographs lie outside.
_GREYNESS = 0.8  # standard deviation of a* and b* around grey, in bins
_IN_COMMON = 0.8  # cosine of the angle between an image and what all have in common, roughly
_GRADIENTS = {"orientations": 8, "pixels_per_cell": (16, 16), "cells_per_block": (2, 2)}
_DEFINITION = (NAME, VERSION, SIDE, _CELLS, _BINS, _RANGES, _GREYNESS, _IN_COMMON, sorted(_GRADIENTS.items()))


class Pixels:
    """Colours and gradients, side by side, each of the same length. Equal images have equal features everywhere."""

    chunk_size = 64
    threads = 1  # it is Python for the most part

    def __init__(self) -> None:
        """Import scikit-image. Raises EncoderUnavailable without it."""
        try:
            import skimage.color
            import skimage.feature
        except ModuleNotFoundError as error:
            raise EncoderUnavailable(f"scikit-image is not installed. {INSTALL_LIBRARIES}") from error
        self._to_lab = skimage.color.rgb2lab
        self._gradients = skimage.feature.hog
        self.fingerprint = hashlib.blake2b(repr(_DEFINITION).encode(), digest_size=16).hexdigest()

    def prepare(self, images: "Sequence[Image]") -> Matrix:
        """The features of images in RGB, float32 (n, d)."""
        return np.stack([self._features(image) for image in images])

    def vectors(self, prepared: Matrix) -> Matrix:
        """What `prepare` made."""
        return prepared

    def _features(self, image: "Image") -> Matrix:
        from PIL.Image import Resampling

        lab = self._to_lab(np.asarray(image.resize((SIDE, SIDE), Resampling.BILINEAR)))
        colours, gradients = _colours(lab), self._gradients(lab[:, :, 0], **_GRADIENTS)
        blocks = [_distinctive(colours, _grey()), _distinctive(gradients, np.ones(len(gradients)))]
        return np.concatenate(blocks, dtype=np.float32) / np.float32(np.sqrt(2))


def _colours(lab: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Square roots of the shares of bins, in each cell of the grid and each channel."""
    edges = np.linspace(0, SIDE, _CELLS + 1).astype(int)
    shares = [
        _histogram(lab[top:bottom, left:right, channel].ravel(), *_RANGES[channel])
        for top, bottom in pairwise(edges)
        for left, right in pairwise(edges)
        for channel in range(3)
    ]
    roots: npt.NDArray[np.float64] = np.sqrt(np.concatenate(shares))
    return roots


def _histogram(values: npt.NDArray[np.float64], least: float, most: float) -> npt.NDArray[np.float64]:
    """Shares (bins,) of values. A value between the middles of two bins counts in both."""
    places = np.clip((values - least) / (most - least), 0, 1) * (_BINS - 1)
    lower = np.minimum(places.astype(int), _BINS - 2)
    upper = places - lower
    counts = np.bincount(lower, 1 - upper, _BINS) + np.bincount(lower + 1, upper, _BINS)
    return counts / len(values)


def _grey() -> npt.NDArray[np.float64]:
    """The colours of a grey image of all shades, as `_colours` has them."""
    distances = np.arange(_BINS) - (_BINS - 1) / 2
    grey = np.exp(-((distances / _GREYNESS) ** 2) / 2)
    channels = [np.ones(_BINS) / _BINS, grey / grey.sum(), grey / grey.sum()]
    roots: npt.NDArray[np.float64] = np.sqrt(np.tile(np.concatenate(channels), _CELLS**2))
    return roots


def _distinctive(features: npt.NDArray[np.float64], common: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Features without most of what all images have in common, with length 1."""
    return _unit(_unit(features) - _IN_COMMON * _unit(common))


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The vector with length 1. Zeros stay zeros."""
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
