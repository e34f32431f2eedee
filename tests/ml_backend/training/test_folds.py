import numpy as np
import pytest

from ml_backend.training.folds import NO_FOLD, assign_folds, join_folds


def test_a_group_never_spans_two_folds_and_classes_are_spread() -> None:
    groups = np.repeat(np.arange(60), 2)
    labels = np.repeat(np.arange(60) % 3, 2)
    folds = assign_folds(groups, labels, 3, seed=0)
    assert folds.dtype == np.int8
    assert all(len(set(folds[groups == group])) == 1 for group in range(60))
    for fold in range(3):
        counts = np.bincount(labels[folds == fold], minlength=3)
        assert counts.max() - counts.min() <= 2


def test_the_same_seed_gives_the_same_folds_and_another_others() -> None:
    groups, labels = np.arange(50), np.arange(50) % 2
    again = assign_folds(groups, labels, 3, seed=1)
    assert np.array_equal(assign_folds(groups, labels, 3, seed=1), again)
    assert not np.array_equal(assign_folds(groups, labels, 3, seed=2), again)


def test_the_order_of_items_does_not_matter() -> None:
    groups, labels = np.arange(50), np.arange(50) % 2
    order = np.random.default_rng(0).permutation(50)
    folds = assign_folds(groups, labels, 3, seed=1)
    assert np.array_equal(assign_folds(groups[order], labels[order], 3, seed=1), folds[order])


@pytest.mark.parametrize(("groups", "expected"), [([0, 1], 2), ([0, 0, 1], 2), ([0, 1, 2], 3), (list(range(9)), 3)])
def test_there_are_no_more_folds_than_groups_and_none_is_empty(groups: list[int], expected: int) -> None:
    labels = np.array([group % 2 for group in groups])
    assert set(assign_folds(np.array(groups), labels, 3, seed=0)) == set(range(expected))


def test_a_rare_class_is_in_as_many_training_parts_as_it_can() -> None:
    labels = np.array([0] * 20 + [1, 1])
    folds = assign_folds(np.arange(22), labels, 3, seed=0)
    assert folds[20] != folds[21]


def test_items_that_join_leave_the_others_where_they_are_and_even_the_classes_out() -> None:
    groups, labels = np.repeat(np.arange(100), 2), np.repeat(np.arange(100) % 3, 2)
    before = assign_folds(groups[:80], labels[:80], 3, seed=0)
    kept = np.concatenate([before, np.full(120, NO_FOLD, dtype=np.int8)])
    joined = join_folds(kept, groups, labels, 3, seed=1)
    assert joined.dtype == np.int8
    assert np.array_equal(joined[:80], before)
    assert np.array_equal(kept[80:], np.full(120, NO_FOLD))
    assert all(len(set(joined[groups == group])) == 1 for group in range(100))
    for position in range(3):
        counts = np.bincount(joined[labels == position], minlength=3)
        assert counts.max() - counts.min() <= 2
    assert np.array_equal(join_folds(kept, groups, labels, 3, seed=1), joined)
    assert not np.array_equal(join_folds(kept, groups, labels, 3, seed=2), joined)


def test_where_nobody_has_a_fold_joining_deals_as_evenly() -> None:
    labels = np.array([0] * 10 + [1] * 7 + [2] * 2)
    folds = join_folds(np.full(19, NO_FOLD, dtype=np.int8), np.arange(19), labels, 3, seed=0)
    assert sorted(np.bincount(folds)) == [6, 6, 7]
    assert set(np.bincount(folds[labels == 1])) == {2, 3}
    assert folds[17] != folds[18]
