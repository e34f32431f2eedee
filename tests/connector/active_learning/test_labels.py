"""Labels and probabilities: what is wrong with them is named with its first row."""

from typing import Any

import numpy as np
import pytest
from support.label_factory import Rows, labels_of, random_case

from connector.active_learning import cleanlab_scorer
from connector.active_learning.activelab import scores
from connector.active_learning.labels import Labels
from connector.active_learning.strategies import SCORERS, Scorer

WRONG_LABELS = {
    "a class that is none": ([(0, 0, 0), (1, 0, 2)], "label: row 1 is 2, not between 0 and 1"),
    "a negative class": ([(0, 0, -1)], "label: row 0 is -1, not between 0 and 1"),
    "a negative annotator": ([(0, 0, 1), (1, -3, 1)], "annotator: row 1 is -3, not between 0 and"),
    "an annotator out of range": ([(0, 0, 1), (1, 1 << 31, 1)], "annotator: row 1 is 2147483648, not between 0 and"),
    "two labels of one annotator": ([(0, 4, 1), (1, 4, 0), (0, 4, 0)], "annotator: row 2 is a second label"),
    "the first of several such rows": ([(1, 2, 1), (0, 4, 1), (1, 2, 0), (0, 4, 0)], "annotator: row 2 is a second"),
    "the first of several wrong classes": ([(0, 0, 1), (1, 0, -1), (2, 0, 9)], "label: row 1 is -1, not between"),
}


@pytest.mark.parametrize(("rows", "words"), WRONG_LABELS.values(), ids=WRONG_LABELS)
def test_wrong_labels_are_named_with_their_first_row(rows: Rows, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        labels_of(rows)


def test_labels_of_tasks_that_are_none_and_tasks_without_labels_are_named() -> None:
    column = np.array([0, 2])
    with pytest.raises(ValueError, match="task: row 1 is 2, not between 0 and 1"):
        Labels(column, column, np.array([0, 0]), n_tasks=2, n_classes=2)
    with pytest.raises(ValueError, match="task: task 1 has no label"):
        Labels(column, column, np.array([0, 0]), n_tasks=3, n_classes=2)
    with pytest.raises(ValueError, match="arrays of one length"):
        Labels(column, column[:1], np.array([0, 0]), n_tasks=3, n_classes=2)
    with pytest.raises(ValueError, match="n_classes must be at least 2"):
        Labels(column, column, np.array([0, 0]), n_tasks=3, n_classes=1)
    with pytest.raises(ValueError, match="task: row 0 is -1, not between 0 and 1"):
        Labels(np.array([-1, 0]), column, np.array([0, 0]), n_tasks=2, n_classes=2)
    with pytest.raises(ValueError, match="task, annotator and label must be arrays of one length"):
        Labels(column[:, None], column[:, None], column[:, None], n_tasks=3, n_classes=2)


@pytest.mark.parametrize("place", range(3))
def test_labels_that_are_no_integers_are_named(place: int) -> None:
    columns: list[Any] = [np.array([0, 1])] * 3
    columns[place] = np.array([0.0, np.nan])
    with pytest.raises(ValueError, match=("task", "annotator", "label")[place] + " must hold integers, not float64"):
        Labels(*columns, n_tasks=2, n_classes=2)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint64, np.int32])
def test_integers_of_any_size_will_do(kind: type[np.integer[Any]]) -> None:
    labels, pred_probs, unlabeled = random_case(2)
    small = Labels(
        labels.task.astype(kind),
        labels.annotator.astype(kind),
        labels.label.astype(kind),
        labels.n_tasks,
        labels.n_classes,
    )
    np.testing.assert_array_equal(scores(small, pred_probs, unlabeled)[0], scores(labels, pred_probs, unlabeled)[0])


def test_a_class_that_nobody_chose_is_no_fault() -> None:
    labels = labels_of([(0, 0, 0), (0, 1, 0), (1, 0, 2)], n_classes=4)
    assert labels.votes().sum(axis=0).tolist() == [2, 0, 1, 0]
    assert np.isfinite(scores(labels, np.full((2, 4), 0.25), np.full((1, 4), 0.25))[0]).all()


WRONG_PROBS = {
    "not a number": ([[0.5, 0.5], [np.nan, 1.0]], "row 1 holds"),
    "negative": ([[1.2, -0.2], [0.5, 0.5]], "row 0 holds"),
    "infinite": ([[0.5, 0.5], [np.inf, 0.0]], "row 1 holds"),
    "the first of several": ([[0.5, 0.5], [0.5, 0.4], [1.1, -0.1], [np.nan, 1.0]], "row 1 sums to 0.9, not to one"),
    "negative before others": ([[1.1, -0.1], [0.5, 0.4]], "row 0 holds"),
    "not summing to one": ([[0.5, 0.5], [0.5, 0.4]], "row 1 sums to 0.9, not to one"),
    "another number of classes": ([[1.0], [1.0]], r"must have the shape \(2, 2\), not \(2, 1\)"),
    "without classes": ([0.5, 0.5], r"must have the shape \(2, 2\), not \(2,\)"),
    "another number of tasks": ([[0.5, 0.5]], r"must have the shape \(2, 2\), not \(1, 2\)"),
}


@pytest.mark.parametrize(("probs", "words"), WRONG_PROBS.values(), ids=WRONG_PROBS)
@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_wrong_probabilities_are_named_with_their_first_row(scorer: Scorer, probs: Any, words: str) -> None:
    rows = len(probs) if len(probs) > 2 else 2
    labels, right = labels_of([(task, 0, task % 2) for task in range(rows)]), np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="pred_probs.* " + words):
        scorer.scores(labels, np.array(probs), right)
    with pytest.raises(ValueError, match="pred_probs.* " + words):
        scorer.class_consensus(labels, np.array(probs))
    with pytest.raises(ValueError, match="pred_probs must hold numbers, not <U"):
        scorer.scores(labels, np.full((rows, 2), "0.5"), right)


def test_wrong_probabilities_of_new_tasks_are_named_too() -> None:
    labels, right = labels_of([(0, 0, 0), (1, 0, 1)]), np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match=r"pred_probs_unlabeled: row 0 sums to 0\.9"):
        scores(labels, right, np.array([[0.5, 0.4]]))
    with pytest.raises(ValueError, match=r"pred_probs_unlabeled must have the shape \(1, 2\)"):
        scores(labels, right, np.array([[1.0]]))
    with pytest.raises(ValueError, match=r"pred_probs_unlabeled: row 1 holds \[nan, 1\.0\]"):
        cleanlab_scorer.scores(labels, right, np.array([[0.5, 0.5], [np.nan, 1.0]]))
