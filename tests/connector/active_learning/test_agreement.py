"""Agreement in pairs, Krippendorff's alpha and Wilson's interval, against published figures and definitions."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import krippendorff
import numpy as np
import pytest

from connector.active_learning.agreement import Agreed, in_pairs, krippendorff_alpha, ordinal_alpha
from connector.active_learning.labels import Ints
from connector.simulation.confidence_intervals import wilson

# Krippendorff, "Computing Krippendorff's alpha-reliability" (2011): four observers, twelve units; 0: not observed.
BOOK = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
    [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
]


def sparse(table: Sequence[Sequence[int]]) -> tuple[Ints, Ints, Ints]:
    """Task, annotator and label (m,) of a table with a row an annotator, labels from 1, 0 for none."""
    rows = np.array(table)
    annotator, task = np.nonzero(rows)
    return task, annotator, rows[annotator, task] - 1


def nominal(task: Ints, label: Ints) -> float | None:
    return krippendorff_alpha(task, (label == index for index in range(int(label.max(initial=0)) + 1)))


def by_package(task: Ints, annotator: Ints, label: Ints, level: str = "nominal") -> float:
    data = np.full((annotator.max() + 1, task.max() + 1), np.nan)
    data[annotator, task] = label
    return float(krippendorff.alpha(data, level_of_measurement=level))


def test_alpha_is_that_of_the_book() -> None:
    task, _, label = sparse(BOOK)
    assert nominal(task, label) == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_ordinal_data_is_that_of_the_book() -> None:
    task, _, label = sparse(BOOK)
    assert ordinal_alpha(task, label, 5) == pytest.approx(0.815, abs=5e-4)
    assert ordinal_alpha(task, label, 20) == pytest.approx(0.815, abs=5e-4)  # classes that nobody chose


@pytest.mark.parametrize("rows", [[[1, 2], [0, 0]], [[1, 2], [1, 0]]])
def test_alpha_of_ordinal_data_needs_two_classes_on_shared_tasks(rows: list[list[int]]) -> None:
    task, _, label = sparse(rows)
    assert ordinal_alpha(task, label, 3) is None


def test_alpha_of_two_observers_is_that_of_the_book() -> None:
    """The same paper, part B: two observers, twelve units, five classes."""
    first = "aabbdcccedda"
    second = "babbbccceddd"
    table = [["abcde".index(one) + 1 for one in observer] for observer in (first, second)]
    task, annotator, label = sparse(table)
    assert nominal(task, label) == pytest.approx(by_package(task, annotator, label))
    assert nominal(task, label) == pytest.approx(0.692, abs=5e-4)


def tables() -> Iterator[tuple[Ints, Ints, Ints]]:
    rng = np.random.default_rng(0)
    for _ in range(200):
        annotators, tasks, classes = rng.integers(2, 6), rng.integers(2, 12), rng.integers(2, 7)
        table = rng.integers(1, classes + 1, (annotators, tasks)) * (rng.random((annotators, tasks)) < 0.6)
        yield sparse(table.tolist())


def test_alpha_is_the_packages_on_random_labels() -> None:
    compared = 0
    for task, annotator, label in tables():
        shared = np.bincount(task) > 1 if len(task) else np.zeros(0, bool)
        if not shared.any() or len(set(label[shared[task]].tolist())) < 2:
            assert nominal(task, label) is None
            continue
        assert nominal(task, label) == pytest.approx(by_package(task, annotator, label), abs=1e-12)
        ordinal = by_package(task, annotator, label, "ordinal")
        assert ordinal_alpha(task, label, 7) == pytest.approx(ordinal, abs=1e-12)
        compared += 1
    assert compared > 150


def test_alpha_of_sets_is_that_of_their_distance() -> None:
    """By the definition: 1 - the mean distance within tasks over the mean distance of all pairs."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        table = rng.integers(0, 2, (4, 9)) * 1
        table[:, 0] = 1  # so that at least one task is shared
        task, _, _ = sparse(table.tolist())
        sets = rng.random((len(task), 3)) < 0.4
        counts = np.bincount(task)
        kept = np.flatnonzero(counts[task] > 1)
        within = [
            (sets[one] != sets[other]).sum() / (counts[task[one]] - 1)
            for one, other in combinations(kept, 2)
            if task[one] == task[other]
        ]
        all_pairs = [(sets[one] != sets[other]).sum() for one, other in combinations(kept, 2)]
        expected = 1 - (2 * sum(within) / len(kept)) / float(np.mean(all_pairs))
        assert krippendorff_alpha(task, sets.T) == pytest.approx(expected)


def test_alpha_needs_shared_tasks_and_two_classes() -> None:
    empty = np.zeros(0, np.int64)
    assert nominal(empty, empty) is None
    assert nominal(np.array([0, 1, 2]), np.array([0, 1, 0])) is None, "no task has two labels"
    assert nominal(np.array([0, 0, 1]), np.array([0, 0, 1])) is None, "those of shared tasks are one class"
    assert nominal(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])) == 1.0


def test_pairs_count_the_tasks_that_both_labelled() -> None:
    task, annotator, label = sparse([[1, 2, 1, 0], [1, 1, 0, 2], [0, 0, 0, 2], [2, 2, 2, 2]])
    assert list(in_pairs(task, annotator, label, 3)) == [Agreed(0, 1, 2, 1), Agreed(1, 2, 1, 1)]
    assert list(in_pairs(task[:0], annotator[:0], label[:0], 0)) == []


@pytest.mark.parametrize(
    ("right", "trials", "low", "high"),
    [(8, 10, 0.490, 0.943), (10, 10, 0.722, 1.0), (0, 10, 0.0, 0.278), (1, 1, 0.207, 1.0), (81, 263, 0.255, 0.366)],
)
def test_wilsons_interval(right: int, trials: int, low: float, high: float) -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion" (1998), has the last; others by hand."""
    assert wilson(right / trials, trials) == pytest.approx((low, high), abs=6e-4)


def test_wilsons_interval_holds_the_share_and_lies_within_0_and_1() -> None:
    for trials in (1, 2, 7, 1000):
        for right in range(trials + 1):
            low, high = wilson(right / trials, trials)
            assert 0 <= low <= right / trials <= high <= 1
            assert low < high
