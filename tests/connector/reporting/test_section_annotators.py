"""What a report tells of people: labels, agreement, quality, confusions, alpha."""

import krippendorff
import numpy as np
import pytest
from support.report_data_factory import CLASSES, SURE, make

from connector.reporting.content import Annotator
from connector.reporting.report_data import ReportData
from connector.reporting.section_annotators import annotators_section
from connector.reporting.section_labels import class_counts
from connector.simulation.confidence_intervals import wilson


def by_name(data: ReportData) -> dict[str, Annotator]:
    return {one.name: one for one in annotators_section(data).annotators}


def test_annotators_with_what_they_said_and_how_often_that_stood() -> None:
    made = make(12)
    for task in range(1, 11):
        made.say(task, 1, "Polite", seconds=task)
        made.say(task, 2, "Polite")
        made.say(task, 3, "Rude" if task <= 3 else "Polite", seconds=None)
    made.say(11, 1, "Impolite", seconds=100)  # by nobody else: it tells nothing of agreement
    made.say(12, 3, None)
    found = by_name(made.facts(emails={1: "ada@example.com", 2: "bob@example.com"}))
    assert list(found) == ["ada@example.com", "bob@example.com", "user 3"]
    ada, third = found["ada@example.com"], found["user 3"]
    assert (ada.labels, ada.skips, ada.seconds) == (11, 0, 6)
    assert ada.agreement is not None
    assert (ada.agreement.value, ada.agreement.low, ada.agreement.high) == (1.0, *wilson(1.0, 10))
    assert (ada.confused, ada.taken_for) == (None, None)
    assert (third.labels, third.skips, third.seconds) == (10, 1, None)
    assert third.agreement is not None
    assert third.agreement.value == pytest.approx(0.7)
    assert (third.confused, third.taken_for) == ("Rude", "Polite")
    assert all(one.quality is None for one in found.values()), "there is no model"


def test_quality_is_crowdlabs_with_an_interval() -> None:
    made = make(30)
    for task in range(1, 31):
        made.say(task, 1, "Polite" if task % 2 else "Rude")
        made.say(task, 2, "Polite" if task % 2 else "Rude")
        made.say(task, 3, "Impolite" if task % 3 else "Rude")
    probs = {task: SURE if task % 2 else (0.02, 0.02, 0.96) for task in range(1, 31)}
    found = by_name(made.facts(probs))
    good, bad = found["user 1"].quality, found["user 3"].quality
    assert good is not None
    assert bad is not None
    assert bad.high < good.low
    for one in (good, bad):
        assert (one.low, one.high) == wilson(one.value, 30)


def test_ground_truth_is_nobodys_work_and_deleted_users_are_one() -> None:
    made = make(4)
    for task in range(1, 5):
        made.say(task, 9, "Rude", truth=True)
    made.say(1, 0, "Polite")
    data = made.facts()
    found = annotators_section(data)
    assert [(one.name, one.labels) for one in found.annotators] == [("deleted users", 1)]
    assert data.labels == {(1, 0): "Polite"}
    assert len(data.reviewed.scored.consensus) == 4, "it is part of the consensus"
    (first,) = [one for one in class_counts(data)[0] if one.name == "Rude"]
    assert (first.labels, first.consensus) == (0, 4)


def test_pairs_and_alpha_are_those_of_the_latest_labels() -> None:
    made = make(6)
    said = {1: "PPIIRR", 2: "PPIRRR", 3: "P.IP.."}
    names = {name[0]: name for name in CLASSES}
    made.say(1, 1, "Rude")  # taken back below
    for annotator, labels in said.items():
        for task, letter in enumerate(labels, start=1):
            if letter != ".":
                made.say(task, annotator, names[letter])
    found = annotators_section(made.facts())
    pairs = [(one.first, one.second, one.tasks) for one in found.pairs]
    assert pairs == [("user 1", "user 2", 6), ("user 1", "user 3", 3), ("user 2", "user 3", 3)]
    assert [one.agreement for one in found.pairs] == pytest.approx([5 / 6, 2 / 3, 2 / 3])
    data = [[np.nan if letter == "." else float("PIR".index(letter)) for letter in row] for row in said.values()]
    assert found.alpha == pytest.approx(krippendorff.alpha(data, level_of_measurement="nominal"))
    assert "tentative" in found.alpha_words


def test_alpha_says_why_there_is_none() -> None:
    made = make(3)
    assert annotators_section(made.facts()) == annotators_section(make(3).facts())
    made.say(1, 1, "Polite")
    made.say(2, 2, "Rude")
    found = annotators_section(made.facts())
    assert (found.alpha, found.pairs) == (None, [])
    assert found.alpha_words.startswith("No two people")
    made.say(1, 2, "Polite")
    assert annotators_section(made.facts()).alpha_words.startswith(
        "All labels of tasks that several people labelled are one class"
    )
    made.say(2, 1, "Rude")
    assert annotators_section(made.facts()).alpha == 1.0


