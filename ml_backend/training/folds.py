"""Which items are held out together."""

import numpy as np
import numpy.typing as npt

NO_FOLD = -1


def assign_folds(
    groups: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], folds: int, seed: int
) -> npt.NDArray[np.int8]:
    """Deal the groups (texts) over at most `folds` folds, stratified by class: fold (n,) of items (n,).

    A group never spans two folds; there are no more folds than groups. A group counts for the class of its first item.
    Each class is dealt in random order where the class before it stopped, so fold sizes differ by one group at most.
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    folds = min(folds, len(first))
    shuffled = np.random.default_rng(seed).permutation(len(first))
    dealt = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    fold_of_group = np.empty(len(first), dtype=np.int8)
    fold_of_group[dealt] = np.arange(len(first)) % folds
    return fold_of_group[inverse]


def join_folds(
    kept: npt.NDArray[np.int8],
    groups: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    folds: int,
    seed: int,
) -> npt.NDArray[np.int8]:
    """Like `assign_folds` into exactly `folds`, where items that have a fold in `kept` (n,), not NO_FOLD, stay in it.

    Each group without one goes, in random order, to the fold with the fewest groups of its class, of those alike to the
    one with the fewest groups. All items of a group have the same fold in `kept`.
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    classes = np.unique(labels[first], return_inverse=True)[1]
    fold_of_group = kept[first]
    counts = np.zeros((folds, int(classes.max()) + 1), dtype=np.int64)
    has = fold_of_group != NO_FOLD
    np.add.at(counts, (fold_of_group[has], classes[has]), 1)
    for group in np.random.default_rng(seed).permutation(np.flatnonzero(~has)):
        fold = int(np.lexsort((counts.sum(axis=1), counts[:, classes[group]]))[0])
        fold_of_group[group] = fold
        counts[fold, classes[group]] += 1
    return fold_of_group[inverse]
