"""Machines' labels are pooled with the model into one opinion, as good as people's labels show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from connector.active_learning.dawid_skene import posterior
from connector.active_learning.labels import Floats, Ints, Labels
from connector.active_learning.machines import MOST_CERTAIN, MachineLabels, Pooled, pool

PEOPLE = (0.9, 0.85, 0.8)
MODEL = 0.75


@dataclass
class World:
    """n tasks with labels of people and u without, with the true classes of both."""

    truth: Ints
    labels: Labels
    probs: Floats
    machines: list[MachineLabels]

    def pooled(self) -> Pooled:
        n = self.labels.n_tasks
        first, rest = np.arange(n), np.arange(n, len(self.truth))
        return pool(
            self.labels,
            self.probs[:n],
            self.probs[n:],
            [one.take(first) for one in self.machines],
            [one.take(rest) for one in self.machines],
        )

    def accuracy(self, probs: Floats) -> float:
        return float((probs.argmax(axis=1) == self.truth[self.labels.n_tasks :]).mean())


def world(machines: Sequence[float | str], *, n: int = 400, u: int = 1000, k: int = 2, seed: int = 0) -> World:
    """Each machine is right in that share, or answers by "chance", or gives the "same" class."""
    rng = np.random.default_rng(seed)
    size = n + u
    truth = rng.integers(k, size=size)

    def noisy(share: float) -> Ints:
        return np.where(rng.random(size) < share, truth, (truth + rng.integers(1, k, size)) % k)

    probs = np.full((size, k), (1 - MODEL) / (k - 1))
    probs[np.arange(size), noisy(MODEL)] = MODEL
    answers = [
        rng.integers(k, size=size) if one == "chance" else np.zeros(size, int) if one == "same" else noisy(float(one))
        for one in machines
    ]
    rows = [
        (task, person, int(noisy_label))
        for person, share in enumerate(PEOPLE)
        for task, noisy_label in enumerate(noisy(share)[:n])
        if (task + person) % len(PEOPLE)  # two labels each
    ]
    task, annotator, label = (np.array(column) for column in zip(*rows, strict=True))
    unknown = np.full(size, np.nan)
    return World(truth, Labels(task, annotator, label, n, k), probs, [MachineLabels(one, unknown) for one in answers])


@pytest.mark.parametrize("k", [2, 3, 6])
def test_a_good_machine_makes_the_pooled_opinion_as_good_as_itself(k: int) -> None:
    made = world([0.95], k=k)
    found = made.pooled()
    assert made.accuracy(made.probs[400:]) < 0.8
    assert made.accuracy(found.others) == pytest.approx(0.95, abs=0.02)
    assert found.pool.weight[0] > 0.7
    assert found.pool.shared.tolist() == [400]
    # Of people's labels, which are right in 85 %: 0.95 * 0.85 and, with two classes, 0.05 * 0.15.
    assert found.pool.agreement[0] == pytest.approx(0.95 * 0.85 + 0.05 * 0.15 / (k - 1), abs=0.03)


@pytest.mark.parametrize("bad", ["chance", "same", 0.25])
@pytest.mark.parametrize("k", [2, 3])
def test_a_bad_machine_changes_nothing(bad: float | str, k: int) -> None:
    made = world([bad], k=k)
    found = made.pooled()
    assert found.pool.weight.tolist() == [0.0]
    assert np.allclose(found.others, made.probs[400:])
    assert np.allclose(found.labelled, made.probs[:400])
    assert np.allclose(found.machines, 1 / k)


def test_a_machine_counts_for_nothing_before_people_have_labelled_some_of_its_tasks() -> None:
    made = world([0.95], n=100)
    few = MachineLabels(np.where(np.arange(1100) < 97, -1, made.machines[0].label), made.machines[0].score)
    found = World(made.truth, made.labels, made.probs, [few]).pooled()
    assert found.pool.shared.tolist() == [3]
    assert found.pool.weight.tolist() == [0.0]
    none = MachineLabels(np.where(np.arange(1100) < 100, -1, made.machines[0].label), made.machines[0].score)
    found = World(made.truth, made.labels, made.probs, [none]).pooled()
    assert np.isnan(found.pool.agreement[0])
    assert found.pool.weight.tolist() == [0.0]


@pytest.mark.parametrize("copies", [2, 10])
def test_machines_that_say_the_same_share_what_one_of_them_would_get(copies: int) -> None:
    alone = world([0.85])
    one = alone.pooled()
    many = World(alone.truth, alone.labels, alone.probs, alone.machines * copies).pooled()
    assert many.pool.weight.sum() == pytest.approx(one.pool.weight.sum(), abs=0.1)
    assert np.allclose(many.others, one.others, atol=0.03)


def test_no_number_of_machines_outvotes_people() -> None:
    """Twenty machines, each right in 90 % on its own, contradict three people on one task."""
    made = world([0.9] * 20)
    n = made.labels.n_tasks
    task = 0
    people = 1 - made.machines[0].label[task]
    machines = []
    for one in made.machines:
        label = one.label.copy()
        label[task] = 1 - people
        machines.append(MachineLabels(label, one.score))
    keep = made.labels.task != task
    rows = (
        np.concatenate([made.labels.task[keep], [task] * 3]),
        np.concatenate([made.labels.annotator[keep], [0, 1, 2]]),
        np.concatenate([made.labels.label[keep], [people] * 3]),
    )
    labels = Labels(*rows, n, 2)
    found = World(made.truth, labels, made.probs, machines).pooled()
    assert found.labelled[task, 1 - people] <= MOST_CERTAIN + 0.01
    assert posterior(labels, found.labelled)[task].argmax() == people


def test_a_machine_that_knows_how_sure_it_is_counts_more_where_it_is_sure() -> None:
    made = world([0.75], n=600)
    right = made.machines[0].label == made.truth
    score = np.where(right, 0.95, 0.55)
    found = World(made.truth, made.labels, made.probs, [MachineLabels(made.machines[0].label, score)]).pooled()
    agreeing = made.probs.argmax(axis=1) == made.machines[0].label
    sure, unsure = (found.others.max(axis=1)[(agreeing & (score == value))[600:]].mean() for value in (0.95, 0.55))
    assert sure > unsure + 0.1


def test_a_model_without_an_opinion_leaves_it_to_the_machines() -> None:
    made = world([0.9])
    even = np.full_like(made.probs, 0.5)
    found = World(made.truth, made.labels, even, made.machines).pooled()
    assert made.accuracy(found.others) == pytest.approx(0.9, abs=0.03)
    assert (found.others.argmax(axis=1) == found.machines.argmax(axis=1)).all()


def test_the_order_of_classes_machines_and_tasks_changes_nothing_else() -> None:
    made = world([0.9, 0.7, "chance"], k=3, n=200, u=100)
    rng = np.random.default_rng(1)
    classes, machines = rng.permutation(3), rng.permutation(3)
    tasks = np.concatenate([rng.permutation(200), 200 + rng.permutation(100)])
    place = np.argsort(tasks)
    moved = World(
        classes[made.truth[tasks]],
        Labels(place[made.labels.task], made.labels.annotator, classes[made.labels.label], 200, 3),
        made.probs[tasks][:, np.argsort(classes)],
        [MachineLabels(classes[made.machines[one].label[tasks]], made.machines[one].score[tasks]) for one in machines],
    )
    before, after = made.pooled(), moved.pooled()
    assert np.allclose(after.pool.weight, before.pool.weight[machines], atol=1e-3)
    assert np.allclose(after.others, before.others[tasks[200:] - 200][:, np.argsort(classes)], atol=1e-3)
    assert np.allclose(after.labelled, before.labelled[tasks[:200]][:, np.argsort(classes)], atol=1e-3)


def test_probabilities_that_are_none_are_refused() -> None:
    made = world([0.9], n=10, u=5)
    made.probs[12] = [0.5, 0.6]
    with pytest.raises(ValueError, match=r"pred_probs_others: row 2 sums to 1\.1"):
        made.pooled()
