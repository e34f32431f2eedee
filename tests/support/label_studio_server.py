"""Label Studio servers for the tests, each started from a copy of a template.

The template is a Label Studio that has run its migrations and has an administrator and some annotators. It is made once
and kept in `.cache/` of the checkout. A change of Label Studio's version or of the recipe makes it anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from filelock import FileLock

from connector.demo import servers
from connector.demo.people import Person
from connector.demo.servers import start_label_studio
from connector.errors import UsageError
from support import ROOT
from support.postgresql_server import PostgreSQL

LOGIN = servers.Login("admin@example.com", "label-studio", "0123456789abcdef0123456789abcdef01234567")
ANNOTATORS = 9  # as many as a test asks for, the test of the load aside
CACHE = ROOT / ".cache"
START_SECONDS = 300
MEMORY, ROOM = Path("/dev/shm"), 1 << 30  # bytes that are to be free there
SQLITE_FILE = "label_studio.sqlite3"


@dataclass(frozen=True)
class Project:
    """A project made for one test; `tasks` are its task ids in the order of the texts."""

    id: int
    tasks: list[int]


@dataclass(frozen=True)
class LabelStudio:
    """A running Label Studio and its administrator; `api` is a session with the administrator's token.

    `database`: "sqlite" or "postgresql"; `data`: the folder of its data, SQLite's file among it; `people`: the
    annotators who have logged in so far; `logged_in`: whoever has a session for a browser, by address.
    """

    url: str
    login: servers.Login
    api: requests.Session
    database: str
    data: Path
    people: list[Person] = field(default_factory=list)
    logged_in: dict[str, Person] = field(default_factory=dict)

    @property
    def token(self) -> str:
        return self.login.token

    def call(self, method: str, path: str, **request: Any) -> Any:
        """The JSON that the API answers; any answer but a success fails the test."""
        response = self.api.request(method, self.url + path, timeout=60, **request)
        assert response.ok, f"{method} {path}: {response.status_code} {response.text[:500]}"
        return response.json() if response.content else None

    def make_project(self, tasks: list[str] | list[dict[str, Any]], *, config: str, **settings: Any) -> Project:
        """A new project with the tasks as Label Studio imports them."""
        body = {"title": "Test", "label_config": config, **settings}
        project: int = self.call("POST", "/api/projects", json=body)["id"]
        if not tasks:
            return Project(project, [])
        rows = [{"text": task} if isinstance(task, str) else task for task in tasks]
        query = {"return_task_ids": "true", "commit_to_project": "true"}
        imported = self.call("POST", f"/api/projects/{project}/import", params=query, json=rows)
        return Project(project, sorted(imported["task_ids"]))

    def tasks_with_drafts(self, tasks: list[int]) -> list[int]:
        """Those of the tasks that may have drafts: the API tells it task by task only, SQLite's file at once."""
        if self.database != "sqlite":
            return tasks
        with contextlib.closing(sqlite3.connect(self.data / SQLITE_FILE, timeout=60)) as database:
            drafted = {task for (task,) in database.execute("SELECT task_id FROM tasks_annotationdraft")}
        return [task for task in tasks if task in drafted]

    def person(self, email: str, password: str) -> Person:
        """The user, logged in once for all tests."""
        if email not in self.logged_in:
            annotator = next((person for person in self.people if person.email == email), None)
            self.logged_in[email] = annotator or Person.log_in(self.url, email, password)
        return self.logged_in[email]

    def annotators(self, count: int) -> list[Person]:
        """The first `count` annotators, logged in; those that the template has not sign up."""
        for number in range(len(self.people) + 1, count + 1):
            enter = Person.log_in if number <= ANNOTATORS else Person.sign_up
            self.people.append(enter(self.url, _email(number)))
        return self.people[:count]


Annotators = Callable[[int], list[Person]]
MakeProject = Callable[..., Project]


