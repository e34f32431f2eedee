"""Trained models of a project on disk: a directory a version, published by a rename, and a pointer to the current."""

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

from ml_backend.classifiers import catalog
from ml_backend.classifiers.protocol import Classifier
from ml_backend.errors import CorruptModel, NotFound
from ml_backend.features.feature_store import FeatureSpec
from ml_backend.settings import ClassifierName
from ml_backend.storage import locks
from ml_backend.storage.atomic_files import keep_only, new_directory, new_name, sha256, write_atomically

_FORMAT = 1


@dataclass(frozen=True)
class TrainingSet:
    """What a model was trained on: text digests uint8 (n, 16), labels int64 (n,) or (n, k), folds int8 (n,)."""

    digests: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int8]


@dataclass(frozen=True)
class TrainedModel:
    """A version: the final classifier, one classifier a fold, and what they were trained on.

    `multilabel`: several classes may apply to an item; `accuracy`: the share of items all of whose classes are right
    out of sample; `classifier`: its name in the table.
    """

    version: str
    classes: tuple[str, ...]
    feature_spec: FeatureSpec
    settings: Mapping[str, Any]
    accuracy: float
    trained_at: str
    training_set: TrainingSet
    final: Classifier
    by_fold: Sequence[Classifier]
    multilabel: bool = False
    classifier: ClassifierName = "logistic"

    def out_of_sample(
        self, features: Sequence[npt.NDArray[np.float32]], digests: Sequence[bytes]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
        """Probabilities (n, k) and folds (n,): by the fold model that never saw the text, or -1 and the mean of all.

        `features` are of n texts for the model of each fold.
        """
        trained = dict(zip(map(bytes, self.training_set.digests), self.training_set.folds.tolist(), strict=True))
        folds = np.array([trained.get(key, -1) for key in digests], dtype=np.int8)
        each = np.stack([model.predict_proba(x) for model, x in zip(self.by_fold, features, strict=True)])
        probabilities = each.mean(axis=0)
        known = np.flatnonzero(folds >= 0)
        probabilities[known] = each[folds[known], known]
        return probabilities.astype(np.float32), folds


class Registry:
    """The versions of one project."""

    def __init__(self, directory: Path, keep: int) -> None:
        """Keep the `keep` newest versions under `directory`."""
        self._directory = directory
        self._versions = directory / "versions"
        self._pointer = directory / "current"
        self._lexical = directory / "lexical"
        self._keep = keep

    def publish(self, model: TrainedModel) -> TrainedModel:
        """Write a model as a new version, read it back and make it the current one; the model as read.

        Until the last step the version before stays current.
        """
        model = replace(model, version=new_name())
        with new_directory(self._versions / model.version) as directory:
            _write(model, directory)
        published = self._read(model.version)
        write_atomically(self._pointer, model.version.encode())
        return published

    def current_version(self) -> str | None:
        """The name of the current version, None before the first: read from disk, whichever process wrote it."""
        try:
            return self._pointer.read_text()
        except FileNotFoundError:
            return None

    def read(self, version: str) -> TrainedModel:
        """A version; raises CorruptModel where its files are not what was written."""
        if version not in self.versions():
            raise CorruptModel("The current model version is missing; train again.")
        return self._read(version)

    def roll_back(self, version: str | None = None) -> None:
        """Make a kept version the current one, without `version` the newest that is older than the current.

        Raises NotFound where there is none, CorruptModel where it is damaged, and Conflict while a training runs, whose
        version would take its place.
        """
        with locks.require_idle(self._directory, "an older version can serve again"):
            self._roll_back(version)

    def _roll_back(self, version: str | None) -> None:
        kept, current = self.versions(), self.current_version()
        if version is None:
            older = [name for name in kept if current is not None and name < current]
            if not older:
                raise NotFound("There is no older version; the newest ones alone are kept (ML_BACKEND_KEEP_VERSIONS).")
            version = older[-1]
        elif version not in kept:
            raise NotFound("There is no such model version; those that are kept are listed under versions.")
        self._read(version)
        write_atomically(self._pointer, version.encode())

    def versions(self) -> list[str]:
        """The names of the versions on disk, oldest first."""
        if not self._versions.is_dir():
            return []
        return sorted(child.name for child in self._versions.iterdir() if not child.name.startswith("."))

    def clear(self) -> None:
        """Remove all versions, the pointer to the current one first."""
        self._pointer.unlink(missing_ok=True)
        keep_only(self._versions, set())

    def prune(self, current: str) -> set[str]:
        """Keep `current` and the newest others; remove the rest, damaged versions, unused TF-IDF maps, torn writes.

        Returns the kinds of features by fine-tuned models that the versions kept rest on.
        """
        keep: dict[str, FeatureSpec] = {}
        for version in [current, *(name for name in reversed(self.versions()) if name != current)]:
            if len(keep) < self._keep:
                with suppress(CorruptModel):
                    keep[version] = _feature_spec(_manifest(self._versions / version))
        keep_only(self._versions, set(keep))
        keep_only(self._lexical, {spec.lexical for spec in keep.values()})
        return {kind for spec in keep.values() for kind in spec.ensemble_keys}

    def _read(self, version: str) -> TrainedModel:
        try:
            return self._told(version)
        except (KeyError, TypeError, ValueError, AttributeError, OSError, SafetensorError) as error:
            raise CorruptModel(
                f"The model version {version} is not as this server writes them; train again."
            ) from error

    def _told(self, version: str) -> TrainedModel:
        directory = self._versions / version
        manifest = _manifest(directory)
        for name, expected in manifest["files"].items():
            if not (directory / name).is_file() or sha256(directory / name) != expected:
                raise CorruptModel(f"The model version {version} is damaged; train again.")
        files = sorted(name for name in manifest["files"] if name.startswith("fold-"))
        # Versions of before there was a choice lack these two.
        multilabel, classifier = manifest.get("multilabel", False), manifest.get("classifier", "logistic")
        if classifier not in catalog.CLASSIFIERS:
            raise CorruptModel(f"The model version {version} is of an unknown classifier, {classifier!r}; train again.")
        return TrainedModel(
            version=version,
            classes=tuple(manifest["classes"]),
            feature_spec=_feature_spec(manifest),
            settings=manifest["settings"],
            accuracy=manifest["accuracy"],
            trained_at=manifest["trained_at"],
            training_set=TrainingSet(**load_file(directory / "training.safetensors")),
            final=catalog.load(classifier, multilabel, directory / "final.safetensors"),
            by_fold=[catalog.load(classifier, multilabel, directory / name) for name in files],
            multilabel=multilabel,
            classifier=classifier,
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
        "recipe": asdict(model.feature_spec),
        "settings": model.settings,
        "accuracy": model.accuracy,
        "trained_at": model.trained_at,
        "files": {file.name: sha256(file) for file in sorted(directory.iterdir())},
    }
    (directory / "version.json").write_text(json.dumps(manifest, indent=2))


def _feature_spec(manifest: Mapping[str, Any]) -> FeatureSpec:
    try:
        told = dict(manifest["recipe"])
        # Versions of before there were fine-tuned encoders, or transformers, name none.
        finetuned, transformers = (tuple(map(str, told.get(kind, ()))) for kind in ("finetuned", "transformers"))
        return FeatureSpec(told["encoder"], told["lexical"], finetuned, transformers)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptModel("A model version rests on features that this server does not know; train again.") from error


def _manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / "version.json").read_text())
    except (OSError, ValueError) as error:
        raise CorruptModel(f"The model version {directory.name} cannot be read; train again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise CorruptModel(f"The model version {directory.name} is of another format; train again.")
    return manifest
