"""Annotators of a project: their labels as arrays, several questions, multiple choice, and what is said of them."""

import json
from datetime import timedelta, timezone

import numpy as np
import pytest
from support.report_data_factory import Made, make
from support.scoring_factory import probabilities

from connector.active_learning.people import Estimate
from connector.sync.people import PersonSummary, PersonWarning, of_question, remedy, warning_words

CLASSES = ("Polite", "Impolite", "Rude")


def answered(made: Made, tasks: int, *, bad: int = 0, seconds: float = 5.0) -> list[int]:
    """Four annotators label every task. They err sometimes, and annotator `bad` guesses. Returns the true classes."""
    rng = np.random.default_rng(0)
    truth = rng.integers(len(CLASSES), size=tasks).tolist()
    for task in range(1, tasks + 1):
        for annotator in (1, 2, 3, 4):
            guess = annotator == bad or rng.random() < 0.1
            label = int(rng.integers(len(CLASSES))) if guess else truth[task - 1]
            made.say(task, annotator, CLASSES[label], seconds=seconds * (1 + annotator / 10))
    return truth


def test_a_project_without_labels_has_no_annotators() -> None:
    assert of_question(make(3).facts().pulled, None) == []


def test_labels_of_a_project_become_what_is_known_of_its_annotators() -> None:
    made = make(120)
    truth = answered(made, 120, bad=3)
    for task in range(1, 21):
        made.say(task, 9, CLASSES[truth[task - 1]], truth=True)
    made.say(1, 0, "Polite")  # of a user who was deleted
    people = of_question(made.facts().pulled, None)
    assert [person.annotator for person in people] == [1, 2, 3, 4]  # ground truth is no one's work
    assert [[warning.kind for warning in person.warnings] for person in people] == [[], [], ["random"], []]
    first, third = people[0], people[2]
    assert first.accuracy is not None
    assert third.accuracy is not None
    assert first.accuracy.low > third.accuracy.high
    assert (first.on_truth, third.on_truth) == (20, 20)
    assert first.right_on_truth > third.right_on_truth
    assert list(first.by_class) == list(CLASSES)
    assert (first.seconds, first.answers, first.control) == (5.5, 120, "")
    assert first.pace == pytest.approx(5.5 / 6.25, rel=0.05)  # the medians of others are 5, 6, 6.5 and 7 s
    assert third.warnings[0].since is None
    assert 1000 <= third.warnings[0].one_in <= 1_000_000


def test_the_latest_label_counts_and_when_it_began_is_a_time() -> None:
    made = make(300)
    rng = np.random.default_rng(1)
    for task in range(1, 301):
        truth = int(rng.integers(3))
        for annotator in (1, 2, 3):
            careless = annotator == 2 and task > 150
            made.say(task, annotator, CLASSES[int(rng.integers(3)) if careless else truth])
    (warning,) = of_question(made.facts().pulled, None)[1].warnings
    assert warning.kind == "careless"
    assert warning.since is not None
    begun = [row for task in made.facts().pulled.tasks.values() for row in task.annotations if row.annotator == 2]
    assert warning.since in {row.created_at for row in begun[125:176]}


def test_the_model_counts_as_one_of_the_others() -> None:
    made = make(300)
    rng = np.random.default_rng(2)
    truth = rng.integers(3, size=300)
    for task in range(1, 301):
        annotator = 1 + task % 2
        made.say(task, annotator, CLASSES[int(rng.integers(3)) if annotator == 2 else int(truth[task - 1])])
    pulled = made.facts().pulled
    assert all(person.accuracy is None for person in of_question(pulled, None))
    probs = np.full((290, 3), 0.1)
    probs[np.arange(290), truth[:290]] = 0.8
    guesser, right = sorted(
        of_question(pulled, probabilities(probs, range(1, 291), CLASSES)), key=lambda person: -person.annotator
    )
    assert guesser.accuracy is not None
    assert right.accuracy is not None
    assert guesser.accuracy.n == right.accuracy.n == 145  # of the last ten tasks, the model knows nothing
    assert right.accuracy.low > 0.8
    assert [[warning.kind for warning in person.warnings] for person in (guesser, right)] == [["random"], []]


def test_each_class_of_multiple_choice_is_a_question() -> None:
    made = make(150, multiple=True)
    rng = np.random.default_rng(3)
    for task in range(1, 151):
        truth = [name for name in CLASSES if rng.random() < 0.4]
        for annotator in (1, 2, 3, 4):
            chosen = [name for name in CLASSES if rng.random() < 0.4] if annotator == 4 else truth
            made.say(task, annotator, chosen)
        made.say(task, 9, truth, truth=True)
    people = of_question(made.facts().pulled, None)
    assert [[warning.kind for warning in person.warnings] for person in people] == [[], [], [], ["random"]]
    assert people[0].accuracy is not None
    assert people[0].accuracy.low > 0.95
    assert (people[0].on_truth, people[0].right_on_truth) == (150, 150)
    assert people[3].right_on_truth < 75  # a set is right as a whole


def test_what_a_round_remembers_comes_back() -> None:
    made = make(120)
    answered(made, 120, bad=3)
    for person in of_question(made.facts().pulled, None):
        assert PersonSummary.from_json(json.loads(json.dumps(person.to_json()))) == person


def test_warnings_in_words() -> None:
    east = timezone(timedelta(hours=10))
    sure = "(at most 1 of 5,200 honest annotators ever looks like this)"
    at = "2026-03-01T20:00:00Z"
    assert warning_words(PersonWarning("random", 5200), "") == f"answers at random {sure}"
    assert (
        warning_words(PersonWarning("constant", 5200, None, "Polite"), "'Polite'") == f"always answers 'Polite' {sure}"
    )
    since = "answers worse than before since 2026-03-02"
    assert warning_words(PersonWarning("careless", 5200, at), "", east) == f"{since} {sure}"
    for kind in ("hasty", "slow"):
        assert warning_words(PersonWarning(kind, 5200), "").endswith(sure)
    assert remedy(7, 12, "ben@example.com").endswith("connector init --project 7 --exclude ben@example.com")
    assert remedy(7, 12, None).endswith("connector init --project 7 --exclude 12")


def test_only_a_reproach_needs_a_look() -> None:
    summary = PersonSummary(1, "", 9, Estimate(0.9, 0.8, 1.0, 9), {}, None, 0, 0, None, None)
    slow = PersonSummary(**{**vars(summary), "warnings": [PersonWarning("slow", 1000)]})
    hasty = PersonSummary(**{**vars(summary), "warnings": [PersonWarning("hasty", 1000)]})
    assert [one.is_to_be_looked_at for one in (summary, slow, hasty)] == [False, False, True]
