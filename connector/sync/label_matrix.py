"""Labels and the model's probabilities as arrays, for projects with one class per task and with several.

Outside of this module a label is a string as Control.label_of writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from connector.active_learning import multilabel
from connector.active_learning.ambiguity import Ambiguity, ConfusedClasses, ambiguity, confused_classes
from connector.active_learning.consensus import ConsensusResult, by_majority
from connector.active_learning.labels import Floats, Ints, Labels
from connector.active_learning.multilabel import ClassSets, Sets
from connector.active_learning.strategies import Strategy
from connector.annotations.label_config import Control
from connector.backend import Probabilities

# The probability of a class that the model does not know, since it was added to the config later.
UNKNOWN_CLASS = 1e-3
# The probability of each class of multiple choice, if the backend has none of the task yet: even, and none predicted.
UNDECIDED = float(np.nextafter(multilabel.YES, 0))
LEAST = float(np.finfo(float).eps)


class LabelSet(Protocol):
    """The labels of n tasks as arrays, in the order of the tasks."""

    def consensus(self, pred_probs: Floats | None, strategy: Strategy) -> ConsensusResult:
        """Consensus labels: by the strategy's method, or by majority if there are no probabilities."""
        ...

    def scores(self, pred_probs: Floats, pred_probs_unlabeled: Floats, strategy: Strategy) -> tuple[Floats, Floats]:
        """The strategy's scores of the labelled tasks and of unlabelled ones."""
        ...

    def names(self, consensus: ConsensusResult) -> list[str]:
        """The consensus labels as strings."""
        ...

    def ambiguity(self, pred_probs: Floats) -> tuple[Ambiguity, list[ConfusedClasses]] | None:
        """Which tasks people honestly differ on, and which classes. None for sets of classes: nothing is known."""
        ...


def label_set(labels: Mapping[tuple[int, int], str], tasks: Sequence[int], control: Control) -> LabelSet:
    """The labels {(task, annotator): label} of `tasks`, every one of which has some."""
    return (MultiLabel if control.multiple else SingleLabel)(labels, tasks, control)


class SingleLabel:
    """Labels of one class each."""

    def __init__(self, labels: Mapping[tuple[int, int], str], tasks: Sequence[int], control: Control) -> None:
        self._labels = single_labels(labels, tasks, control)
        self._classes = control.classes

    def consensus(self, pred_probs: Floats | None, strategy: Strategy) -> ConsensusResult:
        if pred_probs is None or not self._labels.n_tasks:
            return by_majority(self._labels)
        return strategy.consensus(self._labels, pred_probs)

    def scores(self, pred_probs: Floats, pred_probs_unlabeled: Floats, strategy: Strategy) -> tuple[Floats, Floats]:
        return strategy.scores(self._labels, pred_probs, pred_probs_unlabeled)

    def names(self, consensus: ConsensusResult) -> list[str]:
        return [self._classes[index] for index in consensus.label.tolist()]

    def ambiguity(self, pred_probs: Floats) -> tuple[Ambiguity, list[ConfusedClasses]] | None:
        found = ambiguity(self._labels, pred_probs)
        return found, confused_classes(self._labels, found)


def single_labels(labels: Mapping[tuple[int, int], str], tasks: Sequence[int], control: Control) -> Labels:
    """The labels {(task, annotator): label} of `tasks`, of one class each."""
    position = _positions(control)
    order, task, annotator = _indexed(labels, tasks)
    label = np.array([position[labels[key]] for key in order], np.int64)
    return Labels(task, annotator, label, len(tasks), len(control.classes))


def class_sets(labels: Mapping[tuple[int, int], str], tasks: Sequence[int], control: Control) -> ClassSets:
    """The labels {(task, annotator): label} of `tasks`, which are sets of classes."""
    order, task, annotator = _indexed(labels, tasks)
    return ClassSets(task, annotator, _sets([labels[key] for key in order], control), len(tasks))


