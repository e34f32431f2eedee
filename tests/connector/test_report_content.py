"""What a report tells of a made-up project: every part, with and without a model, at its bounds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import krippendorff
import numpy as np
import pytest

from connector.annotations import Annotation, Task, digest
from connector.backend import Probabilities
from connector.intervals import wilson
from connector.label_config import Control
from connector.mirror import Pulled
from connector.progress import Reporter
from connector.report_content import Annotator, Bin, Place, Text
from connector.report_facts import TEXT_LENGTH, Facts, cut
from connector.report_labels import classes, consensus, pace
from connector.report_people import people
from connector.report_window import window
from connector.scoring import Review, review
from connector.selection import STRATEGIES, Slot

CLASSES = ("Polite", "Impolite", "Rude")
START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SYNCED = {"window": 10, "strategy": "activelab-weighted"}
Label = str | Sequence[str] | None


def control(classes: Sequence[str] = CLASSES, *, multiple: bool = False) -> Control:
    spellings = {name: name for name in classes}
    return Control("politeness", "text", "text", tuple(classes), spellings, multiple, none_counts=multiple)


class Served:
    """An ML backend with the model's probabilities of tasks; None: it has no model yet."""

    def __init__(self, probs: Mapping[int, Sequence[float]] | None, control: Control) -> None:
        self._probs, self._control = probs, control

    def check(self) -> None:
        pass

    def put_items(self, *items: Any) -> None:
        pass

    def probabilities(self, project: str) -> Probabilities | None:
        if self._probs is None:
            return None
        ids = np.array(sorted(self._probs), np.int64)
        rows = np.array([self._probs[int(task)] for task in ids])
        fold = np.zeros(len(ids), np.int8)
        return Probabilities("model-1", self._control.classes, ids, rows, fold, self._control.multiple)


class Made:
    """A project that a test makes up: tasks 1 to `tasks`, and what annotators said of them in turn."""

    def __init__(self, tasks: int, control: Control) -> None:
        self.control = control
        self._rows: dict[int, list[Annotation]] = {task: [] for task in range(1, tasks + 1)}
        self.texts = {task: f"Text {task}" for task in self._rows}

    def say(self, task: int, annotator: int, label: Label, *, truth: bool = False, seconds: float | None = 5.0) -> None:
        number = sum(map(len, self._rows.values())) + 1
        at = (START + timedelta(minutes=number)).isoformat()
        known = None if label is None else self.control.label_of([label] if isinstance(label, str) else label)
        self._rows[task].append(
            Annotation(number, task, annotator, known, label is None, truth, at, False, at, seconds)
        )

    def facts(
        self,
        probs: Mapping[int, Sequence[float]] | None = None,
        *,
        emails: Mapping[int, str] | None = None,
        rounds: Iterable[dict[str, Any]] = (),
        with_backend: bool = True,
        **known: Any,
    ) -> Facts:
        tasks = {
            task: Task(task, digest(self.texts[task]), bool(rows), 1, START.isoformat(), tuple(rows))
            for task, rows in self._rows.items()
        }

        def texts(ids: Iterable[int]) -> dict[int, str]:
            return {task: self.texts[task] for task in ids}

        pulled = Pulled({"id": 7, "title": "Requests"}, self.control, tasks, {}, False, texts)
        served: Any = Served(probs, self.control) if with_backend else None
        row = {"queue_version": "v1", "window_options": SYNCED, "min_annotations_per_task": 1, **known}
        return Facts(pulled, review(pulled, served, Reporter()), emails or {}, row, list(rounds))


@pytest.fixture
def make() -> Callable[..., Made]:
    """`make(tasks, classes, multiple=False)`."""

    def made(tasks: int, classes: Sequence[str] = CLASSES, *, multiple: bool = False) -> Made:
        return Made(tasks, control(classes, multiple=multiple))

    return made


Make = Callable[..., Made]
SURE = (0.96, 0.02, 0.02)


