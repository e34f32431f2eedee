"""Everything that the server has of a project, and which model serves.

A project of Label Studio with several questions has a model per question. The first one's is the project's own, under
its id. Each further question is a project of its own here, with the name ID/questions/QUESTION.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock

from ml_backend.errors import Conflict, CorruptModel, InvalidRequest, NotFound
from ml_backend.features.encoder import Encoder
from ml_backend.features.encoders import Encoders
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

_PART = r"[A-Za-z0-9_-]{1,64}"
NAME_PATTERN = f"{_PART}(/questions/{_PART})?"
_NAME, _QUESTION = re.compile(NAME_PATTERN), re.compile(_PART)
_DATASET = "pool.sqlite"
_LOAD_ATTEMPTS = 5  # another process may replace and remove a version while it is read

log = logging.getLogger(__name__)


class Project:
    """A project: its dataset, its features and its model versions. Several processes may have it open."""

    def __init__(
        self,
        directory: Path,
        encoders: Encoders,
        cache: LruCache,
        settings: Settings,
        name: str = "",
        siblings: Callable[[], Sequence[Dataset]] = tuple,
    ) -> None:
        """Open the project in `directory`, without loading a model.

        Args:
            directory: The project's folder, which is created if it is missing.
            encoders: The encoders, which all projects share.
            cache: Features of texts that belong to no item, which all projects share.
            settings: The server's settings.
            name: Its name, if it is not that of the folder.
            siblings: Finds the datasets of the other questions of the same project, whose embeddings are used again.
        """
        self.name = name or directory.name
        self.dataset = Dataset(directory / _DATASET)
        self.features = FeatureStore(self.dataset, encoders, cache, directory, settings, siblings)
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
        model = self.registry.publish(train(self._fitting(request), self.features, previous, progress))
        self._version, self._model, self._last = model.version, model, model
        self.features.forget_all_but(model.feature_spec, self.registry.prune(model.version))
        return model.version

    def finetuning_is_due(self, request: TrainingRequest) -> bool:
        """Whether there is work on fine-tuned encoders in the background, after this training.

        Raises EncoderUnavailable.
        """
        request = self._fitting(request)
        if encoder_schedule.is_due(request, self.features, "background"):
            return True
        return request.finetune == "background" and self.model is not None and awaits_embedding(self.model)

    def finetune(self, request: TrainingRequest, progress: Progress) -> None:
        """Fine-tune encoders for later trainings. Meanwhile, trainings use the existing ones."""
        finetune(self._fitting(request), self.features, self.model, progress)

    def forget_model(self) -> None:
        """Remove all models, as before the first training. The texts and their features stay.

        Raises Conflict while a training or a fine-tuning runs, here or in another server.
        """
        with locks.require_idle(self.directory, "its model can be forgotten"):
            self.registry.clear()
            self.features.forget()

    def _fitting(self, request: TrainingRequest) -> TrainingRequest:
        """The request with a classifier that can be trained on the contents. `transformer` is for texts."""
        if self.features.are_texts or (request.classifier == "auto" and self.features.are_trainable):
            return request
        return replace(request, classifier="logistic")

    def _load(self) -> None:
        for _ in range(_LOAD_ATTEMPTS):
            version = self.registry.current_version()
            try:
                model = self.registry.read(version) if version is not None else None
                break
            except CorruptModel as error:
                if self.registry.current_version() == version:
                    log.error("Project %s: %s", self.name, error)
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
        """Open none yet. `encoder`: that of texts. The others are those of `settings`."""
        self._settings = settings
        self._encoders = Encoders.with_text(encoder, settings)
        self._cache = LruCache()
        self._lock = Lock()
        self._open: dict[str, Project] = {}

    @property
    def names(self) -> list[str]:
        """All projects for which something was ever sent."""
        return self._stored("*", "*/questions/*")

    def questions(self, name: str) -> list[str]:
        """The names under which the questions of a project are: its own first. That of one question is alone.

        Raises InvalidRequest for an invalid name.
        """
        _directory(self._settings, name)
        return [name, *self._stored(f"{name}/questions/*")]

    def opened(self, name: str) -> list[Project]:
        """The questions of a project for which something was ever sent, its own first. Raises as `get` does."""
        return [project for key in self.questions(name) if (project := self.get(key)) is not None]

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
            if name not in self._open and (create or (directory / _DATASET).is_file()):
                siblings = partial(self._siblings, name)
                self._open[name] = Project(directory, self._encoders, self._cache, self._settings, name, siblings)
            return self._open.get(name)

    def _siblings(self, name: str) -> list[Dataset]:
        project = name.partition("/")[0]
        names = self._stored(project, f"{project}/questions/*")
        return [Dataset(directory_of(self._settings) / other / _DATASET) for other in names if other != name]

    def _stored(self, *patterns: str) -> list[str]:
        """The names that fit, of projects for which something was ever sent."""
        root = directory_of(self._settings)
        paths = (path.parent for pattern in patterns for path in root.glob(f"{pattern}/{_DATASET}"))
        names = (path.relative_to(root).as_posix() for path in paths)
        return sorted(name for name in names if _NAME.fullmatch(name))


def directory_of(settings: Settings) -> Path:
    """The folder of the projects."""
    return settings.model_dir / "projects"


def question_name(project: str, control: str) -> str:
    """The name of a further question of a project, which is asked by `control`. The connector makes the same."""
    if not _QUESTION.fullmatch(control):
        control = hashlib.blake2b(control.encode(), digest_size=8).hexdigest()
    return f"{project}/questions/{control}"


def registry_of(settings: Settings, name: str) -> Registry:
    """The model versions of a project, without opening it. Raises InvalidRequest, NotFound."""
    directory = _directory(settings, name)
    if not directory.is_dir():
        raise NotFound(f"Project {name} is not in {settings.model_dir}. Check --model-dir.")
    return Registry(directory, settings.keep_versions)


def _directory(settings: Settings, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "A project's name is 1 to 64 letters, digits, underscores and hyphens. Use its id, and ID/questions/NAME "
            "for a further question."
        )
    return directory_of(settings) / name
