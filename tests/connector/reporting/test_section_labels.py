"""What a report tells of labels: the consensus and its suspects, classes, pace and texts."""

from datetime import timedelta, timezone

import pytest
from support.report_data_factory import START, SURE, make

from connector.reporting.content import Bin, Text
from connector.reporting.report_data import NAME_LENGTH, TEXT_LENGTH, ReportData, cut, shorten
from connector.reporting.section_annotators import annotators_section
from connector.reporting.section_labels import class_counts, consensus_section, pace_section
from connector.reporting.section_window import window_section
from connector.sync.review import Review


def test_suspects_are_the_least_certain_first() -> None:
    made = make(40)
    for task in range(1, 41):
        for annotator in range(1, 13):
            made.say(task, annotator, "Polite" if task == 7 and annotator > 11 else "Rude")
    made.say(7, 13, None)
    made.say(7, 12, "Impolite")
    made.say(7, 99, "Rude", truth=True)
    data = made.facts(dict.fromkeys(range(1, 41), SURE))
    data.reviewed.quality = dict.fromkeys(range(1, 41), 0.2) | {7: 0.1}
    found = consensus_section(data).suspects
    assert len(found) == 25
    worst = found[0]
    assert (worst.task, worst.text, worst.predicted) == (7, Text("Text 7"), "Polite")
    assert worst.probability == pytest.approx(0.96)
    assert [one.quality for one in found] == sorted(one.quality for one in found)
    assert [one.task for one in found[1:]] == [1, 2, 3, 4, 5, 6, *range(8, 26)], "ties by task"
    assert consensus_section(data).suspects_left_out == 15
    assert (len(worst.answers), worst.answers_left_out) == (10, 4)
    assert (worst.answers[0].annotator, worst.answers[0].label) == ("user 1", "Rude")
    assert consensus_section(made.facts()).suspects == []


def people_differ(tasks: int) -> tuple[ReportData, list[int]]:
    """A project of clear tasks and of `tasks` on which four people differ by half, each time in another way."""
    made, clear = make(24 + tasks), 24
    for task in range(1, clear + tasks + 1):
        for annotator in range(1, 5):
            other = task > clear and (annotator + task) % 4 < 2
            made.say(task, annotator, ("Polite", "Impolite")[(task % 2 == 0) ^ other])
    undecided = dict.fromkeys(range(clear + 1, clear + tasks + 1), (0.5, 0.45, 0.05))
    sure = {task: SURE if task % 2 else (0.03, 0.96, 0.01) for task in range(1, clear + 1)}
    return made.facts(sure | undecided), list(undecided)


def test_tasks_that_people_honestly_differ_on_are_to_be_discussed_and_no_suspects() -> None:
    data, tasks = people_differ(6)
    found = consensus_section(data)
    assert found.disputed is not None
    assert sorted(one.task for one in found.disputed) == tasks
    first = found.disputed[0]
    assert first.probability > 0.9
    assert {label.label for label in first.soft[:2]} == {"Polite", "Impolite"}
    assert [label.probability for label in first.soft] == pytest.approx([0.5, 0.5, 0], abs=0.02)
    assert sorted(str(answer.label) for answer in first.answers) == ["Impolite", "Impolite", "Polite", "Polite"]
    assert not {one.task for one in found.suspects} & set(tasks)
    (pair,) = found.confused
    assert (pair.first, pair.second, pair.tasks, pair.of) == ("Polite", "Impolite", 6, 30)


def test_of_many_such_tasks_some_are_shown() -> None:
    found = consensus_section(people_differ(40)[0])
    assert found.disputed is not None
    assert (len(found.disputed), found.disputed_left_out) == (25, 15)
    assert [one.probability for one in found.disputed] == sorted(
        (one.probability for one in found.disputed), reverse=True
    )


def test_nothing_stands_out_of_a_clean_project() -> None:
    made = make(30)
    for task in range(1, 31):
        made.say(task, 1, "Polite")
    found = consensus_section(made.facts(dict.fromkeys(range(1, 31), (0.9999, 0.00005, 0.00005))))
    assert (found.suspects, found.suspects_left_out, found.bins[-1].tasks) == ([], 0, 30)
    assert (found.disputed, found.disputed_left_out, found.confused) == ([], 0, [])


def test_a_suspect_is_more_likely_wrong_than_right_or_not_what_the_model_says() -> None:
    made = make(4)
    for task in range(1, 5):
        made.say(task, 1, "Polite")
    data = made.facts({1: SURE, 2: SURE, 3: SURE, 4: (0.02, 0.96, 0.02)})
    data.reviewed.quality = {1: 0.5, 2: 0.4999, 3: 0.9, 4: 0.9}
    assert [one.task for one in consensus_section(data).suspects] == [2, 4]


