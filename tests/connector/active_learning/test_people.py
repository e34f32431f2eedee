"""What is found of annotators: their accuracy and speed, and who needs a look."""

from dataclasses import replace

import numpy as np
import pytest

from connector.active_learning.labels import Floats, Ints
from connector.active_learning.people import Answers, Person, assess

CLASSES = 3
SHARES = np.array([0.5, 0.3, 0.2])


def simulate(
    right: list[float],
    each: int,
    *,
    seed: int = 0,
    together: int = 3,
    constant: tuple[int, ...] = (),
    careless: tuple[int, ...] = (),
    pace: dict[int, float] | None = None,
) -> tuple[Answers, Ints]:
    """Annotators who are right so often and else err at random, `together` of them on each task, and the truth.

    Those of `constant` always give the first class. Those of `careless` guess in the second half.
    """
    rng = np.random.default_rng(seed)
    people = len(right)
    tasks = each * people // together
    truth = rng.choice(CLASSES, tasks, p=SHARES)
    rows, given = [], np.zeros(people)
    for task in range(tasks):
        for who in rng.choice(people, together, replace=False).tolist():
            given[who] += 1
            guesses = who in careless and given[who] > each / 2
            label = int(truth[task])
            if guesses or rng.random() >= right[who]:
                label = int(rng.integers(CLASSES)) if guesses else int((label + rng.integers(1, CLASSES)) % CLASSES)
            if who in constant:
                label = 0
            seconds = 8 * (pace or {}).get(who, 1.0) * float(np.exp(rng.normal(0, 0.5)))
            rows.append((task, who, label, seconds))
    task_of, who_of, label_of, seconds_of = zip(*rows, strict=True)
    return Answers(np.array(task_of), np.array(who_of), np.array(label_of), np.array(seconds_of)), truth


def found(answers: Answers, people: int, probs: Floats | None = None, truth: Ints | None = None) -> list[Person]:
    unknown = np.full(int(answers.task.max()) + 1, -1)
    return assess(answers, probs, unknown if truth is None else truth, CLASSES, people)


def kinds(people: list[Person]) -> list[set[str]]:
    return [{warning.kind for warning in person.warnings} for person in people]


def test_intervals_of_the_accuracy_hold_what_they_promise() -> None:
    right = [0.95, 0.85, 0.75, 0.9, 0.8]
    inside = []
    for seed in range(20):
        answers, _ = simulate(right, 200, seed=seed)
        for share, person in zip(right, found(answers, len(right)), strict=True):
            assert person.accuracy is not None
            assert person.accuracy.n == person.answers
            inside.append(person.accuracy.low <= share <= person.accuracy.high)
    assert np.mean(inside) >= 0.9


def test_without_any_other_label_nothing_is_known() -> None:
    answers = Answers(np.arange(40), np.zeros(40, np.int64), np.zeros(40, np.int64), np.full(40, np.nan))
    (person,) = found(answers, 1)
    assert person == Person(40, by_class=[None] * CLASSES)


def test_on_ground_truth_the_interval_is_that_of_a_beta_distribution() -> None:
    truth = np.zeros(20, np.int64)
    label = np.array([0] * 15 + [1] * 5)
    answers = Answers(np.arange(20), np.zeros(20, np.int64), label, np.full(20, np.nan))
    (person,) = found(answers, 1, truth=truth)
    assert person.accuracy is not None
    assert person.accuracy.value == pytest.approx(16 / 22, abs=0.002)
    # The quantiles of Beta(16, 6) at 0.025 and 0.975.
    assert person.accuracy.low == pytest.approx(0.528, abs=0.005)
    assert person.accuracy.high == pytest.approx(0.887, abs=0.005)
    assert person.by_class[1:] == [None, None]
    assert person.by_class[0] is not None
    assert person.by_class[0].value == pytest.approx(16 / 22, abs=0.01)