class MultiLabel:
    """Labels that are sets of classes."""

    def __init__(self, labels: Mapping[tuple[int, int], str], tasks: Sequence[int], control: Control) -> None:
        self._sets = class_sets(labels, tasks, control)
        self._control = control

    def consensus(self, pred_probs: Floats | None, strategy: Strategy) -> ConsensusResult:
        if pred_probs is None or not self._sets.n_tasks:
            return multilabel.majority(self._sets)
        return multilabel.consensus(self._sets, pred_probs, strategy.class_consensus)

    def scores(self, pred_probs: Floats, pred_probs_unlabeled: Floats, strategy: Strategy) -> tuple[Floats, Floats]:
        return multilabel.scores(self._sets, pred_probs, pred_probs_unlabeled, strategy.scores)

    def names(self, consensus: ConsensusResult) -> list[str]:
        return _set_names(consensus.label, self._control)

    def ambiguity(self, pred_probs: Floats) -> tuple[Ambiguity, list[ConfusedClasses]] | None:
        return None


def align_probabilities(probabilities: Probabilities, tasks: Sequence[int], control: Control) -> Floats:
    """The model's probabilities (len(tasks), n_classes) for `tasks`, columns by the config's classes.

    Rows sum to one if a task has one class. A task that the backend has no probabilities for is undecided, and a class
    that the model does not know gets UNKNOWN_CLASS.
    """
    column = {name: index for index, name in enumerate(probabilities.classes)}
    rows = np.array([probabilities.place.get(task, -1) for task in tasks], np.int64)
    available = rows >= 0
    probs = np.full((len(tasks), len(control.classes)), UNKNOWN_CLASS)
    for index, name in enumerate(control.classes):
        if name in column:
            probs[available, index] = probabilities.pred_probs[rows[available], column[name]]
    if control.multiple:
        probs[~available] = UNDECIDED
        return np.asarray(np.clip(probs, LEAST, 1 - LEAST), np.float64)
    probs[~available] = 1.0
    probs = np.maximum(probs, LEAST)  # all of a row may have been on a class that is gone
    return np.asarray(probs / probs.sum(axis=1, keepdims=True), np.float64)


def predicted_labels(pred_probs: Floats, control: Control) -> list[str]:
    """The labels that the model predicts from `pred_probs` (n, n_classes)."""
    if control.multiple:
        return _set_names(multilabel.predicted(pred_probs), control)
    return [control.classes[index] for index in pred_probs.argmax(axis=1)]


def class_positions(labels: Mapping[int, str], control: Control) -> dict[int, int] | dict[int, list[int]]:
    """{task: the position of its class in the config, or of all classes in its set}: what the model is trained on."""
    position = _positions(control)
    if control.multiple:
        return {task: [position[name] for name in control.classes_of(label)] for task, label in labels.items()}
    return {task: position[label] for task, label in labels.items()}


def _positions(control: Control) -> dict[str, int]:
    return {name: index for index, name in enumerate(control.classes)}


def _indexed(labels: Mapping[tuple[int, int], str], tasks: Sequence[int]) -> tuple[list[tuple[int, int]], Ints, Ints]:
    """The keys of `labels` in order, and for each the position of its task and its annotator (by ascending id)."""
    order = sorted(labels)
    row = {task: index for index, task in enumerate(tasks)}
    column = {annotator: index for index, annotator in enumerate(sorted({annotator for _, annotator in labels}))}
    task = np.array([row[task] for task, _ in order], np.int64)
    return order, task, np.array([column[annotator] for _, annotator in order], np.int64)


def _sets(labels: Sequence[str], control: Control) -> Sets:
    """Labels as sets (n, n_classes): true if the class is in it."""
    position = _positions(control)
    chosen = np.zeros((len(labels), len(control.classes)), np.bool_)
    for row, label in zip(chosen, labels, strict=True):
        row[[position[name] for name in control.classes_of(label)]] = True
    return chosen


def _set_names(sets: NDArray[Any], control: Control) -> list[str]:
    """Sets (n, n_classes) as labels."""
    return [control.label_of([control.classes[index] for index in np.flatnonzero(row)]) for row in sets]
