"""One score per task from the scores of several questions."""

from __future__ import annotations

import numpy as np
import pytest

from connector.active_learning.combine import Combination, combine

NAN = float("nan")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", [0.3, 0.6, 0.7, 0.2]),
        ("minimum", [0.1, 0.3, 0.7, 0.2]),
        # As places, the first question's scores are 1, 3, 2 of three, and the second question's 3, 2, 1 of three.
        ("mean-rank", [(1 + 3) / 6, (3 + 2) / 6, 2 / 3, 1 / 3]),
    ],
)
def test_a_question_that_does_not_count_is_left_out(how: Combination, expected: list[float]) -> None:
    scores = np.array([[0.1, 0.5], [0.9, 0.3], [0.7, NAN], [NAN, 0.2]])
    assert combine(scores, how).tolist() == pytest.approx(expected)


def test_one_question_keeps_its_order() -> None:
    scores = np.array([[0.4], [0.1], [0.4], [0.2]])
    for how in ("mean", "minimum", "mean-rank"):
        combined = combine(scores, how)
        assert np.argsort(combined, kind="stable").tolist() == [1, 3, 0, 2]
        assert combined[0] == combined[2]
