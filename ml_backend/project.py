"""What the server holds of one project, and the swap of its model."""

import logging
import re
from pathlib import Path
from threading import Lock

from ml_backend.errors import CorruptModel, InvalidRequest
from ml_backend.features import Features
from ml_backend.features.encoder import Encoder
from ml_backend.features.recent import Recent
from ml_backend.jobs import Progress
from ml_backend.pool import Pool
from ml_backend.registry import Registry, TrainedModel
from ml_backend.settings import Settings
from ml_backend.training import TrainingRequest, finetune, finetuning_is_due, train

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

log = logging.getLogger(__name__)


class Project:
    """One project: its pool, the features of its texts, its model versions and the one that serves."""

    def __init__(self, directory: Path, encoder: Encoder, recent: Recent, settings: Settings) -> None:
        """Open the project in `directory` and load its current model, without loading the encoder."""
        self.pool = Pool(directory / "pool.sqlite")
        self.features = Features(self.pool, encoder, recent, directory, settings)
        self._registry = Registry(directory, settings.keep_versions)
        self.model: TrainedModel | None = None
        try:
            self.model = self._registry.current()
        except CorruptModel as error:
            log.error("Project %s serves no model: %s", directory.name, error)
        self._recipe = self.model.recipe if self.model is not None else None
        self._request: TrainingRequest | None = None

    def train(self, request: TrainingRequest, progress: Progress) -> str:
        """Train, publish and serve a new model; its version. Whatever fails, the model before goes on serving."""
        self._request = request
        model = self._registry.publish(train(request, self.features, self._recipe, progress))
        self.model, self._recipe = model, model.recipe
        self.features.forget_all_but(model.recipe, self._registry.prune(model.version))
        return model.version

    def train_again(self, progress: Progress) -> str:
        """Train on what was trained on last since the server started, as `train` does."""
        assert self._request is not None
        return self.train(self._request, progress)

    def finetuning_is_due(self, request: TrainingRequest) -> bool:
        """Whether encoders should be fine-tuned on what was just trained on; raises EncoderUnavailable."""
        return finetuning_is_due(request, self.features)

    def finetune(self, request: TrainingRequest, progress: Progress) -> None:
        """Fine-tune encoders for the trainings to come, which meanwhile go on with those there are."""
        finetune(request, self.features, self._recipe, progress)

    def forget_model(self) -> None:
        """Serve no model, as before the first training; the texts and their features stay."""
        self.model = None
        self._registry.clear()
        self.features.finetuned.forget()


class Projects:
    """All projects under the model directory, each opened once."""

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        """Open none yet."""
        self._settings = settings
        self._encoder = encoder
        self._recent = Recent()
        self._lock = Lock()
        self._open: dict[str, Project] = {}

    def get(self, name: str) -> Project | None:
        """A project, None where nothing was ever sent for it; raises InvalidRequest for a name that cannot be one."""
        return self._get(name, create=False)

    def create(self, name: str) -> Project:
        """A project, made where it is missing; raises InvalidRequest for a name that cannot be one."""
        project = self._get(name, create=True)
        assert project is not None
        return project

    def _get(self, name: str, create: bool) -> Project | None:
        if not _NAME.fullmatch(name):
            raise InvalidRequest("A project's name is 1 to 64 letters, digits, underscores and hyphens; use its id.")
        directory = self._settings.model_dir / "projects" / name
        with self._lock:
            if name not in self._open and (create or (directory / "pool.sqlite").is_file()):
                self._open[name] = Project(directory, self._encoder, self._recent, self._settings)
            return self._open.get(name)
