"""Equal to cleanlab on integer labels wherever it answers, on drawn cases: scores, consensus, weights, annotators.

The temperature of the probabilities is fitted to how often each label was given. Where an annotator left a task out,
cleanlab's table holds floating-point numbers, and it then counts the labels of a task in the first columns, whatever
their classes. Here it counts them as integers, as it does in a full table of integers.
"""

import contextlib
import io
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cleanlab.internal import multiannotator_utils
from cleanlab.multiannotator import get_active_learning_scores, get_label_quality_multiannotator

from connector.active_learning import crowdlab as crowdlab_module
from connector.active_learning.activelab import scores
from connector.active_learning.annotator_quality import annotator_stats
from connector.active_learning.crowdlab import CrowdlabResult, crowdlab
from connector.active_learning.labels import Floats, Labels

BATCHES, CASES_A_BATCH = 40, 50
BY_DAY = 1  # batches. The others are for make test-all.
TOLERANCE = 1e-9
NEARLY_TIED = 1e-12
SHAPES = (
    "any",
    "one label a task",
    "no overlap but one",
    "unanimous",
    "tied",
    "probabilities near 0 and 1",
    "coarse probabilities",
    "a class nobody chose",
)


@dataclass
class Case:
    labels: Labels
    table: Floats
    pred_probs: Floats
    pred_probs_unlabeled: Floats


def draw(random: np.random.Generator, shape: str) -> Case:
    """A case of 2 to 10 classes, 1 to 30 annotators and 1 to 200 tasks, small ones more often."""
    n_classes, n_annotators = int(random.integers(2, 11)), int(random.integers(1, 31))
    n_tasks = int(random.integers(1, 201 if random.random() < 0.3 else 20))
    choosable = n_classes - 1 if shape == "a class nobody chose" and n_classes > 2 else n_classes
    truth = random.integers(0, choosable, n_tasks)
    table = np.full((n_tasks, n_annotators), np.nan)
    share, errors = random.choice([0.03, 0.1, 0.5, 1.0]), random.choice([0.0, 0.2, 0.5, 0.9])
    if shape == "unanimous":
        errors = 0.0
    for annotator in range(n_annotators):
        given = random.random(n_tasks) < share
        guess = random.integers(0, choosable, n_tasks)
        if shape == "tied":
            guess, errors = (truth + annotator % 2) % choosable, 1.0
        label = np.where(random.random(n_tasks) < errors, guess, truth)
        table[given, annotator] = label[given]
    if shape in ("one label a task", "no overlap but one"):
        table[:] = np.nan
        table[np.arange(n_tasks), random.integers(0, n_annotators, n_tasks)] = truth
        if shape == "no overlap but one":
            table[0, :2] = truth[0]
    empty = np.isnan(table).all(axis=1)
    table[empty, random.integers(0, n_annotators, empty.sum())] = truth[empty]

    spread = random.choice([0.05, 0.5, 1.0, 5.0])
    pred_probs = random.dirichlet(np.full(n_classes, spread), n_tasks)
    if shape == "probabilities near 0 and 1":
        pred_probs = np.eye(n_classes)[random.integers(0, n_classes, n_tasks)]
        if random.random() < 0.5:
            pred_probs = np.clip(pred_probs, 1e-12, None)
            pred_probs /= pred_probs.sum(axis=1, keepdims=True)
    elif shape in ("tied", "coarse probabilities"):
        pred_probs = np.round(pred_probs * 4) + (1.0 if shape == "tied" else 0.0)
        pred_probs[pred_probs.sum(axis=1) == 0] = 1.0
        pred_probs /= pred_probs.sum(axis=1, keepdims=True)
    unlabeled = random.dirichlet(np.full(n_classes, spread), int(random.integers(0, 30)))
    task, annotator = np.nonzero(~np.isnan(table))
    labels = Labels(task, annotator, table[task, annotator].astype(np.int64), n_tasks, n_classes)
    return Case(labels, table[:, ~np.isnan(table).all(axis=0)], pred_probs, unlabeled)


