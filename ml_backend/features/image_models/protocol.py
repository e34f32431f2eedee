"""What a kind of features of images is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ml_backend.features.media_encoder import MediaModel

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageModel(MediaModel, Protocol):
    """Computes a vector of length 1 per image, in two steps."""

    def prepare(self, parts: "Sequence[Image]") -> Any:
        """What `vectors` takes, from images in RGB. Several threads may do this at a time."""