def test_sets_differ_by_their_classes() -> None:
    made = make(3, ("A", "B", "C"), multiple=True)
    for task, first, second in ((1, "AB", "AB"), (2, "AC", "A"), (3, "", "B")):
        made.say(task, 1, list(first))
        made.say(task, 2, list(second))
        made.say(task, 3, list(first))
    probs = {1: (0.9, 0.9, 0.1), 2: (0.9, 0.1, 0.9), 3: (0.1, 0.3, 0.1)}
    data = made.facts(probs)
    found = annotators_section(data)
    good, odd, _ = found.annotators
    assert (odd.name, odd.confused, odd.taken_for) == ("user 2", "C", None), "left out where it is the consensus"
    assert odd.quality is not None
    assert good.quality is not None
    assert odd.quality.value < good.quality.value
    assert found.alpha is not None
    assert 0 < found.alpha < 1
    assert "classes" in found.alpha_words
    counts = {one.name: (one.labels, one.consensus) for one in class_counts(data)[0]}
    assert counts == {"A": (6, 2), "B": (4, 1), "C": (2, 1)}


def test_many_annotators_are_bounded() -> None:
    made = make(2)
    for annotator in range(1, 131):
        made.say(1, annotator, "Polite")
    found = annotators_section(made.facts())
    assert (len(found.annotators), found.left_out, len(found.pairs), found.unpaired) == (100, 30, 190, 110)


def test_the_class_confused_most_is_that_of_most_errors() -> None:
    """One of one wrong tells less than 60 of 200."""
    made = make(201)
    for task in range(1, 201):
        made.say(task, 1, "Polite")
        for other in (2, 3):
            made.say(task, other, "Polite" if task > 60 else "Impolite")
    made.say(201, 1, "Rude")
    made.say(201, 2, "Polite")
    made.say(201, 3, "Polite")
    found = by_name(made.facts())
    assert (found["user 1"].confused, found["user 1"].taken_for) == ("Polite", "Impolite")
    assert (found["user 2"].confused, found["user 2"].taken_for) == (None, None)


def test_of_as_many_errors_the_larger_share_is_confused_most() -> None:
    made = make(5)
    for task, first, others in ((1, "Polite", "Rude"), (2, "Polite", "Polite"), (3, "Rude", "Impolite")):
        made.say(task, 1, first)
        made.say(task, 2, others)
        made.say(task, 3, others)
    found = by_name(made.facts())["user 1"]
    assert (found.confused, found.taken_for) == ("Rude", "Impolite")


def test_of_several_classes_one_that_is_left_out_is_confused() -> None:
    made = make(20, ("A", "B"), multiple=True)
    for task in range(1, 21):
        for annotator in (1, 2, 3):
            made.say(task, annotator, ["A"] if annotator == 3 else ["A", "B"])
    found = by_name(made.facts())
    assert (found["user 3"].confused, found["user 3"].taken_for) == ("B", None)
    assert (found["user 1"].confused, found["user 1"].taken_for) == (None, None)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("PRPR", "RPRP", "People agree less than by chance"),
        ("PR", "RR", "People agree no more than by chance"),
        ("PRIPRI", "PRPRRI", "The labels are less reliable than Krippendorff asks for, 0.667 at least"),
        ("PRPRPRPRPR", "PRPRPRPRPP", "The labels are reliable by Krippendorff's bound of 0.8"),
    ],
)
def test_what_alpha_says(first: str, second: str, words: str) -> None:
    made, names = make(len(first)), {name[0]: name for name in CLASSES}
    for annotator, said in ((1, first), (2, second)):
        for task, letter in enumerate(said, start=1):
            made.say(task, annotator, names[letter])
    found = annotators_section(made.facts())
    assert found.alpha is not None
    assert found.alpha_words == f"{words}. 1 would be perfect agreement, 0 is chance."


def test_sets_that_are_all_the_same_are_no_agreement_beyond_chance() -> None:
    made = make(2, ("A", "B"), multiple=True)
    for task in (1, 2):
        made.say(task, 1, [])
        made.say(task, 2, [])
    found = annotators_section(made.facts())
    assert found.alpha is None
    assert found.alpha_words.startswith("All labels of tasks that several people labelled are the same, ")


def test_annotators_are_compared_with_the_others_and_who_guesses_is_named() -> None:
    rng = np.random.default_rng(0)
    made = make(90)
    for task in range(1, 91):
        truth = CLASSES[int(rng.integers(3))]
        for annotator in (1, 2, 3):
            made.say(task, annotator, truth)
        made.say(task, 4, CLASSES[int(rng.integers(3))])
    found = annotators_section(made.facts(emails={4: "dan@example.com"}))
    assert [one.name for one in found.checked] == ["user 1", "user 2", "user 3", "dan@example.com"]
    first, last = found.checked[0], found.checked[-1]
    assert first.accuracy is not None
    assert last.accuracy is not None
    assert last.accuracy.high < first.accuracy.low
    assert [one.label for one in first.by_class] == list(CLASSES)
    (warning,) = found.warnings
    assert (warning.name, warning.words[:17]) == ("dan@example.com", "answers at random")
    assert warning.remedy is not None
    assert warning.remedy.endswith("connector init --project 7 --exclude dan@example.com")
    without_address = annotators_section(made.facts()).warnings[0].remedy
    assert without_address is not None
    assert without_address.endswith("--exclude 4")
