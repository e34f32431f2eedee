"""What the encoders of images and of recordings share: contents in parts, whose embeddings are averaged."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ml_backend.features import device
from ml_backend.features.lazy_encoder import Identity, LazyEncoder, embed
from ml_backend.parallel import RemoteCall

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Matrix = npt.NDArray[np.float32]
# Of a file, when a model is fine-tuned: all gradients of a batch are in memory at once.
_TRAINED_PARTS = 4


class MediaModel(Protocol):
    """Computes a vector of length 1 per part, in two steps."""

    @property
    def fingerprint(self) -> str:
        """Hex digits that depend on the weights, and on what is done before and after them."""

    @property
    def chunk_size(self) -> int:
        """How many parts are computed while others wait."""

    @property
    def threads(self) -> int:
        """How many threads may compute at a time, with `device.alone` each."""

    def prepare(self, parts: Any) -> Any:
        """What `vectors` takes, from a sequence of parts. Several threads may do this at a time."""

    def vectors(self, prepared: Any) -> Matrix:
        """Vectors of length 1, float32 (n, d). `threads` may do this at a time."""


class TrainableModel(MediaModel, Protocol):
    """A model with weights. It has a `variant` that can be fine-tuned."""

    @property
    def network(self) -> "Module":
        """The network."""

    def embed(self, parts: Any) -> "Tensor":
        """Vectors of length 1 with their gradients, float32 (n, d)."""


Model = TypeVar("Model", bound=MediaModel)


class MediaEncoder(LazyEncoder[Model]):
    """Computes float32 embeddings of contents. Safe to share between threads."""

    def copy(self, trained: "Mapping[str, Tensor] | None" = None) -> TrainableModel:
        """A `variant` of the model, if it is trainable, with the parameters `trained` if given.

        Raises EncoderUnavailable.
        """
        model: Any = self._model()
        with self._lock:
            variant: TrainableModel = model.variant(trained)
        return variant

    @classmethod
    def trainable(cls, model: TrainableModel, max_length: int) -> "TrainableMedia":
        """A `copy` that can be fine-tuned. `max_length` is of texts."""
        return TrainableMedia(model, cls.parts)

    def remote_call(self, trained: "Mapping[str, Tensor] | None" = None) -> RemoteCall:
        """A call that embeds as this encoder or its `copy` does, in any process that can load it."""
        return RemoteCall(embed, (self.same, self.identity, trained))

    @staticmethod
    @abstractmethod
    def same(identity: Identity) -> "MediaEncoder[Any]":
        """The encoder of another process in this one. Raises EncoderUnavailable."""

    def encode(self, contents: Sequence[bytes]) -> Matrix:
        """The embeddings, float32 (n, d), in the order of `contents`. Raises EncoderUnavailable.

        Args:
            contents: Files that were found usable. Of a file with several parts, such as the pages of a document, the
                embedding is the mean over the parts.
        """
        return self.encode_with(self._model(), self._lock, contents)

    @classmethod
    def encode_with(cls, model: MediaModel, lock: Lock, contents: Sequence[bytes]) -> Matrix:
        """The embeddings by a model or a `copy` of it, float32 (n, d). `lock` protects it from other threads."""
        size = max(1, model.chunk_size // device.BATCHES_A_CHUNK)
        if model.threads == 1 or len(contents) < size * model.threads:
            return cls._encode(model, lock, contents)
        encode = partial(cls._encode, model, nullcontext())
        batches = [contents[start : start + size] for start in range(0, len(contents), size)]
        with ThreadPoolExecutor(model.threads, initializer=device.alone) as pool:
            return np.concatenate(list(pool.map(encode, batches)))

    @classmethod
    def _encode(cls, model: MediaModel, lock: AbstractContextManager[Any], contents: Sequence[bytes]) -> Matrix:
        parts = ((place, part) for place, content in enumerate(contents) for part in cls.parts(content))
        owners, vectors = [], []
        # A prediction waits for one chunk of a training only. Files are read and prepared while another computes.
        while chunk := list(islice(parts, model.chunk_size)):
            prepared = model.prepare([part for _, part in chunk])
            with lock:
                vectors.append(model.vectors(prepared))
            owners += [place for place, _ in chunk]
        return _means(np.concatenate(vectors), owners) if vectors else np.zeros((0, 0), dtype=np.float32)

    @staticmethod
    @abstractmethod
    def parts(content: bytes) -> Iterable[Any]:
        """The parts of a file, at least one."""


class TrainableMedia:
    """A copy of a model that is fine-tuned. Of a file with many parts, it reads some."""

    def __init__(self, model: TrainableModel, parts: Callable[[bytes], Iterable[Any]]) -> None:
        """Take a `variant`, and what reads the parts of a file."""
        self._model = model
        self._parts = parts

    @property
    def network(self) -> "Module":
        """The network."""
        return self._model.network

    def embed(self, contents: Sequence[bytes]) -> "Tensor":
        """The embeddings (n, d) with their gradients: the means over the parts of each file."""
        import torch

        files = [_some(list(self._parts(content))) for content in contents]
        vectors = self._model.embed([part for file in files for part in file])
        return torch.stack([file.mean(dim=0) for file in torch.split(vectors, [len(file) for file in files])])

    def cost(self, content: bytes) -> int:
        """The same for all: networks get images of one size, and recordings of one length."""
        return 1


def _some(parts: list[Any]) -> list[Any]:
    """At most _TRAINED_PARTS of the parts, from the first on at equal distances."""
    return parts[:: -(-len(parts) // _TRAINED_PARTS)]


def _means(vectors: Matrix, owners: list[int]) -> Matrix:
    """The mean of the vectors of each owner, in the order of the owners, who are numbered without a gap."""
    if len(owners) == owners[-1] + 1:
        return vectors
    sums = np.zeros((owners[-1] + 1, vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, owners, vectors)
    return sums / np.bincount(owners).astype(np.float32)[:, None]
