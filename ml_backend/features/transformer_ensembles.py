"""Fine-tuned transformers of a project: sets on disk, each of one model a fold and a last one on all labels."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.errors import CorruptModel
from ml_backend.features import manifest
from ml_backend.features.finetune import SECONDS_A_STEP, Schedule
from ml_backend.features.sequence_classifier import Matrix, SequenceClassifier, fit, read
from ml_backend.parallel import ParallelRunner, RemoteCall
from ml_backend.settings import Settings
from ml_backend.storage.atomic_files import keep_only, new_directory, new_name

_SEPARATOR = ":"  # between the name of a set and the number of the model in it; encoders have another

Logits = Callable[[Sequence[str]], Matrix]
Files = Mapping[str, bytes]  # of a model, by name


class TransformerEnsembles:
    """The sets of one project; safe to share between threads.

    Of many models that are large, few are in memory: while a set is made one at a time, afterwards the one on all
    labels that was last asked for, and one of a fold.
    """

    def __init__(self, directory: Path, settings: Settings, parallel: ParallelRunner) -> None:
        """Keep sets in `directory`; nothing is loaded yet."""
        self._parallel = parallel
        self._directory = directory
        self._name = settings.transformer
        self._threads = settings.threads
        self.schedule = Schedule(
            settings.transformer_steps,
            settings.transformer_learning_rate,
            settings.transformer_batch_size,
            settings.transformer_max_length,
        )
        self._lock = Lock()
        self._loading = Lock()
        self._held: dict[bool, tuple[str, SequenceClassifier]] = {}  # by whether it is the one on all labels
        self._sets: dict[str, dict[str, Any]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """What models are made of, for the record."""
        return {"transformer": self._name, **asdict(self.schedule)}

    def make(
        self,
        texts: Sequence[str],
        labels: npt.NDArray[np.int64],
        classes: int,
        weights: npt.NDArray[np.float64],
        folds: npt.NDArray[np.int8],
        seed: int,
        training: Callable[[int, int, int], None],
        made: Callable[[int, str, Logits | RemoteCall], None],
    ) -> tuple[str, ...]:
        """Train and write a set on n texts and what is known of each: its keys, of the folds in order, then of all.

        `training(number, step, steps)` is called before each step of a model, or on a cluster when it is trained, and
        `made(number, feature_key, logits)` when it is trained and still in memory; what they raise ends it all and nothing
        is left. Raises EncoderUnavailable, ClusterUnavailable.
        """
        name, count = new_name(), int(folds.max()) + 1
        feature_keys = tuple(f"{name}{_SEPARATOR}{number}" for number in range(count + 1))

        def known(number: int) -> dict[str, Any]:
            """What the model of a fold, or the last one, is trained on, and how."""
            seen = np.flatnonzero(folds != number)
            return {
                "name": self._name,
                "texts": [texts[position] for position in seen],
                "labels": labels[seen],
                "classes": classes,
                "weights": weights[seen],
                "schedule": self.schedule,
                "seed": seed,
                "threads": self._threads,
            }

        with new_directory(self._directory / name) as directory:
            each = map(known, range(count + 1))
            seconds = SECONDS_A_STEP * self.schedule.steps * len(feature_keys)
            if self._parallel.distributed and self._parallel.divides(seconds):
                trained = self._parallel.run(_fit_elsewhere, zip(each), len(feature_keys), seconds=seconds)
                for number, files in enumerate(trained):
                    training(number, self.schedule.steps, self.schedule.steps)
                    _unpack(files, directory / _folder(number))
                for number, feature_key in enumerate(feature_keys):
                    made(number, feature_key, self._remote_call(_pack(directory / _folder(number))))
            else:  # one after the other: each takes all cores, or the GPU, and much memory
                for number, (feature_key, told) in enumerate(zip(feature_keys, each, strict=True)):
                    folder = directory / _folder(number)
                    folder.mkdir()
                    model = fit(**told, directory=folder, report=partial(training, number))
                    model.save(folder)
                    made(number, feature_key, model.logits)
                    del model  # before the next one is opened
            manifest.describe(directory, {"models": len(feature_keys), "max_length": self.schedule.max_length})
        return feature_keys

    def logits(self, feature_key: str, texts: Sequence[str]) -> Matrix:
        """The logits by one model of a set, float32 (n, classes); raises CorruptModel."""
        return self._model(feature_key).logits(texts)

    def remote_call(self, feature_key: str) -> RemoteCall:
        """What `logits` does, in any process; raises CorruptModel."""
        return self._remote_call(
            _pack(self._directory / _name(feature_key) / _folder(_number(feature_key))), self._max_length(feature_key)
        )

    def keep_only(self, feature_keys: Collection[str]) -> None:
        """Remove all sets but those of `feature_keys`, leftovers of interrupted trainings included."""
        kept = {_name(feature_key) for feature_key in feature_keys}
        keep_only(self._directory, kept)
        self._sets = {name: told for name, told in self._sets.items() if name in kept}

    def prepare(self, feature_keys: Sequence[str]) -> None:
        """Load the last one of `feature_keys`, where one on all labels was needed so far; raises CorruptModel."""
        if True in self._held and feature_keys:
            self._model(feature_keys[-1])

    def release(self, feature_keys: Collection[str]) -> None:
        """Hold no other models in memory than those of `feature_keys`."""
        with self._lock:
            self._held = {final: held for final, held in self._held.items() if held[0] in feature_keys}

    def _model(self, feature_key: str) -> SequenceClassifier:
        final = self._is_final(feature_key)
        with self._lock:
            held = self._held.get(final)
        if held is not None and held[0] == feature_key:
            return held[1]
        with self._loading:
            with self._lock:
                held = self._held.get(final)
                if held is not None and held[0] == feature_key:  # loaded while this thread waited
                    return held[1]
                if not final:
                    del held
                    self._held.pop(False, None)
            model = read(
                self._directory / _name(feature_key) / _folder(_number(feature_key)),
                self._max_length(feature_key),
                self._threads,
            )
            with self._lock:
                self._held[final] = feature_key, model
        return model

    def _remote_call(self, files: Files, max_length: int | None = None) -> RemoteCall:
        return RemoteCall(_logits_elsewhere, (files, max_length or self.schedule.max_length, self._threads))

    def _is_final(self, feature_key: str) -> bool:
        return bool(_number(feature_key) == self._told(feature_key)["models"] - 1)

    def _max_length(self, feature_key: str) -> int:
        return int(self._told(feature_key)["max_length"])

    def _told(self, feature_key: str) -> dict[str, Any]:
        name = _name(feature_key)
        if name not in self._sets:
            told = manifest.read(self._directory / name, "fine-tuned transformers")
            if not all(isinstance(told.get(key), int) for key in ("models", "max_length")):
                raise CorruptModel("The fine-tuned transformers of a model are damaged; train again.")
            self._sets[name] = told
        return self._sets[name]


def _fit_elsewhere(known: dict[str, Any]) -> Files:
    with TemporaryDirectory() as name:
        directory = Path(name)
        fit(**known, directory=directory, report=lambda step, steps: None).save(directory)
        return _pack(directory)


def _logits_elsewhere(files: Files, max_length: int, threads: int, texts: Sequence[str]) -> Matrix:
    if not texts:
        return np.zeros((0, 0), dtype=np.float32)
    with TemporaryDirectory() as directory:
        _unpack(files, Path(directory) / "model")
        return read(Path(directory) / "model", max_length, threads).logits(texts)


def _pack(directory: Path) -> Files:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def _unpack(files: Files, directory: Path) -> None:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)


def is_of_transformer(feature_key: str) -> bool:
    """Whether vectors of a feature_key are logits by a model of a set."""
    return _SEPARATOR in feature_key


def _name(feature_key: str) -> str:
    return feature_key.partition(_SEPARATOR)[0]


def _number(feature_key: str) -> int:
    return int(feature_key.partition(_SEPARATOR)[2])


def _folder(number: int) -> str:
    return f"model-{number:02}"
