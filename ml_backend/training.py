"""Labels in, a trained model out: features, folds, one model a fold, one on everything."""

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ml_backend.classifiers import Classifier, table
from ml_backend.classifiers.one_vs_rest import YES
from ml_backend.errors import InvalidRequest
from ml_backend.features import Features, Recipe
from ml_backend.folds import assign_folds
from ml_backend.jobs import Progress
from ml_backend.registry import TrainedModel, Training
from ml_backend.settings import ClassifierName
from ml_backend.tuning import STRENGTHS, choose

# Rough seconds a text or label on two cores; they only shape the progress that is shown.
_STAGES = ("embedding texts", "reducing terms", "training")
_EMBEDDING, _REDUCING, _FITTING = 0.01, 0.0005, 0.0005


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


def require_two_labels(labels: Collection[Hashable]) -> None:
    """Raise InvalidRequest where there is nothing to tell apart: all items have the same class, or the same classes."""
    if len(labels) < 2:
        raise InvalidRequest("Training needs labelled items of at least two classes whose texts are here; add labels.")


def train(request: TrainingRequest, features: Features, previous: Recipe | None, progress: Progress) -> TrainedModel:
    """Train on the request; the model is not yet published and has no version.

    Raises EncoderUnavailable, CorruptModel, Cancelled, or InvalidRequest where the labelled texts have gone meanwhile.
    """
    unembedded = features.count_unembedded()
    embedding, reducing, fitting = _STAGES
    size = len(request.digests)
    progress.plan(
        {
            embedding: _EMBEDDING * unembedded,
            reducing: 0.5 + _REDUCING * unembedded,
            fitting: 0.5 + _FITTING * size * (request.folds + 1),
        }
    )
    progress.report(embedding, 0, unembedded)
    features.embed(lambda done, total: progress.report(embedding, done, total))
    progress.report(reducing)
    recipe = features.recipe(previous)
    features.reduce(recipe, lambda done, total: progress.report(reducing, done, total))

    # One thread of BLAS: matrices of this size lose by more, several times over where other work wants the cores.
    with threadpool_limits(1, user_api="blas"):
        return _fit(request, features, recipe, progress)


def _fit(request: TrainingRequest, features: Features, recipe: Recipe, progress: Progress) -> TrainedModel:
    size, fitting = len(request.digests), _STAGES[2]
    matrix, positions = features.matrix(recipe, request.digests)
    labels = _as_array(request)[positions]
    weights = np.array(request.weights if request.weights is not None else [1.0] * size)[positions]
    require_two_labels({label.tobytes() for label in labels})
    digests = np.frombuffer(b"".join(request.digests), dtype=np.uint8).reshape(size, -1)[positions]
    groups = np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1)
    folds = assign_folds(groups, strata(labels), request.folds, request.seed)

    count, classes = int(folds.max()) + 1, len(request.classes)
    create = partial(table.create, request.classifier, request.multilabel)
    tuned = table.CLASSIFIERS[request.classifier].tuned
    strengths = STRENGTHS if tuned else (request.c,)
    paths: list[list[Classifier]] = []  # of each fold, a classifier a strength
    held_out = []
    for fold in range(count):
        progress.report(fitting, fold, count + 1)
        rest, out = folds != fold, folds == fold
        paths.append([create(c) for c in strengths])
        for classifier in paths[-1]:
            classifier.fit(matrix[rest], labels[rest], classes, request.seed, weights[rest])
        held_out.append((matrix[out], labels[out], weights[out]))
    progress.report(fitting, count, count + 1)
    place, temperature = choose(paths, held_out) if tuned else (0, 1.0)
    by_fold = [path[place].at_temperature(temperature) for path in paths]
    out_of_sample = np.empty((len(labels), classes))
    for fold, classifier in enumerate(by_fold):
        out_of_sample[folds == fold] = classifier.predict_proba(held_out[fold][0])
    final = create(strengths[place])
    final.fit(matrix, labels, classes, request.seed, weights)
    return TrainedModel(
        version="",
        classes=request.classes,
        recipe=recipe,
        settings={"c": strengths[place], "temperature": temperature, "folds": count, "seed": request.seed},
        accuracy=_accuracy(out_of_sample, labels),
        trained_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        training=Training(digests, labels, folds),
        final=final.at_temperature(temperature),
        by_fold=by_fold,
        multilabel=request.multilabel,
        classifier=request.classifier,
    )


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
    return float(np.mean(((probabilities >= YES) == labels).all(axis=1)))
