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
# Of the weights of pseudo-labels, among which the labels held out choose.
PSEUDO_SHARES = (0.0, 0.3, 1.0)


@dataclass(frozen=True)
class Fitted:
    """Classifiers on one kind of features: the final one and those of the folds, calibrated.

    `out_of_sample` (n, k) are the probabilities of the labelled items by the models of their `folds` (n,), and `loss`
    is the mean cross-entropy of their labels, without pseudo-labels. `settings` are what was chosen.
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
    pseudo = labelled.pseudo
    shares = PSEUDO_SHARES if pseudo.any() else (1.0,)

    def part(member: int, chosen: Sequence[float], share: float) -> tuple[Any, ...]:
        """The arguments of `fit_all` for the model of a fold, or FINAL. `share`: how much pseudo-labels count."""
        seen = (folds != member) & ~pseudo if not share else folds != member
        counted = np.where(pseudo, share * weights, weights)[seen]
        return [create(c) for c in chosen], matrix(member)[seen], labels[seen], classes, request.seed, counted

    weights_a_model = 0 if kind.transformer else matrix(0).shape[1] * (classes if classes > 2 else 1)
    seconds = _SECONDS_A_WEIGHT * weights_a_model * len(labels) * len(strengths) * len(shares) * (count + 1)
    at_once = len(strengths) == len(shares) == 1  # there is nothing to choose
    work = [(member, share) for member in range(count) for share in shares] + [(FINAL, 1.0)] * at_once
    report(0, count + 1, 0)
    fits: list[list[Classifier]] = []  # for each fold and share, one classifier per strength
    for path in features.parallel.run(
        fit_all, (part(member, strengths, share) for member, share in work), len(work), seconds=seconds
    ):
        fits.append(path)
        done = len(fits) // len(shares)
        report(done, count + 1, done if done < count else None)
    size = len(shares)
    paths = [[one for path in fits[fold * size : (fold + 1) * size] for one in path] for fold in range(count)]
    finals = fits[count * size :]
    held_out = []
    for fold in range(count):
        out = (folds == fold) & ~pseudo
        held_out.append((matrix(fold)[out], labels[out], weights[out]))
    out_of_sample = np.empty((len(labels), classes))
    with threadpool_limits(1, user_api="blas"):  # as in `fit_all`
        place, temperature = choose(paths, held_out) if kind.tuned or len(shares) > 1 else (0, 1.0)
        temperature = temperature if kind.tuned else 1.0
        by_fold = [path[place].at_temperature(temperature) for path in paths]
        for fold, classifier in enumerate(by_fold):
            out_of_sample[folds == fold] = classifier.predict_proba(matrix(fold)[folds == fold])
    strength, share = strengths[place % len(strengths)], shares[place // len(strengths)]
    if not finals:
        finals = list(features.parallel.run(fit_all, [part(FINAL, [strength], share)], 1, seconds=0))
    ((final,),) = finals
    report(count + 1, count + 1)  # a cancelled training ends here, before it is published
    return Fitted(
        spec=spec,
        folds=folds,
        final=final.at_temperature(temperature),
        by_fold=by_fold,
        out_of_sample=out_of_sample,
        loss=_loss(out_of_sample[~pseudo], labels[~pseudo], weights[~pseudo]),
        settings={
            **(features.transformers.settings if kind.transformer else {"c": strength}),
            **({"pseudo_share": share} if pseudo.any() else {}),
            "temperature": temperature,
            "folds": count,
            "seed": request.seed,
        },
    )


def _loss(
    out_of_sample: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
) -> float:
    return cross_entropy(out_of_sample, labels, weights, len(labels)) / float(weights.sum())


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
