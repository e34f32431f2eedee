"""Annotators by their confusions, the model as prior: the formulas, what they find out, and weights of labels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.label_factory import labels_of, random_case

from connector.active_learning.consensus import by_posterior
from connector.active_learning.crowdlab import crowdlab
from connector.active_learning.dawid_skene import (
    ITERATIONS,
    MOST_ACCURATE,
    PSEUDO_LABELS,
    label_weights,
    posterior,
)
from connector.active_learning.labels import Floats, Labels
from connector.active_learning.majority_vote import majority_vote
from connector.active_learning.temperature import best_temperature, scaled


def by_hand(labels: Labels, pred_probs: Floats) -> Floats:
    """The formulas of the module, one number at a time."""
    n, classes, s = labels.n_tasks, range(labels.n_classes), PSEUDO_LABELS
    k_all = labels.n_classes
    votes = labels.votes()
    prior = scaled(pred_probs, best_temperature(votes, votes.sum(axis=1), pred_probs))
    rows = list(zip(labels.task.tolist(), labels.annotator.tolist(), labels.label.tolist(), strict=True))
    people = sorted(set(labels.annotator.tolist()))
    q = [[(votes[i, k] / votes[i].sum() + prior[i, k]) / 2 for k in classes] for i in range(n)]
    for _ in range(ITERATIONS):
        c = {(j, k, m): 0.0 for j in people for k in classes for m in classes}
        for i, j, label in rows:
            for k in classes:
                c[j, k, label] += q[i][k]
        both = {(k, m): sum(c[j, k, m] for j in people) for k in classes for m in classes}
        a = min(sum(both[k, k] for k in classes) / sum(both.values()), MOST_ACCURATE)
        pooled = {
            (k, m): (both[k, m] + s * k_all * (a if k == m else (1 - a) / (k_all - 1)))
            / (sum(both[k, other] for other in classes) + s * k_all)
            for k in classes
            for m in classes
        }
        pi = {}
        for j in people:
            given_by = sum(c[j, k, m] for k in classes for m in classes)
            own = min((sum(c[j, k, k] for k in classes) + s * a) / (given_by + s), MOST_ACCURATE)
            for k in classes:
                wrong = sum(pooled[k, m] for m in classes if m != k)
                for m in classes:
                    one = own if k == m else (1 - own) * pooled[k, m] / wrong
                    pi[j, k, m] = (c[j, k, m] + s * one) / (sum(c[j, k, other] for other in classes) + s)
        for i in range(n):
            mine = [(j, label) for task, j, label in rows if task == i]
            raw = [prior[i, k] * math.prod(pi[j, k, label] for j, label in mine) for k in classes]
            q[i] = [value / sum(raw) for value in raw]
    return np.array(q)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_formulas(seed: int) -> None:
    labels, probs, _ = random_case(seed)
    assert posterior(labels, probs) == pytest.approx(by_hand(labels, probs), abs=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3, 7, 8, 15])
def test_it_is_the_formulas_of_few_classes_and_of_many(n_classes: int) -> None:
    labels, probs, _ = crowd(n_classes, n_classes, n_tasks=80)
    assert posterior(labels, probs) == pytest.approx(by_hand(labels, probs), rel=0, abs=1e-12)


@given(st.integers(0, 10_000))
def test_rows_are_probabilities_and_the_consensus_is_of_somebody(seed: int) -> None:
    labels, probs, _ = random_case(seed)
    found = posterior(labels, probs)
    assert found.sum(axis=1) == pytest.approx(1)
    assert (found >= 0).all()
    chosen = by_posterior(labels, probs).label
    assert (labels.votes()[np.arange(labels.n_tasks), chosen] > 0).all()


def crowd(seed: int, n_classes: int = 3, n_tasks: int = 600) -> tuple[Labels, Floats, np.ndarray]:
    """Three labels a task of eight people, two of whom answer at random and one always the same; a model of 65 %."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, n_classes, n_tasks)
    rows = []
    for task, true in enumerate(truth):
        for person in random.choice(8, 3, replace=False):
            right = random.random() < (0.95, 0.9, 0.85, 0.8, 0.75, 0, 0, 0)[person]
            wrong = 0 if person == 7 else random.integers(0, n_classes)
            rows.append((task, int(person), int(true if right else wrong)))
    probs = random.dirichlet(np.ones(n_classes), n_tasks)
    guess = np.where(random.random(n_tasks) < 0.5, truth, random.integers(0, n_classes, n_tasks))
    probs[np.arange(n_tasks), guess] += 0.6
    return labels_of(rows, n_classes), probs / probs.sum(axis=1, keepdims=True), truth


