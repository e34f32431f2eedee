"""The state database: what opening it makes of an older, a damaged or a forbidden one, and what is said about it."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from support import ROOT
from support.simulated_label_studio import CONFIG, Studio

from connector.active_learning.window import Slot
from connector.annotations.label_config import find_control
from connector.annotations.records import Annotation, Task, digest
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.state import database, schema
from connector.state.database import explain
from connector.state.project_state import Original, State
from connector.state.pull import pull, read_project

FIRST_RELEASE = (ROOT / "tests" / "state_schema_1.sql").read_text(encoding="utf-8")
URL = "http://studio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


def script(path: Path, statements: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(statements)
    db.close()


def content(path: Path) -> list[str]:
    """The database as statements that make it."""
    db = sqlite3.connect(path)
    lines = list(db.iterdump())
    db.close()
    return lines


@pytest.fixture
def old(path: Path) -> Path:
    """A state database as the first release left it."""
    script(path, FIRST_RELEASE)
    return path


@pytest.fixture
def migrated(old: Path) -> Iterator[State]:
    state = State(f"sqlite:///{old}")
    yield state
    state.close()


# -- from an older schema --------------------------------------------------------------------------------------------


def test_a_state_of_the_first_release_is_kept(migrated: State) -> None:
    project = migrated.project(URL, 7)
    known = project.record()
    assert migrated.adopted(URL) == [7]
    assert (known.adopted_at, known.min_annotations_per_task) == ("2026-03-01T09:00:00+00:00", 2)
    assert known.original_settings == {"sampling": "Sequential sampling", "maximum_annotations": 3}
    assert (known.round, known.queue_version, known.queue_size) == (2, "activelab-20260301-100000-000000", 3)
    assert (known.model_version, known.control["classes"]) == ("model-2", ["Polite", "Impolite"])
    assert (known.found, known.last_sync) == (None, None)
    at = "2026-03-01T10:00:01.250000Z"
    assert project.tasks() == {
        1: Task(1, None, True, 2, at, (Annotation(11, 1, 4, "Polite", False, False, at),)),
        2: Task(2, None, False, 1, "2026-03-01T10:00:02.500000Z"),
    }
    assert project.texts([1, 2]) == {1: "Text 1"}
    assert project.originals() == {1: Original(3, False, None), 2: Original(3, False, None)}
    assert (project.reopened(), project.trained()) == ({1: 1}, {1: "Polite"})
    assert project.window() == [Slot(1, relabel=True), Slot(2, relabel=False)]
    assert [one["round"] for one in project.rounds()] == [1, 2]


def test_a_state_of_the_first_release_is_read_anew_and_used_on(migrated: State) -> None:
    assert migrated.project(URL, 7).record().window_options is None, "a new window is due"
    studio = Studio(3)
    studio.annotate(1, 4)
    project = migrated.project(URL, 7)
    project.put(control=find_control(CONFIG).to_json(), label_config=CONFIG)
    pulled = pull(read_project(7, studio), studio, project)  # type: ignore[arg-type]
    assert studio.read_everything()
    assert project.tasks() == pulled.tasks
    assert all(row.created_at for task in pulled.tasks.values() for row in task.annotations)
    project.store_window("activelab-3", 2, [Slot(1, relabel=True), Slot(3, relabel=False)], {"window": 100})
    assert project.answers_at_publishing() == {1: 1, 3: 0}
    project.put(found={"tabs": [1]}, last_sync={"at": "now", "result": "published", "error": None})
    project.store_originals(pulled.tasks.values())
    assert project.originals()[3] == Original(1, False, 0)


def test_every_column_is_there_after_a_migration(migrated: State) -> None:
    with migrated.engine.connect() as db:
        there = {name: {one["name"] for one in sa.inspect(db).get_columns(name)} for name in schema.metadata.tables}
        assert db.execute(sa.select(schema.meta)).scalars().all() == [schema.VERSION]
    assert {name: set(table.columns.keys()) - there[name] for name, table in schema.metadata.tables.items()} == {
        name: set() for name in schema.metadata.tables
    }


STATEMENTS = len(schema.MIGRATIONS[1])


@pytest.mark.parametrize("done", range(STATEMENTS + 2))
def test_a_migration_that_is_killed_leaves_the_state_as_it_was(old: Path, done: int) -> None:
    before = content(old)
    code = (
        "import os, signal\n"
        "import sqlalchemy as sa\n"
        f"left = {done}\n"
        "@sa.event.listens_for(sa.Engine, 'before_cursor_execute')\n"
        "def count(connection, cursor, statement, *more):\n"
        "    global left\n"
        "    if statement.startswith(('ALTER', 'UPDATE')):\n"
        "        left -= 1\n"
        "        if left < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "@sa.event.listens_for(sa.Engine, 'commit')\n"
        "def end(connection): os.kill(os.getpid(), signal.SIGKILL)\n"
        "from connector.state.project_state import State\n"
        f"State('sqlite:///{old}')"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert content(old) == before
    state = State(f"sqlite:///{old}")
    assert state.project(URL, 7).record().round == 2
    state.close()


def test_processes_that_open_an_old_state_at_once_all_can(old: Path) -> None:
    code = f"from connector.state.project_state import State\nassert State('sqlite:///{old}').adopted({URL!r}) == [7]"
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[1] for process in started] == [""] * 4


# -- damaged, and no database of ours --------------------------------------------------------------------------------


@pytest.fixture
def full(path: Path) -> Path:
    """A state database of many pages."""
    state = State(f"sqlite:///{path}")
    project = state.project(URL, 7)
    at = "2026-03-01T10:00:00Z"
    texts = {task: f"Text {task} " * 20 for task in range(1, 400)}
    project.store_tasks([Task(task, digest(text), False, 1, at) for task, text in texts.items()], texts)
    state.close()
    return path


PAGE = 4096


def overwrite_page(path: Path, page: int, what: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[page * PAGE : (page + 1) * PAGE] = (what * PAGE)[:PAGE]
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "another file": lambda path: path.write_bytes(b"These are notes, and they are no database.\n" * 200),
    "the header alone": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a page less": lambda path: path.write_bytes(path.read_bytes()[:-PAGE]),
    "its first page overwritten": lambda path: overwrite_page(path, 0, b"\0"),
    "a page in the middle overwritten with zeros": lambda path: overwrite_page(path, 30, b"\0"),
    "a page in the middle overwritten with a text": lambda path: overwrite_page(path, 30, b"no page "),
    "a table less": lambda path: script(path, "DROP TABLE tasks"),
    "its version forgotten": lambda path: script(path, "DELETE FROM meta"),
    "a text that is none": lambda path: script(path, "UPDATE tasks SET text = CAST(x'ff00fe' AS TEXT)"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_is_told_with_what_to_do(full: Path, damage: str) -> None:
    DAMAGE[damage](full)
    with pytest.raises((ConnectorError, sa.exc.DBAPIError)) as error:
        read(full)
    known = error.value if isinstance(error.value, ConnectorError) else explain(error.value)
    assert type(known) is UsageError
    assert str(known).startswith("The state database in CONNECTOR_STATE is damaged, or is no database (")
    assert "Put a copy back, or move it away and run connector init again" in str(known)
    assert "annotations are safe in Label Studio" in str(known)
    assert len(str(known)) < 400


def read(path: Path) -> None:
    state = State(f"sqlite:///{path}")
    try:
        project = state.project(URL, 7)
        project.texts(project.tasks())
    finally:
        state.close()


def test_another_program_s_database_is_left_alone(path: Path) -> None:
    script(path, "CREATE TABLE meta (name TEXT); INSERT INTO meta VALUES ('ours')")
    before = content(path)
    with pytest.raises(UsageError, match=r"cannot be opened: no such column: meta.schema_version"):
        State(f"sqlite:///{path}")
    assert content(path) == before


# -- not to be opened, or not to be written --------------------------------------------------------------------------


def test_a_state_that_may_only_be_read_says_so_when_it_is_to_be_written(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(full.parent)
    state = State(f"sqlite:///file:{full}?mode=ro&uri=true")
    project = state.project(URL, 7)
    assert len(project.tasks()) == 399
    with pytest.raises(sa.exc.OperationalError) as error:
        project.put(round=1)
    state.close()
    known = explain(error.value)
    assert type(known) is UsageError
    assert str(known) == (
        "The state database in CONNECTOR_STATE cannot be written (attempt to write a readonly database): check its "
        "path, and that the connector's user may write there and in its folder."
    )
    assert [one.name for one in full.parent.iterdir()] == [full.name], "no folder called file:"


def test_a_state_that_is_a_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be written \(unable to open database file\): check its path"):
        State(f"sqlite:///{tmp_path}")


def test_a_state_that_another_process_keeps_locked_is_for_later(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SQLITE_PATIENCE_SECONDS", 0.1)
    holder = sqlite3.connect(full, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TryAgainLater, match="failed: database is locked"):
        State(f"sqlite:///{full}")
    holder.close()


def test_a_postgresql_that_is_away_is_for_later_and_its_password_is_not_told() -> None:
    with pytest.raises(TryAgainLater, match="Connection refused") as error:
        State("postgresql+psycopg://connector:hunter2@127.0.0.1:9/state")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("said", "opening", "kind", "words"),
    [
        ("database or disk is full", False, TryAgainLater, "no room left .* free some disk space"),
        ('could not extend file "base/1": No space left on device', False, TryAgainLater, "no room left"),
        ("database disk image is malformed", False, UsageError, "is damaged"),
        ("attempt to write a readonly database", False, UsageError, "cannot be written"),
        ("cannot execute UPDATE in a read-only transaction", False, UsageError, "cannot be written"),
        ("permission denied for table projects", False, UsageError, "cannot be written"),
        ("unable to open database file", False, UsageError, "cannot be written"),
        ("database is locked", True, TryAgainLater, "failed: database is locked"),
        ("FATAL:  the database system is starting up", True, TryAgainLater, "starting up"),
        ("FATAL:  sorry, too many clients already", True, TryAgainLater, "too many clients"),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", True, TryAgainLater, "resolve host"),
        ('FATAL:  password authentication failed for user "connector"', True, UsageError, "cannot be opened: FATAL"),
        ('FATAL:  database "state" does not exist', True, UsageError, "cannot be opened: FATAL"),
        ("disk I/O error", True, UsageError, "cannot be opened: disk I/O error"),
        ("disk I/O error", False, TryAgainLater, "failed: disk I/O error"),
        ("server closed the connection unexpectedly", False, TryAgainLater, "failed: server closed"),
    ],
)
def test_what_a_database_says_becomes_one_of_our_errors(
    said: str, opening: bool, kind: type[ConnectorError], words: str
) -> None:
    error = sa.exc.OperationalError("SELECT 1", {}, Exception(f"{said}.\nDETAIL: more"))
    known = explain(error, opening=opening)
    assert type(known) is kind
    assert "\n" not in str(known)
    with pytest.raises(kind, match=words):
        raise known
