"""The use cases: what the server does with items, texts, labels and tasks, whatever carried them here."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.classifiers.logistic import LogisticClassifier
from ml_backend.classifiers.one_vs_rest import DECISION_THRESHOLD
from ml_backend.errors import Conflict, CorruptModel, InvalidRequest, NotFound
from ml_backend.features.diversity import cluster_centres
from ml_backend.features.encoder import Encoder
from ml_backend.jobs.queue import JobQueue
from ml_backend.jobs.records import Job, JobRecords, ServerLiveness
from ml_backend.jobs.worker import TrainingResult, TrainingTask, Worker
from ml_backend.labeling.label_config import cached_controls, describe_change, match_control
from ml_backend.labeling.webhook import WebhookHandler
from ml_backend.models.out_of_sample import out_of_sample
from ml_backend.models.registry import Registry, TrainedModel
from ml_backend.project import Project, Projects, directory_of, registry_of
from ml_backend.schemas import ModelState, Prediction, PredictResponse, TrainRequest
from ml_backend.settings import Settings
from ml_backend.storage.dataset import DIGEST_BYTES, ConsensusLabel
from ml_backend.training.train import Label, TrainingRequest

Array = npt.NDArray[Any]
MODEL_CLASS = LogisticClassifier.__name__
_SPREAD_SAMPLE = 2_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProjectOverview:
    """A project's current model version, None before the first, and {state: how many of its jobs}."""

    model_version: str | None
    jobs: Mapping[str, int]