def test_it_sees_through_those_who_answer_at_random_or_always_the_same() -> None:
    right = []
    for labels, probs, truth in map(crowd, range(6)):
        chosen = (by_posterior(labels, probs).label, crowdlab(labels, probs).label, majority_vote(labels))
        right.append([(one == truth).mean() for one in chosen])
    ours, by_crowdlab, by_majority = np.mean(right, axis=0)
    assert ours > by_crowdlab + 0.03 > by_majority + 0.03


def test_a_model_that_knows_nothing_leaves_it_to_the_annotators() -> None:
    labels, _, truth = crowd(0)
    even = np.full((600, 3), 1 / 3)
    chosen = by_posterior(labels, even).label
    assert (chosen == truth).mean() > (majority_vote(labels) == truth).mean() + 0.03


def test_the_names_of_annotators_do_not_matter() -> None:
    labels, probs, _ = random_case(3)
    renamed = Labels(labels.task, 1000 - 7 * labels.annotator, labels.label, labels.n_tasks, labels.n_classes)
    order = np.lexsort((renamed.annotator, renamed.task))
    sorted_labels = Labels(
        renamed.task[order], renamed.annotator[order], renamed.label[order], labels.n_tasks, labels.n_classes
    )
    assert posterior(sorted_labels, probs) == pytest.approx(posterior(labels, probs), abs=1e-12)


def test_a_model_that_is_certain_and_wrong_can_be_outvoted_and_nothing_overflows() -> None:
    rows = [(task, person, task % 2) for task in range(60) for person in range(4)]
    probs = np.tile([1.0, 0.0], (60, 1))
    probs[1:40:2] = [0.0, 1.0]
    labels = labels_of(rows)
    assert by_posterior(labels, probs).label.tolist() == [task % 2 for task in range(60)]


def test_one_task_whose_model_is_certain_against_its_annotators_has_probabilities() -> None:
    rows = [(0, person, 1) for person in range(40)]
    assert posterior(labels_of(rows, 3), np.array([[1.0, 0.0, 0.0]])).sum() == pytest.approx(1)


def test_without_labels_there_is_nothing() -> None:
    none = Labels(*np.zeros((3, 0), np.int64), n_tasks=0, n_classes=2)
    assert posterior(none, np.zeros((0, 2))).shape == (0, 2)


# -- weights of labels in a training ---------------------------------------------------------------------------------


def test_a_label_counts_by_the_cube_of_its_probability_beside_others_of_its_class() -> None:
    labels, probs, _ = random_case(5)
    likely, by_crowdlab = posterior(labels, probs), crowdlab(labels, probs).probs
    result = by_posterior(labels, probs)
    chosen, weights = result.label, result.weight
    assert weights is not None
    for name in np.unique(chosen):
        tasks = np.flatnonzero(chosen == name)
        cubes = [math.sqrt(likely[task, name] * by_crowdlab[task, name]) ** 3 for task in tasks]
        assert weights[tasks] == pytest.approx(cubes / np.mean(cubes))


@given(st.integers(0, 10_000))
def test_weights_are_above_zero_and_one_in_the_mean_of_every_class(seed: int) -> None:
    labels, probs, _ = random_case(seed)
    found = posterior(labels, probs)
    for chosen in (by_posterior(labels, probs).label, majority_vote(labels)):
        weights = label_weights(labels, probs, found, chosen)
        assert (weights > 0).all()
        for name in np.unique(chosen):
            assert weights[chosen == name].mean() == pytest.approx(1)


def test_a_model_that_leans_to_a_class_does_not_make_its_labels_count_for_more() -> None:
    rows = [(task, person, task % 2) for task in range(40) for person in (0, 1)] + [(40, 0, 0), (41, 0, 1)]
    leaning = np.tile([0.9, 0.1], (42, 1))
    labels = labels_of(rows)
    weights = label_weights(labels, leaning, posterior(labels, leaning), np.arange(42) % 2)
    assert weights[:40:2].sum() + weights[40] == pytest.approx(weights[1:40:2].sum() + weights[41])
