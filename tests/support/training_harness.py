"""A project on which tests train directly, in their own process."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ml_backend.features.encoder import Encoder
from ml_backend.features.encoders import Encoders
from ml_backend.features.lru_cache import LruCache
from ml_backend.models.registry import TrainedModel
from ml_backend.progress import Progress
from ml_backend.project import Project
from ml_backend.settings import Settings
from ml_backend.storage.dataset import Kind, digest
from ml_backend.training.request import TrainingRequest


class TrainingHarness:
    """A project; `folder` is where its sets of fine-tuned models are."""

    def __init__(self, directory: Path, encoder: Encoder, folder: str, **settings: object) -> None:
        self.settings = Settings(model_dir=directory, **settings)  # type: ignore[arg-type]
        self.directory = directory
        self.folder = folder
        self.project = Project(directory, Encoders.with_text(encoder, self.settings), LruCache(), self.settings)

    def hold(self, texts: list[str]) -> None:
        self.project.dataset.set_items(range(len(texts)), [digest(text) for text in texts])
        self.project.dataset.add_texts(texts)

    def hold_media(self, kind: Kind, contents: list[bytes]) -> None:
        digests = [digest(content) for content in contents]
        self.project.dataset.set_items(range(len(contents)), digests, kind)
        self.project.dataset.add_media(digests, contents)

    def request(self, texts: Sequence[str | bytes], labels: list[int], **options: object) -> TrainingRequest:
        keys = tuple(map(digest, texts))
        told = {"classifier": self.settings.classifier, "finetune": self.settings.finetune}
        two = {"folds": 2, "seed": 0, "c": 10.0, **told}
        return TrainingRequest(("one", "two"), keys, tuple(labels), **{**two, **options})  # type: ignore[arg-type]

    def train(self, texts: Sequence[str | bytes], labels: list[int], **options: object) -> TrainedModel:
        self.project.train(self.request(texts, labels, **options), Progress(lambda update: None))
        return self.model

    @property
    def model(self) -> TrainedModel:
        assert self.project.model is not None
        return self.project.model

    @property
    def sets(self) -> set[str]:
        """The sets of fine-tuned models on disk."""
        return {path.name for path in (self.directory / self.folder).iterdir() if path.is_dir()}

    def right(self, texts: Sequence[str | bytes], labels: list[int]) -> float:
        """The accuracy of the final model."""
        features = self.project.features.of_texts(self.model.feature_spec, texts)
        return float((self.model.final.predict_proba(features).argmax(axis=1) == labels).mean())

    def out_of_sample(self, texts: Sequence[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
        features = self.project.features.of_texts(self.model.feature_spec, texts)
        return self.model.out_of_sample(features, [digest(text) for text in texts])

    def folds(self) -> dict[bytes, int]:
        training = self.model.training_set
        return dict(zip(map(bytes, training.digests), training.folds.tolist(), strict=True))