def by_name(facts: Facts) -> dict[str, Annotator]:
    return {one.name: one for one in people(facts).annotators}


# -- people ------------------------------------------------------------------------------------------------------------


def test_annotators_with_what_they_said_and_how_often_that_stood(make: Make) -> None:
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


def test_quality_is_crowdlabs_with_an_interval(make: Make) -> None:
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


def test_ground_truth_is_nobodys_work_and_deleted_users_are_one(make: Make) -> None:
    made = make(4)
    for task in range(1, 5):
        made.say(task, 9, "Rude", truth=True)
    made.say(1, 0, "Polite")
    facts = made.facts()
    found = people(facts)
    assert [(one.name, one.labels) for one in found.annotators] == [("deleted users", 1)]
    assert facts.labels == {(1, 0): "Polite"}
    assert len(facts.reviewed.scored.consensus) == 4, "it is part of the consensus"
    (first,) = [one for one in classes(facts)[0] if one.name == "Rude"]
    assert (first.labels, first.consensus) == (0, 4)


def test_pairs_and_alpha_are_those_of_the_latest_labels(make: Make) -> None:
    made = make(6)
    said = {1: "PPIIRR", 2: "PPIRRR", 3: "P.IP.."}
    names = {name[0]: name for name in CLASSES}
    made.say(1, 1, "Rude")  # taken back below
    for annotator, labels in said.items():
        for task, letter in enumerate(labels, start=1):
            if letter != ".":
                made.say(task, annotator, names[letter])
    found = people(made.facts())
    pairs = [(one.first, one.second, one.tasks) for one in found.pairs]
    assert pairs == [("user 1", "user 2", 6), ("user 1", "user 3", 3), ("user 2", "user 3", 3)]
    assert [one.agreement for one in found.pairs] == pytest.approx([5 / 6, 2 / 3, 2 / 3])
    data = [[np.nan if letter == "." else float("PIR".index(letter)) for letter in row] for row in said.values()]
    assert found.alpha == pytest.approx(krippendorff.alpha(data, level_of_measurement="nominal"))
    assert "tentative" in found.alpha_words


def test_alpha_says_why_there_is_none(make: Make) -> None:
    made = make(3)
    assert people(made.facts()) == people(make(3).facts())
    made.say(1, 1, "Polite")
    made.say(2, 2, "Rude")
    found = people(made.facts())
    assert (found.alpha, found.pairs) == (None, [])
    assert found.alpha_words.startswith("No two people")
    made.say(1, 2, "Polite")
    assert people(made.facts()).alpha_words.startswith("All labels of tasks that several people labelled are one class")
    made.say(2, 1, "Rude")
    assert people(made.facts()).alpha == 1.0


def test_sets_differ_by_their_classes(make: Make) -> None:
    made = make(3, ("A", "B", "C"), multiple=True)
    for task, first, second in ((1, "AB", "AB"), (2, "AC", "A"), (3, "", "B")):
        made.say(task, 1, list(first))
        made.say(task, 2, list(second))
        made.say(task, 3, list(first))
    probs = {1: (0.9, 0.9, 0.1), 2: (0.9, 0.1, 0.9), 3: (0.1, 0.3, 0.1)}
    facts = made.facts(probs)
    found = people(facts)
    good, odd, _ = found.annotators
    assert (odd.name, odd.confused, odd.taken_for) == ("user 2", "C", None), "left out where it is the consensus"
    assert odd.quality is not None
    assert good.quality is not None
    assert odd.quality.value < good.quality.value
    assert found.alpha is not None
    assert 0 < found.alpha < 1
    assert "classes" in found.alpha_words
    counts = {one.name: (one.labels, one.consensus) for one in classes(facts)[0]}
    assert counts == {"A": (6, 2), "B": (4, 1), "C": (2, 1)}


