"""Fine-tuned encoders of a project: sets on disk, each of one encoder a fold and a last one on all labels."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays

from ml_backend.errors import CorruptModel
from ml_backend.features import manifest
from ml_backend.features.encoder import Encoder, Identity, encode, same_encoder
from ml_backend.features.finetune import SECONDS_A_STEP, Schedule, finetune, precision
from ml_backend.parallel import ParallelRunner, RemoteCall
from ml_backend.storage.atomic_files import keep_only, new_directory, new_name, write_atomically

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

Matrix = npt.NDArray[np.float32]
_SEPARATOR = "/"  # between the name of a set and the number of the encoder in it
_POINTER = "newest"


@dataclass(frozen=True)
class EncoderEnsemble:
    """A set by its name: the fingerprint of the encoder it came from, and how many labels it saw.

    `fold` is the fold of each text, {digest: fold}, out of `folds`: the encoder of a fold never saw its labels.
    """

    name: str
    encoder: str
    labels: int
    folds: int
    fold: Mapping[bytes, int]

    @property
    def feature_keys(self) -> tuple[str, ...]:
        """What their vectors are called in the dataset: of the folds in order, then of the one on all labels."""
        return tuple(f"{self.name}{_SEPARATOR}{number}" for number in range(self.folds + 1))


class EncoderEnsembles:
    """The sets of one project; safe to share between threads."""

    def __init__(self, directory: Path, encoder: Encoder, schedule: Schedule, parallel: ParallelRunner) -> None:
        """Keep sets in `directory`; nothing is loaded yet."""
        self._parallel = parallel
        self._directory = directory
        self._encoder = encoder
        self.schedule = schedule
        self._lock = Lock()
        self._sets: dict[str, EncoderEnsemble] = {}
        self._models: dict[str, tuple[SentenceTransformer, Lock]] = {}

    def newest(self) -> EncoderEnsemble | None:
        """The set published last; None where there is none, or where it is damaged."""
        published = self._published()
        with suppress(CorruptModel):
            return self.read(published) if published is not None else None
        return None

    def _published(self) -> str | None:
        with suppress(FileNotFoundError):
            return (self._directory / _POINTER).read_text()
        return None

    def read(self, name: str) -> EncoderEnsemble:
        """A set by name; raises CorruptModel."""
        if name not in self._sets:
            self._sets[name] = self._read(name)
        return self._sets[name]

    def _read(self, name: str) -> EncoderEnsemble:
        told = manifest.read(self._directory / name, "fine-tuned encoders")
        known = load_arrays(self._directory / name / "folds.safetensors")
        fold = dict(zip(map(bytes, known["digests"]), known["folds"].tolist(), strict=True))
        return EncoderEnsemble(name, told["encoder"], told["labels"], told["folds"], fold)

    def make(
        self,
        texts: Sequence[str],
        digests: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64],
        classes: int,
        weights: npt.NDArray[np.float64],
        folds: npt.NDArray[np.int8],
        seed: int,
        report: Callable[[int, int], None],
    ) -> EncoderEnsemble:
        """Fine-tune and write a set, on n texts and what is known of each; `report(step, steps)` may raise to end it.

        It is kept, but not the newest one before it is published.
        """
        count, encoder = int(folds.max()) + 1, self._encoder.fingerprint
        of_one = self.schedule.steps
        steps = of_one * (count + 1)

        def known(number: int) -> dict[str, Any]:
            """What the encoder of a fold, or the last one, is fine-tuned on, and how."""
            seen = np.flatnonzero(folds != number)
            return {
                "texts": [texts[position] for position in seen],
                "labels": labels[seen],
                "classes": classes,
                "weights": weights[seen],
                "schedule": self.schedule,
                "seed": seed,
            }

        members, seconds = [], SECONDS_A_STEP * steps
        if self._parallel.distributed and self._parallel.divides(seconds):
            parts = ((self._encoder.identity, known(number)) for number in range(count + 1))
            for trained in self._parallel.run(_finetune_elsewhere, parts, count + 1, seconds=seconds):
                members.append(trained)
                report(of_one * len(members), steps)
        else:  # one after the other: each takes all cores
            for number in range(count + 1):
                told = partial(_tell, report, number * of_one, steps)
                members.append(finetune(self._encoder.copy(), **known(number), report=told))
        return self._write(encoder, digests, folds, members)

    def encode(self, feature_key: str, texts: Sequence[str]) -> Matrix:
        """The embeddings by one encoder of a set, float32 (n, d); raises CorruptModel, EncoderUnavailable."""
        model, lock = self._model(feature_key)
        with precision(model.device):
            return encode(model, lock, texts)

    def remote_call(self, feature_key: str) -> RemoteCall:
        """What `encode` does, in any process that can load the encoder; raises CorruptModel, EncoderUnavailable."""
        return self._encoder.remote_call(self._trained(feature_key))

    def publish(self, name: str) -> None:
        """Make a set the newest."""
        write_atomically(self._directory / _POINTER, name.encode())

    def keep_only(self, feature_keys: Collection[str]) -> list[str]:
        """Remove all sets but those of `feature_keys`, the newest, and later ones: these are yet to be published.

        Returns the keys of the newest and of later ones. What an interrupted fine-tuning has left goes when a later set
        is published.
        """
        with self._lock:
            published = self._published() or ""
            keep_only(self._directory, {*map(_name, feature_keys), published}, newer_than=published)
            left = {path.name for path in self._directory.glob("[!.]*") if path.is_dir()}
            self._sets = {name: found for name, found in self._sets.items() if name in left}
            self._models = {
                feature_key: model for feature_key, model in self._models.items() if _name(feature_key) in left
            }
            recent: list[str] = []
            for name in sorted(name for name in left if name >= published):
                with suppress(CorruptModel):
                    recent += self.read(name).feature_keys
            return recent

    def prepare(self, feature_keys: Sequence[str]) -> None:
        """Load the last one of `feature_keys`, where one was needed so far; raises CorruptModel, EncoderUnavailable."""
        if self._models and feature_keys:
            self._model(feature_keys[-1])

    def release(self, feature_keys: Collection[str]) -> None:
        """Keep no other encoders in memory than those of `feature_keys`."""
        with self._lock:
            self._models = {
                feature_key: model for feature_key, model in self._models.items() if feature_key in feature_keys
            }

    def forget(self) -> None:
        """Remove all sets."""
        (self._directory / _POINTER).unlink(missing_ok=True)
        keep_only(self._directory, set())
        self._sets, self._models = {}, {}

    def _model(self, feature_key: str) -> "tuple[SentenceTransformer, Lock]":
        with self._lock:
            if feature_key not in self._models:
                self._models[feature_key] = self._encoder.copy(self._trained(feature_key)), Lock()
            return self._models[feature_key]

    def _trained(self, feature_key: str) -> "dict[str, Tensor]":
        from safetensors.torch import load_file

        found = self.read(_name(feature_key))
        return load_file(self._directory / found.name / _file(found.feature_keys.index(feature_key)))

    def _write(
        self,
        encoder: str,
        digests: npt.NDArray[np.uint8],
        folds: npt.NDArray[np.int8],
        members: Sequence[Mapping[str, Any]],
    ) -> EncoderEnsemble:
        from safetensors.torch import save_file

        name = new_name()
        with new_directory(self._directory / name) as directory:
            for number, trained in enumerate(members):
                save_file(dict(trained), directory / _file(number))
            save_arrays({"digests": digests, "folds": folds}, directory / "folds.safetensors")
            manifest.describe(directory, {"encoder": encoder, "labels": len(folds), "folds": len(members) - 1})
        return self.read(name)


def _tell(report: Callable[[int, int], None], before: int, steps: int, step: int, _: int) -> None:
    report(before + step, steps)


def _finetune_elsewhere(identity: Identity, known: dict[str, Any]) -> "dict[str, Tensor]":
    return finetune(same_encoder(identity).copy(), **known, report=lambda step, steps: None)


def is_finetuned(feature_key: str) -> bool:
    """Whether vectors of a feature_key are by an encoder of a set."""
    return _SEPARATOR in feature_key


def _name(feature_key: str) -> str:
    return feature_key.partition(_SEPARATOR)[0]


def _file(number: int) -> str:
    return f"encoder-{number:02}.safetensors"
