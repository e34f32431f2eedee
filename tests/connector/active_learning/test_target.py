"""What a target takes: whether it is met, the labels that are needed, and the sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.active_learning.audit import LEAST_AUDITED
from connector.active_learning.target import Target, target_of, target_words


def audit(project: tuple[float, float, float], consensus: float = 0.96, **others: int) -> dict[str, Any]:
    """An audit of 1,000 tasks of which 400 are labelled."""
    value, low, high = project
    return {
        "audited": 50,
        "labelled": 400,
        "tasks": 1000,
        "project": {"value": value, "low": low, "high": high},
        "consensus": {"value": consensus, "low": consensus, "high": consensus},
        "model": {"value": 0.8, "low": 0.75, "high": 0.85},
        **others,
    }


def test_it_is_met_if_the_lower_end_of_the_interval_says_so() -> None:
    assert target_of(audit((0.95, 0.93, 0.97)), 0.93).met is True
    assert target_of(audit((0.95, 0.93, 0.97)), 0.94).met is False


def test_before_the_audit_says_anything_neither_does_this() -> None:
    found = target_of(audit((1.0, 1.0, 1.0), audited=LEAST_AUDITED - 1), 0.5)
    assert found == Target(0.5, None)
    assert target_words(found) == "It is too early to say whether the target of 50 % is met."


def test_labels_until_the_target_by_hand() -> None:
    # 90 % of 1,000 are right: 16 of 400 consensus labels are wrong, and 84 of the model's 600. 200 more tasks make 8 of
    # these wrong and leave (1 - 43 (1 / 400 - 1 / 600)) 84 2 / 3 = 54 others, together 78. With 198 it is 78.5.
    found = target_of(audit((0.9, 0.9, 0.9)), 0.922)
    assert found.least == found.most == pytest.approx(200, abs=3)


def test_a_task_takes_as_many_labels_as_in_the_last_window() -> None:
    once = target_of(audit((0.9, 0.88, 0.92)), 0.93)
    twice = target_of(audit((0.9, 0.88, 0.92)), 0.93, new=10, further=10)
    assert once.least is not None
    assert once.most is not None
    assert (twice.least, twice.most) == (2 * once.least, 2 * once.most)
    assert target_of(audit((0.9, 0.88, 0.92)), 0.93, new=0, further=25).least == once.least


def test_hours_of_work() -> None:
    found = target_of(audit((0.9, 0.88, 0.92)), 0.93, seconds=36.0)
    assert found.least is not None
    assert found.most is not None
    assert (found.least_hours, found.most_hours) == (found.least / 100, found.most / 100)


def test_consensus_labels_that_are_too_often_wrong_put_it_out_of_reach() -> None:
    assert target_of(audit((0.85, 0.8, 0.88), 0.9), 0.99) == Target(0.99, False)


@given(
    st.floats(0.3, 1),
    st.floats(0, 0.2),
    st.floats(0, 0.2),
    st.floats(0.3, 1),
    st.integers(1, 1000),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
)
def test_a_higher_target_never_takes_fewer_labels(
    value: float, below: float, above: float, consensus: float, labelled: int, one: float, other: float
) -> None:
    found = audit((value, max(0.0, value - below), min(1.0, value + above)), consensus, labelled=labelled)
    low, high = sorted((one, other))
    less, more = target_of(found, low), target_of(found, high)
    if more.met:
        assert less.met
    for fewer, further in ((less.least, more.least), (less.most, more.most)):
        assert further is None or (fewer is not None and fewer <= further)
    assert less.most is None or (less.least is not None and less.least <= less.most)
    assert target_words(less).startswith(f"The target of {100 * low:.0f}"[:12])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Target(0.95, True, 0, 0), "The target of 95 % is met."),
        (
            Target(0.95, False, 291, 477, 3.9, 7.2),
            "The target of 95 % takes about 300 to 480 more labels, 4 to 7 hours of work.",
        ),
        (Target(0.95, False, 291, 291), "The target of 95 % takes about 300 more labels."),
        (
            Target(0.95, False, 1_201, None, 0.5, None),
            "The target of 95 % takes at least about 1,300 more labels, 30 minutes of work.",
        ),
        (
            Target(0.95, False, 0, 45, 0.0, 0.4),
            "The target of 95 % may be met. To be sure, it takes up to about 50 more labels, 24 minutes of work.",
        ),
        (
            Target(0.95, False),
            "The target of 95 % takes more than one label for each task, because too many consensus labels may be "
            "wrong: connector init --min-annotations-per-task asks for more.",
        ),
        (
            Target(0.9, False, 0, None, 0.0, None),
            "The target of 90 % may be met. To be sure, it may take more than one label for each task, because too "
            "many consensus labels may be wrong: connector init --min-annotations-per-task asks for more.",
        ),
    ],
)
def test_words(found: Target, words: str) -> None:
    assert target_words(found) == words
