"""Fine-tuned encoders of a project: ensembles on disk of one encoder per fold, and their mean."""

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
from ml_backend.features.finetune import Schedule, TrainableEncoder, average, finetune
from ml_backend.features.lazy_encoder import Identity
from ml_backend.memory import release_memory
from ml_backend.parallel import ParallelRunner, RemoteCall
from ml_backend.storage.atomic_files import keep_only, new_directory, new_name, write_atomically

if TYPE_CHECKING:
    from torch import Tensor

Matrix = npt.NDArray[np.float32]
_SEPARATOR = "/"  # between the name of an ensemble and the number of the encoder in it
_POINTER = "newest"


@dataclass(frozen=True)
class EncoderEnsemble:
    """An ensemble: its name, the fingerprint of the encoder it came from, and the number of labels that it saw.

    `fold` maps the digest of a text to its fold, out of `folds`. The encoder of a fold never saw that fold's labels.
    The last encoder is the mean of all, so it has seen every label. It embeds the texts without one.
    """

    name: str
    encoder: str
    labels: int
    folds: int
    fold: Mapping[bytes, int]

    @property
    def feature_keys(self) -> tuple[str, ...]:
        """The keys of their features: those of the folds in order, then that of their mean."""
        return tuple(f"{self.name}{_SEPARATOR}{number}" for number in range(self.folds + 1))


