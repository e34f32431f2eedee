"""Kinds of features of recordings, one per file, and how a name chooses one."""

from ml_backend.features import device
from ml_backend.features.audio_models import melstats, transformers_model
from ml_backend.features.audio_models.protocol import AudioModel

__all__ = ["AudioModel", "has_weights", "load"]


def has_weights(name: str) -> bool:
    """Whether a model has weights, which can be trained."""
    return name != melstats.NAME


def load(name: str, threads: int) -> AudioModel:
    """The model that a value of `ML_BACKEND_AUDIO_ENCODER` names. With `threads` 0, PyTorch decides.

    Raises errors of the libraries, of the hub and of the file system.
    """
    if name == melstats.NAME:
        return melstats.MelStats()
    device.set_up(threads)
    return transformers_model.load(name)
