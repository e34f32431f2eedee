"""Which items are held out together."""

import numpy as np
import numpy.typing as npt


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
