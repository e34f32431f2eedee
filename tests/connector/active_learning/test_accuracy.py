"""The intervals of accuracies against what is known of made-up labels. benchmarks/audit.py measures their coverage."""

from __future__ import annotations

import numpy as np
import pytest

from connector.active_learning.accuracy import Accuracy, estimate
from connector.active_learning.labels import Ints, Labels


class World:
    """`tasks` tasks, of which `audited` are audited and `chosen` were chosen, with labels by six annotators.

    The model is right for 85 % of the tasks, but for 60 % of the chosen ones.
    """

    def __init__(
        self, seed: int, *, tasks: int = 1000, audited: int = 150, chosen: int = 250, classes: int = 3
    ) -> None:
        rng = np.random.default_rng(seed)
        self.classes = classes
        self.truth = rng.integers(classes, size=tasks)
        self.labelled = audited + chosen
        self.audited = np.arange(self.labelled) < audited
        chance = np.where((np.arange(tasks) < audited) | (np.arange(tasks) >= self.labelled), 0.85, 0.6)
        self.predicted = _wrong(self.truth, rng.random(tasks) < chance, classes, rng)
        self.probs = np.full((tasks, classes), 0.2 / (classes - 1))
        self.probs[np.arange(tasks), self.predicted] = 0.8
        task = np.repeat(np.arange(self.labelled), 2)
        annotator = np.concatenate([rng.permutation(6)[:2] for _ in range(self.labelled)])
        quality = np.array([0.95, 0.9, 0.9, 0.85, 0.8, 0.7])
        label = _wrong(self.truth[task], rng.random(len(task)) < quality[annotator], classes, rng)
        order = np.lexsort((annotator, task))
        self.labels = Labels(task[order], annotator[order], label[order], self.labelled, classes)
        self.consensus = (self.labels.votes() + 0.5 * self.probs[: self.labelled]).argmax(axis=1)

    def estimate(self, labels: Labels | None = None, seed: int = 0) -> Accuracy | None:
        n = self.labelled
        return estimate(
            labels or self.labels,
            self.consensus,
            self.probs[:n],
            self.probs[n:],
            self.audited,
            audited=int(self.audited.sum()),
            seed=seed,
        )

    @property
    def true(self) -> tuple[float, float, float]:
        right, n = self.predicted == self.truth, self.labelled
        consensus = self.consensus == self.truth[:n]
        return float(right.mean()), float(consensus.mean()), float(np.concatenate([consensus, right[n:]]).mean())


def _wrong(truth: Ints, right: np.ndarray, classes: int, rng: np.random.Generator) -> Ints:
    return np.asarray(np.where(right, truth, (truth + rng.integers(1, classes, size=len(truth))) % classes))


@pytest.mark.parametrize("seed", range(4))
def test_the_intervals_contain_the_truth_and_are_of_use(seed: int) -> None:
    world = World(seed)
    found = world.estimate()
    assert found is not None
    assert found.audited == 150
    for interval, truth in zip((found.model, found.consensus, found.project), world.true, strict=True):
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
        assert abs(interval.value - truth) < 0.08
        assert 0.01 < interval.high - interval.low < 0.2


def test_labels_of_annotators_who_err_do_not_make_the_model_look_worse() -> None:
    world = World(5, audited=400, chosen=0)
    found = world.estimate()
    assert found is not None
    first = world.labels.label[np.searchsorted(world.labels.task, np.arange(400))]
    as_if_true = float((first == world.predicted[:400]).mean())
    assert as_if_true < found.model.low < world.true[0]


def test_the_same_labels_give_the_same_intervals() -> None:
    assert World(1).estimate() == World(1).estimate()


def test_nothing_audited_says_nothing() -> None:
    world = World(0)
    world.audited[:] = False
    assert world.estimate() is None


def test_probabilities_that_are_none_are_named() -> None:
    world = World(0)
    world.probs[3] = 2.0
    with pytest.raises(ValueError, match="pred_probs"):
        world.estimate()


@pytest.mark.parametrize("classes", [2, 15])
def test_any_number_of_classes(classes: int) -> None:
    world = World(2, classes=classes)
    found = world.estimate()
    assert found is not None
    assert abs(found.project.value - world.true[2]) < 0.08


def test_a_single_audited_task_leaves_a_wide_interval() -> None:
    world = World(3, audited=1, chosen=60)
    found = world.estimate()
    assert found is not None
    assert found.model.high - found.model.low > 0.3


def test_all_tasks_labelled_is_the_accuracy_of_their_consensus() -> None:
    world = World(4, tasks=400)
    found = world.estimate()
    assert found is not None
    assert found.project == found.consensus
