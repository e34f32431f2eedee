"""Everything that the server has of a project, and which model serves."""

import logging
import re
from pathlib import Path
from threading import Lock

from ml_backend.errors import Conflict, CorruptModel, InvalidRequest, NotFound
from ml_backend.features.encoder import Encoder
from ml_backend.features.feature_spec import FeatureSpec
from ml_backend.features.feature_store import FeatureStore
from ml_backend.features.lru_cache import LruCache
from ml_backend.models.registry import Registry, TrainedModel
from ml_backend.progress import Progress
from ml_backend.settings import Settings
from ml_backend.storage import Dataset, locks
from ml_backend.training import encoder_schedule
from ml_backend.training.request import TrainingRequest
from ml_backend.training.train import awaits_embedding, finetune, train

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LOAD_ATTEMPTS = 5  # another process may replace and remove a version while it is read

log = logging.getLogger(__name__)


class Project:
    """A project: its dataset, its features and its model versions. Several processes may have it open."""

    def __init__(self, directory: Path, encoder: Encoder, cache: LruCache, settings: Settings) -> None:
        """Open the project in `directory`, without loading a model.

        Args:
            directory: The project's folder, which is created if it is missing.
            encoder: The sentence encoder, which all projects share.
            cache: Features of texts that belong to no item, which all projects share.
            settings: The server's settings.
        """
        self.dataset = Dataset(directory / "pool.sqlite")
        self.features = FeatureStore(self.dataset, encoder, cache, directory, settings)
        self.registry = Registry(directory, settings.keep_versions)
        self.directory = directory
        self._loading = Lock()
        self._version: str | None = None  # the registry's current one at the last check
        self._model: TrainedModel | None = None
        self._last: TrainedModel | None = None  # also after a damaged one, or none, became current

    @property
    def model(self) -> TrainedModel | None:
        """The registry's current model, whichever process published it. None without one.

        A new model is loaded before the previous one is released. If the new one is damaged, the previous one stays.
        """
        if self.registry.current_version() != self._version:
            with self._loading:
                if self.registry.current_version() != self._version:
                    self._load()
        return self._model

    @property
    def serving(self) -> TrainedModel | None:
        """The current model, without waiting: while a new one is loaded, this is the previous one."""
        return self._model if self._model is not None and self._loading.locked() else self.model

    def train(self, request: TrainingRequest, progress: Progress) -> str:
        """Train and publish a new model, and return its version. If it fails, the previous model goes on serving."""
        previous = self.model or self._last
        model = self.registry.publish(train(request, self.features, previous, progress))
        self._version, self._model, self._last = model.version, model, model
        self.features.forget_all_but(model.feature_spec, self.registry.prune(model.version))
        return model.version

    def finetuning_is_due(self, request: TrainingRequest) -> bool:
        """Whether there is work on fine-tuned encoders in the background, after this training.

        Raises EncoderUnavailable.
        """
        if encoder_schedule.is_due(request, self.features, "background"):
            return True
        return request.finetune == "background" and self.model is not None and awaits_embedding(self.model)

    def finetune(self, request: TrainingRequest, progress: Progress) -> None:
        """Fine-tune encoders for later trainings. Meanwhile, trainings use the existing ones."""
        finetune(request, self.features, self.model, progress)

    def forget_model(self) -> None:
        """Remove all models, as before the first training. The texts and their features stay.

        Raises Conflict while a training or a fine-tuning runs, here or in another server.
        """
        with locks.require_idle(self.directory, "its model can be forgotten"):
            self.registry.clear()
            self.features.forget()

    def _load(self) -> None:
        for _ in range(_LOAD_ATTEMPTS):
            version = self.registry.current_version()
            try:
                model = self.registry.read(version) if version is not None else None
                break
            except CorruptModel as error:
                if self.registry.current_version() == version:
                    log.error("Project %s: %s", self.directory.name, error)
                    self._version = version  # not again at every request
                    return
        else:
            return  # the next request tries again
        if model is not None:
            self._last = model
            self.features.prepare(model.feature_spec)
        self._version, self._model = version, model
        # Without a model, none of an earlier one is needed. Another process may have removed it.
        self.features.release(model.feature_spec if model is not None else FeatureSpec())


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
        """All projects for which something was ever sent."""
        names = (path.parent.name for path in directory_of(self._settings).glob("*/pool.sqlite"))
        return sorted(name for name in names if _NAME.fullmatch(name))

    def get(self, name: str) -> Project | None:
        """A project, or None if nothing was ever sent for it.

        Raises InvalidRequest for an invalid name, and Conflict if the project's folder was removed.
        """
        return self._get(name, create=False)

    def create(self, name: str) -> Project:
        """A project, created if it is missing. Raises as `get` does."""
        project = self._get(name, create=True)
        assert project is not None
        return project

    def _get(self, name: str, create: bool) -> Project | None:
        directory = _directory(self._settings, name)
        with self._lock:
            if name in self._open and not directory.is_dir():
                # The process that trains holds a part of it in memory, so it cannot simply begin anew.
                raise Conflict(f"The folder of project {name} was removed while the server ran. Restart the server.")
            if name not in self._open and (create or (directory / "pool.sqlite").is_file()):
                self._open[name] = Project(directory, self._encoder, self._cache, self._settings)
            return self._open.get(name)


def directory_of(settings: Settings) -> Path:
    """The folder of the projects."""
    return settings.model_dir / "projects"


def registry_of(settings: Settings, name: str) -> Registry:
    """The model versions of a project, without opening it. Raises InvalidRequest, NotFound."""
    directory = _directory(settings, name)
    if not directory.is_dir():
        raise NotFound(f"Project {name} is not in {settings.model_dir}. Check --model-dir.")
    return Registry(directory, settings.keep_versions)


def _directory(settings: Settings, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InvalidRequest("A project's name is 1 to 64 letters, digits, underscores and hyphens. Use its id.")
    return directory_of(settings) / name
