"""Labels in, a trained model out: features, folds, one model per fold, and a final one on all labels."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ml_backend.classifiers import Classifier, catalog
from ml_backend.classifiers.one_vs_rest import DECISION_THRESHOLD
from ml_backend.errors import LabelledTextsChanged
from ml_backend.features.feature_spec import FINAL, FeatureSpec
from ml_backend.features.feature_store import SECONDS_A_TEXT, Compute, FeatureStore
from ml_backend.features.finetune import SECONDS_A_STEP
from ml_backend.models.registry import TrainedModel, TrainingSet
from ml_backend.parallel import RemoteCall
from ml_backend.progress import Progress
from ml_backend.training import encoder_schedule
from ml_backend.training.calibration import STRENGTHS, choose
from ml_backend.training.request import LabelledItems, TrainingRequest

# The stages of a job, in order.
EMBEDDING, REDUCING, FINETUNING = "embedding texts", "reducing terms", "fine-tuning encoders"
EMBEDDING_ANEW, FITTING = "embedding texts anew", "training"
# Rough seconds on two cores. They only shape the progress, and decide whether work is divided.
_SECONDS_A_TERM_VECTOR, _SECONDS_A_LABEL = 0.0005, 0.0005
_TEXTS_A_STEP = 16  # of a step that takes SECONDS_A_STEP
# To fit one weight of a logistic regression to one label, measured from 1,670 to 50,000 labels.
_SECONDS_A_WEIGHT = 3e-8


def train(
    request: TrainingRequest, features: FeatureStore, previous: FeatureSpec | None, progress: Progress
) -> TrainedModel:
    """Train a model. It is not published and has no version yet.

    Args:
        request: What to train on.
        features: The project's features.
        previous: The features of the last model, whose TF-IDF map is used again.
        progress: Receives the progress.

    Raises:
        EncoderUnavailable: The sentence encoder or the transformer cannot be loaded.
        ClusterUnavailable: The Ray cluster cannot be reached, or a process died.
        CorruptModel: The fine-tuned encoders are damaged.
        LabelledTextsChanged: A labelled text was removed.
    """
    if catalog.CLASSIFIERS[request.classifier].transformer:
        return _train_transformers(request, features, progress)
    finetune_now = encoder_schedule.is_due(request, features, "now")
    spec, labelled = _prepare(request, features, previous, progress, finetune_now)
    ensemble = None
    if catalog.CLASSIFIERS[request.classifier].finetuned:
        if finetune_now:
            _finetune_encoders(request, features, spec, labelled, progress)
        ensemble = encoder_schedule.usable_ensemble(features, request.digests, request.fold_count)
    if ensemble is not None:
        spec = replace(spec, finetuned=ensemble.feature_keys)
        features.fill(spec, partial(progress.report, EMBEDDING_ANEW))
    folds = encoder_schedule.assign_folds(ensemble, labelled, request.fold_count, request.seed)
    return _fit(request, features, spec, labelled, folds, progress)


def finetune(
    request: TrainingRequest, features: FeatureStore, previous: FeatureSpec | None, progress: Progress
) -> None:
    """Fine-tune encoders for later trainings. The arguments and the errors are those of `train`."""
    spec, labelled = _prepare(request, features, previous, progress, finetuning=True)
    _finetune_encoders(request, features, spec, labelled, progress)


def _prepare(
    request: TrainingRequest, features: FeatureStore, previous: FeatureSpec | None, progress: Progress, finetuning: bool
) -> tuple[FeatureSpec, LabelledItems]:
    """Compute the features that do not depend on labels, and find the labelled items whose text is stored."""
    unembedded, size = features.count_unembedded(), len(request.digests)
    encoders = request.fold_count + 1 if finetuning else 0
    progress.plan(
        {
            EMBEDDING: SECONDS_A_TEXT * unembedded,
            REDUCING: 0.5 + _SECONDS_A_TERM_VECTOR * unembedded,
            FINETUNING: SECONDS_A_STEP * features.finetuned.schedule.steps * encoders,
            EMBEDDING_ANEW: SECONDS_A_TEXT * features.count_texts() * encoders,
            FITTING: 0.5 + _SECONDS_A_LABEL * size * (request.folds + 1),
        }
    )
    progress.report(EMBEDDING, 0, unembedded)
    features.embed(partial(progress.report, EMBEDDING))
    progress.report(REDUCING)
    spec = features.next_spec(previous)
    features.fill(spec, partial(progress.report, REDUCING))
    return spec, LabelledItems.of(request, features.matrix(spec, request.digests)[1])


def _finetune_encoders(
    request: TrainingRequest,
    features: FeatureStore,
    spec: FeatureSpec,
    labelled: LabelledItems,
    progress: Progress,
) -> None:
    on_step, on_embedded = partial(progress.report, FINETUNING), partial(progress.report, EMBEDDING_ANEW)
    encoder_schedule.finetune_encoders(request, features, spec, labelled, on_step, on_embedded)


def _train_transformers(request: TrainingRequest, features: FeatureStore, progress: Progress) -> TrainedModel:
    """Train one transformer per fold and one on all labels. Each scores all texts while it is in memory."""
    stored = features.stored(request.digests)
    labelled = LabelledItems.of(request, [place for place, key in enumerate(request.digests) if key in stored])
    folds = encoder_schedule.assign_folds(None, labelled, request.fold_count, request.seed)
    count, schedule = int(folds.max()) + 1, features.transformers.schedule
    stages = [
        (f"training transformer {number} of {count + 1}", f"scoring texts with transformer {number} of {count + 1}")
        for number in range(1, count + 2)
    ]
    seconds_a_step = SECONDS_A_STEP * schedule.batch_size / _TEXTS_A_STEP
    costs = seconds_a_step * schedule.steps, SECONDS_A_TEXT * features.count_texts()
    progress.plan({stage: cost for pair in stages for stage, cost in zip(pair, costs, strict=True)} | {FITTING: 0.5})

    def report(which: int, number: int, done: int, total: int) -> None:
        progress.report(stages[number][which], done, total, number if number < count else None)

    def score(number: int, feature_key: str, logits: Compute | RemoteCall) -> None:
        features.fill_with(logits, feature_key, partial(report, 1, number))

    texts = features.texts(labelled.keys)
    if len(texts) != len(labelled.digests):
        raise LabelledTextsChanged
    feature_keys = features.transformers.make(
        texts,
        labelled.labels,
        labelled.classes,
        labelled.weights,
        folds,
        request.seed,
        partial(report, 0),
        score,
    )
    return _fit(request, features, FeatureSpec(transformers=feature_keys), labelled, folds, progress)


def _fit(
    request: TrainingRequest,
    features: FeatureStore,
    spec: FeatureSpec,
    labelled: LabelledItems,
    folds: npt.NDArray[np.int8],
    progress: Progress,
) -> TrainedModel:
    """Fit the classifiers of the folds and the final one, and calibrate them."""
    labels, weights, keys = labelled.labels, labelled.weights, labelled.keys
    count, classes = int(folds.max()) + 1, len(request.classes)
    matrices: dict[tuple[str, ...], npt.NDArray[np.float32]] = {}

    def matrix(member: int) -> npt.NDArray[np.float32]:
        """The features of all labelled items for the model of a fold, or FINAL."""
        feature_keys = spec.feature_keys(member)
        if feature_keys not in matrices:
            matrices[feature_keys], positions = features.matrix(spec, keys, member)
            if len(positions) < len(keys):
                raise LabelledTextsChanged
        return matrices[feature_keys]

    create = partial(catalog.create, request.classifier, request.multilabel)
    kind = catalog.CLASSIFIERS[request.classifier]
    strengths = STRENGTHS if kind.tuned and not kind.transformer else (request.c,)

    def part(member: int, chosen: Sequence[float]) -> tuple[Any, ...]:
        """The arguments of `fit_all` for the model of a fold, or FINAL."""
        seen = folds != member
        return [create(c) for c in chosen], matrix(member)[seen], labels[seen], classes, request.seed, weights[seen]

    weights_a_model = 0 if kind.transformer else matrix(0).shape[1] * (classes if classes > 2 else 1)
    seconds = _SECONDS_A_WEIGHT * weights_a_model * len(labels) * len(strengths) * (count + 1)
    members = [*range(count), *([FINAL] if len(strengths) == 1 else [])]
    progress.report(FITTING, 0, count + 1, 0)
    paths: list[list[Classifier]] = []  # for each fold, one classifier per strength
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
    progress.report(FITTING, count + 1, count + 1)  # a cancelled training ends here, before it is published
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
    """Fit several classifiers to the same labels. The arguments are those of `Classifier.fit`."""
    # One thread of BLAS: with more, matrices of this size are slower, several times so beside other work.
    with threadpool_limits(1, user_api="blas"):
        for classifier in classifiers:
            classifier.fit(features, labels, classes, seed, weights)
    return classifiers


def _accuracy(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """The share of items whose class, or whole set of classes, is predicted."""
    if labels.ndim == 1:
        return float(np.mean(probabilities.argmax(axis=1) == labels))
    return float(np.mean(((probabilities >= DECISION_THRESHOLD) == labels).all(axis=1)))
