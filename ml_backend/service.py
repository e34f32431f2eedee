"""The use cases of the server: what it does with items, texts, labels and tasks. It knows no HTTP."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.classifiers.logistic import LogisticClassifier
from ml_backend.errors import Conflict, CorruptModel, InvalidRequest, NotFound
from ml_backend.features.data_uri import check_medium
from ml_backend.features.diversity import cluster_centres, first_distinct
from ml_backend.features.encoder import Encoder
from ml_backend.jobs.queue import TrainingWorker
from ml_backend.jobs.records import Job
from ml_backend.jobs.trainer import Trainer
from ml_backend.jobs.worker import TrainingTask, Worker
from ml_backend.labeling.label_config import cached_conditions, cached_controls
from ml_backend.labeling.predictions import predict_tasks
from ml_backend.labeling.webhook import WebhookHandler
from ml_backend.media import TaskMedia
from ml_backend.models.out_of_sample import out_of_sample
from ml_backend.models.registry import Registry, TrainedModel
from ml_backend.project import Project, Projects, registry_of
from ml_backend.schemas import ModelState, PredictResponse, TrainRequest
from ml_backend.settings import Settings
from ml_backend.storage.dataset import DIGEST_BYTES, ConsensusLabel, Kind
from ml_backend.training.request import Label, TrainingRequest

Array = npt.NDArray[Any]
MODEL_CLASS = LogisticClassifier.__name__
_SPREAD_SAMPLE = 2_000
_SPREAD_SECONDS = 120.0  # to embed them, which a client waits for
_DISTINCT_PART = 500  # items that are embedded at a time, if they are not yet
_MODEL_SWAPS = 10  # how often a new model may replace the one that a request uses

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProjectOverview:
    """A project's current model version, None before the first, and its number of jobs by state."""

    model_version: str | None
    jobs: Mapping[str, int]


