"""The order in which classes, annotators and tasks come decides nothing: results are permuted with it, and equal.

Where two classes are exactly level, the one that comes first in the config wins. So the drawn probabilities are never
level, and the tasks whose votes are level are left out where nothing but votes is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.active_learning.annotator_quality import annotator_stats
from connector.active_learning.consensus import ConsensusResult, by_majority
from connector.active_learning.crowdlab import crowdlab
from connector.active_learning.dawid_skene import posterior
from connector.active_learning.labels import Floats, Ints, Labels
from connector.active_learning.strategies import STRATEGIES
from connector.active_learning.temperature import best_temperature

CLOSE = {"rtol": 0, "atol": 1e-9}


@dataclass(frozen=True)
class Case:
    labels: Labels
    pred_probs: Floats
    unlabeled: Floats


def draw(seed: int) -> Case:
    """2 to 5 classes, up to 40 tasks with one to four labels of up to 8 annotators who err."""
    random = np.random.default_rng(seed)
    classes, annotators, tasks = int(random.integers(2, 6)), int(random.integers(4, 9)), int(random.integers(1, 41))
    truth = random.integers(0, classes, tasks)
    rows = [
        (task, annotator, truth[task] if random.random() < 0.7 else random.integers(0, classes))
        for task in range(tasks)
        for annotator in np.sort(random.choice(annotators, random.integers(1, 5), replace=False))
    ]
    task, annotator, label = np.array(rows, np.int64).T
    probs = random.dirichlet(np.full(classes, 0.7), tasks + 10) + 1e-6
    probs /= probs.sum(axis=1, keepdims=True)
    return Case(Labels(task, annotator, label, tasks, classes), probs[:tasks], probs[tasks:])


def other_classes(case: Case, place: Ints) -> Case:
    """Class c is now number `place[c]`."""
    labels, columns = case.labels, np.argsort(place)
    relabelled = Labels(labels.task, labels.annotator, place[labels.label], labels.n_tasks, labels.n_classes)
    return Case(relabelled, case.pred_probs[:, columns], case.unlabeled[:, columns])


def other_annotators(case: Case, place: Ints) -> Case:
    """Annotator a is now number `place[a]`."""
    labels = case.labels
    annotator = place[labels.annotator]
    order = np.lexsort((annotator, labels.task))
    renamed = Labels(labels.task[order], annotator[order], labels.label[order], labels.n_tasks, labels.n_classes)
    return Case(renamed, case.pred_probs, case.unlabeled)


def other_tasks(case: Case, place: Ints) -> Case:
    """Task t is now number `place[t]`."""
    labels, rows = case.labels, np.argsort(place)
    task = place[labels.task]
    order = np.lexsort((labels.annotator, task))
    moved = Labels(task[order], labels.annotator[order], labels.label[order], labels.n_tasks, labels.n_classes)
    return Case(moved, case.pred_probs[rows], case.unlabeled)


def permuted(case: Case, seed: int) -> dict[str, tuple[Case, Ints, Ints, Ints]]:
    """{what: (the case, the place of each class, annotator, task)}."""
    random, labels = np.random.default_rng(seed), case.labels
    sizes = labels.n_classes, int(labels.annotator.max()) + 1, labels.n_tasks
    classes, annotators, tasks = map(random.permutation, sizes)
    same = [np.arange(size) for size in sizes]
    return {
        "classes": (other_classes(case, classes), classes, same[1], same[2]),
        "annotators": (other_annotators(case, annotators), same[0], annotators, same[2]),
        "tasks": (other_tasks(case, tasks), same[0], same[1], tasks),
    }


def vote_counts(case: Case) -> tuple[Floats, Floats]:
    votes = case.labels.votes()
    return votes, votes.sum(axis=1)


def test_labels_count_under_their_own_classes() -> None:
    labels = Labels(
        np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0]), np.array([1, 1, 1, 1, 0]), n_tasks=3, n_classes=2
    )
    case = Case(labels, np.array([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]), np.zeros((0, 2)))
    for each in (case, other_classes(case, np.array([1, 0]))):
        votes, counts = vote_counts(each)
        assert best_temperature(votes, counts, each.pred_probs) == 0.1, "the model is always right"


@given(st.integers(0, 100_000))
def test_the_temperature_stays(seed: int) -> None:
    case = draw(seed)
    before = best_temperature(*vote_counts(case), case.pred_probs)
    for other, *_ in permuted(case, seed).values():
        assert best_temperature(*vote_counts(other), other.pred_probs) == before


@pytest.mark.parametrize("name", [name for name in STRATEGIES if not name.startswith("random")])
@given(seed=st.integers(0, 100_000))
def test_scores_go_with_their_tasks(name: str, seed: int) -> None:
    case, scores = draw(seed), STRATEGIES[name].scores
    labeled, unlabeled = scores(case.labels, case.pred_probs, case.unlabeled)
    for other, _, _, tasks in permuted(case, seed).values():
        found = scores(other.labels, other.pred_probs, other.unlabeled)
        np.testing.assert_allclose(found[0][tasks], labeled, **CLOSE)
        np.testing.assert_allclose(found[1], unlabeled, **CLOSE)


METHODS: dict[str, Callable[[Labels, Floats], ConsensusResult]] = {
    "majority": by_majority,
    **{
        f"{name}, {kind}": getattr(one, kind)
        for name, one in STRATEGIES.items()
        for kind in ("consensus", "class_consensus")
    },
}


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 100_000))
def test_consensus_labels_go_with_their_tasks_and_classes(method: str, seed: int) -> None:
    case, find = draw(seed), METHODS[method]
    before = find(case.labels, case.pred_probs)
    votes = np.sort(case.labels.votes(), axis=1)
    clear = votes[:, -1] > votes[:, -2]
    for other, classes, _, tasks in permuted(case, seed).values():
        after = find(other.labels, other.pred_probs)
        np.testing.assert_array_equal(after.label[tasks][clear], classes[before.label][clear])
        np.testing.assert_allclose(after.probability[tasks][clear], before.probability[clear], **CLOSE)
        if before.weight is not None and clear.all():
            assert after.weight is not None
            np.testing.assert_allclose(after.weight[tasks], before.weight, **CLOSE)


@given(st.integers(0, 100_000))
def test_the_posterior_and_crowdlab_go_with_all_three(seed: int) -> None:
    case = draw(seed)
    before, weighed = posterior(case.labels, case.pred_probs), crowdlab(case.labels, case.pred_probs, calibrate=True)
    for other, classes, annotators, tasks in permuted(case, seed).values():
        after = posterior(other.labels, other.pred_probs)
        np.testing.assert_allclose(after[tasks][:, classes], before, **CLOSE)
        again = crowdlab(other.labels, other.pred_probs, calibrate=True)
        np.testing.assert_allclose(again.probs[tasks][:, classes], weighed.probs, **CLOSE)
        assert again.model_weight == pytest.approx(weighed.model_weight, abs=1e-9)
        there = np.searchsorted(again.annotators, annotators[weighed.annotators])
        np.testing.assert_allclose(again.annotator_weight[there], weighed.annotator_weight, **CLOSE)


def test_figures_of_annotators_go_with_their_names() -> None:
    case = draw(7)
    before = annotator_stats(case.labels, crowdlab(case.labels, case.pred_probs))
    other, _, annotators, _ = permuted(case, 7)["annotators"]
    after: Any = annotator_stats(other.labels, crowdlab(other.labels, other.pred_probs))
    there = np.argsort(annotators)
    np.testing.assert_allclose(after.quality, np.asarray(before.quality)[there], **CLOSE)
    np.testing.assert_array_equal(after.n_labels, np.asarray(before.n_labels)[there])
