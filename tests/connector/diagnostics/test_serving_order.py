"""What the times of answers tell of the order in which tasks were served."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest

from connector.annotations.records import Annotation, Task
from connector.diagnostics.serving_order import ServedAnswer, answers_since, count_out_of_order, find_held_tasks

START = datetime(2026, 3, 1, 10, tzinfo=timezone.utc)
ANN, BEN, CEM, DEE = 1, 2, 3, 4


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Project:
    """Tasks 1 to `size`, ranked by number; the window was published at second 0."""

    def __init__(self, size: int = 20) -> None:
        self.rows: dict[int, list[Annotation]] = {task: [] for task in range(1, size + 1)}
        self._id = 0

    def answer(
        self,
        who: int,
        task: int,
        served: float,
        answered: float,
        *,
        skipped: bool = False,
        lead_time: float | None = -1.0,
        ground_truth: bool = False,
    ) -> None:
        """Somebody was given `task` at second `served` and answered it at second `answered`."""
        self._id += 1
        stamp = at(answered).isoformat()
        lead = answered - served if lead_time == -1.0 else lead_time
        label = None if skipped else "Polite"
        row = Annotation(self._id, task, who, label, skipped, ground_truth, stamp, False, stamp, lead)
        self.rows.setdefault(task, []).append(row)

    @property
    def tasks(self) -> dict[int, Task]:
        return {
            task: Task(task, f"Text {task}", bool(rows), 1, START.isoformat(), tuple(rows))
            for task, rows in self.rows.items()
        }

    def answers(self) -> list[ServedAnswer]:
        return answers_since(START, self.tasks)

    def order(self, annotators: int, window: range | None = None) -> tuple[int, int]:
        return count_out_of_order(list(window or range(1, 21)), self.answers(), self.tasks, annotators)

    def held(self, *unanswered: int) -> list[int]:
        return find_held_tasks(list(range(1, 21)), unanswered, self.answers(), self.tasks)


# -- when a task was served --------------------------------------------------------------------------------------------


def test_a_task_was_served_its_lead_time_before_the_answer_and_the_first_may_have_been_held_before() -> None:
    project = Project()
    project.answer(ANN, 1, -30, 5)
    project.answer(ANN, 2, 5, 20)
    project.answer(BEN, 3, -90, -60)
    project.answer(BEN, 4, 1, 9)
    assert project.answers() == [
        ServedAnswer(1, ANN, at(-30), certain=False),
        ServedAnswer(2, ANN, at(5), certain=True),
        ServedAnswer(4, BEN, at(1), certain=False),
    ]


def test_a_lead_time_that_reaches_back_before_the_last_answer_is_cut() -> None:
    project = Project()
    project.answer(ANN, 1, 1, 5)
    project.answer(ANN, 2, 6, 20, lead_time=400.0)  # updated later: the times add up
    assert project.answers()[1] == ServedAnswer(2, ANN, at(5), certain=True)


def test_rows_that_nobody_made_in_the_page_are_no_answers() -> None:
    project = Project()
    project.answer(ANN, 1, 1, 5)
    project.answer(ANN, 2, 6, 7, lead_time=None)
    project.answer(ANN, 3, 6, 8, ground_truth=True)
    project.answer(0, 4, 6, 9)
    assert [answer.task for answer in project.answers()] == [1]


# -- the order ---------------------------------------------------------------------------------------------------------


def served_by(project: Project, order: list[int], *people: int, seconds: float = 10) -> None:
    """The people take turns; each is given the next task of `order` when they have answered their last one."""
    for turn, task in enumerate(order):
        start = 1 + turn * seconds / len(people)
        project.answer(people[turn % len(people)], task, start, start + seconds)


@pytest.mark.parametrize("people", [(ANN,), (ANN, BEN), (ANN, BEN, CEM, DEE)])
def test_answers_in_rank_order_are_in_order(people: tuple[int, ...]) -> None:
    project = Project()
    served_by(project, list(range(1, 21)), *people)
    assert project.order(len(people)) == (20 - len(people), 0)


@pytest.mark.parametrize("people", [(ANN,), (ANN, BEN), (ANN, BEN, CEM)])
def test_random_order_is_seen(people: tuple[int, ...]) -> None:
    for seed in range(20):
        order = list(range(1, 21))
        random.Random(seed).shuffle(order)
        project = Project()
        served_by(project, order, *people)
        telling, wrong = project.order(len(people))
        assert telling == 20 - len(people)
        assert wrong > telling / 4


def test_reversed_order_is_out_of_order_but_for_the_end() -> None:
    project = Project(10)
    served_by(project, list(range(10, 0, -1)), ANN)
    assert project.order(1, range(1, 11)) == (9, 7)


def test_people_of_very_different_speed_are_in_order() -> None:
    project = Project()
    free = list(range(1, 21))
    due = {ANN: 1.0, BEN: 1.5, CEM: 2.0}
    while free:
        who = min(due, key=due.__getitem__)
        start = due[who]
        due[who] = start + {ANN: 2, BEN: 30, CEM: 7}[who]
        project.answer(who, free.pop(0), start, due[who])
    assert project.order(3) == (17, 0)


def test_a_task_let_go_by_each_annotator_and_served_later_does_not_count() -> None:
    project = Project()
    served_by(project, list(range(3, 18)), ANN, BEN)
    project.answer(ANN, 1, 300, 310)
    project.answer(BEN, 2, 301, 311)
    assert project.order(2)[1] == 0
    assert project.order(1)[1] > 0


def test_tasks_that_the_person_had_answered_before_were_not_theirs_to_get() -> None:
    project = Project()
    for task in range(1, 11):
        project.answer(ANN, task, -200 + task, -199 + task)  # second opinions: Ann gave the first
    served_by(project, list(range(11, 21)), ANN)
    for turn, task in enumerate(range(1, 11)):
        project.answer(BEN, task, 200 + turn, 201 + turn)
    assert project.order(2) == (9 + 9, 0)


def test_places_that_nobody_answered_are_ignored() -> None:
    project = Project()
    served_by(project, list(range(11, 21)), ANN)
    assert project.order(1) == (9, 0)


def test_tasks_from_outside_the_window_count_where_they_should_not_have_been_served() -> None:
    project = Project(60)
    served_by(project, [41, 1, 42, 2, 43, 3, 44, 4, 45, 5, 46], ANN)
    # Before 42, 43 and 44, two places or more were free that came later.
    assert project.order(1, range(1, 11)) == (5 + 3, 3)


def test_a_task_skipped_and_served_again_was_first_served_when_it_was_skipped() -> None:
    project = Project()
    for task in (1, 2, 3):
        project.answer(ANN, task, task, task + 0.5, skipped=True)
    served_by(project, list(range(4, 10)), BEN)
    for task in (1, 2, 3):
        project.answer(CEM, task, 200 + task, 200.5 + task)
    assert project.order(1)[1] == 0


# -- places that are held ----------------------------------------------------------------------------------------------


def test_a_place_that_everybody_passes_over_three_times_is_held() -> None:
    project = Project()
    served_by(project, [2, 3, 4], ANN)
    assert project.held(1) == [], "twice, and the first task may be from before"
    served_by(project, [5, 6], BEN)
    project.answer(ANN, 7, 40, 45)
    assert project.held(1) == [], "four times by two people: somebody may just be slow"
    project.answer(BEN, 8, 50, 55)
    project.answer(ANN, 9, 60, 65)
    assert project.held(1) == [1]


def test_better_places_and_people_who_had_the_task_say_nothing() -> None:
    project = Project()
    project.answer(ANN, 10, -20, -10)
    served_by(project, [1, 2, 3, 4, 5, 11, 12, 13], ANN)
    assert project.held(10) == []
    assert project.held(6, 10) == [6]
