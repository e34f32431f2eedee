"""How far annotators agree with each other: in pairs, and all of them by Krippendorff's alpha. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Agreed(NamedTuple):
    """How many tasks the annotators `first` and `second` both labelled, and on how many their labels are `equal`."""

    first: int
    second: int
    tasks: int
    equal: int


def in_pairs(task: Ints, annotator: Ints, label: Ints, annotators: int) -> Iterator[Agreed]:
    """The pairs among the annotators 0 to `annotators` - 1 who have a task in common.

    `task`, `annotator` and `label` (m,), one row a label: numbers from 0; an annotator has one label on a task.
    """
    said = np.full((annotators, int(task.max(initial=-1)) + 1), -1, np.int64)
    asked = annotator < annotators
    said[annotator[asked], task[asked]] = label[asked]
    for first, second in combinations(range(annotators), 2):
        both = (said[first] >= 0) & (said[second] >= 0)
        if both.any():
            yield Agreed(first, second, int(both.sum()), int((said[first] == said[second])[both].sum()))


def krippendorff_alpha(task: Ints, classes: Iterable[NDArray[np.bool_]]) -> float | None:
    """Krippendorff's alpha of labels on tasks (m,); `classes`: for each class, which of the labels (m,) have it.

    1 where all agree, 0 where they agree as often as by chance. None where no task has two labels, or those that such
    tasks have are all one class. Where a label is one class, this is alpha for nominal data; where it is a set of them,
    alpha with the number of classes by which two sets differ (Hamming's distance).

    With n labels on tasks that have several, n_c of them with class c, and alpha_c that of whether a label has it:

        alpha = sum over c of n_c (n - n_c) alpha_c / sum over c of n_c (n - n_c)

    Both kinds of distance are sums over the classes, and so are observed and expected disagreement; 1 - alpha_c is the
    ratio of those of class c, and n_c (n - n_c) is proportional to the expected one (Krippendorff, Content Analysis,
    4th edition, 2018, chapter 12). Class by class, memory is in the number of tasks, whatever that of the classes.
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
