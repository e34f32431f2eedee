"""Embeddings of recordings by a model that is loaded once, on first need."""

import logging
from pathlib import Path

from ml_backend.errors import EncoderUnavailable
from ml_backend.features import audio_models, device
from ml_backend.features.lazy_encoder import Identity, same_encoder
from ml_backend.features.media_encoder import MediaEncoder
from ml_backend.features.recordings import require_soundfile, windows

log = logging.getLogger(__name__)


class AudioEncoder(MediaEncoder[audio_models.AudioModel]):
    """Computes float32 embeddings of recordings. Their parts are windows of some seconds."""

    kind = "audio encoder"
    parts = staticmethod(windows)
    seconds_a_step = 2.0  # of 16 recordings on a GPU, roughly

    @property
    def is_trainable(self) -> bool:
        """Whether it can be fine-tuned: it has weights, and a GPU. On a CPU, a step takes more than a minute."""
        return audio_models.has_weights(self._name) and device.name() != "cpu"

    @staticmethod
    def same(identity: Identity) -> "AudioEncoder":
        """The encoder of another process in this one. Raises EncoderUnavailable."""
        return same_encoder(AudioEncoder, identity)

    def _open(self) -> tuple[audio_models.AudioModel, str]:
        require_soundfile()
        log.info("Loading the audio encoder %s.", self._name)
        try:
            model = audio_models.load(self._name, self._threads)
        except EncoderUnavailable:
            raise
        except Exception as error:  # errors of the hub, of the file system and of the model
            log.warning("The audio encoder could not be loaded.", exc_info=True)
            # A client learns its name. The folder on this machine is in the log only.
            raise EncoderUnavailable(
                f"The audio encoder {Path(self._name).name!r} cannot be loaded. Let this machine reach the model hub,"
                " or set ML_BACKEND_AUDIO_ENCODER to a local folder. Without weights: set it to melstats."
            ) from error
        return model, model.fingerprint