def test_many_annotators_are_bounded(make: Make) -> None:
    made = make(2)
    for annotator in range(1, 131):
        made.say(1, annotator, "Polite")
    found = people(made.facts())
    assert (len(found.annotators), found.left_out, len(found.pairs), found.unpaired) == (100, 30, 190, 110)


def test_the_class_confused_most_is_that_of_most_errors(make: Make) -> None:
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


def test_of_as_many_errors_the_larger_share_is_confused_most(make: Make) -> None:
    made = make(5)
    for task, first, others in ((1, "Polite", "Rude"), (2, "Polite", "Polite"), (3, "Rude", "Impolite")):
        made.say(task, 1, first)
        made.say(task, 2, others)
        made.say(task, 3, others)
    found = by_name(made.facts())["user 1"]
    assert (found.confused, found.taken_for) == ("Rude", "Impolite")


def test_of_several_classes_one_that_is_left_out_is_confused(make: Make) -> None:
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
def test_what_alpha_says(make: Make, first: str, second: str, words: str) -> None:
    made, names = make(len(first)), {name[0]: name for name in CLASSES}
    for annotator, said in ((1, first), (2, second)):
        for task, letter in enumerate(said, start=1):
            made.say(task, annotator, names[letter])
    found = people(made.facts())
    assert found.alpha is not None
    assert found.alpha_words == f"{words}; 1 would be perfect, 0 chance."


def test_sets_that_are_all_the_same_are_no_agreement_beyond_chance(make: Make) -> None:
    made = make(2, ("A", "B"), multiple=True)
    for task in (1, 2):
        made.say(task, 1, [])
        made.say(task, 2, [])
    found = people(made.facts())
    assert found.alpha is None
    assert found.alpha_words.startswith("All labels of tasks that several people labelled are the same: ")


# -- the window --------------------------------------------------------------------------------------------------------


def places(facts: Facts, *slots: Slot) -> dict[int, Place]:
    answers = {slot.task: len(facts.pulled.tasks[slot.task].annotations) for slot in slots}
    return {place.task: place for place in window(facts, slots, answers).places}


def why(facts: Facts, task: int, *, relabel: bool) -> str:
    return places(facts, Slot(task, relabel))[task].why


TRAINED = [{"round": 1, "at": START.isoformat(), "annotations": 9, "model_version": "model-1"}]


def test_why_a_new_task_is_asked_for(make: Make) -> None:
    made = make(3)
    made.say(3, 1, "Polite")
    facts = made.facts({1: (0.52, 0.46, 0.02), 2: (0.93, 0.04, 0.03), 3: SURE}, rounds=TRAINED)
    assert why(facts, 1, relabel=False) == "New: the model is unsure (Polite 52 %, Impolite 46 %)."
    assert why(facts, 2, relabel=False) == "New: the model says Polite with 93 %."
    alone = made.facts(rounds=TRAINED, with_backend=False)
    assert why(alone, 1, relabel=False) == "New: chosen by what the model said at the last sync."
    first = made.facts(rounds=[{**TRAINED[0], "model_version": None}])
    assert why(first, 1, relabel=False) == "New: among the first, spread over the texts."
    at_random = made.facts(
        rounds=[{**TRAINED[0], "model_version": None}], window_options={**SYNCED, "strategy": "margin"}
    )
    assert why(at_random, 1, relabel=False) == "New: among the first."