@contextlib.contextmanager
def running_label_studio(postgresql: PostgreSQL | None = None) -> Iterator[LabelStudio]:
    """Runs a Label Studio: on SQLite, or on a database of its own on the server `postgresql`."""
    template = _template(postgresql)
    if postgresql is not None:
        postgresql.restore_database(_DATABASE, template / "postgresql.dump")
        with postgresql.connect(_DATABASE) as database:  # an ML backend tells projects apart by their ids
            database.execute("ALTER SEQUENCE project_id_seq RESTART WITH 1000001")
    with _directory() as directory, contextlib.ExitStack() as running:
        shutil.copytree(template / "data", directory / servers.LABEL_STUDIO)
        url = running.enter_context(_running(directory, _environment(postgresql)))
        api = running.enter_context(servers.local_session())
        api.headers["Authorization"] = f"Token {LOGIN.token}"
        database = "sqlite" if postgresql is None else "postgresql"
        server = LabelStudio(url, LOGIN, api, database, directory / servers.LABEL_STUDIO)
        yield server
        for person in (*server.people, *server.logged_in.values()):
            person.close()


def copy_sqlite_template(directory: Path, token: str) -> None:
    """Lays a migrated Label Studio on SQLite into `directory`, whose administrator has this token."""
    data = directory / servers.LABEL_STUDIO
    shutil.copytree(_template(None) / "data", data, dirs_exist_ok=True)
    with contextlib.closing(sqlite3.connect(data / SQLITE_FILE)) as database, database:
        database.execute("UPDATE authtoken_token SET key = ? WHERE key = ?", [token, LOGIN.token])


_DATABASE = "label-studio"


def _email(number: int) -> str:
    return f"annotator-{number}@example.com"


def _environment(postgresql: PostgreSQL | None) -> dict[str, str]:
    if postgresql is None:
        return {}
    return {
        "DJANGO_DB": "default",
        "POSTGRE_NAME": _DATABASE,
        "POSTGRE_USER": postgresql.user,
        "POSTGRE_PASSWORD": postgresql.password,
        "POSTGRE_HOST": postgresql.host,
        "POSTGRE_PORT": str(postgresql.port),
    }


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """A folder in memory where there is room: on a disk SQLite waits for it at every commit."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    with tempfile.TemporaryDirectory(prefix="label-studio-", dir=MEMORY if roomy else None) as directory:
        yield Path(directory)


@contextlib.contextmanager
def _running(directory: Path, environment: dict[str, str]) -> Iterator[str]:
    try:
        server = start_label_studio(directory, LOGIN, timeout_s=START_SECONDS, environment=environment)
    except UsageError as error:
        pytest.fail(str(error))
    try:
        yield server.url
    finally:
        servers.stop(directory, servers.LABEL_STUDIO)


def _template(postgresql: PostgreSQL | None) -> Path:
    """The folder of the template, which is made first where there is none."""
    try:
        program = servers.label_studio_program()
    except UsageError as error:
        pytest.fail(str(error))
    (metadata,) = program.parent.parent.glob("lib/python*/site-packages/label_studio-*.dist-info")
    version = metadata.name.removesuffix(".dist-info").replace("label_studio-", "label-studio-")
    database = "sqlite" if postgresql is None else "postgresql"
    ingredients = [LOGIN, ANNOTATORS, *map(inspect.getsource, (_make_template, start_label_studio, Person))]
    recipe = hashlib.sha256(repr(ingredients).encode()).hexdigest()
    folder = CACHE / version / database
    recipe_file = folder / "recipe"
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / f"{database}.lock"):  # of several test processes one makes it
        if not recipe_file.exists() or recipe_file.read_text() != recipe:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _make_template(folder, postgresql)
            recipe_file.write_text(recipe)
    return folder


def _make_template(folder: Path, postgresql: PostgreSQL | None) -> None:
    if postgresql is not None:
        postgresql.create_database(_DATABASE)
    with _directory() as making:
        with _running(making, _environment(postgresql)) as url:
            for number in range(1, ANNOTATORS + 1):
                Person.sign_up(url, _email(number)).close()
        shutil.copytree(making / servers.LABEL_STUDIO, folder / "data")
    if postgresql is not None:
        postgresql.dump_database(_DATABASE, folder / "postgresql.dump")
        postgresql.drop_database(_DATABASE)
