"""The encoder of each kind of content."""

from dataclasses import dataclass

from ml_backend.features.audio_encoder import AudioEncoder
from ml_backend.features.encoder import Encoder
from ml_backend.features.image_encoder import ImageEncoder
from ml_backend.settings import Settings
from ml_backend.storage.dataset import Kind

AnyEncoder = Encoder | ImageEncoder | AudioEncoder


@dataclass(frozen=True)
class Encoders:
    """All encoders, none of which is loaded before it is needed."""

    text: Encoder
    image: ImageEncoder
    audio: AudioEncoder

    @classmethod
    def with_text(cls, text: Encoder, settings: Settings) -> "Encoders":
        """This encoder of texts, and the others of the settings."""
        threads = settings.threads
        return cls(text, ImageEncoder(settings.image_encoder, threads), AudioEncoder(settings.audio_encoder, threads))

    def of(self, kind: Kind) -> AnyEncoder:
        """The encoder of a kind of content."""
        encoders: dict[Kind, AnyEncoder] = {"text": self.text, "image": self.image, "audio": self.audio}
        return encoders[kind]
