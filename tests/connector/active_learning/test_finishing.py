"""The bound on the errors of accepted labels, against what is known of made-up labels. benchmarks/finishing.py measures
it in replays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.active_learning.finishing import DRAWS, SHARES, Evidence, accept, bound, needed
from connector.active_learning.labels import Floats, Ints, Labels


class World:
    """`tasks` tasks of three classes, `audited` of them audited and `chosen` chosen, with labels by six people.

    The model is right as often as it says, and nearly always where it is sure. On chosen tasks it is right for 60 %.
    """

    def __init__(
        self, seed: int, *, tasks: int = 1200, audited: int = 200, chosen: int = 200, quality: float = 0.9
    ) -> None:
        rng = np.random.default_rng(seed)
        self.truth = rng.integers(3, size=tasks)
        self.labelled = audited + chosen
        self.audited = np.arange(self.labelled) < audited
        said = rng.choice([0.99, 0.9, 0.6], size=tasks)
        is_chosen = (np.arange(tasks) >= audited) & (np.arange(tasks) < self.labelled)
        right = rng.random(tasks) < np.where(is_chosen, 0.6, said)
        self.predicted = _wrong(self.truth, right, rng)
        self.probs = np.full((tasks, 3), 0.0) + ((1 - said) / 2)[:, None]
        self.probs[np.arange(tasks), self.predicted] = said
        each = np.where(self.audited, 1, 3)
        task = np.repeat(np.arange(self.labelled), each)
        annotator = np.concatenate([rng.permutation(6)[:number] for number in each])
        label = _wrong(self.truth[task], rng.random(len(task)) < quality, rng)
        order = np.lexsort((annotator, task))
        self.labels = Labels(task[order], annotator[order], label[order], self.labelled, 3)

    def evidence(self) -> Evidence:
        n = self.labelled
        return Evidence(self.labels, self.probs[:n], self.probs[n:], self.audited)

    @property
    def wrong(self) -> Floats:
        """Which labels of unlabelled tasks are wrong."""
        return (self.predicted != self.truth)[self.labelled :]


def _wrong(truth: Ints, right: np.ndarray, rng: np.random.Generator) -> Ints:
    return np.asarray(np.where(right, truth, (truth + rng.integers(1, 3, size=len(truth))) % 3))


@pytest.mark.parametrize("quality", [0.95, 0.8])
def test_what_is_accepted_has_fewer_errors_than_the_limit(quality: float) -> None:
    limit, shares, too_many = 0.1, [], 0
    for seed in range(8):
        world = World(seed, quality=quality)
        evidence, n = world.evidence(), world.labelled
        sure = evidence.sureness(world.probs[n:])
        mine = evidence.sureness(world.probs[:n][world.audited])
        found = accept(sure, [(mine, evidence.wrong())], limit)
        assert found is not None
        shares.append(found.share)
        too_many += bool(found.share) and world.wrong[sure >= found.sureness].mean() > limit
    assert too_many <= 1
    # A third of the tasks is nearly always right, another third has as many errors as are allowed.
    assert max(shares) < 0.9
    if quality == 0.95:  # with more errors of annotators, few can be told from the model's
        assert np.mean(shares) > 0.15


def test_the_model_is_surer_of_what_it_says_to_be_surer_of() -> None:
    world = World(0)
    evidence, n = world.evidence(), world.labelled
    sure, most = evidence.sureness(world.probs[n:]), world.probs[n:].max(axis=1)
    assert (sure[most == 0.99] == 1).all()
    assert sure[most == 0.6].max() < sure[most == 0.9].min() < 1
    wrong = evidence.wrong()
    assert wrong.shape == (DRAWS, world.audited.sum())
    by_said = [wrong[:, world.probs[:n][world.audited].max(axis=1) == said].mean() for said in (0.99, 0.9, 0.6)]
    assert max(by_said[:2]) < by_said[2]


def test_the_same_labels_give_the_same_draws() -> None:
    world = World(1, audited=40, chosen=40)
    assert (world.evidence().wrong() == world.evidence().wrong()).all()


@pytest.mark.parametrize("limit", [0.01, 0.02, 0.05, 0.1, 0.5])
def test_so_many_audited_tasks_without_an_error_are_needed(limit: float) -> None:
    from scipy.stats import beta

    number = needed(limit)
    assert beta.ppf(0.975, 0.5, number + 0.5) <= limit < beta.ppf(0.975, 0.5, number - 0.5)


@given(st.integers(0, 60), st.integers(1, 60), st.integers(1, 5000), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_bound_lies_above_what_was_counted_and_grows_with_errors(
    audited: int, errors: int, size: int, seed: int
) -> None:
    errors = min(errors, audited)
    wrong = np.zeros((DRAWS, audited), bool)
    wrong[:, :errors] = True
    found = bound(wrong, size, np.random.default_rng(seed))
    assert 0 <= found <= 1
    if size > 500:
        assert found >= errors / max(audited, 1) - 0.05
        assert found + 0.05 >= bound(wrong & False, size, np.random.default_rng(seed))


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_the_largest_set_below_the_limit_is_accepted_if_all_questions_allow_it(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    limit, size = data.draw(st.floats(0.01, 0.9)), data.draw(st.integers(1, 400))
    sure = rng.choice(data.draw(st.integers(1, 50)), size) / 50.0
    questions = []
    for _ in range(data.draw(st.integers(1, 3))):
        mine = rng.random(data.draw(st.integers(0, 200)))
        rate = np.where(mine < rng.random(), 0.5, 0.0)
        questions.append((mine, rng.random((50, len(mine))) < rate))
    found = accept(sure, questions, limit)
    assert found is not None
    if found.share:
        assert found.bound <= limit
        assert found.share == pytest.approx((sure >= found.sureness).mean())
        assert found.audited == min((mine >= found.sureness).sum() for mine, _ in questions)
    else:
        assert found.bound > limit


def test_without_unlabelled_tasks_there_is_nothing_to_accept() -> None:
    assert accept(np.zeros(0), [(np.zeros(3), np.zeros((5, 3), bool))], 0.5) is None
    assert SHARES[-1] == 1
