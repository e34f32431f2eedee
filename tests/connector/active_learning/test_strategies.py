"""Strategies: their scores by the formulas, their names, and what CONNECTOR_SCORER replaces."""

import math

import numpy as np
import pytest

from connector.active_learning import DEFAULT_STRATEGY, STRATEGY_NAMES, activelab, cleanlab_scorer
from connector.active_learning.consensus import by_crowdlab, by_crowdlab_among_given, by_majority, by_posterior
from connector.active_learning.labels import Labels
from connector.active_learning.strategies import SCORERS, STRATEGIES, find_strategy

LABELS = Labels(np.array([0, 0, 1, 2]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 2]), n_tasks=3, n_classes=3)
PROBS = np.array([[0.5, 0.3, 0.2], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])
UNLABELLED = np.array([[0.4, 0.35, 0.25], [1.0, 0.0, 0.0]])
FUNCTIONS = {name: strategy.scores for name, strategy in STRATEGIES.items()}


def nats(*probs: float) -> float:
    return sum(prob * math.log(prob) for prob in probs if prob)


@pytest.mark.parametrize(
    ("name", "labelled", "unlabelled"),
    [
        ("least-confidence", [0.5, 0.6, 0.8], [0.4, 1.0]),
        ("margin", [0.2, 0.4, 0.7], [0.05, 1.0]),
        ("entropy", [nats(0.5, 0.3, 0.2), nats(0.6, 0.2, 0.2), nats(0.1, 0.1, 0.8)], [nats(0.4, 0.35, 0.25), 0.0]),
        (
            "disagreement",
            [nats(2.5 / 3, 0.3 / 3, 0.2 / 3), nats(0.3, 0.6, 0.1), nats(0.05, 0.05, 0.9)],
            [nats(0.4, 0.35, 0.25), 0.0],
        ),
    ],
)
def test_scores_are_those_of_the_formula(name: str, labelled: list[float], unlabelled: list[float]) -> None:
    of_labelled, of_unlabelled = FUNCTIONS[name](LABELS, PROBS, UNLABELLED)
    assert of_labelled == pytest.approx(labelled)
    assert of_unlabelled == pytest.approx(unlabelled)


def test_random_scores_are_the_same_for_the_same_labels_and_others_for_others() -> None:
    first, again = (np.concatenate(FUNCTIONS["random"](LABELS, PROBS, UNLABELLED)) for _ in range(2))
    other = Labels(LABELS.task, LABELS.annotator, np.array([0, 0, 1, 1]), 3, 3)
    assert np.array_equal(first, again)
    assert not np.isin(first, np.concatenate(FUNCTIONS["random"](other, PROBS, UNLABELLED))).any()
    assert ((first >= 0) & (first < 1)).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_tasks_have_no_scores(name: str) -> None:
    none = Labels(*np.zeros((3, 0), np.int64), n_tasks=0, n_classes=3)
    labelled, unlabelled = FUNCTIONS[name](none, np.zeros((0, 3)), np.zeros((0, 3)))
    assert labelled.shape == unlabelled.shape == (0,)


def test_the_names_are_those_of_the_table() -> None:
    assert tuple(STRATEGIES) == STRATEGY_NAMES
    assert DEFAULT_STRATEGY in STRATEGIES


def test_the_default_trains_on_the_posterior_and_on_crowdlab_class_by_class() -> None:
    strategy = find_strategy()
    assert (strategy.consensus, strategy.class_consensus) == (by_posterior, by_crowdlab_among_given)
    assert (strategy.scores, strategy.spread_start) == (activelab.scores, True)


def test_both_scorers_have_the_names_of_the_setting() -> None:
    assert list(SCORERS) == ["activelab", "cleanlab"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_cleanlab_replaces_activelab_and_crowdlab_and_nothing_else(name: str) -> None:
    ours, theirs = STRATEGIES[name], find_strategy(name, "cleanlab")
    assert find_strategy(name) == ours
    assert (theirs.scores is cleanlab_scorer.scores) == (ours.scores is activelab.scores)
    assert (theirs.class_consensus is cleanlab_scorer.consensus) == (name == DEFAULT_STRATEGY)
    assert theirs.consensus is ours.consensus
    if name not in ("activelab", DEFAULT_STRATEGY):
        assert theirs == ours
        assert ours.consensus is ours.class_consensus is by_majority
    assert STRATEGIES["activelab"].class_consensus is by_crowdlab
