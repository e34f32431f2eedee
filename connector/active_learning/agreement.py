"""Agreement of annotators: in pairs, and of all by Krippendorff's alpha. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connector.active_learning.labels import Ints


class Agreed(NamedTuple):
    """How many tasks the annotators `first` and `second` both labelled, and on how many their labels are `equal`."""

    first: int
    second: int
    tasks: int
    equal: int


def in_pairs(task: Ints, annotator: Ints, label: Ints, annotators: int) -> Iterator[Agreed]:
    """The pairs among the annotators 0 to `annotators` - 1 who have a task in common.

    `task`, `annotator` and `label` (m,) are numbers from 0, one row per label. An annotator has one label on a task.
    """
    table = np.full((annotators, int(task.max(initial=-1)) + 1), -1, np.int64)
    included = annotator < annotators
    table[annotator[included], task[included]] = label[included]
    for first, second in combinations(range(annotators), 2):
        both = (table[first] >= 0) & (table[second] >= 0)
        if both.any():
            yield Agreed(first, second, int(both.sum()), int((table[first] == table[second])[both].sum()))


def ordinal_alpha(task: Ints, label: Ints, classes: int) -> float | None:
    """Krippendorff's alpha for ordinal data, of labels on tasks (m,). `label`: positions in the order of the classes.

    1 if all agree, 0 if they agree as often as by chance. None as `krippendorff_alpha` has it.
    """
    import krippendorff  # of the extra `report`

    counts = np.bincount(task)
    shared = np.flatnonzero(counts > 1)
    row = np.full(len(counts), -1)
    row[shared] = np.arange(len(shared))
    counted = row[task] >= 0
    table = np.zeros((len(shared), classes), np.int64)
    np.add.at(table, (row[task][counted], label[counted]), 1)
    if np.count_nonzero(table.sum(axis=0)) < 2:
        return None
    return float(krippendorff.alpha(value_counts=table, level_of_measurement="ordinal"))


def krippendorff_alpha(task: Ints, classes: Iterable[NDArray[np.bool_]]) -> float | None:
    """Krippendorff's alpha of labels on tasks (m,). `classes`: for each class, which of the labels (m,) have it.

    1 if all agree, 0 if they agree as often as by chance. None if no task has two labels, or if all labels of such
    tasks are of one class. If a label is one class, this is alpha for nominal data. If it is a set of classes, the
    distance is the number of classes by which two sets differ (Hamming's distance).

    With n labels on tasks that have several, n_c of them with class c, and alpha_c that of whether a label has it:

        alpha = sum over c of n_c (n - n_c) alpha_c / sum over c of n_c (n - n_c)

    Both kinds of distance are sums over the classes, and so are observed and expected disagreement. 1 - alpha_c is
    their ratio for class c, and n_c (n - n_c) is proportional to the expected one (Krippendorff, Content Analysis, 4th
    edition, 2018, chapter 12). Class by class, memory grows with the number of tasks alone.
    """
    import krippendorff  # of the extra `report`

    counts = np.bincount(task)
    shared = counts > 1
    of_task, n = counts[shared], int(counts[shared].sum())
    total = weighted = 0.0
    for has in classes:
        yes = np.bincount(task[has], minlength=len(counts))[shared]
        n_c = int(yes.sum())
        weight = n_c * (n - n_c)
        if weight:
            both = np.stack([yes, of_task - yes], axis=1)
            weighted += weight * float(krippendorff.alpha(value_counts=both, level_of_measurement="nominal"))
            total += weight
    return weighted / total if total else None