def cleanlab_answers(function: Any, *arguments: Any, **options: Any) -> Any:
    """cleanlab's answer, or None where it raises or draws lots."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            answer = function(*arguments, **options)
        except (ValueError, IndexError, ZeroDivisionError):
            return None
    return None if any("random selection" in str(one.message) for one in warned) else answer


def has_near_tie(result: CrowdlabResult) -> bool:
    """Whether two classes of a task are so close that rounding, or chance, decides between them."""
    ordered = np.sort(result.probs, axis=1)
    return bool((ordered[:, -1] - ordered[:, -2] < NEARLY_TIED).any())


def assert_equal_fit(case: Case, temperature: float) -> None:
    """Another temperature than ours fits the labels as well as ours."""
    ours = crowdlab(case.labels, case.pred_probs, calibrate=True).temperature
    fits = [
        multiannotator_utils.compute_soft_cross_entropy(
            case.table, multiannotator_utils.temp_scale_pred_probs(case.pred_probs, each)
        ).mean()
        for each in (ours, temperature)
    ]
    assert abs(fits[0] - fits[1]) < NEARLY_TIED, (ours, temperature)


def test_cleanlab_itself_counts_labels_under_other_classes_if_they_are_floats() -> None:
    labels = np.array([[1, 1, np.nan], [1, np.nan, 1], [0, 0, 0]])
    pred_probs = np.array([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]])
    as_floats = multiannotator_utils.compute_soft_cross_entropy(labels[:1], pred_probs[:1])
    full = np.array([[1, 1, 1]])
    as_integers = multiannotator_utils.compute_soft_cross_entropy(full, pred_probs[:1])
    # The model gives the label that all chose 0.9. Under the other class, that is 0.1.
    assert as_integers == pytest.approx(-np.log2(0.9))
    assert as_floats == pytest.approx(-np.log2(0.1))
    assert multiannotator_utils.find_best_temp_scaler(labels, pred_probs) > 5
    complete = np.array([[1, 1, 1], [1, 1, 1], [0, 0, 0]])
    assert multiannotator_utils.find_best_temp_scaler(complete, pred_probs) == 0.1


@pytest.mark.usefixtures("integer_labels")
@pytest.mark.parametrize(
    "batch", [*range(BY_DAY), *(pytest.param(batch, marks=pytest.mark.nightly) for batch in range(BY_DAY, BATCHES))]
)
def test_equal_to_cleanlab(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(batch)
    answered: Counter[str] = Counter()
    nearly_tied: Counter[str] = Counter()
    for number in range(CASES_A_BATCH):
        shape = SHAPES[number % len(SHAPES)]
        case = draw(random, shape)
        for calibrate in (False, True):
            result = crowdlab(case.labels, case.pred_probs, calibrate=calibrate)
            theirs = cleanlab_answers(
                get_label_quality_multiannotator,
                case.table,
                case.pred_probs,
                calibrate_probs=calibrate,
                return_weights=True,
                verbose=False,
            )
            if theirs is None:
                continue
            answered["crowdlab"] += 1
            if has_near_tie(result) and (theirs["label_quality"]["consensus_label"] != result.label).any():
                nearly_tied["crowdlab"] += 1
                continue
            compare(case.labels, result, theirs)
        theirs = cleanlab_answers(
            get_active_learning_scores,
            case.table,
            case.pred_probs,
            case.pred_probs_unlabeled if len(case.pred_probs_unlabeled) else None,
        )
        if theirs is not None:
            answered["scores"] += 1
            ours = scores(case.labels, case.pred_probs, case.pred_probs_unlabeled)
            if not close(ours[1], theirs[1]):
                # Two temperatures fit equally well, and rounding decides for cleanlab. At that one, scores are equal.
                temperature = multiannotator_utils.find_best_temp_scaler(case.table, case.pred_probs)
                assert_equal_fit(case, temperature)
                with monkeypatch.context() as at_theirs:
                    at_theirs.setattr(crowdlab_module, "best_temperature", lambda *arguments, fits=temperature: fits)
                    ours = scores(case.labels, case.pred_probs, case.pred_probs_unlabeled)
            if has_near_tie(crowdlab(case.labels, case.pred_probs, calibrate=True)) and not close(ours[0], theirs[0]):
                nearly_tied["scores"] += 1
                continue
            assert close(ours[0], theirs[0]), (shape, number)
            assert close(ours[1], theirs[1]), (shape, number)
    # cleanlab answered, and ties were few.
    assert answered["scores"] >= 0.9 * CASES_A_BATCH
    assert answered["crowdlab"] >= CASES_A_BATCH
    assert nearly_tied["scores"] < 0.01 * answered["scores"]
    assert nearly_tied["crowdlab"] < 0.01 * answered["crowdlab"]


def close(ours: Floats, theirs: Any) -> bool:
    return bool(np.allclose(ours, np.asarray(theirs, np.float64), rtol=0, atol=TOLERANCE))


def compare(labels: Labels, result: CrowdlabResult, theirs: dict[str, Any]) -> None:
    quality = theirs["label_quality"]
    np.testing.assert_array_equal(result.label, quality["consensus_label"])
    assert close(result.quality, quality["consensus_quality_score"])
    assert close(result.agreement, quality["annotator_agreement"])
    assert abs(result.model_weight - theirs["model_weight"]) < TOLERANCE
    assert close(result.annotator_weight, theirs["annotator_weight"])
    stats, ours = theirs["annotator_stats"].sort_index(), annotator_stats(labels, result)
    rated = stats["annotator_quality"].notna().to_numpy()  # not those who share no task with anybody
    assert close(ours.quality[rated], stats["annotator_quality"][rated])
    assert close(ours.agreement, stats["agreement_with_consensus"])
    np.testing.assert_array_equal(ours.n_labels, stats["num_examples_labeled"])
    np.testing.assert_array_equal(ours.worst_class, stats["worst_class"])
    detailed = theirs["detailed_label_quality"].to_numpy()
    column = np.searchsorted(result.annotators, labels.annotator)
    assert close(result.probs[labels.task, labels.label], detailed[labels.task, column])
