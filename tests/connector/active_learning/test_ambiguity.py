"""Open tasks against errors: the formulas, what they find on generated labels, and false alarms."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.label_factory import labels_of, random_case

from connector.active_learning.ambiguity import (
    CODEBOOK_TASKS,
    ITERATIONS,
    LEAST_LABELS,
    LIKELY,
    MOST_EXPECTED,
    PARTS,
    PSEUDO_TASKS,
    START_SHARE,
    ambiguity,
    confused_classes,
)
from connector.active_learning.dawid_skene import LEAST, confusions, posterior
from connector.active_learning.labels import Floats, Ints, Labels
from connector.active_learning.temperature import best_temperature, scaled

GOOD = (0.95, 0.95, 0.93, 0.9, 0.9, 0.9, 0.88, 0.85)


def generated(
    seed: int,
    n_classes: int = 3,
    each: int = 5,
    share: float = 0.1,
    n_tasks: int = 800,
    people: tuple[float, ...] = GOOD,
    between: tuple[int, int] | None = None,
) -> tuple[Labels, Floats, Ints, Floats]:
    """Labels, a fair model's probabilities, the true classes, and which tasks are coin flips between two classes."""
    rng = np.random.default_rng([seed, n_classes, each])
    truth, flips = rng.integers(n_classes, size=n_tasks), rng.random(n_tasks) < share
    other = (truth + rng.integers(1, n_classes, size=n_tasks)) % n_classes
    if between is not None:
        truth[flips], other[flips] = between
    rows = []
    for task in range(n_tasks):
        for person in rng.permutation(len(people))[:each].tolist():
            read = other[task] if flips[task] and rng.random() < 0.5 else truth[task]
            wrong = (read + rng.integers(1, n_classes)) % n_classes
            rows.append((task, person, int(read if rng.random() < people[person] else wrong)))
    logits = rng.normal(size=(n_tasks, n_classes))
    logits[np.arange(n_tasks), truth] += np.where(flips, 2, 3)
    logits[flips, other[flips]] += 2
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels_of(rows, n_classes), probs, truth, flips


def area_under_the_curve(scores: Floats, positive: Floats) -> float:
    """How often a positive has a higher score than another one, ties by half."""
    ours, others = scores[positive][:, None], scores[~positive][None, :]
    return float(((ours > others) + 0.5 * (ours == others)).mean())


