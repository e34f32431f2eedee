"""The classifiers by name: the values of ML_BACKEND_CLASSIFIER and of the `classifier` of a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_backend.classifiers.logistic import LogisticClassifier
from ml_backend.classifiers.one_vs_rest import OneVsRestClassifier
from ml_backend.classifiers.protocol import Classifier
from ml_backend.classifiers.softmax import SoftmaxClassifier
from ml_backend.settings import ClassifierName


@dataclass(frozen=True)
class Kind:
    """What a name means: logistic regression on features, or a `transformer` whose every layer is trained.

    If `tuned`, the folds choose the temperature and, for logistic regression, the strength of the penalty. Otherwise 1
    and `ML_BACKEND_C` apply. If `finetuned`, the embeddings come from fine-tuned encoders where these predict the
    labels held out better.
    """

    tuned: bool
    finetuned: bool = False
    transformer: bool = False


CLASSIFIERS: Mapping[ClassifierName, Kind] = {
    "auto": Kind(tuned=True, finetuned=True),
    "logistic": Kind(tuned=False),
    "logistic-cv": Kind(tuned=True),
    "transformer": Kind(tuned=True, transformer=True),
}


def create(name: ClassifierName, multilabel: bool, c: float) -> Classifier:
    """A classifier to fit. `c` is the inverse strength of its penalty, if it has one."""
    if CLASSIFIERS[name].transformer:
        return SoftmaxClassifier(multilabel)
    return OneVsRestClassifier(c) if multilabel else LogisticClassifier(c)


def load(name: ClassifierName, multilabel: bool, path: Path) -> Classifier:
    """Read what a classifier of that name saved. Raises CorruptModel."""
    if CLASSIFIERS[name].transformer:
        return SoftmaxClassifier.load(path)
    return OneVsRestClassifier.load(path) if multilabel else LogisticClassifier.load(path)
