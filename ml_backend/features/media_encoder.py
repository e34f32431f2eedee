"""What the encoders of images and of recordings share: contents in parts, whose embeddings are averaged."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ml_backend.features.lazy_encoder import LazyEncoder

Matrix = npt.NDArray[np.float32]


class MediaModel(Protocol):
    """Computes a vector of length 1 per part, in two steps."""

    @property
    def fingerprint(self) -> str:
        """Hex digits that depend on the weights, and on what is done before and after them."""

    @property
    def chunk_size(self) -> int:
        """How many parts are computed while others wait."""

    def prepare(self, parts: Any) -> Any:
        """What `vectors` takes, from a sequence of parts. Several threads may do this at a time."""

    def vectors(self, prepared: Any) -> Matrix:
        """Vectors of length 1, float32 (n, d). One thread does this at a time."""


Model = TypeVar("Model", bound=MediaModel)


class MediaEncoder(LazyEncoder[Model]):
    """Computes float32 embeddings of contents. Safe to share between threads."""

    def encode(self, contents: Sequence[bytes]) -> Matrix:
        """The embeddings, float32 (n, d), in the order of `contents`. Raises EncoderUnavailable.

        Args:
            contents: Files that were found usable. Of a file with several parts, such as the pages of a document, the
                embedding is the mean over the parts.
        """
        model = self._model()
        parts = ((place, part) for place, content in enumerate(contents) for part in self.parts(content))
        owners, vectors = [], []
        # A prediction waits for one chunk of a training only. Files are read and prepared while another computes.
        while chunk := list(islice(parts, model.chunk_size)):
            prepared = model.prepare([part for _, part in chunk])
            with self._lock:
                vectors.append(model.vectors(prepared))
            owners += [place for place, _ in chunk]
        return _means(np.concatenate(vectors), owners) if vectors else np.zeros((0, 0), dtype=np.float32)

    @staticmethod
    @abstractmethod
    def parts(content: bytes) -> Iterable[Any]:
        """The parts of a file, at least one."""


def _means(vectors: Matrix, owners: list[int]) -> Matrix:
    """The mean of the vectors of each owner, in the order of the owners, who are numbered without a gap."""
    if len(owners) == owners[-1] + 1:
        return vectors
    sums = np.zeros((owners[-1] + 1, vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, owners, vectors)
    return sums / np.bincount(owners).astype(np.float32)[:, None]
