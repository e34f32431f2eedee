"""Several classes a task: class by class what CROWDLAB and ActiveLab say of yes and no, with both scorers."""

import numpy as np
import pytest

from connector.active_learning import activelab, multilabel
from connector.active_learning.consensus import by_crowdlab_among_given, by_majority
from connector.active_learning.crowdlab import crowdlab
from connector.active_learning.labels import Floats, Labels
from connector.active_learning.multilabel import ClassSets, binary
from connector.active_learning.strategies import SCORERS, Scorer

EACH_SCORER = pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)


def drawn(seed: int, n_tasks: int = 40, n_classes: int = 4, labels_a_task: int = 3) -> tuple[ClassSets, Floats, Floats]:
    """Answers of five annotators who err in a sixth, and a model's probabilities of labelled and unlabelled tasks."""
    random = np.random.default_rng(seed)
    truth = random.random((n_tasks + 20, n_classes)) < np.linspace(0.5, 0.1, n_classes)
    task = np.repeat(np.arange(n_tasks), labels_a_task)
    annotator = np.concatenate([random.permutation(5)[:labels_a_task] for _ in range(n_tasks)])
    chosen = truth[task] ^ (random.random((len(task), n_classes)) < 1 / 6)
    probs = np.clip(random.normal(np.where(truth, 0.7, 0.3), 0.25), 0.01, 0.99)
    return ClassSets(task, annotator, chosen, n_tasks), probs[:n_tasks], probs[n_tasks:]


@EACH_SCORER
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(2, 5))])
def test_each_class_is_the_binary_problem_of_yes_and_no(scorer: Scorer, seed: int) -> None:
    labels, probs, unlabeled = drawn(seed)
    consensus = multilabel.consensus(labels, probs, scorer.class_consensus).label
    expected, of_unlabeled = np.zeros(labels.n_tasks), np.zeros(len(unlabeled))
    for index in range(labels.n_classes):
        answers = Labels(labels.task, labels.annotator, labels.chosen[:, index].astype(np.int64), labels.n_tasks, 2)
        both = np.stack([1 - probs[:, index], probs[:, index]], axis=1)
        assert (consensus[:, index] == (scorer.class_consensus(answers, both).label == 1)).all()
        rest = np.stack([1 - unlabeled[:, index], unlabeled[:, index]], axis=1)
        of_class = scorer.scores(answers, both, rest)
        expected += of_class[0] / labels.n_classes
        of_unlabeled += of_class[1] / labels.n_classes
    got = multilabel.scores(labels, probs, unlabeled, scorer.scores)
    np.testing.assert_allclose(got[0], expected, atol=1e-12)
    np.testing.assert_allclose(got[1], of_unlabeled, atol=1e-12)


@pytest.mark.usefixtures("integer_labels")
@pytest.mark.parametrize("labels_a_task", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_cleanlab_gives_the_same_numbers(seed: int, labels_a_task: int) -> None:
    labels, probs, unlabeled = drawn(seed, labels_a_task=labels_a_task)
    by_us, by_cleanlab = (multilabel.consensus(labels, probs, scorer.class_consensus) for scorer in SCORERS.values())
    np.testing.assert_array_equal(by_us.label, by_cleanlab.label)
    np.testing.assert_array_equal(by_us.probability, by_cleanlab.probability)
    scores = [multilabel.scores(labels, probs, unlabeled, scorer.scores) for scorer in SCORERS.values()]
    for ours, theirs in zip(*scores, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@EACH_SCORER
@pytest.mark.parametrize("value", [False, True], ids=["nobody chose it", "everybody chose it"])
@pytest.mark.parametrize("labels_a_task", [1, 3])
def test_a_class_on_which_all_agree_does_no_harm(scorer: Scorer, value: bool, labels_a_task: int) -> None:
    labels, probs, unlabeled = drawn(1, labels_a_task=labels_a_task)
    labels.chosen[:, 2] = value
    assert (multilabel.consensus(labels, probs, scorer.class_consensus).label[:, 2] == value).all()
    for got in multilabel.scores(labels, probs, unlabeled, scorer.scores):
        assert ((got >= 0) & (got <= 1)).all()


@EACH_SCORER
def test_consensus_holds_nothing_that_nobody_chose_and_all_that_everybody_did(scorer: Scorer) -> None:
    labels, _, _ = drawn(3, labels_a_task=2)
    votes = np.stack([np.bincount(labels.task, weights=labels.chosen[:, k]) for k in range(4)], axis=1)
    for certain in (0.999, 0.001):  # a model that contradicts everybody
        consensus = multilabel.consensus(labels, np.full((40, 4), certain), scorer.class_consensus).label
        assert not consensus[votes == 0].any()
        assert consensus[votes == 2].all()


def test_the_majority_of_each_class_decides_before_there_is_a_model() -> None:
    task, annotator = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 0, 1, 0])
    chosen = np.array([[1, 1], [1, 0], [0, 0], [1, 0], [0, 1], [1, 0]], np.bool_)
    consensus = multilabel.majority(ClassSets(task, annotator, chosen, 3)).label
    # The second task is split: four of six answers say yes to the first class, two of six to the second.
    assert consensus.tolist() == [[True, False], [True, False], [True, False]]


