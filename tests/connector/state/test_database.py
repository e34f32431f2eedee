"""The state database: created, refused, damaged or not to be written, and the errors about it."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from connector.annotations.records import Task, digest
from connector.errors import ConnectorError, StateError, TryAgainLater, UsageError
from connector.state import database
from connector.state.database import explain, require_file
from connector.state.project_state import State

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


# -- created ---------------------------------------------------------------------------------------------------------


def test_a_process_that_is_killed_while_it_creates_the_tables_leaves_none(path: Path) -> None:
    code = (
        "import os, signal\n"
        "import sqlalchemy as sa\n"
        "@sa.event.listens_for(sa.Engine, 'before_cursor_execute')\n"
        "def kill(connection, cursor, statement, *more):\n"
        "    if statement.startswith('INSERT INTO meta'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "from connector.state.project_state import State\n"
        f"State('sqlite:///{path}')"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert content(path) == ["BEGIN TRANSACTION;", "COMMIT;"]
    State(f"sqlite:///{path}").close()


@pytest.mark.parametrize("version", [0, 1, 99])
def test_the_schema_of_another_version_is_refused_and_left_alone(path: Path, version: int) -> None:
    State(f"sqlite:///{path}").close()
    script(path, f"UPDATE meta SET schema_version = {version}")
    before = content(path)
    with pytest.raises(UsageError) as error:
        State(f"sqlite:///{path}")
    assert str(error.value) == (
        f"The state database in CONNECTOR_STATE has schema {version}, and this connector uses schema 6: use the "
        "connector version that wrote it."
    )
    assert content(path) == before


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+pysqlite://",
        "sqlite:/// ",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:state?mode=memory&cache=shared&uri=true",
        "sqlite:///?timeout=5",
    ],
)
def test_a_database_in_memory_is_no_file(url: str) -> None:
    with pytest.raises(UsageError, match="names no file"):
        require_file(url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///state.sqlite",
        "sqlite:////home/me/state.sqlite",
        "sqlite:///file:state.sqlite?uri=true",
        "sqlite:///memory",
        "postgresql+psycopg://",
        "no address",
    ],
)
def test_a_database_in_a_file_or_on_a_server_is_left_to_be_opened(url: str) -> None:
    require_file(url)


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


def page_of_a_task(path: Path) -> int:
    """A page in the middle of the table of tasks."""
    return path.read_bytes().index(b"Text 200 Text 200") // PAGE


DAMAGE: dict[str, Callable[[Path], object]] = {
    "another file": lambda path: path.write_bytes(b"These are notes, and they are no database.\n" * 200),
    "the header alone": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a page less": lambda path: path.write_bytes(path.read_bytes()[:-PAGE]),
    "its first page overwritten": lambda path: overwrite_page(path, 0, b"\0"),
    "a page in the middle overwritten with zeros": lambda path: overwrite_page(path, page_of_a_task(path), b"\0"),
    "a page in the middle overwritten with a text": lambda path: overwrite_page(
        path, page_of_a_task(path), b"no page "
    ),
    "a table less": lambda path: script(path, "DROP TABLE tasks"),
    "its version forgotten": lambda path: script(path, "DELETE FROM meta"),
    "a text that is none": lambda path: script(path, "UPDATE tasks SET text = CAST(x'ff00fe' AS TEXT)"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_is_told_with_what_to_do(full: Path, damage: str) -> None:
    DAMAGE[damage](full)
    with pytest.raises(UsageError) as error:
        read(full)
    sentence = str(error.value)
    assert isinstance(error.value, StateError)
    assert sentence.startswith("The state database in CONNECTOR_STATE is damaged, or is not a state database (")
    assert "Restore a backup, or move it away and run connector init again" in sentence
    assert "Annotations are safe in Label Studio" in sentence
    assert len(sentence) < 400


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
    with pytest.raises(UsageError) as error:
        project.put(round=1)
    state.close()
    assert isinstance(error.value.__cause__, sqlite3.OperationalError)
    assert str(error.value) == (
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
    explained = explain(error, opening=opening)
    assert (isinstance(explained, StateError), explained.exit_code) == (True, kind.exit_code)
    assert "\n" not in str(explained)
    with pytest.raises(kind, match=words):
        raise explained
