"""Kinds of features of images, one per file, and how a name chooses one."""

from ml_backend.features import device
from ml_backend.features.image_models import efficientnet, pixels, timm_model, transformers_model
from ml_backend.features.image_models.protocol import ImageModel

__all__ = ["ImageModel", "has_weights", "load"]


def has_weights(name: str) -> bool:
    """Whether a model has weights, which can be trained."""
    return name != pixels.NAME


def load(name: str, threads: int) -> ImageModel:
    """The model that a value of `ML_BACKEND_IMAGE_ENCODER` names. With `threads` 0, PyTorch decides.

    Raises EncoderUnavailable, and errors of the libraries, of the hub and of the file system.
    """
    if name == pixels.NAME:
        return pixels.Pixels()
    device.set_up(threads)
    if name == efficientnet.NAME:
        return efficientnet.load()
    if name.startswith(timm_model.PREFIX):
        return timm_model.load(name.removeprefix(timm_model.PREFIX))
    return transformers_model.load(name)
