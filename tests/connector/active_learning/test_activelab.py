"""Consensus and ActiveLab scores: those of cleanlab, in silence, and good at finding wrong labels."""

import contextlib
import io
import warnings
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pytest
from cleanlab.multiannotator import get_active_learning_scores, get_label_quality_multiannotator
from support.label_factory import Rows, labels_of, random_case

from connector.active_learning.activelab import scores
from connector.active_learning.annotator_quality import annotator_stats
from connector.active_learning.consensus import by_crowdlab_among_given
from connector.active_learning.crowdlab import crowdlab
from connector.active_learning.labels import Floats, Ints, Labels


def dense(labels: Labels) -> Floats:
    """The table cleanlab takes, filled cell by cell."""
    people = sorted(set(labels.annotator.tolist()))
    table = np.full((labels.n_tasks, len(people)), np.nan)
    for task, annotator, label in zip(labels.task, labels.annotator, labels.label, strict=True):
        table[task, people.index(annotator)] = label
    return table


def consensus(labels: Labels, pred_probs: Floats) -> tuple[Ints, Floats]:
    """Consensus labels and their quality."""
    result = crowdlab(labels, pred_probs)
    return result.label, result.quality


@contextlib.contextmanager
def silenced():  # type: ignore[no-untyped-def]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# -- cleanlab's numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_consensus_is_crowdlabs(seed: int) -> None:
    labels, pred_probs, _ = random_case(seed)
    with silenced():
        expected = get_label_quality_multiannotator(dense(labels), pred_probs, verbose=False)["label_quality"]
    chosen, quality = consensus(labels, pred_probs)
    np.testing.assert_array_equal(chosen, expected["consensus_label"])
    np.testing.assert_allclose(quality, expected["consensus_quality_score"], rtol=1e-12)


