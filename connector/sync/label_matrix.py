"""What annotators said of the labelled tasks, and what the scorer makes of it: of one class a task, or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from connector.active_learning import activelab, dawid_skene, multilabel
from connector.active_learning.crowdlab import Floats, Ints, Labels
from connector.active_learning.multilabel import LabelSets, Scorer, Sets
from connector.annotations.label_config import Control
from connector.backend import Probabilities

# A class that the model does not know yet (it was added to the config since) gets this probability.
UNKNOWN_CLASS = 1e-3
# Of several classes, each for a task that the backend has no probabilities of yet: even, and none predicted.
UNDECIDED = float(np.nextafter(multilabel.YES, 0))
LEAST = float(np.finfo(float).eps)


class OneClassScorer(Scorer, Protocol):
    """A scorer that also has the posterior of labels of one class, for their quality and weights."""

    def posterior(self, labels: Labels, pred_probs: Floats) -> Floats: ...


class Heard(Protocol):
    """The answers on some tasks; labels are strings as Control.label_of writes them, in the order of the tasks."""

    def consensus(self, pred_probs: Floats | None) -> list[str]:
        """Consensus labels: the majority vote at first, what the scorer says once there are probabilities."""
        ...

    def scores(self, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
        """ActiveLab scores of the tasks and of unlabelled ones."""
        ...

    def quality(self, pred_probs: Floats, consensus: Sequence[str]) -> Floats:
        """The probability that each consensus label is right."""
        ...

    def weights(self, pred_probs: Floats, consensus: Sequence[str]) -> Floats | None:
        """How much each consensus label counts in a training; None: all alike."""
        ...


def heard(
    labels: Mapping[tuple[int, int], str], tasks: Sequence[int], control: Control, scorer: OneClassScorer
) -> Heard:
    """The answers `labels` {(task, annotator): label} on `tasks`, every one of which has some."""
    return (SeveralClasses if control.multiple else OneClass)(labels, tasks, control, scorer)


def model_rows(known: Probabilities, tasks: Sequence[int], control: Control) -> Floats:
    """The model's probabilities (len(tasks), n_classes) for `tasks`, columns by the config's classes.

    Rows sum to one where a task has one class. Undecided where the backend has none for a task yet; a class that the
    model does not know gets UNKNOWN_CLASS.
    """
    column = {name: index for index, name in enumerate(known.classes)}
    rows = np.array([known.place.get(task, -1) for task in tasks], np.int64)
    held = rows >= 0
    probs = np.full((len(tasks), len(control.classes)), UNKNOWN_CLASS)
    for index, name in enumerate(control.classes):
        if name in column:
            probs[held, index] = known.pred_probs[rows[held], column[name]]
    if control.multiple:
        probs[~held] = UNDECIDED
        return np.asarray(np.clip(probs, LEAST, 1 - LEAST), np.float64)
    probs[~held] = 1.0
    probs = np.maximum(probs, LEAST)  # all of a row may have been on a class that is gone
    return np.asarray(probs / probs.sum(axis=1, keepdims=True), np.float64)


def predicted(pred_probs: Floats, control: Control) -> list[str]:
    """The labels that the model predicts from `pred_probs` (n, n_classes)."""
    if control.multiple:
        return _labels(multilabel.predicted(pred_probs), control)
    return [control.classes[index] for index in pred_probs.argmax(axis=1)]


def targets(consensus: Mapping[int, str], control: Control) -> dict[int, int] | dict[int, list[int]]:
    """{task: what the model is trained on}: the class's position in the config, or those of all in the set."""
    place = {name: index for index, name in enumerate(control.classes)}
    if control.multiple:
        return {task: [place[name] for name in control.classes_of(label)] for task, label in consensus.items()}
    return {task: place[label] for task, label in consensus.items()}


