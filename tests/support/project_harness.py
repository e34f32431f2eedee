"""A project on which tests train logistic regressions directly."""

from pathlib import Path
from typing import Any

import numpy as np

from ml_backend.features.encoder import Encoder
from ml_backend.features.encoders import Encoders
from ml_backend.features.lru_cache import LruCache
from ml_backend.models.registry import TrainedModel
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.project import Project
from ml_backend.settings import Settings
from ml_backend.storage.dataset import digest
from ml_backend.training.request import TrainingRequest


class Stopped(Exception):
    """Nobody waits for the training any more."""


def refuse(update: ProgressUpdate) -> None:
    raise Stopped


class ProjectHarness:
    """A project on which tests train directly."""

    def __init__(self, directory: Path, encoder: Encoder, **settings: object) -> None:
        self.settings = Settings(model_dir=directory, **settings)
        self.directory = directory
        self.project = Project(directory, Encoders.with_text(encoder, self.settings), LruCache(), self.settings)

    def hold(self, texts: list[str]) -> None:
        self.project.dataset.set_items(range(len(texts)), [digest(text) for text in texts])
        self.project.dataset.add_texts(texts)

    def train(
        self,
        texts: list[str],
        labels: list[int],
        classes: int = 2,
        folds: int = 3,
        seed: int = 0,
        stop: bool = False,
        **options: Any,
    ) -> TrainedModel:
        names = tuple(f"class {number}" for number in range(classes))
        keys = tuple(digest(text) for text in texts)
        request = TrainingRequest(
            names, keys, tuple(labels), folds, seed, self.settings.c, **{"classifier": "logistic", **options}
        )
        self.project.train(request, Progress(refuse if stop else lambda update: None))
        return self.model

    @property
    def model(self) -> TrainedModel:
        assert self.project.model is not None
        return self.project.model

    def features(self, texts: list[str]) -> np.ndarray:
        return self.project.features.of_texts(self.model.feature_spec, texts)

    def out_of_sample(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return self.model.out_of_sample(self.features(texts), [digest(text) for text in texts])
