"""The use cases: what the server does with items, texts, labels and tasks, whatever carried them here."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.arrays import Array
from ml_backend.classifiers.logistic import LogisticClassifier
from ml_backend.classifiers.one_vs_rest import YES
from ml_backend.errors import Conflict, CorruptModel, InvalidRequest, NotFound
from ml_backend.features.encoder import Encoder
from ml_backend.jobs import Job, Jobs, Progress
from ml_backend.label_config import control_of, find_controls
from ml_backend.pool import DIGEST_BYTES
from ml_backend.project import Project, Projects
from ml_backend.registry import TrainedModel
from ml_backend.schemas import ModelState, Prediction, PredictResponse, TrainRequest
from ml_backend.settings import Settings
from ml_backend.spread import cluster_centres
from ml_backend.training import Label, TrainingRequest, require_two_labels

MODEL_CLASS = LogisticClassifier.__name__
_SPREAD_SAMPLE = 2_000


class Service:
    """Everything behind the routes; knows no HTTP. Safe to call from several threads."""

    def __init__(self, settings: Settings) -> None:
        """Open the model directory of `settings`; loads no encoder."""
        self._settings = settings
        self._projects = Projects(settings, Encoder(settings.encoder, settings.threads))
        self._jobs = Jobs()
        self._finetuning = Jobs()
        self._controls = lru_cache(maxsize=64)(find_controls)

    def close(self, seconds: float = 5.0) -> None:
        """Stop the running trainings, waiting for each `seconds` at most."""
        self._finetuning.close(seconds)
        self._jobs.close(seconds)

    def version(self, uid: str) -> str:
        """The current model version of a Label Studio project, "ID" or "ID.TIMESTAMP"; empty where there is none."""
        model = self._model_of(uid)
        return model.version if model is not None else ""

    def predict(self, uid: str, config: str, tasks: list[Any]) -> PredictResponse:
        """One entry a task: what the model would choose, its confidence in that, and its version.

        An entry is empty without an answer, and its result where the model would choose none of several classes.
        """
        model = self._model_of(uid)
        if model is None:
            return PredictResponse(results=[Prediction(model_version="") for _ in tasks], model_version="")
        results = [Prediction(model_version=model.version) for _ in tasks]
        response = PredictResponse(results=results, model_version=model.version)
        control = control_of(self._controls(config), model.classes, model.multilabel)
        if control is None:
            return response
        texts = {position: text for position, task in enumerate(tasks) if (text := _text(task, control.data_key))}
        features = self._project(uid.partition(".")[0]).features
        if not texts or not features.matches(model.recipe):
            return response
        probabilities = model.final.predict_proba(features.of_texts(model.recipe, list(texts.values())))
        for position, row in zip(texts, probabilities, strict=True):
            chosen, results[position].score = _choose(row, model.multilabel)
            value = {"choices": [model.classes[index] for index in chosen]}
            region = {"from_name": control.from_name, "to_name": control.to_name, "type": "choices", "value": value}
            results[position].result = [region] if chosen else []
        return response

    def set_items(self, project: str, ids: Array, hashes: Array) -> npt.NDArray[np.int64]:
        """State all items, int64 (n,) and uint8 (n, 16); the positions of those whose text is needed.

        Raises InvalidRequest.
        """
        if ids.ndim != 1 or hashes.shape != (len(ids), DIGEST_BYTES):
            raise InvalidRequest(f"Send 'ids' of shape (n,) and 'hashes' of shape (n, {DIGEST_BYTES}).")
        if len(np.unique(ids)) != len(ids):
            raise InvalidRequest("An id occurs twice in 'ids'; send each item once.")
        digests = [row.tobytes() for row in hashes]
        return np.array(self._projects.create(project).pool.set_items(ids.tolist(), digests), dtype=np.int64)

    def add_texts(self, project: str, texts: list[str]) -> int:
        """Store texts; how many of them are held now. Raises NotFound before the first `set_items`."""
        self._project(project).pool.add_texts(texts)
        return len(texts)

    def train(self, project: str, request: TrainRequest) -> tuple[Job, bool]:
        """Start a training unless one runs: the job, and whether it is new. Items without a text are left out.

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
        digests = opened.pool.digests_of_items()
        weights = request.weights or [1.0] * len(ids)
        known = [
            (digests[item], label, weight)
            for item, label, weight in zip(ids, plain, weights, strict=True)
            if item in digests
        ]
        require_two_labels({label for _, label, _ in known})
        work = TrainingRequest(
            classes=classes,
            digests=tuple(key for key, _, _ in known),
            labels=tuple(label for _, label, _ in known),
            weights=tuple(weight for _, _, weight in known),
            folds=request.folds or self._settings.folds,
            seed=request.seed,
            c=self._settings.c,
            multilabel=request.multilabel,
            classifier=request.classifier or self._settings.classifier,
            finetune=self._settings.finetune,
        )
        return self._jobs.start(project, lambda progress: self._train(project, work, progress))

    def job(self, project: str, job: str) -> Job:
        """A job of the project; raises NotFound."""
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
            labels=len(model.training.labels),
            trained_at=model.trained_at,
            accuracy=model.accuracy,
        )

    def forget_model(self, project: str) -> None:
        """Forget all model versions of the project, as before the first training; texts and their features stay.

        Raises NotFound before the first `set_items`, Conflict while a training runs.
        """
        opened = self._project(project)
        if self._jobs.is_running(project) or self._finetuning.is_running(project):
            raise Conflict("A training of this project runs; its model can be forgotten when it has ended.")
        opened.forget_model()

    def probabilities(self, project: str) -> dict[str, Array]:
        """Out-of-sample probabilities of all items whose text is held, as docs/backend-api.md lists the arrays.

        Raises NotFound before the first training, Conflict where the encoder is another than the model's or the
        model's features are damaged: where only a new training helps.
        """
        opened = self._project(project)
        model = opened.model
        if model is None:
            raise NotFound("The project has no model yet; train one first.")
        if not opened.features.matches(model.recipe):
            raise Conflict("The model was trained with another sentence encoder; train again.")
        try:
            opened.features.fill(model.recipe)
        except CorruptModel as error:
            raise Conflict(str(error)) from error
        ids: list[int] = []
        pred_probs: list[Array] = [np.zeros((0, len(model.classes)), dtype=np.float32)]
        fold: list[Array] = [np.zeros(0, dtype=np.int8)]
        for block_ids, digests, features in opened.features.scan(model.recipe, len(model.by_fold)):
            ids.extend(block_ids)
            block_probs, block_fold = model.out_of_sample(features, digests)
            pred_probs.append(block_probs)
            fold.append(block_fold)
        return {
            "ids": np.array(ids, dtype=np.int64),
            "pred_probs": np.concatenate(pred_probs),
            "fold": np.concatenate(fold),
            "classes": np.array(model.classes, dtype=np.str_),
            "multilabel": np.array(model.multilabel),
            "model_version": np.array(model.version, dtype=np.str_),
        }

    def spread(self, project: str, ids: list[int], count: int, seed: int) -> list[int]:
        """At most `count` of the items, spread over the embedding space, out of a seeded sample of 2,000 of them.

        Items that are unknown or whose text is not held are left out. Raises NotFound before the first `set_items`.
        """
        opened = self._project(project)
        digests = opened.pool.digests_of_items()
        known = sorted({item for item in ids if item in digests})
        if len(known) > _SPREAD_SAMPLE:
            sample = np.random.default_rng(seed).choice(len(known), _SPREAD_SAMPLE, replace=False)
            known = [known[position] for position in np.sort(sample)]
        if not known or not count:
            return []
        points, positions = opened.features.embeddings([digests[item] for item in known])
        return [known[positions[row]] for row in cluster_centres(points, count, seed)]

    def _train(self, project: str, request: TrainingRequest, progress: Progress) -> str:
        """Train, and where that is due fine-tune encoders behind it and train again, on the labels of then."""
        opened = self._project(project)
        version = opened.train(request, progress)
        if opened.finetuning_is_due(request):

            def finetune(progress: Progress) -> str:
                opened.finetune(request, progress)
                # Where a training runs, it or the next will use the new encoders.
                self._jobs.start(project, opened.train_again)
                return version

            self._finetuning.start(project, finetune)
        return version

    def _project(self, name: str) -> Project:
        project = self._projects.get(name)
        if project is None:
            raise NotFound("Nothing is known of this project; PUT its items first.")
        return project

    def _model_of(self, uid: str) -> TrainedModel | None:
        try:
            project = self._projects.get(uid.partition(".")[0])
        except InvalidRequest:  # Label Studio gets an answer whatever it asks for
            return None
        return project.model if project is not None else None


def _choose(probabilities: npt.NDArray[np.float64], multilabel: bool) -> tuple[list[int], float]:
    """The classes that the model would choose, and how sure it is of them.

    Where several may apply, those that rather do than not, and how sure it is of yes or no in the least certain class.
    """
    if not multilabel:
        best = int(probabilities.argmax())
        return [best], float(probabilities[best])
    sure = np.maximum(probabilities, 1 - probabilities).min()
    return np.flatnonzero(probabilities >= YES).tolist(), float(sure)


def _text(task: Any, key: str) -> str:
    data = task.get("data") if isinstance(task, dict) else None
    text = data.get(key) if isinstance(data, dict) else None
    # JSON can hold halves of characters, which neither UTF-8 nor a tokenizer takes.
    return text.encode(errors="replace").decode() if isinstance(text, str) and text.strip() else ""
