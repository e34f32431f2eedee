"""The trained models of a project on disk: one directory per version, and a pointer to the current version."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ml_backend.classifiers import Classifier, catalog
from ml_backend.errors import CorruptModel, NotFound
from ml_backend.features.feature_spec import FeatureSpec
from ml_backend.settings import ClassifierName
from ml_backend.storage import locks
from ml_backend.storage.atomic_files import keep_only, new_directory, new_name, sha256, write_atomically

_FORMAT = 3


@dataclass(frozen=True)
class TrainingSet:
    """What a model was trained on: text digests uint8 (n, 16), labels int64 (n,) or (n, k), folds int8 (n,).

    `probabilities` float32 (n, k) are out of sample: of each text by the model of its fold, which never saw its label.
    """

    digests: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int8]
    probabilities: npt.NDArray[np.float32]


@dataclass(frozen=True)
class TrainedModel:
    """A model version: the final classifier, one classifier per fold, and what they were trained on.

    With `multilabel`, several classes may apply to an item. `accuracy` is the share of items whose classes are all
    right out of sample. `classifier` is its name in the catalog, and `settings` records how it was trained. `by_fold`
    is empty if each fold has features of its own, which only labelled texts have. `since` is when a model with this
    embedding began to serve. `control` is the name of the one that it answers, if it is known, and `fields` are the
    keys of a task's data that a text is made of. (): what the form shows.
    """

    version: str
    classes: tuple[str, ...]
    feature_spec: FeatureSpec
    settings: Mapping[str, Any]
    accuracy: float
    trained_at: str
    since: str
    training_set: TrainingSet
    final: Classifier
    by_fold: Sequence[Classifier]
    multilabel: bool
    classifier: ClassifierName
    control: str = ""
    fields: tuple[str, ...] = ()

    def out_of_sample(
        self, features: npt.NDArray[np.float32], digests: Sequence[bytes]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
        """Out-of-sample probabilities of n texts, given their features (n, d) for the final model.

        Returns probabilities (n, k) and folds (n,). The row of a text in the training set is by the model of its fold,
        which never saw it. The row of any other text is the mean over the models of the folds, or by the final model if
        these have features of their own. Its fold is -1.
        """
        row_of_digest = {bytes(key): row for row, key in enumerate(self.training_set.digests)}
        rows = np.array([row_of_digest.get(key, -1) for key in digests], dtype=np.int64)
        scorers = self.by_fold or [self.final]
        probabilities = np.mean([model.predict_proba(features) for model in scorers], axis=0).astype(np.float32)
        folds = np.full(len(digests), -1, dtype=np.int8)
        trained = rows >= 0
        probabilities[trained] = self.training_set.probabilities[rows[trained]]
        folds[trained] = self.training_set.folds[rows[trained]]
        return probabilities, folds


class Registry:
    """The model versions of one project."""

    def __init__(self, directory: Path, keep: int) -> None:
        """Keep the `keep` newest versions under `directory`."""
        self._directory = directory
        self._versions = directory / "versions"
        self._pointer = directory / "current"
        self._tfidf_maps = directory / "lexical"
        self._keep = keep

    def publish(self, model: TrainedModel) -> TrainedModel:
        """Write a model as a new version, read it back and make it current. Returns the model as read.

        Up to the last step, the previous version stays current.
        """
        model = replace(model, version=new_name())
        with new_directory(self._versions / model.version) as directory:
            _write(model, directory)
        published = self._read(model.version)
        write_atomically(self._pointer, model.version.encode())
        return published

    def current_version(self) -> str | None:
        """The name of the current version, or None before the first. It is read from disk each time."""
        try:
            return self._pointer.read_text()
        except FileNotFoundError:
            return None

    def read(self, version: str) -> TrainedModel:
        """Read a version. Raises CorruptModel if its files are not what was written."""
        if version not in self.versions():
            raise CorruptModel("The current model version is missing. Train again.")
        return self._read(version)

    def roll_back(self, version: str | None = None) -> None:
        """Make a stored version current. Without `version`, this is the newest one older than the current.

        Raises NotFound if there is none, and CorruptModel if it is damaged. Raises Conflict while a training runs,
        whose version would replace it.
        """
        with locks.require_idle(self._directory, "an older version can serve again"):
            self._roll_back(version)

    def _roll_back(self, version: str | None) -> None:
        stored, current = self.versions(), self.current_version()
        if version is None:
            older = [name for name in stored if current is not None and name < current]
            if not older:
                raise NotFound("There is no older version. Only the newest ones are kept (ML_BACKEND_KEEP_VERSIONS).")
            version = older[-1]
        elif version not in stored:
            raise NotFound("There is no such model version. The stored ones are listed under versions.")
        self._read(version)
        write_atomically(self._pointer, version.encode())

    def versions(self) -> list[str]:
        """The names of the versions on disk, oldest first."""
        if not self._versions.is_dir():
            return []
        return sorted(child.name for child in self._versions.iterdir() if not child.name.startswith("."))

    def clear(self) -> None:
        """Remove the pointer to the current version, and then all versions."""
        self._pointer.unlink(missing_ok=True)
        keep_only(self._versions, set())

    def prune(self, current: str) -> set[str]:
        """Keep `current` and the newest others. Remove other and damaged versions, and TF-IDF maps that none uses.

        Returns the keys of the features by fine-tuned models that the remaining versions use.
        """
        specs: dict[str, FeatureSpec] = {}
        for version in [current, *(name for name in reversed(self.versions()) if name != current)]:
            if len(specs) < self._keep:
                with suppress(CorruptModel):
                    specs[version] = _feature_spec(_manifest(self._versions / version))
        keep_only(self._versions, set(specs))
        keep_only(self._tfidf_maps, {spec.lexical for spec in specs.values()})
        return {key for spec in specs.values() for key in spec.ensemble_keys}

    def _read(self, version: str) -> TrainedModel:
        try:
            return self._parse(version)
        except (KeyError, TypeError, ValueError, AttributeError, OSError, SafetensorError) as error:
            raise CorruptModel(f"The model version {version} is not in this server's format. Train again.") from error

    def _parse(self, version: str) -> TrainedModel:
        directory = self._versions / version
        manifest = _manifest(directory)
        for name, expected in manifest["files"].items():
            if not (directory / name).is_file() or sha256(directory / name) != expected:
                raise CorruptModel(f"The model version {version} is damaged. Train again.")
        fold_files = sorted(name for name in manifest["files"] if name.startswith("fold-"))
        multilabel, classifier = manifest["multilabel"], manifest["classifier"]
        if classifier not in catalog.CLASSIFIERS:
            raise CorruptModel(f"The model version {version} has an unknown classifier, {classifier!r}. Train again.")
        return TrainedModel(
            version=version,
            classes=tuple(manifest["classes"]),
            feature_spec=_feature_spec(manifest),
            settings=manifest["settings"],
            accuracy=manifest["accuracy"],
            trained_at=manifest["trained_at"],
            since=manifest["since"],
            training_set=TrainingSet(**load_file(directory / "training.safetensors")),
            final=catalog.load(classifier, multilabel, directory / "final.safetensors"),
            by_fold=[catalog.load(classifier, multilabel, directory / name) for name in fold_files],
            multilabel=multilabel,
            classifier=classifier,
            control=manifest["control"],
            fields=tuple(manifest["fields"]),
        )


def _write(model: TrainedModel, directory: Path) -> None:
    model.final.save(directory / "final.safetensors")
    for number, classifier in enumerate(model.by_fold):
        classifier.save(directory / f"fold-{number:02}.safetensors")
    save_file(
        {name: np.ascontiguousarray(array) for name, array in vars(model.training_set).items()},
        directory / "training.safetensors",
    )
    manifest = {
        "format": _FORMAT,
        "classes": model.classes,
        "multilabel": model.multilabel,
        "classifier": model.classifier,
        "control": model.control,
        "fields": model.fields,
        "recipe": asdict(model.feature_spec),
        "settings": model.settings,
        "accuracy": model.accuracy,
        "trained_at": model.trained_at,
        "since": model.since,
        "files": {file.name: sha256(file) for file in sorted(directory.iterdir())},
    }
    (directory / "version.json").write_text(json.dumps(manifest, indent=2))


def _feature_spec(manifest: Mapping[str, Any]) -> FeatureSpec:
    try:
        spec = manifest["recipe"]
        finetuned, transformers = (tuple(map(str, spec[name])) for name in ("finetuned", "transformers"))
        return FeatureSpec(spec["encoder"], spec["lexical"], finetuned, transformers)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptModel("A model version needs features that this server does not have. Train again.") from error


def _manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / "version.json").read_text())
    except (OSError, ValueError) as error:
        raise CorruptModel(f"The model version {directory.name} cannot be read. Train again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise CorruptModel(f"The model version {directory.name} is in another format. Train again.")
    return manifest