def test_a_skip_hides_no_label_and_ground_truth_is_called_so() -> None:
    made = make(1)
    made.say(1, 1, "Polite")
    made.say(1, 1, None)
    made.say(1, 2, None)
    made.say(1, 3, "Rude", truth=True)
    data = made.facts({1: SURE})
    data.reviewed.quality = {1: 0.1}
    (found,) = consensus_section(data).suspects
    said = [(one.annotator, one.label) for one in found.answers]
    assert said == [("user 1", "Polite"), ("user 2", None), ("user 3 (ground truth)", "Rude")]


def test_bins_hold_every_quality() -> None:
    data = make(0).facts()
    assert consensus_section(data).bins == []
    data = make(5).facts(dict.fromkeys(range(1, 6), SURE))
    data.reviewed.scored.consensus = dict.fromkeys(range(1, 6), "Polite")
    data.reviewed.quality = dict(enumerate([0.0, 0.1, 0.55, 0.999, 1.0], start=1))
    found = consensus_section(data).bins
    assert [one.tasks for one in found] == [1, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert (found[0], found[-1].high) == (Bin(0.0, 0.1, 1), 1.0)


def test_classes_stand_as_in_the_config_or_most_labels_first() -> None:
    made = make(4)
    made.say(1, 1, "Rude")
    found, left_out = class_counts(made.facts(dict.fromkeys(range(1, 5), SURE)))
    assert [(one.name, one.labels, one.consensus, one.predicted) for one in found] == [
        ("Polite", 0, 0, 3),
        ("Impolite", 0, 0, 0),
        ("Rude", 1, 1, 0),
    ]
    many = make(2, [f"class {number}" for number in range(60)])
    many.say(1, 1, "class 55")
    found, left_out = class_counts(many.facts())
    assert (len(found), left_out, found[0].name, found[1].name) == (50, 10, "class 55", "class 0")


def test_pace_counts_days_where_one_asks_and_has_quartiles() -> None:
    made = make(9)
    for task, seconds in enumerate((1, 2, 3, 4, 100_000), start=1):
        made.say(task, 1, "Polite", seconds=seconds)
    made.say(9, 1, None, seconds=1e9)
    data = made.facts()
    found = pace_section(data, START)
    assert [(one.day, one.labels) for one in found.days] == [("2026-03-01", 5)]
    assert found.seconds == (2, 3, 4)
    far_east = START.astimezone(timezone(timedelta(hours=13)))
    assert [one.day for one in pace_section(data, far_east).days] == ["2026-03-02"]
    assert pace_section(make(1).facts(), START).days == []
    assert pace_section(make(1).facts(), START).seconds is None


def test_days_without_labels_are_among_the_last_sixty() -> None:
    made = make(2)
    made.say(1, 1, "Polite")
    data = made.facts()
    (row,) = data.pulled.tasks[1].annotations
    later = (START + timedelta(days=100)).isoformat()
    data.pulled.tasks[2] = data.pulled.tasks[2]._replace(annotations=(row._replace(id=2, task=2, created_at=later),))
    found = pace_section(data, START).days
    assert (len(found), found[-1].day, found[-1].labels) == (60, "2026-06-09", 1)
    assert pace_section(data, START).earlier == 1
    assert sum(one.labels for one in found) == 1


def test_a_replay_starts_with_tasks_of_two_people() -> None:
    made = make(4)
    for task, annotators in ((1, (1, 2)), (2, (1, 1)), (3, (1, 2, 3)), (4, (1,))):
        for annotator in annotators:
            made.say(task, annotator, "Polite")
    made.say(4, 2, "Polite", truth=True)
    data = made.facts()
    assert data.replayable == 2
    data = made.facts()
    data.pulled.tasks[3] = data.pulled.tasks[3]._replace(digest=None)
    assert data.replayable == 1


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


def test_names_are_cut_and_say_so() -> None:
    assert shorten("x" * NAME_LENGTH, NAME_LENGTH) == "x" * NAME_LENGTH
    assert shorten("x" * (NAME_LENGTH + 1), NAME_LENGTH) == "x" * (NAME_LENGTH - 1) + "…"
    assert shorten("abe\u0301d", 4) == "ab…", "a letter keeps its accent"
    made = make(1, ("A" * 1000, "B"))
    made.say(1, 1, "A" * 1000)
    data = made.facts(emails={1: "a" * 300})
    assert [one.name for one in class_counts(data)[0]] == ["A" * 253 + "…", "B"]
    assert annotators_section(data).annotators[0].name == "a" * 253 + "…"


def test_a_project_without_anything() -> None:
    data = make(0).facts(queue_version=None)
    assert isinstance(data.reviewed, Review)
    assert annotators_section(data).annotators == []
    found = window_section(data, [], {})
    assert (found.size, found.gone, found.left, found.places) == (0, 0, 0, [])
    assert [(one.labels, one.consensus, one.predicted) for one in class_counts(data)[0]] == [(0, 0, 0)] * 3