def test_a_strategy_by_majority_is_the_vote_of_each_class_with_a_model_too() -> None:
    labels, probs, _ = drawn(2)
    by_votes = multilabel.consensus(labels, probs, by_majority)
    np.testing.assert_array_equal(by_votes.label, multilabel.majority(labels).label)


def test_a_tie_that_nothing_settles_is_no() -> None:
    labels = ClassSets(np.array([0, 0]), np.array([0, 1]), np.array([[1, 0], [0, 1]], np.bool_), 1)
    assert multilabel.majority(labels).label.tolist() == [[False, False]]


def test_the_quality_is_that_of_the_least_certain_class() -> None:
    labels, probs, _ = drawn(4)
    result = multilabel.consensus(labels, probs, by_crowdlab_among_given)
    expected = np.ones(labels.n_tasks)
    for index in range(labels.n_classes):
        of_class = crowdlab(labels.of(index), binary(probs[:, index])).probs
        expected = np.minimum(expected, np.where(result.label[:, index], of_class[:, 1], of_class[:, 0]))
    np.testing.assert_allclose(result.probability, expected)
    assert result.weight is None


def test_the_quality_tells_right_sets_from_wrong_ones() -> None:
    labels, probs, _ = drawn(5, n_tasks=400, labels_a_task=1)
    truth = np.random.default_rng(5).random((420, 4)) < np.linspace(0.5, 0.1, 4)
    result = multilabel.consensus(labels, probs, by_crowdlab_among_given)
    right, quality = (result.label == truth[:400]).all(axis=1), result.probability
    assert 0.2 < right.mean() < 0.95
    assert quality[right].mean() > quality[~right].mean() + 0.1


def test_a_task_in_doubt_scores_lower_than_one_that_is_clear() -> None:
    labels, probs, _ = drawn(6)
    clear, doubtful = np.full((1, 4), 0.02), np.array([[0.02, 0.5, 0.02, 0.02]])
    _, got = multilabel.scores(labels, probs, np.concatenate([clear, doubtful]), activelab.scores)
    assert got[1] < got[0]


def test_order_of_tasks_and_classes_does_not_matter() -> None:
    labels, probs, unlabeled = drawn(7)
    places = np.random.default_rng(0).permutation(labels.n_tasks)
    turned = ClassSets(np.argsort(places)[labels.task], labels.annotator, labels.chosen[:, ::-1], labels.n_tasks)
    got = multilabel.scores(turned, probs[places][:, ::-1], unlabeled[:, ::-1], activelab.scores)
    expected = multilabel.scores(labels, probs, unlabeled, activelab.scores)
    np.testing.assert_allclose(got[0], expected[0][places], atol=1e-9)
    np.testing.assert_allclose(got[1], expected[1], atol=1e-9)


def test_no_labels_and_no_unlabelled_tasks_are_no_error() -> None:
    labels, probs, _ = drawn(8)
    labelled, unlabelled = multilabel.scores(labels, probs, np.zeros((0, 4)), activelab.scores)
    assert (labelled.shape, unlabelled.shape) == ((40,), (0,))


def test_a_class_is_predicted_from_a_half_on() -> None:
    assert multilabel.predicted(np.array([[0.5, 0.49, 0.51]])).tolist() == [[True, False, True]]
