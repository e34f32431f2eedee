"""What the encoders of all kinds of contents share: a model that is loaded once, on first need, and its fingerprint."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ml_backend.errors import EncoderUnavailable

if TYPE_CHECKING:
    from torch import Tensor

Identity = tuple[str, int, str]
Model = TypeVar("Model")
AnyLazyEncoder = TypeVar("AnyLazyEncoder", bound="LazyEncoder[Any]")


class LazyEncoder(ABC, Generic[Model]):
    """A model by name, and its fingerprint. Safe to share between threads."""

    kind: ClassVar[str]  # what messages call it

    def __init__(self, name: str, threads: int = 0) -> None:
        """Name a model of the hub or a folder, which is not loaded yet. With `threads` 0, PyTorch decides."""
        self._name = name
        self._threads = threads
        self._lock = Lock()
        self._loaded: tuple[Model, str] | None = None
        self._expected: str | None = None

    @property
    def fingerprint(self) -> str:
        """Hex digits that depend on the weights, and on what is done before and after them. Loads the model.

        Raises EncoderUnavailable.
        """
        # Without the lock, which another thread holds while it computes.
        if known := self._expected or self.loaded:
            return known
        with self._lock:
            return self._load()[1]

    @property
    def loaded(self) -> str | None:
        """The fingerprint if the model is loaded, else None."""
        return self._loaded[1] if self._loaded is not None else None

    def expect(self, fingerprint: str) -> None:
        """Take the fingerprint from another process with the same model, which need not be loaded for it then."""
        self._expected = fingerprint

    @property
    def identity(self) -> Identity:
        """What another process needs to find the same model. Raises EncoderUnavailable."""
        return self._name, self._threads, self.fingerprint

    def require(self, fingerprint: str) -> None:
        """Raise EncoderUnavailable if the model of another process is not this one, or if this one cannot be loaded."""
        if self.fingerprint != fingerprint:
            raise EncoderUnavailable(
                f"The {self.kind} {Path(self._name).name!r} is another one on a machine of the cluster."
                " Install the same."
            )

    def _model(self) -> Model:
        """The model. Raises EncoderUnavailable."""
        if self._loaded is not None:
            return self._loaded[0]
        with self._lock:
            return self._load()[0]

    def _load(self) -> tuple[Model, str]:
        """The model and its fingerprint. The caller holds the lock."""
        if self._loaded is None:
            self._loaded, self._expected = self._open(), None
        return self._loaded

    @abstractmethod
    def _open(self) -> tuple[Model, str]:
        """Load the model, and compute its fingerprint. Raises EncoderUnavailable."""


def same_encoder(kind: type[AnyLazyEncoder], identity: Identity) -> AnyLazyEncoder:
    """The encoder of another process, loaded once in this one. Raises EncoderUnavailable if it is not here."""
    name, threads, fingerprint = identity
    encoder: AnyLazyEncoder = _encoder(kind, name, threads)
    encoder.require(fingerprint)
    return encoder


@cache
def _encoder(kind: type[LazyEncoder[Any]], name: str, threads: int) -> Any:
    return kind(name, threads)


def embed(
    same: Callable[[Identity], Any],
    identity: Identity,
    trained: "Mapping[str, Tensor] | None",
    contents: Sequence[Any],
) -> npt.NDArray[np.float32]:
    """The embeddings by an encoder of another process, or by a copy of it with the parameters `trained`."""
    encoder = same(identity)
    if not contents:
        return np.zeros((0, 0), dtype=np.float32)
    if trained is None:
        vectors: npt.NDArray[np.float32] = encoder.encode(contents)
    else:
        vectors = encoder.encode_with(encoder.copy(trained), Lock(), contents)
    return vectors


def fingerprint_of(state: "Mapping[str, Tensor]", details: Iterable[object] = ()) -> str:
    """Hex digits that depend on the weights of a model, and on details whose `repr` is the same in all processes."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in state.items():
        digest.update(name.encode())
        # As bytes, because NumPy has no bfloat16, in which many encoders are stored.
        digest.update(str(tensor.dtype).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    for detail in details:
        digest.update(repr(detail).encode())
    return digest.hexdigest()
