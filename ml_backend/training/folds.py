"""Which items are held out together."""

import numpy as np
import numpy.typing as npt

NO_FOLD = -1


def assign_folds(
    groups: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], folds: int, seed: int
) -> npt.NDArray[np.int8]:
    """Assign items to folds so that a group (a text) never spans two folds, and classes are spread evenly.

    Each class is assigned in random order and continues where the class before it stopped. So the sizes of two folds
    differ by at most one group.

    Args:
        groups: The group of each item (n,).
        labels: The class of each item (n,). A group counts for the class of its first item.
        folds: The number of folds. There are never more than groups.
        seed: Makes the assignment repeatable.

    Returns:
        The fold of each item (n,).
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    folds = min(folds, len(first))
    shuffled = np.random.default_rng(seed).permutation(len(first))
    by_class = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    fold_of_group = np.empty(len(first), dtype=np.int8)
    fold_of_group[by_class] = np.arange(len(first)) % folds
    return fold_of_group[inverse]


def join_folds(
    kept: npt.NDArray[np.int8],
    groups: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    folds: int,
    seed: int,
) -> npt.NDArray[np.int8]:
    """Assign items to exactly `folds` folds. Items that have a fold already stay in it.

    Each new group goes, in random order, to the fold with the fewest groups of its class. At a tie, it goes to the fold
    with the fewest groups.

    Args:
        kept: The fold of each item, or NO_FOLD (n,). All items of a group have the same one.
        groups: The group of each item (n,).
        labels: The class of each item (n,).
        folds: The number of folds.
        seed: Makes the assignment repeatable.

    Returns:
        The fold of each item (n,).
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    classes = np.unique(labels[first], return_inverse=True)[1]
    fold_of_group = kept[first]
    counts = np.zeros((folds, int(classes.max()) + 1), dtype=np.int64)
    has_fold = fold_of_group != NO_FOLD
    np.add.at(counts, (fold_of_group[has_fold], classes[has_fold]), 1)
    for group in np.random.default_rng(seed).permutation(np.flatnonzero(~has_fold)):
        fold = int(np.lexsort((counts.sum(axis=1), counts[:, classes[group]]))[0])
        fold_of_group[group] = fold
        counts[fold, classes[group]] += 1
    return fold_of_group[inverse]