def test_why_a_second_opinion_is_asked_for(make: Make) -> None:
    made = make(6)
    made.say(1, 1, "Polite")
    made.say(1, 2, "Impolite")
    made.say(2, 1, "Impolite")
    made.say(3, 1, "Polite")
    made.say(4, 1, "Polite")
    made.say(4, 2, "Polite")
    for annotator, label in enumerate(("Rude", "Rude", "Polite"), start=1):
        made.say(5, annotator, label)
    probs = {1: (0.5, 0.3, 0.2), 2: (0.93, 0.05, 0.02), 3: SURE, 4: (0.1, 0.1, 0.8), 5: (0.1, 0.1, 0.8), 6: SURE}
    facts = made.facts(probs, rounds=TRAINED)
    quality = facts.reviewed.quality
    said = {task: why(facts, task, relabel=True) for task in range(1, 7)}
    assert said[1].startswith(
        "2 labels disagree (Polite, Impolite); the consensus Polite is right with a probability of "
    )
    assert said[2] == "One label, Impolite, where the model says Polite with 93 %."
    assert said[3] == f"One label, Polite, which is right with a probability of {100 * quality[3]:.0f} %."
    assert said[4] == "2 labels, all Polite, where the model says Rude with 80 %."
    assert said[5].startswith(
        "3 labels disagree (Rude 2 times, Polite); the consensus Rude is right with a probability of "
    )
    assert said[6] == "A second opinion; the text or the label that it had is gone."
    alone = made.facts(rounds=TRAINED, with_backend=False, min_annotations_per_task=3)
    assert why(alone, 2, relabel=True) == "One label, Impolite; every task is to have 3."
    assert why(alone, 5, relabel=True) == "3 labels disagree (Rude 2 times, Polite); the consensus is Rude."


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("trained", [False, True])
def test_what_was_chosen_at_random_is_not_explained_by_the_model(make: Make, strategy: str, trained: bool) -> None:
    made = make(3)
    made.say(2, 1, "Polite")
    probs = {1: (0.52, 0.46, 0.02), 2: SURE, 3: SURE}
    rounds = [{**TRAINED[0], "model_version": "model-1" if trained else None}]
    facts = made.facts(probs, rounds=rounds, window_options={**SYNCED, "strategy": strategy})
    new, again = why(facts, 1, relabel=False), why(facts, 2, relabel=True)
    if strategy in ("random", "random-new"):
        assert new == "New: chosen at random."
        assert again.startswith("One label, Polite, ")
        assert again.endswith("; chosen at random.")
    else:
        assert ("the model is unsure" in new) == trained
        assert "random" not in new + again
    wanted = made.facts(probs, min_annotations_per_task=2, window_options={**SYNCED, "strategy": "random"})
    assert why(wanted, 2, relabel=True).endswith("; every task is to have 2."), "those come first"


def test_deleted_tasks_of_the_window_are_not_answered(make: Make) -> None:
    found = window(make(2).facts(), [Slot(1, False), Slot(8, False), Slot(9, True)], {1: 0, 8: 0, 9: 1})
    assert (found.size, found.gone, found.left) == (3, 2, 1)


def test_why_of_several_classes(make: Make) -> None:
    made = make(3, ("A", "B"), multiple=True)
    made.say(3, 1, [])
    facts = made.facts({1: (0.9, 0.45), 2: (0.9, 0.1), 3: (0.9, 0.8)}, rounds=TRAINED)
    assert why(facts, 1, relabel=False) == "New: the model is unsure whether B applies (45 %)."
    assert why(facts, 2, relabel=False) == "New: the model says A."
    assert why(facts, 3, relabel=True) == "One label, none of them, where the model says A + B with 80 %."


def test_the_window_is_what_nobody_has_answered_since(make: Make) -> None:
    made = make(70)
    made.say(70, 1, "Polite")
    made.texts[1] = "x" * 5000
    slots = [Slot(task, relabel=False) for task in range(1, 70)] + [Slot(70, relabel=True)]
    made.say(2, 1, "Rude")  # since the window was published
    answers = {slot.task: int(slot.task == 70) for slot in slots}
    facts = made.facts(dict.fromkeys(range(1, 71), SURE), rounds=TRAINED)
    found = window(facts, slots, answers)
    assert (found.size, found.gone, found.left, found.second_opinions) == (70, 0, 69, 1)
    assert [place.rank for place in found.places] == [1, *range(3, 52)]
    first = found.places[0]
    assert (first.task, first.text, first.label_count) == (1, Text("x" * 1000, 4000), 0)
    assert first.score == facts.reviewed.scored.scores[1]
    assert found.places[10].why == "New, kept at the end so that nobody runs out of tasks."
    assert found.places[8].why == "New: the model says Polite with 96 %."
    other = made.facts(
        dict.fromkeys(range(1, 71), SURE), rounds=TRAINED, window_options={**SYNCED, "strategy": "margin"}
    )
    assert window(other, slots, answers).places[0].score is None, "the order was by another score"