def by_hand(labels: Labels, pred_probs: Floats) -> tuple[list[float], Floats]:
    """The formulas of the module, task by task and over all pairs of two or three classes."""
    classes, k = range(labels.n_classes), labels.n_classes
    votes = labels.votes()
    prior = np.maximum(scaled(pred_probs, best_temperature(votes, votes.sum(axis=1), pred_probs)), LEAST)
    shared = [task for task in range(labels.n_tasks) if votes[task].sum() > 1]
    rows = sorted(zip(labels.task.tolist(), labels.annotator.tolist(), labels.label.tolist(), strict=True))
    rows = [row for row in rows if row[0] in shared]
    people = sorted({annotator for _, annotator, _ in rows})
    cell = np.array([people.index(annotator) * k + label for _, annotator, label in rows])
    best = {task: prior[task].max() for task in shared}
    edges = np.quantile(list(best.values()), [number / PARTS for number in range(1, PARTS)])
    part = {task: sum(best[task] >= edge for edge in edges) for task in shared}
    q = posterior(labels, pred_probs)
    o = {task: 0.5 if (votes[task] > 0).sum() > 1 else 0.0 for task in shared}
    read = np.array([[(1 - o[task]) * q[task, c] + o[task] * (c == label) for c in classes] for task, _, label in rows])
    r, g = [START_SHARE] * PARTS, dict.fromkeys(itertools.combinations(classes, 2), 1.0)
    soft = q.copy()
    for _ in range(ITERATIONS):
        table = confusions(np.arange(len(rows)), cell, len(people), read.T)
        pi = {(j, c, m): table[people.index(j), c, m] for j in people for c in classes for m in classes}
        clear: dict[int, list[float]] = {}
        pairs: dict[int, dict[tuple[int, int], float]] = {}
        for task in shared:
            mine = [(j, label) for i, j, label in rows if i == task]
            clear[task] = [prior[task, c] * math.prod(pi[j, c, m] for j, m in mine) for c in classes]
            expected = {
                (a, b): r[part[task]] * g[a, b] * (prior[task, a] + prior[task, b]) / (k - 1)
                for a, b in itertools.combinations(classes, 2)
            }
            pairs[task] = {
                (a, b): r_ab * math.prod((pi[j, a, m] + pi[j, b, m]) / 2 for j, m in mine)
                for (a, b), r_ab in expected.items()
            }
            is_open = sum(pairs[task].values())
            o[task] = is_open / (is_open + (1 - min(sum(expected.values()), MOST_EXPECTED)) * sum(clear[task]))
        share = (sum(o.values()) + 1) / (len(shared) + PSEUDO_TASKS)
        for b in range(PARTS):
            inside = [o[task] for task in shared if part[task] == b]
            r[b] = (sum(inside) + PSEUDO_TASKS * share) / (len(inside) + PSEUDO_TASKS)
        for pair in g:
            of_pair = sum(o[task] * pairs[task][pair] / sum(pairs[task].values()) for task in shared)
            g[pair] = (of_pair * len(g) + PSEUDO_TASKS) / (sum(o.values()) + PSEUDO_TASKS)
        for row, (task, j, label) in enumerate(rows):
            for c in classes:
                read[row, c] = (1 - o[task]) * clear[task][c] / sum(clear[task])
                for (a, b), value in pairs[task].items():
                    if c in (a, b):
                        reading = pi[j, c, label] / (pi[j, a, label] + pi[j, b, label])
                        read[row, c] += o[task] * value / sum(pairs[task].values()) * reading
    for task in shared:
        for c in classes:
            of_c = sum(value for pair, value in pairs[task].items() if c in pair) / 2
            soft[task, c] = (1 - o[task]) * clear[task][c] / sum(clear[task]) + o[task] * of_c / sum(
                pairs[task].values()
            )
    return [o.get(task, 0.0) for task in range(labels.n_tasks)], soft


@pytest.mark.parametrize(("seed", "n_classes"), [(1, 2), (2, 2), (3, 3), (4, 3)])
def test_it_is_the_formulas(seed: int, n_classes: int) -> None:
    labels, probs, *_ = generated(seed, n_classes, each=3, share=0.3, n_tasks=40)
    alone = labels_of([*zip(labels.task, labels.annotator, labels.label, strict=True), (40, 2, 1)], n_classes)
    probs = np.vstack([probs, np.full(n_classes, 1 / n_classes)])
    found = ambiguity(alone, probs)
    probability, soft = by_hand(alone, probs)
    assert found.probability == pytest.approx(probability, abs=1e-9)
    assert found.soft == pytest.approx(soft, abs=1e-9)
    assert found.probability[40] == 0
    assert np.flatnonzero(np.isnan(found.settles)).tolist() == [40]


@given(st.integers(0, 10_000))
def test_all_are_probabilities_and_flags_follow_them(seed: int) -> None:
    labels, probs, _ = random_case(seed)
    found = ambiguity(labels, probs)
    assert found.soft.sum(axis=1) == pytest.approx(1)
    settles = found.settles[~np.isnan(found.settles)]
    for values in (found.probability, settles, found.soft, found.accuracy):
        assert ((values >= -1e-12) & (values <= 1 + 1e-12)).all()
    several = labels.votes().sum(axis=1) >= LEAST_LABELS
    assert (found.ambiguous == (several & (found.probability > LIKELY))).all()
    assert not (found.hopeless & ~found.ambiguous).any()