class Service:
    """Everything behind the routes. Safe to call from several threads."""

    def __init__(
        self,
        settings: Settings,
        encoder: Encoder | None = None,
        make_worker: Callable[[Settings], TrainingWorker] = Worker,
    ) -> None:
        """Open the model directory of `settings`. Without an `encoder`, that of `settings` is loaded on first need."""
        self._settings = settings
        encoder = encoder or Encoder(settings.encoder, settings.threads)
        # A process that is connected to a Ray cluster ends with it, so this one never connects.
        self._projects = Projects(settings.model_copy(update={"ray": None}), encoder)
        self._trainer = Trainer(settings, self._projects, make_worker)
        self._controls, self._conditions = cached_controls(), cached_conditions()
        self._media = TaskMedia(settings)
        self._warn_once = lru_cache(maxsize=1024)(_warn)
        self._webhook = WebhookHandler(settings, self._projects, self._controls, self._conditions, self.start)

    def close(self, seconds: float = 5.0) -> None:
        """End all trainings and fine-tunings, and wait for each at most `seconds`."""
        self._trainer.close(seconds)

    def version(self, uid: str) -> str:
        """The newest of the model versions that answer a Label Studio project, "ID" or "ID.TIMESTAMP". Empty: none."""
        return max((model.version for _, model in self._serving(uid)), default="")

    def predict(self, uid: str, config: str, tasks: list[Any]) -> PredictResponse:
        """Predict the classes of tasks of the Label Studio project "ID" or "ID.TIMESTAMP", under its config.

        The response is that of `predict_tasks`, empty without a model. Raises EncoderUnavailable, CorruptModel.
        """
        for _ in range(_MODEL_SWAPS):
            serving = self._serving(uid)
            if not serving:
                return PredictResponse.empty(len(tasks))
            models = [(model, project.features) for project, model in serving]
            # The only question is always answered, whatever the answers to others would be.
            conditions = self._conditions(config) if len(models) > 1 else {}
            try:
                response = predict_tasks(models, self._controls(config), conditions, tasks, self._media)
            except CorruptModel:
                if all(project.model is model for project, model in serving):
                    raise
                continue  # a newer model has replaced one of them, and its files
            if response.message:
                self._warn_once(uid.partition(".")[0], hash(config), response.message)
            return response
        raise CorruptModel("The model was replaced again and again during the request. Send it again.")

    def webhook(self, body: bytes) -> dict[str, Any]:
        """Handle an event of Label Studio, whatever its body is. Returns the answer."""
        return self._webhook.handle(body)

    def set_items(
        self, project: str, ids: Array, hashes: Array, kind: Kind = "text", sources: Array | None = None
    ) -> npt.NDArray[np.int64]:
        """Replace all items. Returns the positions whose content is needed.

        Args:
            project: The project.
            ids: Of the items, int64 (n,).
            hashes: The digests of their texts, or of their sources, uint8 (n, 16).
            kind: What their contents are.
            sources: The digests of what tasks show in place of their texts, uint8 (n, 16). None: they show the texts.

        Raises InvalidRequest, and EncoderUnavailable if contents were dropped for which the encoder may need a vector.
        """
        if ids.ndim != 1 or hashes.shape != (len(ids), DIGEST_BYTES):
            raise InvalidRequest(f"Send 'ids' of shape (n,) and 'hashes' of shape (n, {DIGEST_BYTES}).")
        if len(np.unique(ids)) != len(ids):
            raise InvalidRequest("An id occurs twice in 'ids'. Send each item once.")
        if sources is not None and (sources.shape != hashes.shape or kind != "text"):
            raise InvalidRequest(f"Send 'sources' of shape (n, {DIGEST_BYTES}), of texts only.")
        digests = [row.tobytes() for row in hashes]
        shown = None if sources is None else [row.tobytes() for row in sources]
        opened = self._projects.create(project)
        missing = opened.dataset.set_items(ids.tolist(), digests, kind, shown)
        if again := opened.features.needed_again():
            stored = opened.dataset.digests_of_items()
            missing += [place for place, item in enumerate(ids.tolist()) if stored.get(item) in again]
        return np.array(sorted(missing), dtype=np.int64)

    def add_texts(self, project: str, texts: list[str]) -> int:
        """Store texts, and return their number. Raises NotFound before the first `set_items`."""
        self._project(project).dataset.add_texts(texts)
        return len(texts)

    def add_media(self, project: str, sources: Array, sizes: Array, contents: Array) -> list[int]:
        """Store small copies of media. Returns the positions of those that cannot be used, which are left out.

        Raises NotFound before the first `set_items`, and InvalidRequest.

        Args:
            project: The project.
            sources: The digests of their addresses, uint8 (n, 16).
            sizes: In bytes, int64 (n,).
            contents: One after the other, uint8 (the sum of the sizes,).
        """
        dataset = self._project(project).dataset
        count = len(sources)
        if sources.shape != (count, DIGEST_BYTES) or sizes.shape != (count,) or contents.shape != (int(sizes.sum()),):
            raise InvalidRequest("Send 'sources' (n, 16), 'sizes' (n,) and 'contents' of the sum of the sizes.")
        if (kind := dataset.kind) == "text":
            raise InvalidRequest("The items of this project are texts. Put its items with kind=image or audio first.")
        if (sizes < 0).any():
            raise InvalidRequest("A size is negative. Send the number of bytes of each content.")
        ends = np.cumsum(sizes)
        parts = [contents[end - size : end].tobytes() for end, size in zip(ends, sizes, strict=True)]
        problems = {place: problem for place, content in enumerate(parts) if (problem := check_medium(kind, content))}
        for problem in problems.values():
            log.warning("Project %s: a content (%s) is left out: %s.", project, kind, problem)
        usable = [place for place in range(count) if place not in problems]
        dataset.add_media([sources[place].tobytes() for place in usable], [parts[place] for place in usable])
        return list(problems)

    def train(self, project: str, request: TrainRequest) -> Job:
        """Start a training on the connector's labels, and return its job. Items without a text are left out.

        Raises NotFound before the first `set_items`, and InvalidRequest if all labels or all texts are the same.
        """
        classes, dataset = request.classes, self._project(project).dataset
        labels: list[Label] = [
            tuple(sorted(set(label))) if isinstance(label, list) else label for label in request.labels
        ]
        digests = dataset.digests_of_items()
        weights = request.weights or [1.0] * len(request.ids)
        pseudo = request.pseudo or [False] * len(request.ids)
        known = [
            (digests[item], label, weight, assumed)
            for item, label, weight, assumed in zip(request.ids, labels, weights, pseudo, strict=True)
            if item in digests
        ]
        training = TrainingRequest.of(
            self._settings,
            classes,
            [(key, label, weight) for key, label, weight, assumed in known if not assumed],
            pseudo=[(key, label, weight) for key, label, weight, assumed in known if assumed],
            multilabel=request.multilabel,
            folds=request.folds,
            seed=request.seed,
            classifier=request.classifier,
            control=request.control,
            fields=request.fields,
        )
        dataset.set_consensus(
            ConsensusLabel(
                key, [classes[index] for index in label] if isinstance(label, tuple) else classes[label], weight
            )
            for key, label, weight, assumed in known
            if not assumed
        )
        return self.start(project, training, from_connector=True)

    def start(self, project: str, request: TrainingRequest, *, from_connector: bool = False) -> Job:
        """Start a training. A waiting request of the connector is replaced only by another one `from_connector`."""
        opened = self._projects.get(project)
        fingerprint = opened.features.loaded if opened is not None else None
        return self._trainer.start(
            TrainingTask(project, request, fingerprint=fingerprint, from_connector=from_connector)
        )

    def cancel(self, project: str, job: str) -> Job:
        """Cancel a job that runs or waits. Raises NotFound, or Conflict if another server has it."""
        self._projects.get(project)  # refuses an invalid name
        return self._trainer.cancel(project, job)

    def job(self, project: str, job: str) -> Job:
        """A job of the project. Raises NotFound."""
        self._projects.get(project)  # refuses an invalid name
        return self._trainer.get(project, job)

    def model(self, project: str) -> ModelState:
        """The current model. The state is empty before the first training."""
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
            embedding=model.feature_spec.embedding,
            since=model.since,
            in_training=self._trainer.is_active(project),
        )

    def forget_model(self, project: str) -> None:
        """Remove all model versions of the project, as before the first training. Texts and their features stay.

        Raises NotFound before the first `set_items`, and Conflict while a training runs.
        """
        opened = self._project(project)
        if self._trainer.is_active(project):
            raise Conflict("A training of this project runs. When it has ended, its model can be forgotten.")
        opened.forget_model()
        opened.dataset.set_consensus([])

    def versions(self, project: str | None = None) -> list[str]:
        """The stored model versions, newest first: of "ID" or "ID.TIMESTAMP" with its further questions, or of all."""
        names = self._projects.names
        if project is not None:
            wanted = project.partition(".")[0]
            names = [name for name in names if name == wanted or name.startswith(f"{wanted}/")]
        return sorted((version for name in names for version in self._registry(name).versions()), reverse=True)

    def roll_back(self, project: str, version: str | None) -> ModelState:
        """Serve a stored version of the project again. Without `version`, this is the one before the current.

        Raises NotFound, CorruptModel, or Conflict while a training runs.
        """
        self._project(project).registry.roll_back(version)
        return self.model(project)

    def overview(self) -> dict[str, ProjectOverview]:
        """The current model version of every project, and its number of jobs since the server started."""
        counts = self._trainer.counts()
        overviews: dict[str, ProjectOverview] = {}
        for name in self._projects.names:
            version = self._registry(name).current_version()
            jobs = {state: count for (project, state), count in counts.items() if project == name}
            overviews[name] = ProjectOverview(version, jobs)
        return overviews

    def probabilities(self, project: str) -> dict[str, Array]:
        """Out-of-sample probabilities of all items whose text is stored, in the arrays of docs/backend-api.md.

        Raises NotFound before the first training, and ClusterUnavailable. Raises Conflict if only a new training helps,
        because the encoder is another one or features are damaged.
        """
        opened = self._project(project)
        for _ in range(_MODEL_SWAPS):
            model = opened.model
            if model is None:
                raise NotFound("The project has no model yet. Train one first.")
            if not opened.features.matches(model.feature_spec):
                raise Conflict("The model was trained with another encoder. Train again.")
            try:
                opened.features.fill(model.feature_spec)
            except CorruptModel as error:
                raise Conflict(str(error)) from error
            ids, pred_probs, fold = out_of_sample(model, opened.dataset, self._settings)
            current = opened.model
            if current is None or current.version == model.version:
                return {
                    "ids": ids,
                    "pred_probs": pred_probs,
                    "fold": fold,
                    "classes": np.array(model.classes, dtype=np.str_),
                    "multilabel": np.array(model.multilabel),
                    "control": np.array(model.control, dtype=np.str_),
                    "fields": np.array(model.fields, dtype=np.str_),
                    "model_version": np.array(model.version, dtype=np.str_),
                }
            # A training has published another model, and may have dropped features while they were read.
        raise Conflict("The model was replaced again and again during the request. Send it again.")

    def spread(self, project: str, ids: list[int], count: int, seed: int) -> list[int]:
        """At most `count` of the items, spread over the embedding space.

        They come from a seeded sample of 2,000, or from what can be embedded of it in two minutes: a recording may take
        seconds. Unknown items, and those whose content is not stored, are left out. Raises NotFound before the
        first `set_items`, and EncoderUnavailable.

        Args:
            project: The project.
            ids: The items to choose from.
            count: The largest number of items.
            seed: Makes the sample and the clusters repeatable.
        """
        opened = self._project(project)
        digests = opened.dataset.digests_of_items()
        items = sorted({item for item in ids if item in digests})
        if not items or not count:
            return []
        sample = np.random.default_rng(seed).choice(len(items), min(len(items), _SPREAD_SAMPLE), replace=False)
        points, positions = opened.features.embeddings([digests[items[place]] for place in sample], _SPREAD_SECONDS)
        embedded = sample[positions]
        order = np.argsort(embedded)
        return [items[embedded[order[row]]] for row in cluster_centres(points[order], count, seed)]

    def distinct(self, project: str, ids: list[int], count: int) -> list[int]:
        """The first `count` of the items, in their order, that are no near-duplicates of one chosen before.

        Near-duplicates have embeddings that are as similar as the setting for their kind of content says. No more items
        are embedded than it takes. Unknown items, and those whose content is not stored, are left out. Raises NotFound
        before the first `set_items`, and EncoderUnavailable.
        """
        opened = self._project(project)
        digests = opened.dataset.digests_of_items()
        items = [item for item in dict.fromkeys(ids) if item in digests]
        similarity = self._duplicate_similarity(opened)
        chosen: list[int] = []
        seen: list[npt.NDArray[np.float32]] = []
        for start in range(0, len(items), _DISTINCT_PART):
            if len(chosen) >= count:
                break
            part = items[start : start + _DISTINCT_PART]
            points, positions = opened.features.embeddings([digests[item] for item in part])
            before = np.concatenate(seen) if seen else points[:0]
            rows = first_distinct(points, before, count - len(chosen), similarity)
            chosen += [part[positions[row]] for row in rows]
            seen.append(points[rows])
        return chosen

    def _duplicate_similarity(self, project: Project) -> float:
        settings = self._settings
        is_audio = project.features.kind == "audio"
        return settings.audio_duplicate_similarity if is_audio else settings.duplicate_similarity

    def _project(self, name: str) -> Project:
        project = self._projects.get(name)
        if project is None:
            raise NotFound("This project has no items yet. PUT its items first.")
        return project

    def _registry(self, name: str) -> Registry:
        """The versions of a project, which need not be open for that."""
        return registry_of(self._settings, name)

    def _serving(self, uid: str) -> list[tuple[Project, TrainedModel]]:
        """The models of the questions of Label Studio's "ID" or "ID.TIMESTAMP". Empty for an invalid name, too."""
        with suppress(InvalidRequest):
            projects = self._projects.opened(uid.partition(".")[0])
            return [(project, model) for project in projects if (model := project.serving) is not None]
        return []


def _warn(project: str, config: int, message: str) -> None:
    log.warning("Project %s: %s", project, message)
