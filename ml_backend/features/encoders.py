"""The encoder of each kind of content."""

from dataclasses import dataclass

from ml_backend.features.encoder import Encoder
from ml_backend.features.image_encoder import ImageEncoder
from ml_backend.settings import Settings
from ml_backend.storage.dataset import Kind

AnyEncoder = Encoder | ImageEncoder


@dataclass(frozen=True)
class Encoders:
    """All encoders, none of which is loaded before it is needed."""

    text: Encoder
    image: ImageEncoder

    @classmethod
    def with_text(cls, text: Encoder, settings: Settings) -> "Encoders":
        """This encoder of texts, and the others of the settings."""
        return cls(text, ImageEncoder(settings.image_encoder, settings.threads))

    def of(self, kind: Kind) -> AnyEncoder:
        """The encoder of a kind of content."""
        return self.text if kind == "text" else self.image
