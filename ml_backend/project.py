"""What is held of one project, and which model serves."""

import logging
import re
from pathlib import Path
from threading import Lock

from ml_backend.errors import CorruptModel, InvalidRequest, NotFound
from ml_backend.features.encoder import Encoder
from ml_backend.features.feature_store import FeatureSpec, FeatureStore
from ml_backend.features.lru_cache import LruCache
from ml_backend.models.registry import Registry, TrainedModel
from ml_backend.progress import Progress
from ml_backend.settings import Settings
from ml_backend.storage import locks
from ml_backend.storage.dataset import Dataset
from ml_backend.training.train import TrainingRequest, finetune, finetuning_is_due, train

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

log = logging.getLogger(__name__)


class Project:
    """One project: its dataset, its features and its model versions. Several processes may have it open."""

    def __init__(self, directory: Path, encoder: Encoder, cache: LruCache, settings: Settings) -> None:
        """Open the project in `directory`, without loading a model."""
        self.dataset = Dataset(directory / "pool.sqlite")
        self.features = FeatureStore(self.dataset, encoder, cache, directory, settings)
        self.registry = Registry(directory, settings.keep_versions)
        self.directory = directory
        self._loading = Lock()
        self._version: str | None = None  # the registry's current one when last looked at
        self._model: TrainedModel | None = None
        self._feature_spec: FeatureSpec | None = None

    @property
    def model(self) -> TrainedModel | None:
        """The registry's current model, whoever made it so; None where there is none.

        A new one is loaded before the one before goes. Where it is damaged, the one before stays.
        """
        if self.registry.current_version() != self._version:
            with self._loading:
                if self.registry.current_version() != self._version:
                    self._load()
        return self._model

    @property
    def serving(self) -> TrainedModel | None:
        """The same for those who cannot wait: while a new one is loaded, the one before."""
        return self._model if self._model is not None and self._loading.locked() else self.model

    def train(self, request: TrainingRequest, progress: Progress) -> str:
        """Train and publish a new model; its version. Whatever fails, the model before goes on serving."""
        previous = self.model.feature_spec if self.model is not None else self._feature_spec
        model = self.registry.publish(train(request, self.features, previous, progress))
        self._version, self._model, self._feature_spec = model.version, model, model.feature_spec
        self.features.forget_all_but(model.feature_spec, self.registry.prune(model.version))
        return model.version

    def finetuning_is_due(self, request: TrainingRequest) -> bool:
        """Whether encoders should be fine-tuned on what was just trained on; raises EncoderUnavailable."""
        return finetuning_is_due(request, self.features)

    def finetune(self, request: TrainingRequest, progress: Progress) -> None:
        """Fine-tune encoders for the trainings to come, which meanwhile go on with those there are."""
        finetune(request, self.features, self.model.feature_spec if self.model is not None else None, progress)

    def forget_model(self) -> None:
        """Serve no model, as before the first training; the texts and their features stay.

        Raises Conflict while a training or a fine-tuning runs, here or in another server.
        """
        with locks.require_idle(self.directory, "its model can be forgotten"):
            self.registry.clear()
            self.features.forget()

    def _load(self) -> None:
        version = self.registry.current_version()
        try:
            model = self.registry.read(version) if version is not None else None
        except CorruptModel as error:
            now = self.registry.current_version()
            if now != version:  # it was replaced, and removed, in between
                return self._load()
            log.error("Project %s: %s", self.directory.name, error)
            self._version = version  # not again with every request
            return None
        if model is not None:
            self._feature_spec = model.feature_spec
            self.features.prepare(model.feature_spec)
        self._version, self._model = version, model
        if model is not None:
            self.features.release(model.feature_spec)
        return None


class Projects:
    """All projects under the model directory, each opened once."""

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        """Open none yet."""
        self._settings = settings
        self._encoder = encoder
        self._cache = LruCache()
        self._lock = Lock()
        self._open: dict[str, Project] = {}

    @property
    def names(self) -> list[str]:
        """All that something was ever sent for."""
        found = (path.parent.name for path in directory_of(self._settings).glob("*/pool.sqlite"))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def get(self, name: str) -> Project | None:
        """A project, None where nothing was ever sent for it; raises InvalidRequest for a name that cannot be one."""
        return self._get(name, create=False)

    def create(self, name: str) -> Project:
        """A project, made where it is missing; raises InvalidRequest for a name that cannot be one."""
        project = self._get(name, create=True)
        assert project is not None
        return project

    def _get(self, name: str, create: bool) -> Project | None:
        directory = _directory(self._settings, name)
        with self._lock:
            if name not in self._open and (create or (directory / "pool.sqlite").is_file()):
                self._open[name] = Project(directory, self._encoder, self._cache, self._settings)
            return self._open.get(name)


def directory_of(settings: Settings) -> Path:
    """Where the projects are."""
    return settings.model_dir / "projects"


def registry_of(settings: Settings, name: str) -> Registry:
    """The model versions of a project, without opening it; raises InvalidRequest, NotFound."""
    directory = _directory(settings, name)
    if not directory.is_dir():
        raise NotFound(f"Nothing is known of project {name} in {settings.model_dir}; is it the right --model-dir?")
    return Registry(directory, settings.keep_versions)


def _directory(settings: Settings, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InvalidRequest("A project's name is 1 to 64 letters, digits, underscores and hyphens; use its id.")
    return directory_of(settings) / name
