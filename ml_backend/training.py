"""Labels in, a trained model out: features, folds, one model a fold, one on everything."""

from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from ml_backend.classifiers import Classifier
from ml_backend.classifiers.logistic import LogisticClassifier
from ml_backend.errors import InvalidRequest
from ml_backend.features import Features, Recipe
from ml_backend.folds import assign_folds
from ml_backend.jobs import Progress
from ml_backend.registry import TrainedModel, Training

# Rough seconds a text or label on two cores; they only shape the progress that is shown.
_EMBEDDING, _REDUCING, _FITTING = 0.01, 0.0005, 0.0005


@dataclass(frozen=True)
class TrainingRequest:
    """What to train on: one digest and one label, a position in `classes`, an item; plain data, fit for any process."""

    classes: tuple[str, ...]
    digests: tuple[bytes, ...]
    labels: tuple[int, ...]
    folds: int
    seed: int
    c: float


def require_two_classes(labels: set[int]) -> None:
    """Raise InvalidRequest where there is nothing to tell apart."""
    if len(labels) < 2:
        raise InvalidRequest("Training needs labelled items of at least two classes whose texts are here; add labels.")


def train(request: TrainingRequest, features: Features, previous: Recipe | None, progress: Progress) -> TrainedModel:
    """Train on the request; the model is not yet published and has no version.

    Raises EncoderUnavailable, CorruptModel, Cancelled, or InvalidRequest where the labelled texts have gone meanwhile.
    """
    unembedded = features.count_unembedded()
    embedding, reducing, fitting = "embedding texts", "reducing terms", "training"
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

    matrix, positions = features.matrix(recipe, request.digests)
    labels = np.array(request.labels, dtype=np.int64)[positions]
    require_two_classes(set(labels.tolist()))
    digests = np.frombuffer(b"".join(request.digests), dtype=np.uint8).reshape(size, -1)[positions]
    groups = np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1)
    folds = assign_folds(groups, labels, request.folds, request.seed)

    count = int(folds.max()) + 1
    out_of_sample = np.empty((len(labels), len(request.classes)))
    by_fold: list[Classifier] = []
    for fold in range(count):
        progress.report(fitting, fold, count + 1)
        held_out = folds == fold
        classifier = LogisticClassifier(request.c)
        classifier.fit(matrix[~held_out], labels[~held_out], len(request.classes), request.seed)
        out_of_sample[held_out] = classifier.predict_proba(matrix[held_out])
        by_fold.append(classifier)
    progress.report(fitting, count, count + 1)
    final = LogisticClassifier(request.c)
    final.fit(matrix, labels, len(request.classes), request.seed)
    return TrainedModel(
        version="",
        classes=request.classes,
        recipe=recipe,
        settings={"c": request.c, "folds": count, "seed": request.seed},
        accuracy=float(np.mean(out_of_sample.argmax(axis=1) == labels)),
        trained_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        training=Training(digests, labels, folds),
        final=final,
        by_fold=by_fold,
    )
