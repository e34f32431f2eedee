"""Labels in, a trained model out: features, folds, one model a fold, one on everything."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ml_backend.classifiers import catalog
from ml_backend.classifiers.one_vs_rest import DECISION_THRESHOLD
from ml_backend.classifiers.protocol import Classifier
from ml_backend.errors import InvalidRequest
from ml_backend.features.feature_store import FINAL, SECONDS_A_TEXT, Compute, FeatureSpec, FeatureStore
from ml_backend.features.finetune import SECONDS_A_STEP
from ml_backend.models.registry import TrainedModel, TrainingSet
from ml_backend.parallel import RemoteCall
from ml_backend.progress import Progress
from ml_backend.settings import ClassifierName, FineTune, Settings
from ml_backend.training import encoder_schedule
from ml_backend.training.calibration import STRENGTHS, choose

# The stages of a job, in order, with rough seconds a text, label or step on two cores that only shape the progress.
EMBEDDING, REDUCING, FINETUNING = "embedding texts", "reducing terms", "fine-tuning encoders"
EMBEDDING_ANEW, FITTING = "embedding texts anew", "training"
_A_TEXT, _A_TERM, _A_LABEL, _A_STEP = SECONDS_A_TEXT, 0.0005, 0.0005, SECONDS_A_STEP
_A_BATCH = 16  # texts, of such a step
_A_WEIGHT = (
    3e-8  # seconds of fitting a weight of a logistic regression to a label, measured from 1,670 to 50,000 labels
)


Label = int | tuple[int, ...]


@dataclass(frozen=True)
class TrainingRequest:
    """What to train on: a digest and a label an item; plain data, fit for any process.

    A label is a position in `classes`, or with `multilabel` the positions of all that apply; its weight, above 0, is
    how much it counts, 1 without `weights`.
    """

    classes: tuple[str, ...]
    digests: tuple[bytes, ...]
    labels: tuple[Label, ...]
    folds: int
    seed: int
    c: float
    multilabel: bool = False
    weights: tuple[float, ...] | None = None
    classifier: ClassifierName = "logistic"
    finetune: FineTune = "background"

    @classmethod
    def of(
        cls,
        settings: Settings,
        classes: Sequence[str],
        labelled: Sequence[tuple[bytes, Label, float]],
        *,
        multilabel: bool,
        folds: int | None = None,
        seed: int = 0,
        classifier: ClassifierName | None = None,
    ) -> "TrainingRequest":
        """A request for items of (digest, label, weight), as `settings` say where nothing else is asked for.

        Raises InvalidRequest where there is nothing to tell apart.
        """
        require_two_labels({label for _, label, _ in labelled})
        return cls(
            classes=tuple(classes),
            digests=tuple(key for key, _, _ in labelled),
            labels=tuple(label for _, label, _ in labelled),
            weights=tuple(weight for _, _, weight in labelled),
            folds=folds or settings.folds,
            seed=seed,
            c=settings.c,
            multilabel=multilabel,
            classifier=classifier or settings.classifier,
            finetune=settings.finetune,
        )

    @property
    def fold_count(self) -> int:
        """How many folds so many different texts allow."""
        return min(self.folds, len(set(self.digests)))


def require_two_labels(labels: Collection[Hashable]) -> None:
    """Raise InvalidRequest where there is nothing to tell apart: all items have the same class, or the same classes."""
    if len(labels) < 2:
        raise InvalidRequest("Training needs labelled items of at least two classes whose texts are here; add labels.")


def train(
    request: TrainingRequest, features: FeatureStore, previous: FeatureSpec | None, progress: Progress
) -> TrainedModel:
    """Train on the request; the model is not yet published and has no version.

    Raises EncoderUnavailable, ClusterUnavailable, CorruptModel, or InvalidRequest where the labelled texts have gone
    meanwhile.
    """
    if catalog.CLASSIFIERS[request.classifier].transformer:
        return _train_transformers(request, features, progress)
    due = request.finetune == "now" and finetuning_is_due(request, features)
    spec, labelled = _prepare(request, features, previous, progress, due)
    current = None
    if catalog.CLASSIFIERS[request.classifier].finetuned:
        if due:
            _advance(request, features, spec, labelled, progress)
        current = encoder_schedule.usable_ensemble(features, request.digests, request.fold_count)
    if current is not None:
        spec = replace(spec, finetuned=current.feature_keys)
        features.fill(spec, partial(progress.report, EMBEDDING_ANEW))
    folds = encoder_schedule.assign_folds(current, labelled, request.fold_count, request.seed)
    return _fit(request, features, spec, labelled, folds, progress)


def finetuning_is_due(request: TrainingRequest, features: FeatureStore) -> bool:
    """Whether the classifier fine-tunes encoders and has labels enough for new ones; raises EncoderUnavailable."""
    finetuned = catalog.CLASSIFIERS[request.classifier].finetuned
    return finetuned and encoder_schedule.is_due(features, request.digests, request.fold_count)


def finetune(
    request: TrainingRequest, features: FeatureStore, previous: FeatureSpec | None, progress: Progress
) -> None:
    """Fine-tune encoders on the request, for the trainings to come; raises what `train` does."""
    spec, labelled = _prepare(request, features, previous, progress, finetuning=True)
    _advance(request, features, spec, labelled, progress)


def _prepare(
    request: TrainingRequest, features: FeatureStore, previous: FeatureSpec | None, progress: Progress, finetuning: bool
) -> tuple[FeatureSpec, encoder_schedule.LabelledItems]:
    """Compute what does not depend on labels, and look the labelled texts up."""
    unembedded, size = features.count_unembedded(), len(request.digests)
    encoders = request.fold_count + 1 if finetuning else 0
    progress.plan(
        {
            EMBEDDING: _A_TEXT * unembedded,
            REDUCING: 0.5 + _A_TERM * unembedded,
            FINETUNING: _A_STEP * features.finetuned.schedule.steps * encoders,
            EMBEDDING_ANEW: _A_TEXT * features.count_texts() * encoders,
            FITTING: 0.5 + _A_LABEL * size * (request.folds + 1),
        }
    )
    progress.report(EMBEDDING, 0, unembedded)
    features.embed(partial(progress.report, EMBEDDING))
    progress.report(REDUCING)
    spec = features.next_spec(previous)
    features.fill(spec, partial(progress.report, REDUCING))

    return spec, _labelled(request, features.matrix(spec, request.digests)[1])


def _labelled(request: TrainingRequest, positions: Sequence[int]) -> encoder_schedule.LabelledItems:
    """What is known of the items at these positions of the request; raises InvalidRequest where it is too little."""
    size = len(request.digests)
    labels = _as_array(request)[positions]
    require_two_labels({label.tobytes() for label in labels})
    digests = np.frombuffer(b"".join(request.digests), dtype=np.uint8).reshape(size, -1)[positions]
    return encoder_schedule.LabelledItems(
        digests=digests,
        labels=labels,
        weights=np.array(request.weights if request.weights is not None else [1.0] * size)[positions],
        groups=np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1),
        strata=strata(labels),
        classes=len(request.classes),
    )


def _advance(
    request: TrainingRequest,
    features: FeatureStore,
    spec: FeatureSpec,
    labelled: encoder_schedule.LabelledItems,
    progress: Progress,
) -> None:
    stages = partial(progress.report, FINETUNING), partial(progress.report, EMBEDDING_ANEW)
    encoder_schedule.finetune_encoders(features, spec, labelled, request.fold_count, request.seed, *stages)


def _train_transformers(request: TrainingRequest, features: FeatureStore, progress: Progress) -> TrainedModel:
    """Train a transformer a fold and one on all labels, and score all texts with each while it is in memory."""
    held = features.held(request.digests)
    labelled = _labelled(request, [position for position, key in enumerate(request.digests) if key in held])
    folds = encoder_schedule.assign_folds(None, labelled, request.fold_count, request.seed)
    count, schedule = int(folds.max()) + 1, features.transformers.schedule
    stages = [
        (f"training transformer {number} of {count + 1}", f"scoring texts with transformer {number} of {count + 1}")
        for number in range(1, count + 2)
    ]
    a_step = _A_STEP * schedule.batch_size / _A_BATCH
    costs = a_step * schedule.steps, _A_TEXT * features.count_texts()
    progress.plan({stage: cost for pair in stages for stage, cost in zip(pair, costs, strict=True)} | {FITTING: 0.5})

    def report(which: int, number: int, done: int, total: int) -> None:
        progress.report(stages[number][which], done, total, number if number < count else None)

    def score(number: int, kind: str, logits: Compute | RemoteCall) -> None:
        features.fill_with(logits, kind, partial(report, 1, number))

    texts = features.texts([bytes(key) for key in labelled.digests])
    if len(texts) != len(labelled.digests):
        raise encoder_schedule.gone()
    kinds = features.transformers.make(
        texts,
        labelled.labels,
        labelled.classes,
        labelled.weights,
        folds,
        request.seed,
        partial(report, 0),
        score,
    )
    return _fit(request, features, FeatureSpec(transformers=kinds), labelled, folds, progress)


def _fit(
    request: TrainingRequest,
    features: FeatureStore,
    spec: FeatureSpec,
    labelled: encoder_schedule.LabelledItems,
    folds: npt.NDArray[np.int8],
    progress: Progress,
) -> TrainedModel:
    labels, weights, keys = labelled.labels, labelled.weights, [bytes(key) for key in labelled.digests]
    count, classes = int(folds.max()) + 1, len(request.classes)
    of_kinds: dict[tuple[str, ...], npt.NDArray[np.float32]] = {}

    def matrix(member: int) -> npt.NDArray[np.float32]:
        """The features of all labelled items for the models of a fold, or FINAL."""
        kinds = spec.feature_keys(member)
        if kinds not in of_kinds:
            of_kinds[kinds], positions = features.matrix(spec, keys, member)
            if len(positions) < len(keys):
                raise encoder_schedule.gone()
        return of_kinds[kinds]

    create = partial(catalog.create, request.classifier, request.multilabel)
    kind = catalog.CLASSIFIERS[request.classifier]
    strengths = STRENGTHS if kind.tuned and not kind.transformer else (request.c,)

    def part(member: int, chosen: Sequence[float]) -> tuple[Any, ...]:
        seen = folds != member
        return [create(c) for c in chosen], matrix(member)[seen], labels[seen], classes, request.seed, weights[seen]

    weights_a_model = 0 if kind.transformer else matrix(0).shape[1] * (classes if classes > 2 else 1)
    seconds = _A_WEIGHT * weights_a_model * len(labels) * len(strengths) * (count + 1)
    members = [*range(count), *([FINAL] if len(strengths) == 1 else [])]
    progress.report(FITTING, 0, count + 1, 0)
    paths: list[list[Classifier]] = []  # of each fold, a classifier a strength
    for path in features.parallel.run(
        fit_all, (part(member, strengths) for member in members), len(members), seconds=seconds
    ):
        paths.append(path)
        progress.report(FITTING, len(paths), count + 1, len(paths) if len(paths) < count else None)
    finals = paths[count:]
    held_out = []
    for fold in range(count):
        out = folds == fold
        held_out.append((matrix(fold)[out], labels[out], weights[out]))
    out_of_sample = np.empty((len(labels), classes))
    with threadpool_limits(1, user_api="blas"):  # as in `fit_all`
        place, temperature = choose(paths[:count], held_out) if kind.tuned else (0, 1.0)
        by_fold = [path[place].at_temperature(temperature) for path in paths[:count]]
        for fold, classifier in enumerate(by_fold):
            out_of_sample[folds == fold] = classifier.predict_proba(held_out[fold][0])
    if not finals:
        finals = list(features.parallel.run(fit_all, [part(FINAL, strengths[place : place + 1])], 1, seconds=0))
    ((final,),) = finals
    progress.report(FITTING, count + 1, count + 1)  # what nobody waits for any more is not published
    return TrainedModel(
        version="",
        classes=request.classes,
        feature_spec=spec,
        settings={
            **(features.transformers.settings if kind.transformer else {"c": strengths[place]}),
            "temperature": temperature,
            "folds": count,
            "seed": request.seed,
        },
        accuracy=_accuracy(out_of_sample, labels),
        trained_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        training_set=TrainingSet(labelled.digests, labels, folds),
        final=final.at_temperature(temperature),
        by_fold=by_fold,
        multilabel=request.multilabel,
        classifier=request.classifier,
    )


def fit_all(
    classifiers: list[Classifier],
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    classes: int,
    seed: int,
    weights: npt.NDArray[np.float64],
) -> list[Classifier]:
    """The classifiers, fitted to the same features (n, d), labels (n,) or (n, k) and weights (n,)."""
    # One thread of BLAS: matrices of this size lose by more, several times over where other work wants the cores.
    with threadpool_limits(1, user_api="blas"):
        for classifier in classifiers:
            classifier.fit(features, labels, classes, seed, weights)
    return classifiers


def strata(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The stratum (n,) of each label: its class (n,), or of its classes (n, k) the place of the set in an order.

    Sets are ordered by whether they have the rarest class, among those alike by the second rarest, and so on: so items
    dealt over folds in this order spread the rare classes evenly.
    """
    if labels.ndim == 1:
        return labels
    rarest_first = np.argsort(labels.sum(axis=0), kind="stable")
    return np.asarray(np.unique(labels[:, rarest_first], axis=0, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def _as_array(request: TrainingRequest) -> npt.NDArray[np.int64]:
    """The labels as classifiers take them."""
    if not request.multilabel:
        return np.array(request.labels, dtype=np.int64)
    sets = np.zeros((len(request.labels), len(request.classes)), dtype=np.int64)
    for row, label in zip(sets, request.labels, strict=True):
        row[np.array(label, dtype=np.int64)] = 1
    return sets


def _accuracy(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """The share of items whose class, or whole set of classes, is the predicted one."""
    if labels.ndim == 1:
        return float(np.mean(probabilities.argmax(axis=1) == labels))
    return float(np.mean(((probabilities >= DECISION_THRESHOLD) == labels).all(axis=1)))
