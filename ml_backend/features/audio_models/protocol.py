"""What a kind of features of recordings is."""

from collections.abc import Sequence
from typing import Any, Protocol

from ml_backend.features.media_encoder import MediaModel
from ml_backend.features.recordings import Samples


class AudioModel(MediaModel, Protocol):
    """Computes a vector of length 1 per window of a recording, in two steps."""

    def prepare(self, parts: Sequence[Samples]) -> Any:
        """What `vectors` takes, from windows at SAMPLE_RATE. Several threads may do this at a time."""
