"""`connector doctor` on people at work: answers out of order, places that are held, windows that are used up."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.doctor_helpers import FINE, findings, follow, not_fine
from support.label_studio_server import SQLITE_FILE, Annotators
from support.project_driver import ProjectDriver, StartProject, new, texts

from connector.demo.people import Person

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio


def work(
    loop: ProjectDriver, team: Sequence[Person], answers: int, give: Callable[[Person], int | None] | None = None
) -> None:
    """People at work: each holds a task, and whoever has answered asks for the next."""
    give = give or loop.give
    held = {person: (give(person), time.monotonic()) for person in team}
    for turn in range(answers):
        person = team[turn % len(team)]
        task, since = held[person]
        assert task is not None
        label = "Impolite" if loop.tasks.index(task) % 2 else "Polite"
        person.submit({"id": task}, "politeness", "text", label, lead_time_s=time.monotonic() - since)
        held[person] = give(person), time.monotonic()


@pytest.fixture
def database(label_studio: LabelStudio) -> Path:
    """The SQLite file of the running Label Studio."""
    return label_studio.data / SQLITE_FILE


@contextlib.contextmanager
def project_members(loop: ProjectDriver, team: Sequence[Person], database: Path) -> Iterator[None]:
    """The people are members of the project, as the Enterprise edition makes them."""
    now = datetime.now(timezone.utc).isoformat(sep=" ")
    rows = [(person.user_id, loop.id, True, now, now) for person in team]
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as db:
        columns = "user_id, project_id, enabled, created_at, updated_at"
        db.executemany(f"INSERT INTO projects_projectmember ({columns}) VALUES (?, ?, ?, ?, ?)", rows)
        db.commit()
        yield
        db.execute("DELETE FROM projects_projectmember WHERE project_id = ?", [loop.id])
        db.commit()


@contextlib.contextmanager
def other_sampling(loop: ProjectDriver) -> Iterator[None]:
    """Somebody changes the sampling and sets it back."""
    loop.set(sampling="Uniform sampling")
    yield
    loop.set(sampling="Uncertainty sampling")


@pytest.mark.parametrize("cause", [pytest.param("members", marks=pytest.mark.nightly), "sampling"])
def test_random_order_is_seen_in_the_answers_and_ends_with_its_cause(
    cause: str, start: StartProject, people: Annotators, database: Path
) -> None:
    loop, team = start(texts(36)), people(2)
    loop.sync()
    with project_members(loop, team, database) if cause == "members" else other_sampling(loop):
        work(loop, team, 20)
        if cause == "members":
            assert not_fine(loop) == {"served_order": "warning"}
    assert not_fine(loop) == {"served_order": "warning"}
    found = findings(loop)
    assert "answers since the window was published were served out of its order" in found["served_order"].cause
    for reason in ("members", "Data Manager's list", "data?labeling=1", "a setting was changed", "SQLite"):
        assert reason in found["served_order"].cause
    assert found["held_tasks"].cause == "This is unknown as long as tasks are not served in the window's order."

    follow(loop, found["served_order"].remedy)
    assert not_fine(loop) == FINE
    work(loop, team, 10)
    assert findings(loop)["served_order"].cause.startswith("0 of 8 answers")
    assert not_fine(loop) == FINE


def test_people_who_label_by_the_button_are_served_in_order(start: StartProject, people: Annotators) -> None:
    loop, team = start(texts(36)), people(3)
    loop.sync()
    work(loop, team, 20)
    found = findings(loop)["served_order"]
    assert (found.level, found.cause.split(" since")[0]) == ("ok", "0 of 17 answers")
    assert not_fine(loop) == FINE


@pytest.mark.nightly
def test_a_link_that_serves_another_order_is_seen_in_the_answers(start: StartProject, people: Annotators) -> None:
    loop, team = start(texts(24)), people(1)
    loop.publish(new(*reversed(loop.tasks)))

    def by_link(person: Person) -> int | None:
        task = person.next_task_by_link(loop.id, ordering=[])
        return None if task is None else int(task["id"])

    work(loop, team, 14, by_link)
    assert not_fine(loop) == {"served_order": "warning"}
    assert findings(loop)["served_order"].cause.startswith("11 of 13 answers")


def test_a_task_that_somebody_holds_and_left_is_told_until_they_answer(start: StartProject, people: Annotators) -> None:
    loop, (absent, *team) = start(texts(30)), people(3)
    loop.sync()
    held = loop.give(absent)
    work(loop, team, 6)
    assert not_fine(loop) == FINE, "somebody may just be slow"
    work(loop, team, 8)
    assert not_fine(loop) == {"held_tasks": "warning"}
    found = findings(loop)["held_tasks"]
    assert f"1 task ({held}) of the window is passed over" in found.cause
    assert "Label All Tasks again" in found.remedy
    assert "TASK_LOCK_TTL=3600" in found.remedy
    assert loop.turn(absent) == held
    assert not_fine(loop) == FINE


@pytest.mark.nightly
def test_a_window_that_is_nearly_used_up_is_told_until_the_next_sync(start: StartProject, people: Annotators) -> None:
    loop, team = start(texts(14)), people(2)
    loop.sync(window=10)
    work(loop, team, 8)
    assert findings(loop)["window"].cause == "2 of its 10 places are left."
    assert loop.turn(team[0]) is not None
    assert not_fine(loop) == {"window": "warning"}
    found = findings(loop)["window"]
    assert found.cause.startswith("1 of the window's 10 places is left for 2 active annotators")
    follow(loop, found.remedy)
    assert not_fine(loop) == FINE