class Service:
    """Everything behind the routes; knows no HTTP. Safe to call from several threads."""

    def __init__(self, settings: Settings) -> None:
        """Open the model directory of `settings`; loads no encoder."""
        self._settings = settings
        self._encoder = Encoder(settings.encoder, settings.threads)
        # A process that is connected to a Ray cluster ends with it.
        self._projects = Projects(settings.model_copy(update={"ray": None}), self._encoder)
        self._liveness = ServerLiveness(settings.model_dir / "servers")
        self._jobs = self._started("jobs", self._trained)
        self._finetuning = self._started("finetunings", self._finetuned)
        self._last: dict[str, TrainingTask] = {}  # of each project, since the server started
        self._controls = cached_controls()
        self._warn_once = lru_cache(maxsize=1024)(_warn)
        self._events = WebhookHandler(settings, self._projects, self._controls, self.start)

    def close(self, seconds: float = 5.0) -> None:
        """End all trainings, waiting for each `seconds` at most."""
        self._finetuning.close(seconds)
        self._jobs.close(seconds)
        self._liveness.end()

    def version(self, uid: str) -> str:
        """The current model version of a Label Studio project, "ID" or "ID.TIMESTAMP"; empty where there is none."""
        model = self._model_of(uid)
        return model.version if model is not None else ""

    def predict(self, uid: str, config: str, tasks: list[Any]) -> PredictResponse:
        """One entry a task: what the model would choose, its confidence in that, and its version.

        An entry is empty without an answer, and its result where the model would choose none of several classes. Only
        classes that `config` still has are answered; `message` tells how it differs from the model's, or why there is
        no answer at all.
        """
        name, model = uid.partition(".")[0], self._model_of(uid)
        if model is None:
            return PredictResponse(results=[Prediction(model_version="") for _ in tasks], model_version="")
        results = [Prediction(model_version=model.version) for _ in tasks]
        response = PredictResponse(results=results, model_version=model.version)
        controls = self._controls(config)
        control = match_control(controls, model.classes, model.multilabel)
        response.message = describe_change(model.version, controls, control, model.classes, model.multilabel)
        if response.message:
            self._warn_once(name, hash(config), response.message)
        if control is None:
            return response
        texts = {position: text for position, task in enumerate(tasks) if (text := control.text_of(task))}
        features = self._project(name).features
        if not texts:
            return response
        if not features.matches(model.feature_spec):
            response.message = f"Model version {model.version} was trained with another sentence encoder; train again."
            self._warn_once(name, 0, response.message)
            return response
        try:
            probabilities = model.final.predict_proba(features.of_texts(model.feature_spec, list(texts.values())))
        except CorruptModel:
            if self._project(name).model is not model:  # a newer one took its place, and its files, meanwhile
                return self.predict(uid, config, tasks)
            raise
        valid = [index for index, class_ in enumerate(model.classes) if class_ in control.classes]
        for position, row in zip(texts, probabilities, strict=True):
            chosen, results[position].score = _choose(row[valid], model.multilabel)
            value = {"choices": [model.classes[valid[index]] for index in chosen]}
            region = {"from_name": control.from_name, "to_name": control.to_name, "type": "choices", "value": value}
            results[position].result = [region] if chosen else []
        return response

    def webhook(self, body: bytes) -> dict[str, Any]:
        """Do what an event of Label Studio asks for; the answer to it, whatever the body is."""
        return self._events.handle(body)

    def set_items(self, project: str, ids: Array, hashes: Array) -> npt.NDArray[np.int64]:
        """State all items, int64 (n,) and uint8 (n, 16); the positions of those whose text is needed.

        Raises InvalidRequest.
        """
        if ids.ndim != 1 or hashes.shape != (len(ids), DIGEST_BYTES):
            raise InvalidRequest(f"Send 'ids' of shape (n,) and 'hashes' of shape (n, {DIGEST_BYTES}).")
        if len(np.unique(ids)) != len(ids):
            raise InvalidRequest("An id occurs twice in 'ids'; send each item once.")
        digests = [row.tobytes() for row in hashes]
        return np.array(self._projects.create(project).dataset.set_items(ids.tolist(), digests), dtype=np.int64)

    def add_texts(self, project: str, texts: list[str]) -> int:
        """Store texts; how many of them are held now. Raises NotFound before the first `set_items`."""
        self._project(project).dataset.add_texts(texts)
        return len(texts)

    def train(self, project: str, request: TrainRequest) -> Job:
        """Start a training, behind those that run; the job. Items without a text are left out.

        Raises NotFound before the first `set_items`, and InvalidRequest.
        """
        classes, ids, labels = tuple(request.classes), request.ids, request.labels
        if len(set(classes)) != len(classes):
            raise InvalidRequest("A class occurs twice in 'classes'; name each once.")
        if len(ids) != len(labels) or len(set(ids)) != len(ids):
            raise InvalidRequest("Send one label an id, and each id once.")
        if any(isinstance(label, list) != request.multilabel for label in labels):
            raise InvalidRequest("Send a list of positions as a label with 'multilabel', one position without.")
        if request.weights is not None and len(request.weights) != len(ids):
            raise InvalidRequest("Send one weight an id, or no 'weights'.")
        plain: list[Label] = [tuple(sorted(set(label))) if isinstance(label, list) else label for label in labels]
        used = {position for label in plain for position in (label if isinstance(label, tuple) else (label,))}
        if not used <= set(range(len(classes))):
            raise InvalidRequest("A label is no position in 'classes'; count from 0.")
        opened = self._project(project)
        digests = opened.dataset.digests_of_items()
        weights = request.weights or [1.0] * len(ids)
        known = [
            (digests[item], label, weight)
            for item, label, weight in zip(ids, plain, weights, strict=True)
            if item in digests
        ]
        work = TrainingRequest.of(
            self._settings,
            classes,
            known,
            multilabel=request.multilabel,
            folds=request.folds,
            seed=request.seed,
            classifier=request.classifier,
        )
        opened.dataset.set_consensus(
            ConsensusLabel(
                key, [classes[index] for index in label] if isinstance(label, tuple) else classes[label], weight
            )
            for key, label, weight in known
        )
        return self.start(project, work, stated=True)

    def start(self, project: str, request: TrainingRequest, *, stated: bool = False) -> Job:
        """Start a training, behind those that run.

        Labels that the connector `stated` know the annotators: where such a request waits, no other takes its place.
        """
        task = TrainingTask(project, request, fingerprint=self._encoder.loaded, stated=stated)
        self._last[project] = task
        return self._jobs.start(task, unless=lambda waiting: waiting.stated and not stated)

    def cancel(self, project: str, job: str) -> Job:
        """End a job of the project that runs or waits; raises NotFound, Conflict where another server has it."""
        self._projects.get(project)  # a name that cannot be one is refused
        return self._jobs.cancel(project, job)

    def job(self, project: str, job: str) -> Job:
        """A job of the project; raises NotFound."""
        self._projects.get(project)  # a name that cannot be one is refused
        return self._jobs.get(project, job)

    def model(self, project: str) -> ModelState:
        """What serves; an empty state before the first training."""
        opened = self._projects.get(project)
        if opened is None or (model := opened.model) is None:
            return ModelState()
        return ModelState(
            model_version=model.version,
            classes=list(model.classes),
            multilabel=model.multilabel,
            labels=len(model.training_set.labels),
            trained_at=model.trained_at,
            versions=opened.registry.versions()[::-1],
            accuracy=model.accuracy,
        )

    def forget_model(self, project: str) -> None:
        """Forget all model versions of the project, as before the first training; texts and their features stay.

        Raises NotFound before the first `set_items`, Conflict while a training runs.
        """
        opened = self._project(project)
        if self._jobs.is_active(project) or self._finetuning.is_active(project):
            raise Conflict("A training of this project runs; its model can be forgotten when it has ended.")
        opened.forget_model()
        opened.dataset.set_consensus([])

    def versions(self, project: str | None = None) -> list[str]:
        """The model versions that are kept, newest first: of a project, "ID" or "ID.TIMESTAMP", or of all."""
        wanted = None if project is None else project.partition(".")[0]
        names = [name for name in self._projects.names if wanted in (None, name)]
        return sorted((version for name in names for version in self._registry(name).versions()), reverse=True)

    def roll_back(self, project: str, version: str | None) -> ModelState:
        """Serve a kept version of the project again, without `version` the one before the current.

        Raises NotFound, CorruptModel, or Conflict while a training runs.
        """
        self._project(project).registry.roll_back(version)
        return self.model(project)

    def overview(self) -> dict[str, ProjectOverview]:
        """Of every project the current model version and how many jobs it had since the server started."""
        counts = self._jobs.counts()
        found: dict[str, ProjectOverview] = {}
        for name in self._projects.names:
            version = self._registry(name).current_version()
            jobs = {state: count for (project, state), count in counts.items() if project == name}
            found[name] = ProjectOverview(version, jobs)
        return found

    def probabilities(self, project: str) -> dict[str, Array]:
        """Out-of-sample probabilities of all items whose text is held, as docs/backend-api.md lists the arrays.

        Raises NotFound before the first training, Conflict where the encoder is another than the model's or the
        model's features are damaged: where only a new training helps. Raises ClusterUnavailable.
        """
        opened = self._project(project)
        model = opened.model
        if model is None:
            raise NotFound("The project has no model yet; train one first.")
        if not opened.features.matches(model.feature_spec):
            raise Conflict("The model was trained with another sentence encoder; train again.")
        try:
            opened.features.fill(model.feature_spec)
        except CorruptModel as error:
            raise Conflict(str(error)) from error
        ids, pred_probs, fold = out_of_sample(model, opened.dataset, self._settings)
        now = opened.model
        if now is not None and now.version != model.version:  # its training has dropped features that were being read
            return self.probabilities(project)
        return {
            "ids": ids,
            "pred_probs": pred_probs,
            "fold": fold,
            "classes": np.array(model.classes, dtype=np.str_),
            "multilabel": np.array(model.multilabel),
            "model_version": np.array(model.version, dtype=np.str_),
        }

    def spread(self, project: str, ids: list[int], count: int, seed: int) -> list[int]:
        """At most `count` of the items, spread over the embedding space, out of a seeded sample of 2,000 of them.

        Items that are unknown or whose text is not held are left out. Raises NotFound before the first `set_items`.
        """
        opened = self._project(project)
        digests = opened.dataset.digests_of_items()
        known = sorted({item for item in ids if item in digests})
        if len(known) > _SPREAD_SAMPLE:
            sample = np.random.default_rng(seed).choice(len(known), _SPREAD_SAMPLE, replace=False)
            known = [known[position] for position in np.sort(sample)]
        if not known or not count:
            return []
        points, positions = opened.features.embeddings([digests[item] for item in known])
        return [known[positions[row]] for row in cluster_centres(points, count, seed)]

    def _started(self, kind: str, ended: Callable[[TrainingTask, TrainingResult], None]) -> JobQueue:
        return JobQueue(Worker(self._settings), JobRecords(directory_of(self._settings), kind, self._liveness), ended)

    def _trained(self, task: TrainingTask, result: TrainingResult) -> None:
        """Load the new model before its job is done; where that is due, have encoders fine-tuned behind it."""
        opened = self._project(task.project)
        if opened.model is None or opened.model.version != result.version:
            log.warning("Project %s: another model than the one just trained serves.", task.project)
        if result.due:
            self._finetuning.start(replace(task, finetune=True))

    def _finetuned(self, task: TrainingTask, result: TrainingResult) -> None:
        """Train once more, on the newest labels; a training that waits will do."""
        self._jobs.start(self._last[task.project], unless=lambda waiting: True)

    def _project(self, name: str) -> Project:
        project = self._projects.get(name)
        if project is None:
            raise NotFound("Nothing is known of this project; PUT its items first.")
        return project

    def _model_of(self, uid: str) -> TrainedModel | None:
        project = self._find(uid.partition(".")[0])
        return project.serving if project is not None else None

    def _registry(self, name: str) -> Registry:
        """The versions of a project that may not be open: to list them it need not be."""
        return registry_of(self._settings, name)

    def _find(self, name: str) -> Project | None:
        with suppress(InvalidRequest):  # Label Studio gets an answer whatever it asks for
            return self._projects.get(name)
        return None


def _choose(probabilities: npt.NDArray[np.float64], multilabel: bool) -> tuple[list[int], float]:
    """The classes that the model would choose, and how sure it is of them.

    Where several may apply, those that rather do than not, and how sure it is of yes or no in the least certain class.
    """
    if not multilabel:
        best = int(probabilities.argmax())
        return [best], float(probabilities[best])
    sure = np.maximum(probabilities, 1 - probabilities).min()
    return np.flatnonzero(probabilities >= DECISION_THRESHOLD).tolist(), float(sure)


def _warn(project: str, config: int, message: str) -> None:
    log.warning("Project %s: %s", project, message)