@pytest.mark.usefixtures("integer_labels")
@pytest.mark.parametrize("seed", range(12))
def test_scores_are_activelabs(seed: int) -> None:
    labels, pred_probs, pred_probs_unlabeled = random_case(seed)
    with silenced():
        expected = get_active_learning_scores(dense(labels), pred_probs, pred_probs_unlabeled)
    for got, wanted in zip(scores(labels, pred_probs, pred_probs_unlabeled), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_an_annotator_without_labels_is_left_out() -> None:
    with_gap = labels_of([(0, 0, 0), (0, 7, 1), (1, 7, 1), (2, 0, 0)])
    without = labels_of([(0, 0, 0), (0, 1, 1), (1, 1, 1), (2, 0, 0)])
    pred_probs = np.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    gap, none = crowdlab(with_gap, pred_probs), crowdlab(without, pred_probs)
    assert gap.annotators.tolist() == [0, 7]
    np.testing.assert_array_equal(gap.probs, none.probs)
    for got, wanted in zip(
        scores(with_gap, pred_probs, pred_probs), scores(without, pred_probs, pred_probs), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_without_any_label_new_tasks_still_have_scores() -> None:
    labelled, unlabelled = scores(labels_of([]), np.zeros((0, 2)), np.array([[0.5, 0.5], [0.9, 0.1]]))
    with silenced():
        _, expected = get_active_learning_scores(pred_probs_unlabeled=np.array([[0.5, 0.5], [0.9, 0.1]]))
    assert labelled.shape == (0,)
    np.testing.assert_allclose(unlabelled, expected)


@pytest.mark.parametrize("rows", [[], [(0, 0, 1)]], ids=["no label", "one label"])
def test_without_anything_to_weigh_by_model_and_annotators_weigh_one_each(rows: Rows) -> None:
    labels = labels_of(rows)
    pred_probs, unlabeled = np.tile([0.2, 0.8], (labels.n_tasks, 1)), np.array([[0.9, 0.1]])
    result = crowdlab(labels, pred_probs, calibrate=True)
    assert (result.model_weight, result.temperature) == (1.0, 1.0)
    assert (result.annotator_weight == 1).all()
    assert by_crowdlab_among_given(labels, pred_probs).label.tolist() == [1] * len(rows)
    labelled, new = scores(labels, pred_probs, unlabeled)
    np.testing.assert_allclose(labelled, [(0.8 * 2 + 0.5) / 3] * len(rows))
    np.testing.assert_allclose(new, [(0.9 + 0.5) / 2])
    assert annotator_stats(labels, result).n_labels.tolist() == [1] * len(rows)


def test_who_shares_no_task_is_rated_by_how_probable_their_labels_are() -> None:
    labels = labels_of([(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 1), (2, 2, 1)])
    result = crowdlab(labels, np.array([[0.8, 0.2], [0.3, 0.7], [0.25, 0.75]]))
    stats = annotator_stats(labels, result)
    assert stats.annotators.tolist() == [0, 1, 2]
    assert stats.quality[2] == pytest.approx(result.probs[2, 1])
    assert stats.n_labels.tolist() == [2, 2, 1]


def test_one_label_each_is_its_own_consensus_and_the_models_probability_its_quality() -> None:
    labels = labels_of([(0, 0, 1), (1, 1, 0), (2, 0, 0)])
    pred_probs = np.array([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1]])
    chosen, quality = consensus(labels, pred_probs)
    assert chosen.tolist() == [1, 0, 0]
    np.testing.assert_allclose(quality, [0.8, 0.4, 0.9])


def test_with_one_label_each_the_label_the_model_doubts_is_worth_most() -> None:
    labels = labels_of([(task, task % 2, task % 2) for task in range(8)])
    pred_probs = np.full((8, 2), 0.1)
    pred_probs[np.arange(8), np.arange(8) % 2] = 0.9
    pred_probs[5] = [0.9, 0.1]
    with silenced():
        expected = get_active_learning_scores(dense(labels), pred_probs, np.full((2, 2), 0.5))
    labelled, unlabelled = scores(labels, pred_probs, np.full((2, 2), 0.5))
    assert labelled.argmin() == 5
    np.testing.assert_allclose(labelled, expected[0])
    np.testing.assert_allclose(unlabelled, expected[1])


@pytest.mark.parametrize("seed", range(12))
def test_the_consensus_is_crowdlabs_choice_if_an_annotator_made_it(seed: int) -> None:
    labels, pred_probs, _ = random_case(seed)
    chosen, preferred = by_crowdlab_among_given(labels, pred_probs).label, consensus(labels, pred_probs)[0]
    votes = labels.votes()
    every = np.arange(labels.n_tasks)
    assert (votes[every, chosen] > 0).all()
    is_given = votes[every, preferred] > 0
    assert (chosen[is_given] == preferred[is_given]).all()
    assert (votes[every, chosen][~is_given] == votes[~is_given].max(axis=1)).all()


def test_a_model_that_is_sure_never_overrules_the_only_label() -> None:
    # The few tasks with two labels are all contested, so CROWDLAB gives annotators no weight to speak of.
    contested: Rows = [(task, annotator, (task + annotator) % 2) for task in range(6) for annotator in (0, 1)]
    labels = labels_of([*contested, *((task, task % 2, 0) for task in range(6, 40))])
    pred_probs = np.tile([0.001, 0.999], (40, 1))
    assert (consensus(labels, pred_probs)[0][6:] == 1).any()
    assert (by_crowdlab_among_given(labels, pred_probs).label[6:] == 0).all()


def test_without_unlabelled_tasks_there_are_scores_for_the_labelled_alone() -> None:
    labels, pred_probs, _ = random_case(3)
    labelled, unlabelled = scores(labels, pred_probs, np.zeros((0, labels.n_classes)))
    assert labelled.shape == (labels.n_tasks,)
    assert unlabelled.shape == (0,)


def test_an_undecided_new_task_is_worth_more_than_a_decided_one() -> None:
    labels, pred_probs, _ = random_case(5)
    k = labels.n_classes
    sure = np.full(k, 0.05 / (k - 1))
    sure[0] = 0.95
    _, unlabelled = scores(labels, pred_probs, np.array([np.full(k, 1 / k), sure]))
    assert unlabelled[0] < unlabelled[1]


EXTREMES = {
    "one label": [(0, 0, 1)],
    "one task": [(0, 0, 0), (0, 1, 1)],
    "one class only": [(task, annotator, 0) for task in range(4) for annotator in range(2)],
    "one annotator": [(task, 0, task % 2) for task in range(4)],
    "nobody shares a task": [(0, 0, 0), (1, 1, 1), (2, 2, 0), (3, 3, 1)],
    "all disagree": [(task, annotator, annotator) for task in range(4) for annotator in range(2)],
}


@pytest.mark.parametrize("rows", EXTREMES.values(), ids=EXTREMES)
def test_odd_tables_have_finite_scores_in_silence(rows: Rows, capfd: pytest.CaptureFixture[str]) -> None:
    labels = labels_of(rows)
    pred_probs = np.tile([0.7, 0.3], (labels.n_tasks, 1))
    chosen, quality = consensus(labels, pred_probs)
    labelled, unlabelled = scores(labels, pred_probs, np.array([[0.5, 0.5]]))
    assert set(chosen.tolist()) <= {0, 1}
    for values in (quality, labelled, unlabelled):
        assert ((values >= 0) & (values <= 1)).all()
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed_or_warned_where_cleanlab_does(capfd: pytest.CaptureFixture[str]) -> None:
    # The third annotator shares no task with anybody, and no label of the last class makes it to a consensus.
    labels = labels_of([(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 0), (2, 2, 1)], 3)
    pred_probs = np.tile([0.6, 0.3, 0.1], (3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        get_active_learning_scores(dense(labels), pred_probs, pred_probs)
        get_label_quality_multiannotator(dense(labels), pred_probs)
    assert capfd.readouterr().out  # what the connector must keep off a cron job's output
    scores(labels, pred_probs, pred_probs)
    consensus(labels, pred_probs)
    assert capfd.readouterr() == ("", "")


TIES: dict[str, tuple[Rows, list[list[float]], int]] = {
    "the class the model prefers": ([(0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 1, 0)], [[0.4, 0.6], [0.5, 0.5]], 1),
    "then the class with fewer labels in all": ([(0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 1, 0)], [[0.5, 0.5]] * 2, 1),
    "then the class of the annotator who is with the majority elsewhere": (
        [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 2, 0), (2, 0, 0), (2, 1, 1), (2, 2, 1)],
        [[0.5, 0.5]] * 3,
        1,
    ),
    "then the class that comes first": ([(0, 0, 1), (0, 1, 0)], [[0.5, 0.5]], 0),
}


@pytest.mark.parametrize(("rows", "probs", "winner"), TIES.values(), ids=TIES)
def test_ties_are_broken_by_rules(rows: Rows, probs: list[list[float]], winner: int) -> None:
    assert consensus(labels_of(rows), np.array(probs))[0][0] == winner


def test_full_ties_are_broken_the_same_way_every_time() -> None:
    labels = labels_of([(task, annotator, annotator) for task in range(12) for annotator in range(2)])
    pred_probs = np.full((12, 2), 0.5)
    seen = {tuple(consensus(labels, pred_probs)[0].tolist()) for _ in range(5)}
    assert len(seen) == 1
    first = scores(labels, pred_probs, pred_probs)
    np.testing.assert_array_equal(first, scores(labels, pred_probs, pred_probs))


def test_the_random_state_of_others_is_left_alone() -> None:
    labels = labels_of([(task, annotator, annotator) for task in range(12) for annotator in range(2)])
    before = np.random.get_state()
    consensus(labels, np.full((12, 2), 0.5))
    scores(labels, np.full((12, 2), 0.5), np.full((1, 2), 0.5))
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


# -- quality of second opinions --------------------------------------------------------------------------------------

TASKS, CORRUPTED, FIRST, SEEDS = 100, 20, 20, 10
CHANCE = FIRST * CORRUPTED / TASKS


class SecondOpinions(NamedTuple):
    """How many of all tasks, and of those ranked FIRST, were corrupted, carry any wrong label, have a wrong consensus.

    `accuracy`: the model's.
    """

    corrupted_first: float
    wrong_first: float
    wrong: float
    wrong_consensus_first: float
    wrong_consensus: float
    accuracy: float


def second_opinions(
    seed: int, *, n_classes: int = 2, evidence: float = 1.1, confidence: float = 1.0, errors: float = 0.0
) -> SecondOpinions:
    """Ranks 100 doubly labelled tasks, one label in 20 of them corrupted. New tasks are scored beside them.

    The model sees a Gaussian sign of the truth, `evidence` strong, and gives Bayes' posterior, raised to `confidence`
    (above 1: overconfident). Four annotators err in `errors` of their labels by themselves.
    """
    random = np.random.default_rng(seed)
    truth = random.integers(0, n_classes, TASKS + 200)
    sign = random.normal(size=(len(truth), n_classes))
    sign[np.arange(len(truth)), truth] += evidence
    pred_probs = np.exp(confidence * evidence * sign)
    pred_probs /= pred_probs.sum(axis=1, keepdims=True)

    def another(label: np.ndarray) -> np.ndarray:
        return (label + random.integers(1, n_classes, label.shape)) % n_classes

    people = np.array([random.choice(4, 2, replace=False) for _ in range(TASKS)])
    given_labels = np.repeat(truth[:TASKS, None], 2, axis=1)
    given_labels = np.where(random.random(given_labels.shape) < errors, another(given_labels), given_labels)
    corrupted, side = random.choice(TASKS, CORRUPTED, replace=False), random.integers(0, 2, CORRUPTED)
    given_labels[corrupted, side] = another(given_labels[corrupted, side])

    labels = Labels(np.repeat(np.arange(TASKS), 2), people.ravel(), given_labels.ravel(), TASKS, n_classes)
    labelled, _ = scores(labels, pred_probs[:TASKS], pred_probs[TASKS:])
    first = np.argsort(labelled, kind="stable")[:FIRST]
    wrong = (given_labels != truth[:TASKS, None]).any(axis=1)
    wrong_consensus = crowdlab(labels, pred_probs[:TASKS], calibrate=True).label != truth[:TASKS]
    return SecondOpinions(
        corrupted_first=float(np.isin(first, corrupted).sum()),
        wrong_first=float(wrong[first].sum()),
        wrong=float(wrong.sum()),
        wrong_consensus_first=float(wrong_consensus[first].sum()),
        wrong_consensus=float(wrong_consensus.sum()),
        accuracy=float((pred_probs.argmax(axis=1) == truth).mean()),
    )


def means(**world: float) -> SecondOpinions:
    columns = zip(*(second_opinions(seed, **world) for seed in range(SEEDS)), strict=True)  # type: ignore[arg-type]
    return SecondOpinions(*(fmean(column) for column in columns))


@pytest.mark.parametrize(
    "world",
    [{}, {"confidence": 3.0}, {"evidence": 0.7}, {"n_classes": 3, "evidence": 1.6}],
    ids=["honest model", "overconfident model", "weak model", "three classes"],
)
def test_corrupted_labels_rank_first(world: dict[str, float]) -> None:
    found = means(**world)
    assert 0.65 < found.accuracy < 0.85
    assert found.corrupted_first >= 3 * CHANCE


@pytest.mark.parametrize("confidence", [1.0, 3.0], ids=["honest model", "overconfident model"])
def test_where_annotators_err_beside_most_wrong_consensus_labels_rank_first(confidence: float) -> None:
    found = means(errors=0.1, confidence=confidence)
    assert 0.75 < found.accuracy < 0.8
    assert 30 < found.wrong < 45  # 20 corrupted ones and those that the annotators got wrong by themselves
    # A label that disagrees with the other and with the model needs no second opinion: its task's consensus is right.
    assert found.wrong_consensus_first >= 0.55 * found.wrong_consensus  # by chance: a fifth
    assert found.wrong_first >= 2 * FIRST * found.wrong / TASKS
    # A corrupted label looks like any other wrong one: no ranking can prefer it, and this one does not lose it either.
    assert found.corrupted_first >= 0.9 * found.wrong_first * CORRUPTED / found.wrong
