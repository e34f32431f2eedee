"""The project's lock between real processes, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.postgresql_server import PostgreSQL

from connector.errors import TryAgainLater
from connector.state.lock import LOCK_SECONDS
from connector.state.project_state import ProjectState, State

URL = "http://studio"
# Takes the lock again and again; whoever has it makes a file that there may be one of, looks and takes it away.
RACE = """
import os, sys, time
from connector.errors import TryAgainLater
from connector.state.project_state import State
url, witness, ahead, rounds = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
real = time.time
time.time = lambda: real() + ahead
project, got = State(url).project("http://studio", 7), 0
print("ready", flush=True)
sys.stdin.readline()
while got < rounds:
    try:
        with project.lock():
            os.close(os.open(witness, os.O_CREAT | os.O_EXCL))
            project.renew_lock(at_most_every=10)
            time.sleep(0.002)
            project.renew_lock()
            os.unlink(witness)
            got += 1
    except TryAgainLater:
        pass
    time.sleep(0.001)
print(got)
"""
HOLD = """
import sys, time
from connector.state.project_state import State
with State(sys.argv[1]).project("http://studio", 7).lock():
    print("held", flush=True)
    time.sleep(600)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def project(state_url: str) -> Iterator[ProjectState]:
    state = State(state_url)
    yield state.project(URL, 7)
    state.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(code, arguments)`: a process that has said its first line."""
    with contextlib.ExitStack() as after:

        def begin(code: str, *arguments: object) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            after.enter_context(process)
            after.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline(), process.communicate()[1]
            return process

        yield begin


def test_processes_whose_clocks_differ_by_an_hour_never_hold_a_project_at_once(
    project: ProjectState, state_url: str, start: Start, tmp_path: Path
) -> None:
    racers = [start(RACE, state_url, tmp_path / "witness", ahead, 60) for ahead in (0, 3600, -3600)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    ended = [racer.communicate(timeout=200) for racer in racers]
    assert ended == [("60\n", "")] * 3
    assert project.record().lock_holder is None


def test_the_lock_of_a_killed_process_is_taken_over_at_once(
    project: ProjectState, state_url: str, start: Start
) -> None:
    holder = start(HOLD, state_url)
    with pytest.raises(TryAgainLater), project.lock():
        pytest.fail("held twice")
    holder.kill()
    holder.wait()
    with project.lock():
        project.renew_lock()


def test_the_lock_of_a_process_killed_elsewhere_is_taken_over_when_it_has_expired(
    project: ProjectState, state_url: str, start: Start
) -> None:
    holder = start(HOLD, state_url)
    known = project.record()
    host, pid, own = known.lock_holder.rsplit(":", 2)
    elsewhere = ":".join((host, pid, own.replace(own.split("/")[1], "4026532999")))  # another container of this machine
    project.put(lock_holder=elsewhere)
    holder.kill()
    holder.wait()
    for until in (known.lock_until, time.time() + 30):
        project.put(lock_until=until)
        with pytest.raises(TryAgainLater), project.lock():
            pytest.fail("held twice")
    project.put(lock_until=time.time() - 30)
    with project.lock():
        assert project.record().lock_until > time.time() + LOCK_SECONDS - 60


def test_a_connection_that_the_server_ended_is_replaced(postgresql: PostgreSQL) -> None:
    postgresql.create_database("state-of-a-service")
    state = State(postgresql.url("state-of-a-service"))
    project = state.project(URL, 7)
    with postgresql.connect("postgres") as server:
        for round_ in range(3):
            ended = server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'state-of-a-service'"
            ).fetchall()
            assert ended == [(True,)]
            with project.lock():
                project.put(round=round_)
    with state.engine.connect() as db:
        assert db.execute(sa.text("SELECT 1")).scalar() == 1
    state.close()
