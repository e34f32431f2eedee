"""The model's probabilities as arrays: rows by the tasks asked for, columns by the config's classes."""

from typing import Any

import numpy as np
import pytest
from support.scoring_factory import CLASSES, control_of, probabilities

from connector.backend import Probabilities
from connector.sync.label_matrix import UNKNOWN_CLASS, align_probabilities


def _rows(from_backend: Probabilities, tasks: list[int], classes: tuple[str, ...]) -> Any:
    return align_probabilities(from_backend, tasks, control_of(classes))


def test_rows_follow_the_tasks_and_columns_the_config() -> None:
    from_backend = probabilities([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]], [4, 2], ("c", "a", "b"))
    np.testing.assert_allclose(_rows(from_backend, [2, 4], ("a", "b", "c")), [[0.3, 0.2, 0.5], [0.2, 0.7, 0.1]])


def test_a_task_that_the_backend_does_not_know_is_undecided() -> None:
    rows = _rows(probabilities([[0.9, 0.1]], [4]), [4, 5], CLASSES)
    np.testing.assert_allclose(rows, [[0.9, 0.1], [0.5, 0.5]])


def test_a_backend_that_knows_no_task_leaves_all_undecided() -> None:
    np.testing.assert_allclose(_rows(probabilities(np.zeros((0, 2)), []), [4, 5], CLASSES), np.full((2, 2), 0.5))


def test_a_class_that_the_model_does_not_know_is_improbable_and_rows_sum_to_one() -> None:
    rows = _rows(probabilities([[0.6, 0.4]], [4]), [4], (*CLASSES, "Neutral"))
    assert rows.sum() == pytest.approx(1.0)
    assert rows[0, 2] == pytest.approx(UNKNOWN_CLASS, rel=0.01)
    assert rows[0, 0] / rows[0, 1] == pytest.approx(1.5)


def test_a_class_that_the_config_no_longer_has_is_left_out_and_rows_sum_to_one() -> None:
    rows = _rows(probabilities([[0.6, 0.2, 0.2]], [4], ("Neutral", *CLASSES)), [4], CLASSES)
    np.testing.assert_allclose(rows, [[0.5, 0.5]])


def test_a_task_whose_only_class_is_gone_is_undecided() -> None:
    rows = _rows(probabilities([[1.0, 0.0, 0.0]], [4], ("Neutral", *CLASSES)), [4], CLASSES)
    np.testing.assert_allclose(rows, [[0.5, 0.5]])


def test_no_tasks_give_no_rows() -> None:
    assert _rows(probabilities([[0.6, 0.4]], [4]), [], CLASSES).shape == (0, 2)