def test_who_answers_at_random_or_always_the_same_is_named() -> None:
    answers, _ = simulate([0.9, 0.85, 0.8, 0.9, 1 / 3, 0.9], 150, constant=(5,))
    people = found(answers, 6)
    assert kinds(people) == [set(), set(), set(), set(), {"random"}, {"constant"}]
    (warning,) = people[5].warnings
    assert warning.label == 0
    assert warning.evidence >= 1000
    assert warning.since == 0


def test_the_model_alone_can_convict() -> None:
    answers, truth = simulate([0.9, 0.85, 0.8, 0.9, 1 / 3], 150, together=1)
    probs = np.full((len(truth), CLASSES), 0.1)
    probs[np.arange(len(truth)), truth] = 0.8
    assert kinds(found(answers, 5, probs)) == [set(), set(), set(), set(), {"random"}]
    assert kinds(found(answers, 5)) == [set()] * 5  # nobody to compare with
    unknown = np.full_like(probs, np.nan)
    assert kinds(found(answers, 5, unknown)) == [set()] * 5


def test_who_becomes_careless_is_named_with_when() -> None:
    answers, _ = simulate([0.9, 0.85, 0.95, 0.9, 0.9], 400, careless=(2,))
    people = found(answers, 5)
    assert kinds(people) == [set(), set(), {"careless"}, set(), set()]
    assert people[2].warnings[0].since == pytest.approx(200, abs=50)
    assert people[2].halves is not None
    first, second = people[2].halves
    assert second.high < first.low


def test_who_guesses_since_a_third_is_not_said_to_have_guessed_always() -> None:
    answers, _ = simulate([0.9, 0.85, 0.95, 0.9, 0.9], 450)
    rng = np.random.default_rng(3)
    theirs = np.flatnonzero(answers.annotator == 2)
    label = answers.label.copy()
    label[theirs[len(theirs) // 3 :]] = rng.integers(0, CLASSES, len(theirs) - len(theirs) // 3)
    (warning,) = found(replace(answers, label=label), 5)[2].warnings
    assert warning.since == pytest.approx(len(theirs) / 3, abs=50)


def test_a_majority_class_alone_accuses_nobody() -> None:
    """Whoever meets the majority class is as right as the others, if the other class is hardly there."""
    rng = np.random.default_rng(1)
    truth = (rng.random(400) < 0.01) * 1
    task = np.repeat(np.arange(400), 3)
    annotator = np.tile(np.arange(3), 400)
    label = np.where(annotator == 2, 0, truth[task])
    people = found(Answers(task, annotator, label, np.full(1200, np.nan)), 3)
    assert kinds(people) == [set()] * 3
    assert people[2].accuracy is not None
    assert people[2].accuracy.value > 0.95


def test_two_who_contradict_each_other_accuse_nobody() -> None:
    answers, _ = simulate([0.95, 1 / 3], 300, together=2)
    assert kinds(found(answers, 2)) == [set(), set()]


def test_speed() -> None:
    right = [0.9, 0.9, 0.9, 0.9, 0.6, 0.9]
    answers, _ = simulate(right, 400, pace={3: 0.3, 4: 0.25, 5: 3.5})
    people = found(answers, 6)
    assert kinds(people) == [set(), set(), set(), set(), {"hasty"}, {"slow"}]  # to be fast and right is no fault
    assert people[3].pace == pytest.approx(0.3, rel=0.3)
    assert people[5].pace == pytest.approx(3.5, rel=0.3)
    assert people[0].seconds == pytest.approx(8, rel=0.15)


def test_unknown_times_are_left_out() -> None:
    answers, _ = simulate([0.9, 0.9, 0.9], 60)
    unknown = Answers(answers.task, answers.annotator, answers.label, np.where(answers.annotator == 1, np.nan, 0.0))
    people = found(unknown, 3)
    assert [(person.seconds, person.pace) for person in people] == [(None, None)] * 3


@pytest.mark.parametrize("seed", range(5))
def test_honest_annotators_are_not_named(seed: int) -> None:
    right = [0.75, 0.8, 0.85, 0.9, 0.95, 0.75]
    answers, _ = simulate(right, 500, seed=seed)
    assert kinds(found(answers, len(right))) == [set()] * len(right)
