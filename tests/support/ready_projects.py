"""Projects that `connector init` has set up, copied row by row instead of being made over HTTP.

A pattern is made by Label Studio's API and by init itself. A copy has other ids and the first tasks of the pattern. It
costs a few milliseconds, and each test has a project of its own as before.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.label_studio_server import SQLITE_FILE, Project

Row = dict[str, Any]

# Label Studio's tables that hold rows of a fresh project, those that others refer to first.
_TABLES = {
    "project": "SELECT * FROM project WHERE id = :project",
    "projects_projectsummary": "SELECT * FROM projects_projectsummary WHERE project_id = :project",
    "task": "SELECT * FROM task WHERE project_id = :project ORDER BY id",
    "data_manager_filtergroup": "SELECT * FROM data_manager_filtergroup WHERE id IN (SELECT filter_group_id "
    "FROM data_manager_view WHERE project_id = :project)",
    "data_manager_filter": "SELECT * FROM data_manager_filter WHERE id IN (SELECT filter_id "
    "FROM data_manager_filtergroup_filters WHERE filtergroup_id IN (SELECT filter_group_id FROM data_manager_view "
    "WHERE project_id = :project))",
    "data_manager_filtergroup_filters": "SELECT * FROM data_manager_filtergroup_filters WHERE filtergroup_id IN "
    "(SELECT filter_group_id FROM data_manager_view WHERE project_id = :project)",
    "data_manager_view": "SELECT * FROM data_manager_view WHERE project_id = :project",
}
# Which table a column's id is one of.
_REFERENCES = {
    "project_id": "project",
    "filter_group_id": "data_manager_filtergroup",
    "filtergroup_id": "data_manager_filtergroup",
    "filter_id": "data_manager_filter",
}


@dataclass(frozen=True)
class Pattern:
    """A project that init has set up: its id, its rows in Label Studio by table, and the content of its state file."""

    project: int
    rows: dict[str, list[Row]]
    state: bytes


class ReadyProjects:
    """Copies of one project; `make_pattern` makes it and returns its id and the file of its state database."""

    def __init__(self, data: Path, make_pattern: Callable[[], tuple[int, Path]]) -> None:
        self._file = data / SQLITE_FILE
        self._make_pattern = make_pattern
        self._pattern: Pattern | None = None

    def copy(self, count: int, url: str, directory: Path) -> tuple[Project, Path]:
        """A project of the first `count` tasks, and the file in `directory` with its state for a server at `url`."""
        if self._pattern is None:
            self._pattern = self._read_pattern()
        with _writing(self._file) as database:
            shift = _shifts(database, self._pattern)
            for table, rows in _copied(self._pattern, count, shift).items():
                _insert(database, table, rows)
        project = self._pattern.project + shift["project"]
        state_file = directory / f"state-{project}.sqlite"
        state_file.write_bytes(self._pattern.state)
        tasks = [row["id"] + shift["task"] for row in self._pattern.rows["task"][:count]]
        with _writing(state_file) as database:
            _adapt_state(database, url, project, tasks, shift)
        return Project(project, tasks), state_file

    def _read_pattern(self) -> Pattern:
        project, state_file = self._make_pattern()
        with contextlib.closing(sqlite3.connect(self._file, timeout=60)) as database:
            database.row_factory = sqlite3.Row
            rows = {
                table: [dict(row) for row in database.execute(query, {"project": project})]
                for table, query in _TABLES.items()
            }
        return Pattern(project, rows, state_file.read_bytes())


@contextlib.contextmanager
def _writing(file: Path) -> Any:
    """A transaction on an SQLite file that other processes may use."""
    with contextlib.closing(sqlite3.connect(file, timeout=60, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN IMMEDIATE")
        yield database
        database.execute("COMMIT")


def _shifts(database: sqlite3.Connection, pattern: Pattern) -> dict[str, int]:
    """What to add to the pattern's ids of each table for the next ids that are free."""
    used = dict(database.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    return {
        table: used[table] + 1 - min(row["id"] for row in rows)
        for table, rows in pattern.rows.items()
        if rows and "id" in rows[0]
    }


def _copied(pattern: Pattern, count: int, shift: dict[str, int]) -> dict[str, list[Row]]:
    """The pattern's rows under their new ids."""
    copied: dict[str, list[Row]] = {}
    for table, rows in pattern.rows.items():
        copied[table] = []
        for row in rows[:count] if table == "task" else rows:
            new = dict(row)
            if "id" in new:
                new["id"] += shift[table]
            for column, of_table in _REFERENCES.items():
                if new.get(column) is not None:
                    new[column] += shift[of_table]
            copied[table].append(new)
    copied["project"][0]["token"] = secrets.token_hex(20)
    copied["projects_projectsummary"][0]["all_data_columns"] = json.dumps({"text": count})
    return copied


def _insert(database: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    if rows:
        names = ", ".join(f'"{name}"' for name in rows[0])
        places = ", ".join(f":{name}" for name in rows[0])
        database.executemany(f'INSERT INTO "{table}" ({names}) VALUES ({places})', rows)


def _adapt_state(database: sqlite3.Connection, url: str, project: int, tasks: list[int], shift: dict[str, int]) -> None:
    """Makes the pattern's state that of the copy."""
    (found,) = database.execute("SELECT found FROM projects").fetchone()
    made = json.loads(found)
    made["made_tabs"] = [tab + shift["data_manager_view"] for tab in made["made_tabs"]]
    database.execute("UPDATE projects SET url = ?, project_id = ?, found = ?", [url, project, json.dumps(made)])
    database.execute("UPDATE addresses SET url = ?, project_id = ?", [url, project])
    for table, column in (("tasks", "id"), ("originals", "task")):
        # By way of negative numbers, since old ids may be new ids of other rows.
        database.execute(f"UPDATE {table} SET {column} = -({column} + ?)", [shift["task"]])
        database.execute(f"UPDATE {table} SET {column} = -{column}")
        database.execute(f"DELETE FROM {table} WHERE {column} > ?", [tasks[-1] if tasks else 0])
