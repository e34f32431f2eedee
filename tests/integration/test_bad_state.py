"""A state database that is damaged, of another version, locked, read-only or full: every command, and the next sync."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.command_runner import COMMANDS, Commands
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

from connector.queue.versions import VERSION_PREFIX
from connector.state import schema


def synced(start: StartProject, count: int = 12) -> ProjectDriver:
    """A project with a window, and an annotation that the next sync is to read."""
    loop = start(texts(count))
    loop.sync()
    loop.call("POST", f"/api/tasks/{loop.window[0]}/annotations", json={"result": []})
    return loop


def file_of(loop: ProjectDriver) -> Path:
    return Path(loop.state_url.removeprefix("sqlite:///"))


def statements(path: Path, *sql: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    for one in sql:
        db.execute(one)
    db.close()


def overwrite_tasks(path: Path) -> None:
    """Writes over the first page of the table that holds the texts: the file opens, and cannot be read to its end."""
    db = sqlite3.connect(path)
    (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tasks'").fetchone()
    db.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"no page " * 512)


DAMAGED = "The state database in CONNECTOR_STATE is damaged, or is not a state database ("
SPOIL: dict[str, tuple[Callable[[Path], object], str]] = {
    "no database": (lambda path: path.write_text("These are notes and no database at all.\n" * 20), DAMAGED),
    "cut in the middle": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), DAMAGED),
    "overwritten in the middle": (overwrite_tasks, DAMAGED),
    "newer": (
        lambda path: statements(path, "UPDATE meta SET schema_version = 99"),
        f"The state database in CONNECTOR_STATE has schema 99, and this connector uses schema {schema.VERSION}: use",
    ),
}


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(spoilt, marks=() if spoilt in ("newer", "cut in the middle") else pytest.mark.nightly)
        for spoilt in SPOIL
    ],
)
def test_a_state_that_cannot_be_used_stops_every_command(commands: Commands, start: StartProject, spoilt: str) -> None:
    loop = synced(start)
    before = loop.dump()
    spoil, words = SPOIL[spoilt]
    copy = commands.folder / "copy.sqlite"
    # The others never look at the texts that are kept there, and so they do their work.
    names = ("sync", "status", "doctor") if spoilt == "overwritten in the middle" else COMMANDS
    for name in names:
        copy.write_bytes(file_of(loop).read_bytes())
        spoil(copy)
        content = copy.read_bytes()
        done = commands.fail(loop, name, CONNECTOR_STATE=f"sqlite:///{copy}")
        assert done.code == 2, f"{name}: {done.said}"
        assert words in done.said, name
        if spoilt != "overwritten in the middle":
            assert copy.read_bytes() == content, "what is no state of ours is left as it is"
    assert loop.dump() == before
    assert loop.sync()["round"] == 2, "with the file as it was"


def test_a_state_that_may_only_be_read_serves_those_that_only_read(commands: Commands, start: StartProject) -> None:
    loop = synced(start)
    before, known = loop.dump(), loop.state.record()
    read_only = f"sqlite:///file:{file_of(loop)}?mode=ro&uri=true"
    for name in ("init", "sync", "undo"):
        done = commands.fail(loop, name, CONNECTOR_STATE=read_only)
        assert done.code == 2
        assert "cannot be written (attempt to write a readonly database): check its path" in done.err
    for name in ("status", "export", "report", "doctor"):
        done = commands.run(loop, name, CONNECTOR_STATE=read_only)
        assert done.code == 0, done.said
    assert (loop.dump(), loop.state.record()) == (before, known)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///{folder}", "cannot be written (unable to open database file): check its path"),
        pytest.param("sqlite:///{file}/state.sqlite", "cannot be opened: [Errno ", marks=pytest.mark.nightly),
        pytest.param("nonsense", "cannot be opened: Could not parse", marks=pytest.mark.nightly),
        ("mysql://user:hunter2@localhost/state", "cannot be opened: No module named 'MySQLdb'"),
    ],
    ids=["a folder", "below a file", "no address", "a database without its driver"],
)
def test_a_state_that_cannot_be_opened_stops_every_command(
    commands: Commands, start: StartProject, url: str, words: str
) -> None:
    loop = start(texts(3))
    before = loop.dump()
    for name in COMMANDS:
        place = url.format(folder=commands.folder, file=file_of(loop))
        done = commands.fail(loop, name, CONNECTOR_STATE=place)
        assert (done.code, words in done.err, "hunter2" in done.err) == (2, True, False), done.err
    assert loop.dump() == before


def test_a_state_that_is_locked_for_long_is_for_later(
    commands: Commands, start: StartProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = synced(start)
    before = loop.dump()
    monkeypatch.setattr("connector.state.database.SQLITE_PATIENCE_SECONDS", 0.1)
    holder = sqlite3.connect(file_of(loop), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    for name in COMMANDS:
        done = commands.fail(loop, name)
        assert (done.code, "failed: database is locked." in done.err) == (3, True), done.err
    holder.execute("ROLLBACK")
    holder.execute("BEGIN IMMEDIATE")  # somebody writes: one may read
    assert commands.run(loop, "status").code == 0
    done = commands.fail(loop, "sync")
    assert (done.code, "failed: database is locked." in done.err) == (3, True), done.err
    holder.close()
    assert loop.dump() == before


# -- out of room -------------------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk() -> Iterator[Callable[[str], Callable[[], None]]]:
    """`end = full_disk(table)`: from the first row of `table` on, no database grows; `end()` makes room again."""
    ends: list[Callable[[], None]] = []

    def fill(table: str) -> Callable[[], None]:
        def stop_growing(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
            if statement.startswith(f"INSERT INTO {table} "):
                cursor.execute("PRAGMA max_page_count = 1")  # SQLite takes the number of pages that there are

        def end() -> None:
            if sa.event.contains(sa.Engine, "before_cursor_execute", stop_growing):
                sa.event.remove(sa.Engine, "before_cursor_execute", stop_growing)

        sa.event.listen(sa.Engine, "before_cursor_execute", stop_growing)
        ends.append(end)
        return end

    yield fill
    for end in ends:
        end()


NO_ROOM = "There is no room left for the state database in CONNECTOR_STATE (database or disk is full): free some disk"


@pytest.mark.nightly
def test_a_disk_that_is_full_while_a_sync_reads_leaves_all_as_it_was(
    commands: Commands, start: StartProject, full_disk: Callable[[str], Callable[[], None]]
) -> None:
    loop = start(texts(1))
    more = [{"text": f"Request {number}: {text}"} for number, text in enumerate(texts(150))]
    loop.call("POST", f"/api/projects/{loop.id}/import", json=more)
    before, mirrored = loop.dump(), loop.state.tasks()
    end = full_disk("tasks")
    done = commands.fail(loop, "sync")
    assert (done.code, NO_ROOM in done.err) == (3, True), done.err
    assert loop.dump() == before
    assert loop.state.tasks() == mirrored
    end()
    assert commands.run(loop, "sync").code == 0
    loop.assert_published()
    assert loop.state.record().last_sync["result"] == "published"


def test_a_disk_that_is_full_once_the_window_is_served_is_made_up_for(
    commands: Commands, start: StartProject, people: Annotators, full_disk: Callable[[str], Callable[[], None]]
) -> None:
    loop = start(texts(400))
    person = people(1)[0]
    for number, task in enumerate(loop.tasks[:6]):
        loop.label(person, task, "Impolite" if number % 2 else "Polite")
    end = full_disk("window")
    done = commands.fail(loop, "sync", "--window", "390")
    assert (done.code, NO_ROOM in done.err) == (3, True), done.err
    assert loop.state.window() == []
    served = loop.project()["model_version"]
    assert served.startswith(VERSION_PREFIX), "Label Studio had flipped before"
    annotations = loop.annotations()

    end()
    assert commands.run(loop, "sync", "--window", "390").code == 0
    loop.assert_published()
    assert loop.annotations() == annotations
    assert loop.state.record().lock_holder is None
