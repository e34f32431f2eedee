"""Who holds a project: whose clock decides, and which holders are known to be dead."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from connector.errors import TryAgainLater
from connector.state import lock, schema
from connector.state.lock import KEEP_SECONDS, LOCK_SECONDS, ProjectLock, is_dead, is_held, new_holder
from connector.state.project_state import ProjectState, State

URL = "http://studio:8080"


@pytest.fixture
def state(state_url: str) -> Iterator[State]:
    opened = State(state_url)
    yield opened
    opened.close()


@pytest.fixture
def project(state: State) -> ProjectState:
    return state.project(URL, 7)


def holder_of_a_dead_process() -> str:
    """A holder whose process has ended, as it named itself."""
    code = "from connector.state.lock import new_holder; print(new_holder())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def changed(holder: str, **parts: str) -> str:
    """The holder with some of its parts replaced."""
    host, pid, own = holder.rsplit(":", 2)
    boot, namespace, start, drawn = own.split("/")
    known = {"host": host, "pid": pid, "boot": boot, "namespace": namespace, "start": start, "drawn": drawn, **parts}
    return "{host}:{pid}:{boot}/{namespace}/{start}/{drawn}".format(**known)


# -- which holders are dead ------------------------------------------------------------------------------------------


def test_a_process_that_lives_is_not_dead() -> None:
    assert not is_dead(new_holder())
    assert is_held(new_holder(), 10.0, 10.0)
    assert not is_held(new_holder(), 10.0, 10.5)


def test_a_process_that_has_ended_is_dead() -> None:
    holder = holder_of_a_dead_process()
    assert is_dead(holder)
    assert not is_held(holder, 10.0, 9.0)


def test_a_process_that_is_not_reaped_yet_is_dead() -> None:
    code = "import time; from connector.state.lock import new_holder; print(new_holder(), flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    holder = process.stdout.readline().strip()
    assert not is_dead(holder)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(holder)
    process.communicate()
    assert is_dead(holder)


def test_a_process_that_is_suspended_is_not_dead() -> None:
    code = "import time; from connector.state.lock import new_holder; print(new_holder(), flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    holder = process.stdout.readline().strip()
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    assert not is_dead(holder)
    process.kill()
    process.communicate()


def test_another_process_with_the_same_number_is_not_the_holder() -> None:
    assert is_dead(changed(new_holder(), start="1"))


@pytest.mark.parametrize(
    "parts",
    [
        {"boot": "76fb6348-0000-0000-0000-02864ebba074"},  # another machine of that name, or this one before a reboot
        {"namespace": "4026532500"},  # another container of this machine
        {"boot": ""},  # a system that does not tell
        {"namespace": ""},
        {"start": ""},
        {"pid": "x"},
    ],
    ids=str,
)
def test_in_doubt_a_holder_lives(parts: dict[str, str]) -> None:
    assert not is_dead(changed(holder_of_a_dead_process(), **parts))


@pytest.mark.parametrize("holder", ["host:12:abcdef01", f"{socket.gethostname()}:4194305:abcdef01", "host:1:"])
def test_the_holder_of_an_older_connector_lives_until_its_lock_expires(holder: str) -> None:
    assert not is_dead(holder)


def test_a_process_of_somebody_else_that_proc_hides_is_alive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = new_holder()

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(lock, "_start", lambda pid: None)
    assert not is_dead(mine)


def test_a_system_that_tells_nothing_has_its_locks_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lock, "_PROC", tmp_path / "none")
    holder = new_holder()
    assert holder.rsplit(":", 1)[1].startswith("///")
    assert not is_dead(holder)


def test_the_longest_holder_fits_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 255)
    assert len(new_holder()) <= schema.projects.c.lock_holder.type.length  # type: ignore[attr-defined]


def test_the_program_s_name_may_hold_parentheses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "12").mkdir()
    fields = " ".join(str(number) for number in range(4, 53))
    (tmp_path / "12" / "stat").write_text(f"12 (a) R 9 (b) S {fields}\n")
    monkeypatch.setattr(lock, "_PROC", tmp_path)
    assert lock._start(12) == "22"
    assert lock._start(13) is None


# -- whose clock decides ---------------------------------------------------------------------------------------------


def test_only_the_database_s_clock_decides(
    state: State, project: ProjectState, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = time.time()
    with project.lock():
        monkeypatch.setattr(lock, "time", SimpleNamespace(time=lambda: true_time + 10 * LOCK_SECONDS))
        project.renew_lock()
        with pytest.raises(TryAgainLater), state.project(URL, 7).lock():
            pass
        assert abs(project.record().lock_until - LOCK_SECONDS - true_time) < 60


def test_on_a_database_that_is_not_known_the_holder_s_clock_decides(
    project: ProjectState, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state.engine.dialect, "name", "mysql")
    key = project.record().key
    with ProjectLock(state.engine, key).hold():
        with pytest.raises(TryAgainLater), ProjectLock(state.engine, key).hold():
            pass
        later = time.time() + LOCK_SECONDS + 1
        monkeypatch.setattr(lock, "time", SimpleNamespace(time=lambda: later))
        with ProjectLock(state.engine, key).hold():
            assert project.record().lock_until == pytest.approx(later + LOCK_SECONDS)


# -- looking before writing --------------------------------------------------------------------------------------------


def statements(state: State) -> list[str]:
    """What is sent to the database from now on, by its first word."""
    sent: list[str] = []
    sa.event.listen(
        state.engine, "before_cursor_execute", lambda *arguments: sent.append(arguments[2].split()[0].upper())
    )
    return sent


def test_a_look_is_one_reading_until_the_lock_has_to_be_prolonged(state: State, project: ProjectState) -> None:
    with project.lock():
        sent = statements(state)
        project.renew_lock(at_most_every=KEEP_SECONDS)
        assert sent == ["SELECT"]
        project.put(lock_until=project.record().lock_until - KEEP_SECONDS)
        sent.clear()
        project.renew_lock(at_most_every=KEEP_SECONDS)
        assert sent == ["SELECT", "UPDATE"]
        sent.clear()
        project.renew_lock()
        assert sent == ["UPDATE"]


@pytest.mark.parametrize("at_most_every", [0.0, KEEP_SECONDS, 1e9])
def test_who_was_suspended_and_lost_the_lock_is_told_at_the_next_look(
    state: State, project: ProjectState, at_most_every: float
) -> None:
    other = state.project(URL, 7)
    with project.lock():
        project.renew_lock(at_most_every=at_most_every)
        project.put(lock_until=time.time() - 1)  # an hour passes
        with other.lock():
            with pytest.raises(TryAgainLater, match=r"took this project over\. Nothing more was written"):
                project.renew_lock(at_most_every=at_most_every)
            other.renew_lock(at_most_every=at_most_every)
    assert project.record().lock_holder is None


def test_who_was_suspended_and_lost_nothing_goes_on_with_a_full_lock(project: ProjectState) -> None:
    with project.lock():
        project.put(lock_until=time.time() - 3600)
        project.renew_lock(at_most_every=KEEP_SECONDS)
        assert project.record().lock_until > time.time() + LOCK_SECONDS - 60


def test_the_end_of_a_lost_lock_frees_nothing(state: State, project: ProjectState) -> None:
    other = state.project(URL, 7)
    with project.lock():
        project.put(lock_until=time.time() - 1)
        taken = other.lock()
        taken.__enter__()
    assert project.record().lock_holder is not None
    taken.__exit__(None, None, None)
    assert project.record().lock_holder is None
