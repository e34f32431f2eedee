"""Embeddings of recordings by a model that is loaded once, on first need."""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ml_backend.errors import EncoderUnavailable
from ml_backend.features import audio_models
from ml_backend.features.lazy_encoder import Identity
from ml_backend.features.media_encoder import Matrix, MediaEncoder
from ml_backend.features.recordings import require_soundfile, windows
from ml_backend.parallel import RemoteCall

log = logging.getLogger(__name__)


class AudioEncoder(MediaEncoder[audio_models.AudioModel]):
    """Computes float32 embeddings of recordings. Their parts are windows of some seconds."""

    kind = "audio encoder"
    parts = staticmethod(windows)

    def remote_call(self) -> RemoteCall:
        """A call that embeds recordings as this encoder does, in any process that can load it."""
        return RemoteCall(_embed, (self.identity,))

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


def same_encoder(identity: Identity) -> AudioEncoder:
    """The encoder of another process, loaded once in this one. Raises EncoderUnavailable if it is not here."""
    name, threads, fingerprint = identity
    encoder = _encoder(name, threads)
    encoder.require(fingerprint)
    return encoder


def _embed(identity: Identity, contents: Sequence[bytes]) -> Matrix:
    return same_encoder(identity).encode(contents)


@cache
def _encoder(name: str, threads: int) -> AudioEncoder:
    return AudioEncoder(name, threads)
