"""One Label Studio under several names, a Label Studio that has moved, and two that both have the same number."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.connector_commands import connector
from support.label_studio_server import SQLITE_FILE, Annotators, LabelStudio, Project, running_label_studio
from support.project_driver import ProjectDriver, StartProject, new, second, texts
from support.proxy import Proxy

from connector.state.project_state import State

STAMPS = ("updated_at", "updated_by")


def comparable(loop: ProjectDriver) -> dict[str, Any]:
    """Everything that the connector could change, without the stamps that every save leaves."""
    dump = loop.dump()

    def plain(row: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if name not in STAMPS}

    return {**dump, "project": plain(dump["project"]), "tasks": [plain(row) for row in dump["tasks"]]}


def run(loop: ProjectDriver, *arguments: str, url: str | None = None, code: int = 0) -> str:
    """Standard output of a command at `url`, or standard error if it fails."""
    number = [] if "--all" in arguments else ["--project", str(loop.id)]
    done = connector(loop, arguments[0], *number, *arguments[1:], LABEL_STUDIO_URL=url or loop.gateway.url)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def team_project(start: StartProject, people: Annotators, **where: Any) -> ProjectDriver:
    """A project with three annotations per task and four labelled tasks."""
    loop = start(texts(12), adopted=False, maximum_annotations=3, sampling="Uniform sampling", **where)
    for task in loop.tasks[:4]:
        loop.label(people(1)[0], task)
    return loop


def test_one_server_under_many_names_is_restored_under_any(start: StartProject, people: Annotators) -> None:
    loop = team_project(start, people)
    before = comparable(loop)
    other = loop.gateway.url.replace("127.0.0.1", "localhost")
    pasted = f"{other.upper().replace('HTTP', 'http')}/projects/{loop.id}/data?tab=12"

    assert "is set up: 'politeness'" in run(loop, "init", "--yes")
    assert f"Project {loop.id} (Test) was already set up" in run(loop, "init", url=pasted)
    loop.publish(second(*loop.tasks[:4]) + new(*loop.tasks[5:9]))
    assert len(loop.state.reopened()) == 4
    assert f"Project {loop.id} (Test) at {other}\n" in run(loop, "status", url=pasted)
    assert "Fine     adopted" in connector(loop, "doctor", "--project", str(loop.id), LABEL_STUDIO_URL=other).stdout
    (summary,) = json.loads(run(loop, "sync", "--all", "--json", url=other))["projects"]
    assert summary["project"] == loop.id

    said = run(loop, "undo", url=other)
    assert said.startswith(f"Project {loop.id} is as init found it. Undo restored maximum_annotations, ")
    assert run(loop, "undo") == (f"Project {loop.id} is not set up in this state database: there is nothing to undo.\n")
    assert comparable(loop) == before


def test_a_server_that_moved_is_a_question_and_then_goes_on(
    start: StartProject, people: Annotators, proxy: Proxy
) -> None:
    loop = team_project(start, people)
    before = comparable(loop)
    run(loop, "init", "--yes")
    said = run(loop, "sync", "--all", url=proxy.url, code=2)
    assert f"This state database knows projects of {loop.gateway.url}. Correct LABEL_STUDIO_URL." in said
    for name in ("sync", "status", "doctor", "undo"):
        said = run(loop, name, url=proxy.url, code=2)
        assert f"If that server has moved or has another name, run connector init --project {loop.id}." in said
    said = run(loop, "init", url=proxy.url, code=2)
    assert said.startswith(f"Error: Nothing was changed. Project {loop.id} was set up at {loop.gateway.url}, and ")
    assert "Give --yes if that server has moved or has another name. A copy of that server needs" in said

    assert "was already set up" in run(loop, "init", "--yes", url=proxy.url)
    assert f"Project {loop.id}, round 1" in run(loop, "sync", "--all", url=proxy.url)
    loop.assert_published()
    assert run(loop, "undo", url=proxy.url).startswith(f"Project {loop.id} is as init found it.")
    assert comparable(loop) == before


def test_another_state_databases_second_opinions_are_not_passed_over(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    loop = start(texts(12), adopted=False)
    for task in loop.tasks[:4]:
        loop.label(people(1)[0], task)
    # Label Studio serves a task whose only answer is a ground truth at the overlap of all tasks.
    truth = next(row["id"] for row in loop.annotations().values() if row["task"] == loop.tasks[0])
    loop.call("PATCH", f"/api/annotations/{truth}/", json={"ground_truth": True})
    loop.adopt()
    loop.publish(second(*loop.tasks[:4]) + new(*loop.tasks[5:9]))
    lost = replace(loop, state_url=f"sqlite:///{tmp_path / 'other.sqlite'}")
    assert "windows that this state database (CONNECTOR_STATE) does not know" in run(lost, "init", code=2)
    run(lost, "init", "--yes")
    said = run(lost, "undo")
    assert said.startswith(
        f"Project {loop.id} is as this init found it. Another state database ran it before, and only that one knows "
        "the settings before its own init."
    )
    assert (
        "4 labelled tasks are open for more labels than the project asks for. They were so at init, because another "
        "connector had asked for second opinions." in said
    )
    assert loop.flags(*loop.tasks[:4]) == [(1, False), *[(2, False)] * 3]


@pytest.fixture
def another_label_studio() -> Iterator[LabelStudio]:
    """A second Label Studio, from the same template as the first one."""
    with running_label_studio() as server:
        yield server


def project_with_number(server: LabelStudio, number: int, tasks: list[str], config: str) -> Project:
    """Makes a project that has this number."""
    with contextlib.closing(sqlite3.connect(server.data / SQLITE_FILE, timeout=60)) as database, database:
        database.execute("DELETE FROM sqlite_sequence WHERE name = 'project'")
        database.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('project', ?)", [number - 1])
    made = server.make_project(tasks, config=config)
    assert made.id == number
    return made


@pytest.mark.nightly
def test_two_servers_may_both_have_a_project_with_the_same_number(
    start: StartProject, people: Annotators, another_label_studio: LabelStudio
) -> None:
    ours = start(texts(6), fresh=True)
    ours.sync(window=4)
    server = another_label_studio
    made = project_with_number(server, ours.id, texts(4), ours.project()["label_config"])
    database = State(ours.state_url)
    theirs = replace(ours, server=server, id=made.id, tasks=made.tasks)
    before = ours.dump()

    words = f"Project {ours.id} of {server.url} is not set up yet: run connector init --project {ours.id} first."
    for name in ("sync", "status"):
        assert words in run(theirs, name, url=server.url, code=2)
    run(theirs, "init", "--yes", url=server.url)
    assert json.loads(run(theirs, "sync", "--json", url=server.url))["tasks"] == 4
    assert database.adopted(server.url) == [ours.id]
    assert run(theirs, "undo", url=server.url).startswith(f"Project {ours.id} is as init found it.")
    assert database.adopted(ours.gateway.url) == [ours.id]
    database.close()
    assert ours.dump() == before
    ours.assert_published()


@pytest.mark.nightly
def test_a_server_that_was_replaced_is_not_taken_for_the_one_before(
    start: StartProject, another_label_studio: LabelStudio
) -> None:
    loop = start(texts(4), fresh=True)
    loop.sync()
    server = another_label_studio
    made = project_with_number(server, loop.id, texts(3), loop.project()["label_config"])
    # The state knows the other one's address, where the first server was.
    file = Path(loop.state_url.removeprefix("sqlite:///"))
    copy = file.with_name("moved.sqlite")
    shutil.copyfile(file, copy)
    moved = replace(loop, state_url=f"sqlite:///{copy}", server=server)
    state = State(moved.state_url)
    state.project(loop.gateway.url, loop.id).add_address(server.url)
    before = server.call("GET", f"/api/projects/{made.id}/")
    for name in ("sync", "status", "undo", "doctor"):
        done = connector(moved, name, "--project", str(loop.id), LABEL_STUDIO_URL=server.url)
        assert done.returncode == 2
        assert "is not the one that connector init set up. That one was created at" in done.stdout + done.stderr
    assert server.call("GET", f"/api/projects/{made.id}/") == before
    assert "is set up: 'politeness'" in run(moved, "init", url=server.url)
    assert state.adopted(server.url) == [loop.id]
    assert state.adopted(loop.gateway.url) == [loop.id]
    state.close()
