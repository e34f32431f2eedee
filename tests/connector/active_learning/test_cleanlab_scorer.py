"""The scorer that is cleanlab: what it chooses is what ours chooses, in silence."""

import numpy as np
import pytest

from connector.active_learning import activelab, cleanlab_scorer
from connector.active_learning.consensus import by_crowdlab_among_given
from connector.active_learning.labels import Floats, Labels


def drawn(seed: int, labels_a_task: int) -> tuple[Labels, Floats, Floats]:
    random = np.random.default_rng(seed)
    task = np.repeat(np.arange(40), labels_a_task)
    annotator = np.concatenate([random.choice(6, labels_a_task, replace=False) for _ in range(40)])
    pred_probs = random.dirichlet(np.ones(3), 60)
    labels = Labels(task, annotator, random.integers(0, 3, len(task)), 40, 3)
    return labels, pred_probs[:40], pred_probs[40:]


@pytest.mark.usefixtures("integer_labels")
@pytest.mark.parametrize("labels_a_task", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_both_scorers_say_the_same(seed: int, labels_a_task: int, capfd: pytest.CaptureFixture[str]) -> None:
    labels, pred_probs, unlabeled = drawn(seed, labels_a_task)
    ours, theirs = by_crowdlab_among_given(labels, pred_probs), cleanlab_scorer.consensus(labels, pred_probs)
    np.testing.assert_array_equal(ours.label, theirs.label)
    np.testing.assert_array_equal(ours.probability, theirs.probability)
    for expected, got in zip(
        cleanlab_scorer.scores(labels, pred_probs, unlabeled),
        activelab.scores(labels, pred_probs, unlabeled),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    assert capfd.readouterr() == ("", "")


def test_full_ties_do_not_depend_on_chance() -> None:
    labels = Labels(np.repeat(np.arange(12), 2), np.tile([0, 1], 12), np.tile([0, 1], 12), 12, 2)
    even = np.full((12, 2), 0.5)
    seen = {tuple(cleanlab_scorer.consensus(labels, even).label.tolist()) for _ in range(5)}
    assert len(seen) == 1
    assert np.isfinite(cleanlab_scorer.scores(labels, even, even[:0])[0]).all()


@pytest.mark.parametrize("labels_a_task", [1, 2])
@pytest.mark.parametrize("row", [(1.00005, 0.0, 1e-9), (1.00005, 2e-5, 1e-5), (0.99991, 0.0, 1e-9), (0.5, 0.5, 9e-5)])
def test_rows_that_sum_to_one_but_for_rounding_are_scored(labels_a_task: int, row: tuple[float, float, float]) -> None:
    labels, pred_probs, unlabeled = drawn(0, labels_a_task)
    pred_probs[0], unlabeled[0] = row, row
    ours, theirs = by_crowdlab_among_given(labels, pred_probs), cleanlab_scorer.consensus(labels, pred_probs)
    np.testing.assert_array_equal(ours.label, theirs.label)
    for expected, got in zip(
        cleanlab_scorer.scores(labels, pred_probs, unlabeled),
        activelab.scores(labels, pred_probs, unlabeled),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)


def test_an_entry_above_one_is_scored_as_one() -> None:
    labels = Labels(np.repeat(np.arange(3), 2), np.tile([0, 1], 3), np.array([0, 0, 1, 1, 0, 1]), 3, 2)
    rounded = np.array([[1.00005, 0.0], [0.0, 1.00005], [0.6, 0.4]])
    exact = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.4]])
    np.testing.assert_array_equal(cleanlab_scorer.consensus_labels(labels, rounded), [0, 1, 0])
    for expected, got in zip(
        cleanlab_scorer.scores(labels, exact, exact), cleanlab_scorer.scores(labels, rounded, rounded), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
