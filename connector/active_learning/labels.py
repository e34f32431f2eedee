"""Annotators' labels in sparse form, and checks of labels and probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_ANNOTATORS = 1 << 31  # their numbers and those of tasks together fit an integer


@dataclass(frozen=True)
class Labels:
    """Annotators' labels in sparse form, one row per label: three arrays (m,) of indices from 0.

    A task has at most one label of each annotator, and every task from 0 to `n_tasks` - 1 has at least one label. A
    class may have none. Raises ValueError, naming the array and its first bad row, if that is not so.
    """

    task: Ints
    annotator: Ints
    label: Ints
    n_tasks: int
    n_classes: int

    def __post_init__(self) -> None:
        if not self.task.shape == self.annotator.shape == self.label.shape or self.task.ndim != 1:
            raise ValueError(
                f"task, annotator and label must be arrays of one length, not {self.task.shape}, "
                f"{self.annotator.shape} and {self.label.shape}."
            )
        if self.n_classes < 2:
            raise ValueError(f"n_classes must be at least 2, not {self.n_classes}.")
        for name, below in (("task", self.n_tasks), ("annotator", MOST_ANNOTATORS), ("label", self.n_classes)):
            object.__setattr__(self, name, _indices(name, getattr(self, name), below))
        missing = np.flatnonzero(np.bincount(self.task, minlength=self.n_tasks) == 0)
        if len(missing):
            raise ValueError(f"task: task {missing[0]} has no label.")
        pairs = self.task * (int(self.annotator.max(initial=0)) + 1) + self.annotator
        if (np.diff(pairs) > 0).all():  # in order, as the connector's labels come
            return
        if (np.diff(np.sort(pairs, kind="stable")) == 0).any():  # quick if tasks are in order
            order = np.argsort(pairs, kind="stable")
            duplicate = order[1:][np.diff(pairs[order]) == 0].min()
            raise ValueError(f"annotator: row {duplicate} is a second label of one annotator on one task.")

    def votes(self) -> Floats:
        """How many annotators chose each class, (n_tasks, n_classes)."""
        cells = np.bincount(self.label * self.n_tasks + self.task, minlength=self.n_tasks * self.n_classes)
        return cells.reshape(self.n_classes, self.n_tasks).T.astype(np.float64)


@dataclass(frozen=True)
class Rows:
    """Labels (m,) in the order of annotators, who are numbered from 0 without gaps.

    `annotators` (a,): their numbers in `Labels`.
    """

    task: Ints
    annotator: Ints
    label: Ints
    annotators: Ints


# From labels of n tasks, their out-of-sample probabilities (n, n_classes) and those of u unlabelled tasks
# (u, n_classes) to scores (n,) and (u,) on one scale. The lowest score is worth most.
ScoreFunction = Callable[[Labels, Floats, Floats], tuple[Floats, Floats]]


def by_annotator(labels: Labels) -> Rows:
    """The labels in the order of annotators.

    cleanlab adds up annotator by annotator: in this order sums come out the same to the last bit.
    """
    few = labels.annotator.max(initial=0) < 1 << 16  # numpy sorts small numbers by counting them
    order = np.argsort(labels.annotator.astype(np.uint16) if few else labels.annotator, kind="stable")
    annotator = labels.annotator[order]
    starts = np.diff(annotator, prepend=-1) > 0
    return Rows(labels.task[order], np.cumsum(starts) - 1, labels.label[order], annotator[starts])


def checked_probs(name: str, probs: Floats, rows: int, n_classes: int) -> Floats:
    """`probs` (rows, n_classes) as floats.

    Raises ValueError, naming the argument `name` and its first bad row, if they are no probabilities.
    """
    if probs.shape != (rows, n_classes):
        raise ValueError(f"{name} must have the shape {(rows, n_classes)}, not {probs.shape}.")
    if probs.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold numbers, not {probs.dtype}.")
    probs = np.asarray(probs, np.float64, order=layout(n_classes))
    sums = probs.sum(axis=1)
    valid = np.abs(sums - 1) <= 1e-4  # nor is a sum with NaN in it
    if valid.all() and probs.min(initial=0.0) >= 0:
        return probs
    row = int((~valid | (probs < 0).any(axis=1)).argmax())
    if not (probs[row] >= 0).all() or np.isinf(sums[row]):
        raise ValueError(f"{name}: row {row} holds {probs[row].tolist()}, not probabilities.")
    raise ValueError(f"{name}: row {row} sums to {sums[row]:.6g}, not to one.")


def layout(n_classes: int) -> Literal["C", "F"]:
    """How (n, n_classes) arrays lie in memory: column by column, if sums come out the same to the last bit.

    NumPy adds a few columns several times faster than rows of a few entries, in the same order below eight.
    """
    return "F" if n_classes < 8 else "C"


def _indices(name: str, values: Ints, below: int) -> Ints:
    """`values` (m,) as 64-bit integers from 0 to `below` - 1."""
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers, not {values.dtype}.")
    if len(values) and (values.min() < 0 or values.max() >= below):
        row = int(((values < 0) | (values >= below)).argmax())
        raise ValueError(f"{name}: row {row} is {values[row]}, not between 0 and {below - 1}.")
    return values.astype(np.int64, copy=False)
