"""A PostgreSQL server for the tests: a cluster of its own, on the loopback address, gone when the tests end."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from connector.demo.servers import HOST, free_port
from support.missing import missing

SUPERUSER = "postgres"
# What is in the cluster need not survive the machine.
FAST = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]


@dataclass(frozen=True)
class PostgreSQL:
    """A running server; `user` may do anything on it."""

    host: str
    port: int
    user: str
    password: str

    def create_database(self, name: str) -> None:
        """Makes an empty database."""
        with self.connect("postgres") as db:
            db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def drop_database(self, name: str) -> None:
        """Deletes a database."""
        with self.connect("postgres") as db:
            db.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))

    def dump_database(self, name: str, file: Path) -> None:
        """Writes a whole database into a file of PostgreSQL's own format."""
        self._run("pg_dump", "--format", "custom", "--compress", "1", "--file", str(file), "--dbname", name)

    def restore_database(self, name: str, file: Path) -> None:
        """Makes a database as `dump_database` has written it."""
        self.create_database(name)
        self._run("pg_restore", "--exit-on-error", "--dbname", name, str(file))

    def _run(self, client: str, *arguments: str) -> None:
        where = ["--host", self.host, "--port", str(self.port), "--username", self.user]
        done = subprocess.run(
            [program(client), *where, *arguments],
            env={**os.environ, "PGPASSWORD": self.password},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def connect(self, name: str) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection to the database `name`; each statement is a transaction of its own."""
        return psycopg.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=name, autocommit=True
        )

    def url(self, name: str) -> str:
        """The database `name` as SQLAlchemy and CONNECTOR_STATE take it."""
        return f"postgresql+psycopg://{self.user}:{self.password}@{self.host}:{self.port}/{name}"


@contextlib.contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    """Makes a cluster in a temporary directory and runs a server on it; both are gone afterwards."""
    account = _account()
    # Not under pytest's directories: they are closed to the account that the server needs where root runs the tests.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as directory:
        home = Path(directory)
        password = secrets.token_hex(16)
        (home / "password").write_text(password)
        if account:
            for path in (home, home / "password"):
                shutil.chown(path, account["user"], account["group"])
        _make_cluster(home, account)
        server = PostgreSQL(HOST, free_port(), SUPERUSER, password)
        with _serving(home, server.port, account) as process:
            _wait_until_it_answers(server, process, home / "log")
            yield server


def program(name: str) -> str:
    """One of the server's programs: on the PATH, or where Debian keeps them, of the newest version there."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = shutil.which(name) or (str(debian[-1]) if debian else None)
    if found is None:
        missing("There is no PostgreSQL server on this machine. Run `make postgresql`.")
    return found


def _account() -> dict[str, Any]:
    """Whom to run the server as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _make_cluster(home: Path, account: dict[str, Any]) -> None:
    command = [program("initdb"), "--pgdata", home / "data", "--username", SUPERUSER, "--pwfile", home / "password"]
    command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
    made = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False, **account)
    assert made.returncode == 0, made.stderr


@contextlib.contextmanager
def _serving(home: Path, port: int, account: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    command = [program("postgres"), "-D", str(home / "data"), "-h", HOST, "-p", str(port), "-k", str(home)]
    for setting in FAST:
        command += ["-c", setting]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **account
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # ends the connections that there are, too
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)  # at once, and with its children
            process.wait(timeout=10)


def _wait_until_it_answers(server: PostgreSQL, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError), server.connect("postgres"):
            return
        time.sleep(0.1)
    pytest.fail(f"PostgreSQL does not start; its log ends with:\n{log.read_text(errors='replace')[-2000:]}")