class OneClass:
    """The answers where each is one class."""

    def __init__(
        self, labels: Mapping[tuple[int, int], str], tasks: Sequence[int], control: Control, scorer: OneClassScorer
    ) -> None:
        place = {name: index for index, name in enumerate(control.classes)}
        order, task, annotator = _indexed(labels, tasks)
        label = np.array([place[labels[key]] for key in order], np.int64)
        self._labels = Labels(task, annotator, label, len(tasks), len(control.classes))
        self._classes, self._place, self._scorer = control.classes, place, scorer

    def consensus(self, pred_probs: Floats | None) -> list[str]:
        if pred_probs is None or not self._labels.n_tasks:
            chosen = activelab.majority_vote(self._labels)
        else:
            chosen = self._scorer.heard_consensus(self._labels, pred_probs)
        return [self._classes[index] for index in chosen]

    def scores(self, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
        return self._scorer.scores(self._labels, pred_probs, pred_probs_unlabeled)

    def quality(self, pred_probs: Floats, consensus: Sequence[str]) -> Floats:
        probs = self._scorer.posterior(self._labels, pred_probs)
        return np.asarray(probs[np.arange(len(probs)), self._positions(consensus)], np.float64)

    def weights(self, pred_probs: Floats, consensus: Sequence[str]) -> Floats | None:
        probs = self._scorer.posterior(self._labels, pred_probs)
        return dawid_skene.label_weights(self._labels, pred_probs, probs, self._positions(consensus))

    def _positions(self, labels: Sequence[str]) -> Ints:
        return np.array([self._place[name] for name in labels], np.int64)


class SeveralClasses:
    """The answers where each is a set of classes."""

    def __init__(
        self, labels: Mapping[tuple[int, int], str], tasks: Sequence[int], control: Control, scorer: Scorer
    ) -> None:
        order, task, annotator = _indexed(labels, tasks)
        self._labels = LabelSets(task, annotator, _sets([labels[key] for key in order], control), len(tasks))
        self._control, self._scorer = control, scorer

    def consensus(self, pred_probs: Floats | None) -> list[str]:
        if pred_probs is None or not self._labels.n_tasks:
            chosen = multilabel.majority_vote(self._labels)
        else:
            chosen = multilabel.heard_consensus(self._labels, pred_probs, self._scorer)
        return _labels(chosen, self._control)

    def scores(self, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
        return multilabel.scores(self._labels, pred_probs, pred_probs_unlabeled, self._scorer)

    def quality(self, pred_probs: Floats, consensus: Sequence[str]) -> Floats:
        return multilabel.quality(self._labels, pred_probs, _sets(consensus, self._control))

    def weights(self, pred_probs: Floats, consensus: Sequence[str]) -> Floats | None:
        # Weighed by their least certain class, sets gave less than alike (docs/selection.md).
        return None


def _indexed(labels: Mapping[tuple[int, int], str], tasks: Sequence[int]) -> tuple[list[tuple[int, int]], Ints, Ints]:
    """The keys of `labels` in order, and for each the position of its task and its annotator (by ascending id)."""
    order = sorted(labels)
    row = {task: index for index, task in enumerate(tasks)}
    column = {annotator: index for index, annotator in enumerate(sorted({annotator for _, annotator in labels}))}
    task = np.array([row[task] for task, _ in order], np.int64)
    return order, task, np.array([column[annotator] for _, annotator in order], np.int64)


def _sets(labels: Sequence[str], control: Control) -> Sets:
    """Labels as sets (n, n_classes): true where the class is in it."""
    place = {name: index for index, name in enumerate(control.classes)}
    chosen = np.zeros((len(labels), len(control.classes)), np.bool_)
    for row, label in zip(chosen, labels, strict=True):
        row[[place[name] for name in control.classes_of(label)]] = True
    return chosen


def _labels(sets: Sets, control: Control) -> list[str]:
    """Sets (n, n_classes) as labels."""
    return [control.label_of([control.classes[index] for index in np.flatnonzero(row)]) for row in sets]