# -- consensus, classes, pace, texts -----------------------------------------------------------------------------------


def test_suspects_are_the_least_certain_first(make: Make) -> None:
    made = make(40)
    for task in range(1, 41):
        for annotator in range(1, 13):
            made.say(task, annotator, "Polite" if task == 7 and annotator > 8 else "Rude")
    made.say(7, 13, None)
    made.say(7, 12, "Impolite")
    made.say(7, 99, "Rude", truth=True)
    facts = made.facts(dict.fromkeys(range(1, 41), SURE))
    facts.reviewed.quality = dict.fromkeys(range(1, 41), 0.2) | {7: 0.1}
    found = consensus(facts).suspects
    assert len(found) == 25
    worst = found[0]
    assert (worst.task, worst.text, worst.predicted) == (7, Text("Text 7"), "Polite")
    assert worst.probability == pytest.approx(0.96)
    assert [one.quality for one in found] == sorted(one.quality for one in found)
    assert [one.task for one in found[1:]] == [1, 2, 3, 4, 5, 6, *range(8, 26)], "ties by task"
    assert consensus(facts).suspects_left_out == 15
    assert (len(worst.said), worst.said_left_out) == (10, 4)
    assert (worst.said[0].annotator, worst.said[0].label) == ("user 1", "Rude")
    assert consensus(made.facts()).suspects == []


def test_nothing_stands_out_of_a_clean_project(make: Make) -> None:
    made = make(30)
    for task in range(1, 31):
        made.say(task, 1, "Polite")
    found = consensus(made.facts(dict.fromkeys(range(1, 31), (0.9999, 0.00005, 0.00005))))
    assert (found.suspects, found.suspects_left_out, found.bins[-1].tasks) == ([], 0, 30)


def test_a_suspect_is_more_likely_wrong_than_right_or_not_what_the_model_says(make: Make) -> None:
    made = make(4)
    for task in range(1, 5):
        made.say(task, 1, "Polite")
    facts = made.facts({1: SURE, 2: SURE, 3: SURE, 4: (0.02, 0.96, 0.02)})
    facts.reviewed.quality = {1: 0.5, 2: 0.4999, 3: 0.9, 4: 0.9}
    assert [one.task for one in consensus(facts).suspects] == [2, 4]


def test_a_skip_hides_no_label_and_ground_truth_is_called_so(make: Make) -> None:
    made = make(1)
    made.say(1, 1, "Polite")
    made.say(1, 1, None)
    made.say(1, 2, None)
    made.say(1, 3, "Rude", truth=True)
    facts = made.facts({1: SURE})
    facts.reviewed.quality = {1: 0.1}
    (found,) = consensus(facts).suspects
    said = [(one.annotator, one.label) for one in found.said]
    assert said == [("user 1", "Polite"), ("user 2", None), ("user 3 (ground truth)", "Rude")]