@pytest.mark.parametrize("n_classes", [2, 3, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_tells_coin_flips_from_errors(n_classes: int, seed: int) -> None:
    labels, probs, _, flips = generated(seed, n_classes)
    found = ambiguity(labels, probs)
    differ = (labels.votes() > 0).sum(axis=1) > 1
    votes = labels.votes() / 5
    entropy = -(votes * np.log(np.where(votes > 0, votes, 1))).sum(axis=1)
    ours, by_votes = (area_under_the_curve(scores[differ], flips[differ]) for scores in (found.probability, entropy))
    assert ours > 0.85
    assert ours > by_votes + 0.05
    assert flips[found.ambiguous].mean() > 0.6
    assert found.ambiguous[flips].mean() > 0.25
    assert found.share == pytest.approx(flips.mean(), abs=0.05)


@pytest.mark.parametrize("n_classes", [2, 3, 6])
@pytest.mark.parametrize("people", [GOOD, (0.95, 0.9, 0.85, 0.8, 0.75, 0.4, 0.4)])
def test_there_are_hardly_any_where_people_only_err(n_classes: int, people: tuple[float, ...]) -> None:
    for seed in range(3):
        labels, probs, *_ = generated(seed, n_classes, share=0, people=people)
        found = ambiguity(labels, probs)
        assert found.ambiguous.mean() < 0.01
        assert confused_classes(labels, found) == []


def test_two_labels_say_too_little() -> None:
    labels, probs, *_ = generated(0, each=2, share=0.3)
    found = ambiguity(labels, probs)
    assert not found.ambiguous.any()
    assert found.soft == pytest.approx(posterior(labels, probs))


def test_soft_labels_of_an_ambiguous_task_are_even_and_of_a_clear_one_are_not() -> None:
    labels, probs, _, flips = generated(0)
    found = ambiguity(labels, probs)
    second = np.sort(found.soft, axis=1)[:, -2]
    assert second[found.hopeless].min() > 0.3
    assert second[~flips & (found.probability < 0.1)].mean() < 0.1
    best = np.sort(np.argsort(-found.soft[found.hopeless], axis=1)[:, :2], axis=1)
    assert (best == found.pair[found.hopeless]).all()


def test_one_more_label_does_not_settle_what_is_open_and_settles_what_is_almost_known() -> None:
    labels, probs, _, _ = generated(0)
    found = ambiguity(labels, probs)
    assert found.settles[found.ambiguous].max() < 0.05
    known = found.soft.max(axis=1) > 0.99
    assert found.settles[known].min() > 0.8


def test_classes_that_even_the_best_confuse_are_named() -> None:
    labels, probs, _, flips = generated(0, 4, share=0.08, between=(1, 3))
    (pair,) = confused_classes(labels, ambiguity(labels, probs))
    assert (pair.first, pair.second) == (1, 3)
    assert CODEBOOK_TASKS <= pair.tasks <= flips.sum() + 5
    assert pair.tasks < pair.of < 600


def test_the_order_of_labels_tasks_and_classes_is_nothing_to_it() -> None:
    labels, probs, *_ = generated(2, n_tasks=200, share=0.2)
    found = ambiguity(labels, probs)
    rng = np.random.default_rng(0)
    rows, tasks, classes = rng.permutation(len(labels.task)), rng.permutation(200), rng.permutation(3)
    place, name = np.argsort(tasks), np.argsort(classes)
    mixed = Labels(place[labels.task[rows]], labels.annotator[rows], name[labels.label[rows]], 200, 3)
    again = ambiguity(mixed, probs[tasks][:, classes])
    assert again.probability == pytest.approx(found.probability[tasks], abs=1e-9)
    assert again.soft == pytest.approx(found.soft[tasks][:, classes], abs=1e-9)
    assert again.settles == pytest.approx(found.settles[tasks], abs=1e-9)
    assert (again.ambiguous == found.ambiguous[tasks]).all()


def test_no_task_at_all_and_no_probabilities() -> None:
    nothing = ambiguity(labels_of([]), np.zeros((0, 2)))
    assert (len(nothing.probability), nothing.share, nothing.soft.shape) == (0, 0.0, (0, 2))
    assert confused_classes(labels_of([]), nothing) == []
    with pytest.raises(ValueError, match=r"pred_probs: row 0 sums to 1\.5"):
        ambiguity(labels_of([(0, 0, 1)]), np.array([[0.5, 1.0]]))
