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
from ml_backend.parallel import Cluster, Portable
from ml_backend.settings import Settings
from ml_backend.storage.atomic_files import keep_only, new_directory, new_name

_SEPARATOR = ":"  # between the name of a set and the number of the model in it; encoders have another

Logits = Callable[[Sequence[str]], Matrix]
Files = Mapping[str, bytes]  # of a model, by name


class Transformers:
    """The sets of one project; safe to share between threads.

    Of many models that are large, few are in memory: while a set is made one at a time, afterwards the one on all
    labels that was last asked for, and one of a fold.
    """

    def __init__(self, directory: Path, settings: Settings, cluster: Cluster) -> None:
        """Keep sets in `directory`; nothing is loaded yet."""
        self._cluster = cluster
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
        made: Callable[[int, str, Logits | Portable], None],
    ) -> tuple[str, ...]:
        """Train and write a set on n texts and what is known of each: its kinds, of the folds in order, then of all.

        `training(number, step, steps)` is called before each step of a model, or on a cluster when it is trained, and
        `made(number, kind, logits)` when it is trained and still in memory; what they raise ends it all and nothing is
        left. Raises EncoderUnavailable, ClusterUnavailable.
        """
        name, count = new_name(), int(folds.max()) + 1
        kinds = tuple(f"{name}{_SEPARATOR}{number}" for number in range(count + 1))

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
            seconds = SECONDS_A_STEP * self.schedule.steps * len(kinds)
            if self._cluster.distributed and self._cluster.divides(seconds):
                trained = self._cluster.run(_fit_elsewhere, zip(each), len(kinds), seconds=seconds)
                for number, files in enumerate(trained):
                    training(number, self.schedule.steps, self.schedule.steps)
                    _unpack(files, directory / _folder(number))
                for number, kind in enumerate(kinds):
                    made(number, kind, self._portable(_pack(directory / _folder(number))))
            else:  # one after the other: each takes all cores, or the GPU, and much memory
                for number, (kind, told) in enumerate(zip(kinds, each, strict=True)):
                    folder = directory / _folder(number)
                    folder.mkdir()
                    model = fit(**told, directory=folder, report=partial(training, number))
                    model.save(folder)
                    made(number, kind, model.logits)
                    del model  # before the next one is opened
            manifest.describe(directory, {"models": len(kinds), "max_length": self.schedule.max_length})
        return kinds

    def logits(self, kind: str, texts: Sequence[str]) -> Matrix:
        """The logits by one model of a set, float32 (n, classes); raises CorruptModel."""
        return self._model(kind).logits(texts)

    def portable(self, kind: str) -> Portable:
        """What `logits` does, in any process; raises CorruptModel."""
        return self._portable(_pack(self._directory / _name(kind) / _folder(_number(kind))), self._max_length(kind))

    def keep_only(self, kinds: Collection[str]) -> None:
        """Remove all sets but those of `kinds`, leftovers of interrupted trainings included."""
        kept = {_name(kind) for kind in kinds}
        keep_only(self._directory, kept)
        self._sets = {name: told for name, told in self._sets.items() if name in kept}

    def prepare(self, kinds: Sequence[str]) -> None:
        """Load the last one of `kinds`, where one on all labels was needed so far; raises CorruptModel."""
        if True in self._held and kinds:
            self._model(kinds[-1])

    def release(self, kinds: Collection[str]) -> None:
        """Hold no other models in memory than those of `kinds`."""
        with self._lock:
            self._held = {final: held for final, held in self._held.items() if held[0] in kinds}

    def _model(self, kind: str) -> SequenceClassifier:
        final = self._is_final(kind)
        with self._lock:
            held = self._held.get(final)
        if held is not None and held[0] == kind:
            return held[1]
        with self._loading:
            with self._lock:
                held = self._held.get(final)
                if held is not None and held[0] == kind:  # loaded while this thread waited
                    return held[1]
                if not final:
                    del held
                    self._held.pop(False, None)
            model = read(self._directory / _name(kind) / _folder(_number(kind)), self._max_length(kind), self._threads)
            with self._lock:
                self._held[final] = kind, model
        return model

    def _portable(self, files: Files, max_length: int | None = None) -> Portable:
        return Portable(_logits_elsewhere, (files, max_length or self.schedule.max_length, self._threads))

    def _is_final(self, kind: str) -> bool:
        return bool(_number(kind) == self._told(kind)["models"] - 1)

    def _max_length(self, kind: str) -> int:
        return int(self._told(kind)["max_length"])

    def _told(self, kind: str) -> dict[str, Any]:
        name = _name(kind)
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


def is_of_transformer(kind: str) -> bool:
    """Whether vectors of a kind are logits by a model of a set."""
    return _SEPARATOR in kind


def _name(kind: str) -> str:
    return kind.partition(_SEPARATOR)[0]


def _number(kind: str) -> int:
    return int(kind.partition(_SEPARATOR)[2])


def _folder(number: int) -> str:
    return f"model-{number:02}"