class EncoderEnsembles:
    """The ensembles of one project. Safe to share between threads."""

    def __init__(
        self,
        directory: Path,
        encoder: Callable[[], TrainableEncoder],
        schedule: Schedule,
        parallel: ParallelRunner,
    ) -> None:
        """Keep ensembles in `directory`. Nothing is loaded yet. `encoder` gives that of the project's contents."""
        self._parallel = parallel
        self._directory = directory
        self._encoder = encoder
        self.schedule = schedule
        self._lock = Lock()
        self._ensembles: dict[str, EncoderEnsemble] = {}
        self._models: dict[str, tuple[Any, Lock]] = {}

    def newest(self) -> EncoderEnsemble | None:
        """The ensemble that was published last. None without one, or if it is damaged."""
        published = self._published()
        with suppress(CorruptModel):
            return self.read(published) if published is not None else None
        return None

    def _published(self) -> str | None:
        with suppress(FileNotFoundError):
            return (self._directory / _POINTER).read_text()
        return None

    def read(self, name: str) -> EncoderEnsemble:
        """An ensemble by name. Raises CorruptModel."""
        if name not in self._ensembles:
            self._ensembles[name] = self._read(name)
        return self._ensembles[name]

    def _read(self, name: str) -> EncoderEnsemble:
        description = manifest.read(self._directory / name, "fine-tuned encoders")
        arrays = load_arrays(self._directory / name / "folds.safetensors")
        fold = dict(zip(map(bytes, arrays["digests"]), arrays["folds"].tolist(), strict=True))
        return EncoderEnsemble(name, description["encoder"], description["labels"], description["folds"], fold)

    def make(
        self,
        contents: Sequence[Any],
        digests: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64],
        classes: int,
        weights: npt.NDArray[np.float64],
        folds: npt.NDArray[np.int8],
        seed: int,
        report: Callable[[int, int], None],
    ) -> EncoderEnsemble:
        """Fine-tune and write an ensemble. It is not the newest one before `publish`.

        Args:
            contents: n contents.
            digests: Their digests, uint8 (n, 16).
            labels: Positions of classes (n,), or for several classes per item 0 and 1 (n, `classes`).
            classes: The number of classes.
            weights: How much each label counts (n,).
            folds: The fold of each content (n,).
            seed: The same seed gives the same ensemble on the same machine.
            report: `report(step, steps)` is called at each step. An exception that it raises ends the work.
        """
        count, encoder = int(folds.max()) + 1, self._encoder()
        fingerprint = encoder.fingerprint
        steps_each = self.schedule.steps
        steps = steps_each * count

        def arguments(number: int) -> dict[str, Any]:
            """The arguments of `finetune` for the encoder of a fold."""
            seen = np.flatnonzero(folds != number)
            return {
                "contents": [contents[position] for position in seen],
                "labels": labels[seen],
                "classes": classes,
                "weights": weights[seen],
                "schedule": self.schedule,
                "seed": seed,
            }

        members, seconds = [], encoder.seconds_a_step * steps
        if self._parallel.distributed and self._parallel.divides(seconds):
            parts = ((encoder.same, encoder.identity, arguments(number)) for number in range(count))
            for trained in self._parallel.run(_finetune_remotely, parts, count, seconds=seconds):
                members.append(trained)
                report(steps_each * len(members), steps)
        else:  # in sequence, because each takes all cores
            for number in range(count):
                report_step = partial(_report_total, report, number * steps_each, steps)
                model = encoder.trainable(encoder.copy(), self.schedule.max_length)
                members.append(finetune(model, **arguments(number), report=report_step))
                del model
                release_memory()
        return self._write(fingerprint, digests, folds, [*members, average(members)])

    def encode(self, feature_key: str, contents: Sequence[Any]) -> Matrix:
        """The embeddings by one encoder, float32 (n, d). Raises CorruptModel, EncoderUnavailable."""
        model, lock = self._model(feature_key)
        return self._encoder().encode_with(model, lock, contents)

    def remote_call(self, feature_key: str) -> RemoteCall:
        """What `encode` does, in any process that can load the encoder. Raises CorruptModel, EncoderUnavailable."""
        return self._encoder().remote_call(self._trained(feature_key))

    def publish(self, name: str) -> None:
        """Make an ensemble the newest."""
        write_atomically(self._directory / _POINTER, name.encode())

    def keep_only(self, feature_keys: Collection[str]) -> list[str]:
        """Remove all ensembles except those of `feature_keys`, the newest, and later ones that are not published yet.

        Returns the keys of the newest and of later ones. What an interrupted fine-tuning left is removed when a later
        ensemble is published.
        """
        with self._lock:
            published = self._published() or ""
            keep_only(self._directory, {*map(_name, feature_keys), published}, newer_than=published)
            left = {path.name for path in self._directory.glob("[!.]*") if path.is_dir()}
            self._ensembles = {name: ensemble for name, ensemble in self._ensembles.items() if name in left}
            self._models = {
                feature_key: model for feature_key, model in self._models.items() if _name(feature_key) in left
            }
            recent: list[str] = []
            for name in sorted(name for name in left if name >= published):
                with suppress(CorruptModel):
                    recent += self.read(name).feature_keys
            return recent

    def prepare(self, feature_keys: Sequence[str]) -> None:
        """Load the last one of `feature_keys`, if any was loaded so far. Raises CorruptModel, EncoderUnavailable."""
        if self._models and feature_keys:
            self._model(feature_keys[-1])

    def release(self, feature_keys: Collection[str]) -> None:
        """Keep only the encoders of `feature_keys` in memory."""
        with self._lock:
            self._models = {
                feature_key: model for feature_key, model in self._models.items() if feature_key in feature_keys
            }

    def forget(self) -> None:
        """Remove all ensembles."""
        (self._directory / _POINTER).unlink(missing_ok=True)
        keep_only(self._directory, set())
        self._ensembles, self._models = {}, {}

    def _model(self, feature_key: str) -> tuple[Any, Lock]:
        with self._lock:
            if feature_key not in self._models:
                self._models[feature_key] = self._encoder().copy(self._trained(feature_key)), Lock()
            return self._models[feature_key]

    def _trained(self, feature_key: str) -> "dict[str, Tensor]":
        from safetensors.torch import load_file

        ensemble = self.read(_name(feature_key))
        return load_file(self._directory / ensemble.name / _file(ensemble.feature_keys.index(feature_key)))

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


def _report_total(report: Callable[[int, int], None], before: int, steps: int, step: int, _: int) -> None:
    report(before + step, steps)


def _finetune_remotely(
    same: Callable[[Identity], TrainableEncoder], identity: Identity, arguments: dict[str, Any]
) -> "dict[str, Tensor]":
    encoder = same(identity)
    model = encoder.trainable(encoder.copy(), arguments["schedule"].max_length)
    return finetune(model, **arguments, report=lambda step, steps: None)


def is_finetuned(feature_key: str) -> bool:
    """Whether features under a key come from a fine-tuned encoder."""
    return _SEPARATOR in feature_key


def _name(feature_key: str) -> str:
    return feature_key.partition(_SEPARATOR)[0]


def _file(number: int) -> str:
    return f"encoder-{number:02}.safetensors"
