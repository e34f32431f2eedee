"""What a kind of features of recordings is."""

from collections.abc import Sequence
from typing import Any, Protocol

from ml_backend.features.media_encoder import Matrix
from ml_backend.features.recordings import Samples


class AudioModel(Protocol):
    """Computes a vector of length 1 per window of a recording, in two steps."""

    @property
    def fingerprint(self) -> str:
        """Hex digits that depend on the weights, and on what is done before and after them."""

    @property
    def chunk_size(self) -> int:
        """How many windows are computed while others wait."""

    @property
    def threads(self) -> int:
        """How many threads may compute at a time, with `device.alone` each."""

    def prepare(self, parts: Sequence[Samples]) -> Any:
        """What `vectors` takes, from windows at SAMPLE_RATE. Several threads may do this at a time."""

    def vectors(self, prepared: Any) -> Matrix:
        """Vectors of length 1, float32 (n, d). `threads` may do this at a time."""
