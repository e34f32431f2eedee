"""Fine-tuned transformers of a project: ensembles on disk of one model per fold, and a last one on all labels."""

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
from ml_backend.features.finetune import Schedule
from ml_backend.features.sequence_classifier import SECONDS_A_STEP, Matrix, SequenceClassifier, fit, read
from ml_backend.parallel import ParallelRunner, RemoteCall
from ml_backend.settings import Settings
from ml_backend.storage.atomic_files import keep_only, new_directory, new_name

_SEPARATOR = ":"  # between the name of an ensemble and the number of the model in it (encoders have another)

Logits = Callable[[Sequence[str]], Matrix]
Files = Mapping[str, bytes]  # the files of a model, by name


class TransformerEnsembles:
    """The ensembles of one project. Safe to share between threads.

    The models are large, so few are in memory. While an ensemble is made, it is one at a time. Afterwards it is the
    last one used of those on all labels, and the last one used of those of a fold.
    """

    def __init__(self, directory: Path, settings: Settings, parallel: ParallelRunner) -> None:
        """Keep ensembles in `directory`. Nothing is loaded yet."""
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
        self._loaded: dict[bool, tuple[str, SequenceClassifier]] = {}  # by whether it is the one on all labels
        self._descriptions: dict[str, dict[str, Any]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """What is recorded of a model's training."""
        return {"transformer": self._name, **asdict(self.schedule)}

    def make(
        self,
        texts: Sequence[str],
        labels: npt.NDArray[np.int64],
        classes: int,
        weights: npt.NDArray[np.float64],
        folds: npt.NDArray[np.int8],
        seed: int,
        on_step: Callable[[int, int, int], None],
        on_model: Callable[[int, str, Logits | RemoteCall], None],
    ) -> tuple[str, ...]:
        """Train and write an ensemble. If anything is raised, nothing is left.

        Args:
            texts: n texts.
            labels: Positions of classes (n,), or for several classes per item 0 and 1 (n, `classes`).
            classes: The number of classes.
            weights: How much each label counts (n,).
            folds: The fold of each text (n,).
            seed: The same seed gives the same ensemble on the same machine.
            on_step: `on_step(number, step, steps)` is called before each step of a model. On a cluster, it is called
                once when the model is trained.
            on_model: `on_model(number, feature_key, logits)` is called while a trained model is still in memory.

        Returns:
            The keys of the features: those of the folds in order, then that of the one on all labels.

        Raises:
            EncoderUnavailable: The model cannot be loaded.
            ClusterUnavailable: The Ray cluster cannot be reached, or a process died.
        """
        name, count = new_name(), int(folds.max()) + 1
        feature_keys = tuple(f"{name}{_SEPARATOR}{number}" for number in range(count + 1))

        def arguments(number: int) -> dict[str, Any]:
            """The arguments of `fit` for the model of a fold, or the last one."""
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
            arguments_of_models = map(arguments, range(count + 1))
            seconds = SECONDS_A_STEP * self.schedule.steps * len(feature_keys)
            if self._parallel.distributed and self._parallel.divides(seconds):
                parts = zip(arguments_of_models)
                trained = self._parallel.run(_fit_remotely, parts, len(feature_keys), seconds=seconds)
                for number, files in enumerate(trained):
                    on_step(number, self.schedule.steps, self.schedule.steps)
                    _unpack(files, directory / _folder(number))
                for number, feature_key in enumerate(feature_keys):
                    on_model(number, feature_key, self._call_with(_pack(directory / _folder(number))))
            else:  # in sequence, because each takes all cores, or the GPU, and much memory
                for number, feature_key in enumerate(feature_keys):
                    folder = directory / _folder(number)
                    folder.mkdir()
                    model = fit(**next(arguments_of_models), directory=folder, report=partial(on_step, number))
                    model.save(folder)
                    on_model(number, feature_key, model.logits)
                    del model  # before the next one is opened
            manifest.describe(directory, {"models": len(feature_keys), "max_length": self.schedule.max_length})
        return feature_keys

    def logits(self, feature_key: str, texts: Sequence[str]) -> Matrix:
        """The logits by one model, float32 (n, classes). Raises CorruptModel."""
        return self._model(feature_key).logits(texts)

    def remote_call(self, feature_key: str) -> RemoteCall:
        """What `logits` does, in any process. Raises CorruptModel."""
        return self._call_with(_pack(self._folder_of(feature_key)), self._max_length(feature_key))

    def keep_only(self, feature_keys: Collection[str]) -> None:
        """Remove all ensembles except those of `feature_keys`, and what interrupted trainings left."""
        kept = {_name(key) for key in feature_keys}
        keep_only(self._directory, kept)
        self._descriptions = {name: description for name, description in self._descriptions.items() if name in kept}

    def prepare(self, feature_keys: Sequence[str]) -> None:
        """Load the last one of `feature_keys`, if a model on all labels was loaded so far. Raises CorruptModel."""
        if True in self._loaded and feature_keys:
            self._model(feature_keys[-1])

    def release(self, feature_keys: Collection[str]) -> None:
        """Keep only the models of `feature_keys` in memory."""
        with self._lock:
            self._loaded = {final: loaded for final, loaded in self._loaded.items() if loaded[0] in feature_keys}

    def _model(self, feature_key: str) -> SequenceClassifier:
        final = self._is_final(feature_key)
        with self._lock:
            loaded = self._loaded.get(final)
        if loaded is not None and loaded[0] == feature_key:
            return loaded[1]
        with self._loading:
            with self._lock:
                loaded = self._loaded.get(final)
                if loaded is not None and loaded[0] == feature_key:  # loaded while this thread waited
                    return loaded[1]
                if not final:
                    del loaded
                    self._loaded.pop(False, None)
            model = read(self._folder_of(feature_key), self._max_length(feature_key), self._threads)
            with self._lock:
                self._loaded[final] = feature_key, model
        return model

    def _call_with(self, files: Files, max_length: int | None = None) -> RemoteCall:
        return RemoteCall(_logits_remotely, (files, max_length or self.schedule.max_length, self._threads))

    def _folder_of(self, feature_key: str) -> Path:
        return self._directory / _name(feature_key) / _folder(_number(feature_key))

    def _is_final(self, feature_key: str) -> bool:
        return bool(_number(feature_key) == self._description(feature_key)["models"] - 1)

    def _max_length(self, feature_key: str) -> int:
        return int(self._description(feature_key)["max_length"])

    def _description(self, feature_key: str) -> dict[str, Any]:
        name = _name(feature_key)
        if name not in self._descriptions:
            description = manifest.read(self._directory / name, "fine-tuned transformers")
            if not all(isinstance(description.get(key), int) for key in ("models", "max_length")):
                raise CorruptModel("The fine-tuned transformers of a model are damaged. Train again.")
            self._descriptions[name] = description
        return self._descriptions[name]


def _fit_remotely(arguments: dict[str, Any]) -> Files:
    with TemporaryDirectory() as name:
        directory = Path(name)
        fit(**arguments, directory=directory, report=lambda step, steps: None).save(directory)
        return _pack(directory)


def _logits_remotely(files: Files, max_length: int, threads: int, texts: Sequence[str]) -> Matrix:
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
    """Whether features under a key are logits by a fine-tuned transformer."""
    return _SEPARATOR in feature_key


def _name(feature_key: str) -> str:
    return feature_key.partition(_SEPARATOR)[0]


def _number(feature_key: str) -> int:
    return int(feature_key.partition(_SEPARATOR)[2])


def _folder(number: int) -> str:
    return f"model-{number:02}"
