"""What Label Studio does otherwise on PostgreSQL: it locks rows, and whoever asks passes over what is locked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from support.label_studio_server import Annotators
from support.postgresql_server import PostgreSQL
from support.project_driver import StartProject, new, second, texts

from connector.demo.people import Person

One = TypeVar("One")
Given = TypeVar("Given")

pytestmark = [pytest.mark.postgresql, pytest.mark.parametrize("label_studio", ["postgresql"], indirect=True)]


def at_once(each: Sequence[One], act: Callable[[One], Given]) -> list[Given]:
    """What `act` gives for each of them, begun in the same instant."""
    barrier = threading.Barrier(len(each))

    def wait_and_act(one: One) -> Given:
        barrier.wait(timeout=60)
        return act(one)

    with ThreadPoolExecutor(len(each)) as pool:
        return list(pool.map(wait_and_act, each))


def test_people_who_ask_in_the_same_instant_are_given_different_tasks_the_first_of_the_window(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(30))
    first, *others = people(6)
    asked, fresh = loop.tasks[:8], loop.tasks[8:]
    for task in asked:
        loop.label(first, task)
    window = [slot for pair in zip(second(*asked), new(*fresh[:8]), strict=True) for slot in pair] + new(*fresh[8:])
    loop.publish(window)
    left = [slot.task for slot in window]
    for _ in range(3):
        given = at_once(others, loop.give)
        assert sorted(given, key=left.index) == left[:5]
        assert given == [loop.give(person) for person in others]
        at_once(list(zip(others, given, strict=True)), lambda turn: loop.label(*turn))
        left = left[5:]
    rows = {row["id"]: len({one["completed_by"] for one in row["annotations"]}) for row in loop.rows()}
    assert rows == {task: 2 if task in asked else int(task not in left) for task in loop.tasks}


def test_people_go_on_labelling_while_syncs_publish(start: StartProject, people: Annotators) -> None:
    loop = start(texts(40))
    loop.sync(window=10)
    over = threading.Event()

    def label_until_over(person: Person) -> int:
        labelled = 0
        while not over.wait(0.3):
            task = loop.give(person)
            if task is not None:  # what is left of a window may be locked for a moment
                loop.label(person, task, "Impolite" if task % 2 else "Polite")
                labelled += 1
        return labelled

    team = people(3)
    with ThreadPoolExecutor(len(team)) as pool:
        working = [pool.submit(label_until_over, person) for person in team]
        try:
            for _ in range(2):
                loop.sync(window=10)
        finally:
            over.set()
    labelled = sum(work.result() for work in working)

    assert labelled >= len(team)
    annotators = [[one["completed_by"] for one in row["annotations"]] for row in loop.rows()]
    assert sum(map(len, annotators)) == labelled
    assert all(len(each) == len(set(each)) for each in annotators)
    # Label Studio gives a task's annotations in any order: that is nothing new.
    task, given = next((row["id"], each) for row, each in zip(loop.rows(), annotators, strict=True) if each)
    for person in team:
        if person.user_id not in given:
            loop.label(person, task, "Polite")
    loop.sync(window=10)
    loop.assert_published()
    assert loop.sync(window=10)["seconds"].keys() == {"pull"}


def test_tasks_that_are_being_written_are_passed_over_and_whoever_holds_one_keeps_it(
    start: StartProject, people: Annotators, postgresql: PostgreSQL
) -> None:
    loop = start(texts(6))
    first, other, third = people(3)
    t = loop.tasks
    loop.publish(new(t[4], t[2], t[5], t[1]))
    assert loop.give(first) == t[4]
    write = "UPDATE task SET total_predictions = 1 WHERE id = ANY(%s)"
    with postgresql.connect("label-studio") as db, db.transaction():
        db.execute(write, [[t[4], t[2]]])
        assert loop.give(first) == t[4]
        assert loop.give(other) == t[5]
        db.execute(write, [[t[1]]])
        assert loop.give(third) is None, "although the tasks outside of the window are free"
    assert [loop.give(person) for person in (first, other, third)] == [t[4], t[5], t[2]]


@pytest.mark.parametrize("text", ["a\0b", "half \ud83d"], ids=["NUL", "half a surrogate pair"])
def test_file_with_a_text_that_postgresql_cannot_hold_is_refused_whole(start: StartProject, text: str) -> None:
    """Why `connector init` refuses it before it makes a project."""
    loop = start(texts(1))
    answer = loop.server.api.post(
        f"{loop.server.url}/api/projects/{loop.id}/import",
        data=json.dumps([{"text": "Fine."}, {"text": text}]),
        headers={"Content-Type": "application/json"},
        timeout=60,
    )
    assert answer.status_code == 500
    assert "Unicode" in answer.json()["detail"]
    assert len(loop.rows()) == 1
