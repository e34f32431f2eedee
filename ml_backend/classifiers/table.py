"""The classifiers by name: the values of the setting ML_BACKEND_CLASSIFIER and of the request's `classifier`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_backend.classifiers import Classifier
from ml_backend.classifiers.logistic import LogisticClassifier
from ml_backend.classifiers.one_vs_rest import OneVsRestClassifier
from ml_backend.settings import ClassifierName


@dataclass(frozen=True)
class Kind:
    """The models behind a name: where one class applies to an item, and where several may.

    `tuned`: the folds choose the strength of the penalty and the temperature; else `ML_BACKEND_C` and 1 hold.
    `finetuned`: the embeddings are by encoders fine-tuned on the labels, once there are some.
    """

    one: type[LogisticClassifier]
    several: type[OneVsRestClassifier]
    tuned: bool
    finetuned: bool = False


CLASSIFIERS: Mapping[ClassifierName, Kind] = {
    "logistic": Kind(LogisticClassifier, OneVsRestClassifier, tuned=False),
    "logistic-cv": Kind(LogisticClassifier, OneVsRestClassifier, tuned=True),
    "two-speed": Kind(LogisticClassifier, OneVsRestClassifier, tuned=True, finetuned=True),
}


def create(name: ClassifierName, multilabel: bool, c: float) -> Classifier:
    """A classifier to fit, with `c` as the inverse strength of its penalty."""
    kind = CLASSIFIERS[name]
    return kind.several(c) if multilabel else kind.one(c)


def load(name: ClassifierName, multilabel: bool, path: Path) -> Classifier:
    """Read what a classifier of that name saved; raises CorruptModel."""
    kind = CLASSIFIERS[name]
    return kind.several.load(path) if multilabel else kind.one.load(path)