def test_bins_hold_every_quality(make: Make) -> None:
    facts = make(0).facts()
    assert consensus(facts).bins == []
    facts = make(5).facts(dict.fromkeys(range(1, 6), SURE))
    facts.reviewed.scored.consensus = dict.fromkeys(range(1, 6), "Polite")
    facts.reviewed.quality = dict(enumerate([0.0, 0.1, 0.55, 0.999, 1.0], start=1))
    found = consensus(facts).bins
    assert [one.tasks for one in found] == [1, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert (found[0], found[-1].high) == (Bin(0.0, 0.1, 1), 1.0)


def test_classes_stand_as_in_the_config_or_most_labels_first(make: Make) -> None:
    made = make(4)
    made.say(1, 1, "Rude")
    found, left_out = classes(made.facts(dict.fromkeys(range(1, 5), SURE)))
    assert [(one.name, one.labels, one.consensus, one.predicted) for one in found] == [
        ("Polite", 0, 0, 3),
        ("Impolite", 0, 0, 0),
        ("Rude", 1, 1, 0),
    ]
    many = make(2, [f"class {number}" for number in range(60)])
    many.say(1, 1, "class 55")
    found, left_out = classes(many.facts())
    assert (len(found), left_out, found[0].name, found[1].name) == (50, 10, "class 55", "class 0")


def test_pace_counts_days_where_one_asks_and_has_quartiles(make: Make) -> None:
    made = make(9)
    for task, seconds in enumerate((1, 2, 3, 4, 100_000), start=1):
        made.say(task, 1, "Polite", seconds=seconds)
    made.say(9, 1, None, seconds=1e9)
    facts = made.facts()
    found = pace(facts, START)
    assert [(one.day, one.labels) for one in found.days] == [("2026-03-01", 5)]
    assert found.seconds == (2, 3, 4)
    far_east = START.astimezone(timezone(timedelta(hours=13)))
    assert [one.day for one in pace(facts, far_east).days] == ["2026-03-02"]
    assert pace(make(1).facts(), START).days == []
    assert pace(make(1).facts(), START).seconds is None


def test_days_without_labels_are_among_the_last_sixty(make: Make) -> None:
    made = make(2)
    made.say(1, 1, "Polite")
    facts = made.facts()
    (row,) = facts.pulled.tasks[1].annotations
    later = (START + timedelta(days=100)).isoformat()
    facts.pulled.tasks[2] = facts.pulled.tasks[2]._replace(annotations=(row._replace(id=2, task=2, created_at=later),))
    found = pace(facts, START).days
    assert (len(found), found[-1].day, found[-1].labels) == (60, "2026-06-09", 1)
    assert pace(facts, START).earlier == 1
    assert sum(one.labels for one in found) == 1


def test_a_replay_starts_with_tasks_of_two_people(make: Make) -> None:
    made = make(4)
    for task, annotators in ((1, (1, 2)), (2, (1, 1)), (3, (1, 2, 3)), (4, (1,))):
        for annotator in annotators:
            made.say(task, annotator, "Polite")
    made.say(4, 2, "Polite", truth=True)
    facts = made.facts()
    assert facts.replayable == 2
    facts = made.facts()
    facts.pulled.tasks[3] = facts.pulled.tasks[3]._replace(digest=None)
    assert facts.replayable == 1


def test_texts_are_cut_between_letters() -> None:
    assert cut(None) == Text(None)
    assert cut("short") == Text("short")
    assert cut("x" * TEXT_LENGTH) == Text("x" * TEXT_LENGTH)
    accents = "e\u0301" * 600
    assert cut("x" + accents) == Text("x" + accents[: TEXT_LENGTH - 2], 1200 - TEXT_LENGTH + 2)
    family = "\U0001f469\u200d\U0001f467"
    assert cut("x" * (TEXT_LENGTH - 1) + family) == Text("x" * (TEXT_LENGTH - 1), 3)
    assert cut("x" * (TEXT_LENGTH - 2) + family) == Text("x" * (TEXT_LENGTH - 2), 3)
    assert cut("\u0301" * 2000) == Text("\u0301" * TEXT_LENGTH, TEXT_LENGTH)


def test_a_project_without_anything(make: Make) -> None:
    facts = make(0).facts(queue_version=None)
    assert isinstance(facts.reviewed, Review)
    assert people(facts).annotators == []
    found = window(facts, [], {})
    assert (found.size, found.gone, found.left, found.places) == (0, 0, 0, [])
    assert [(one.labels, one.consensus, one.predicted) for one in classes(facts)[0]] == [(0, 0, 0)] * 3
