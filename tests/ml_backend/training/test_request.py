"""Strata of labels, which spread rare classes over the folds."""

import numpy as np

from ml_backend.training.folds import assign_folds
from ml_backend.training.request import strata


def test_every_fold_has_its_share_of_rare_classes() -> None:
    labels = (np.random.default_rng(0).random((200, 4)) < [0.5, 0.3, 0.1, 0.02]).astype(np.int64)
    for seed in range(10):
        folds = assign_folds(np.arange(200), strata(labels), 4, seed)
        for index, most in ((3, 1), (2, 2)):
            counts = np.bincount(folds, weights=labels[:, index], minlength=4)
            assert counts.max() - counts.min() <= most


def test_the_stratum_of_a_single_class_is_that_class() -> None:
    labels = np.array([2, 0, 1, 1])
    assert np.array_equal(strata(labels), labels)
