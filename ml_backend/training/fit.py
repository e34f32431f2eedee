"""Fits the classifiers of the folds and the final one to one kind of features, and calibrates them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ml_backend.classifiers import Classifier, catalog
from ml_backend.errors import LabelledTextsChanged
from ml_backend.features.feature_spec import FINAL, FeatureSpec
from ml_backend.features.feature_store import FeatureStore
from ml_backend.training.calibration import STRENGTHS, choose, cross_entropy
from ml_backend.training.request import LabelledItems, TrainingRequest

# To fit one weight of a logistic regression to one label, measured from 1,670 to 50,000 labels.
_SECONDS_A_WEIGHT = 3e-8


@dataclass(frozen=True)
class Fitted:
    """Classifiers on one kind of features: the final one and those of the folds, calibrated.

    `out_of_sample` (n, k) are the probabilities of the labelled items by the models of their `folds` (n,), and `loss`
    is the mean cross-entropy of their labels. `settings` are what was chosen.
    """

    spec: FeatureSpec
    folds: npt.NDArray[np.int8]
    final: Classifier
    by_fold: list[Classifier]
    out_of_sample: npt.NDArray[np.float64]
    loss: float
    settings: Mapping[str, Any]


def fit(
    request: TrainingRequest,
    features: FeatureStore,
    spec: FeatureSpec,
    labelled: LabelledItems,
    folds: npt.NDArray[np.int8],
    report: Callable[..., None],
) -> Fitted:
    """Fit the classifiers of the folds and the final one to the features of `spec`, and calibrate them.

    Args:
        request: The classifier, and its settings.
        features: The project's features, which have those of `spec` for the labelled items.
        spec: The features to use.
        labelled: n items.
        folds: The fold of each item (n,).
        report: `report(done, total, fold)` is called after each model.

    Raises:
        LabelledTextsChanged: A labelled text was removed.
        ClusterUnavailable: The Ray cluster cannot be reached, or a process died.
    """
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
    report(0, count + 1, 0)
    paths: list[list[Classifier]] = []  # for each fold, one classifier per strength
    for path in features.parallel.run(
        fit_all, (part(member, strengths) for member in members), len(members), seconds=seconds
    ):
        paths.append(path)
        report(len(paths), count + 1, len(paths) if len(paths) < count else None)
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
    report(count + 1, count + 1)  # a cancelled training ends here, before it is published
    return Fitted(
        spec=spec,
        folds=folds,
        final=final.at_temperature(temperature),
        by_fold=by_fold,
        out_of_sample=out_of_sample,
        loss=cross_entropy(out_of_sample, labels, weights, len(labels)) / float(weights.sum()),
        settings={
            **(features.transformers.settings if kind.transformer else {"c": strengths[place]}),
            "temperature": temperature,
            "folds": count,
            "seed": request.seed,
        },
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
