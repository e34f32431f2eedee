"""`connector sync --every`: real processes that go on until a signal ends them, on a real Label Studio."""

from __future__ import annotations

import json
import queue as queues
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.connector_commands import command_environment
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts
from support.proxy import Proxy
from support.waiting import until

from connector.cli.main import main
from connector.state.project_state import State
from connector.sync.signals import GRACE_SECONDS, StopSignals

PATIENCE_SECONDS = 120
PROJECT = r"/api/projects/\d+/"
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "


class Service:
    """The command in a process of its own, and the lines that it says."""

    def __init__(self, loop: ProjectDriver, *arguments: str, **environment: str) -> None:
        # A shell has what it starts in the background ignore Ctrl-C, and whatever that starts in turn.
        code = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); import connector.cli.main as c; c.main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "sync", *arguments],
            env=command_environment(loop, changed={"CONNECTOR_RETRY_SECONDS": "0", **environment}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: queues.Queue[str] = queues.Queue()
        self.err: queues.Queue[str] = queues.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=pair)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: queues.Queue[str]) -> None:
        for line in stream:
            lines.put(line.rstrip("\n"))

    def round(self) -> dict[str, Any]:
        """The next object on standard output."""
        found: dict[str, Any] = json.loads(self.line())
        return found

    def line(self) -> str:
        """The next line on standard output."""
        return self.out.get(timeout=PATIENCE_SECONDS)

    def error(self) -> str:
        """The next line on standard error."""
        return self.err.get(timeout=PATIENCE_SECONDS)

    def end(self, number: int | None = signal.SIGTERM) -> tuple[int, list[str], list[str]]:
        """Ends the process with a signal, or waits for it; its exit code, and the lines that were not read yet."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join()
        return code, list(self.out.queue), list(self.err.queue)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    """`serve(loop, "--every", "5", …)`: a service that ends with the test."""
    started: list[Service] = []

    def begin(loop: ProjectDriver, *arguments: str, **environment: str) -> Service:
        started.append(Service(loop, *arguments, **environment))
        return started[-1]

    yield begin
    for service in started:
        service.close()


Serve = Callable[..., Service]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)])
def test_the_window_is_refilled_when_half_of_it_is_used_up_and_a_wait_ends_at_once(
    start: StartProject, people: Annotators, serve: Serve, number: int
) -> None:
    loop = start(texts(30))
    service = serve(loop, "--project", str(loop.id), "--every", "3600", "--window", "10", "--json")
    first = service.round()
    assert (first["project"], first["round"], first["trained"]) == (loop.id, 1, False)
    size = first["window"]["size"]
    everyone = people(3)
    for turn in range(size // 2):
        assert loop.turn(everyone[turn % 3], ["Polite", "Impolite"][turn % 2]) is not None
        if turn == 1:
            # Long enough for a poll, which has to leave the window as it is.
            with pytest.raises(queues.Empty):
                service.out.get(timeout=8)
    second = service.round()
    assert (second["round"], second["annotations"], second["trained"]) == (2, size // 2, True)
    assert second["at"] > first["at"]
    loop.assert_published()

    assert service.end(number) == (0, [], [])
    assert loop.state.record().lock_holder is None


def test_a_log_is_one_line_for_what_was_done_and_none_for_nothing_new(
    start: StartProject, people: Annotators, serve: Serve
) -> None:
    loop = start(texts(12))
    service = serve(loop, "--project", str(loop.id), "--every", "5", "--train", "never")
    assert re.fullmatch(TIME + f"Project {loop.id}, round 1: 12 tasks, no annotations yet.*", service.line())
    until(lambda: loop.state.record().last_sync["result"] == "nothing new")
    loop.set(sampling="Uniform sampling")
    assert "The setting sampling was changed in Label Studio." in service.error()
    assert "To find what else breaks the queue" in service.error()
    assert "nothing new since round 1. It restored sampling." in service.line()
    code, out, err = service.end()
    assert (code, out, err) == (0, [], [])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/api/tasks", marks=pytest.mark.nightly),
        pytest.param("POST", r"/api/projects/\d+/import/predictions", marks=pytest.mark.nightly),
        pytest.param("PATCH", r"/api/tasks/\d+", marks=pytest.mark.nightly),
        ("PATCH", PROJECT),
    ],
    ids=lambda value: value.strip("/").replace(r"\d+", "7"),
)
def test_a_sync_at_work_ends_after_its_step_and_the_next_one_goes_on(
    start: StartProject, people: Annotators, serve: Serve, proxy: Proxy, method: str, path: str
) -> None:
    loop = start(texts(20), through=proxy.url)
    for number, task in enumerate(loop.tasks[:6]):
        loop.label(people(2)[number // 3], task, ["Polite", "Impolite"][number % 2])
    annotations = loop.annotations()
    proxy.hold(method, path)
    service = serve(loop, "--project", str(loop.id), "--every", "60", "--json")
    reached = proxy.wait_until_reached(service.process)
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    running = service.process.poll() is None
    proxy.release()
    code, out, err = service.end(None)
    assert (reached, running, code, err) == (True, True, 0, [])
    assert loop.state.record().lock_holder is None
    if path == PROJECT:
        loop.assert_published()
    assert len(out) == (path == PROJECT), "a sync that had flipped the project went on to its end"
    assert loop.sync()["round"] == 1
    loop.assert_published()
    assert loop.annotations() == annotations


@pytest.mark.parametrize(
    "again", [signal.SIGINT, pytest.param(None, marks=pytest.mark.nightly)], ids=["a second signal", "the grace"]
)
def test_a_server_that_does_not_answer_does_not_keep_the_service_from_ending(
    start: StartProject, serve: Serve, proxy: Proxy, again: int | None
) -> None:
    loop = start(texts(12), through=proxy.url)
    proxy.hold("POST", r"/api/projects/\d+/import/predictions")
    service = serve(loop, "--project", str(loop.id), "--every", "60")
    assert proxy.wait_until_reached(service.process)
    service.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    if again is not None:
        time.sleep(0.5)
        service.process.send_signal(again)
    code, out, err = service.end(None)
    assert (code, out, err) == (0, [], [])
    assert again is not None or time.monotonic() - began >= GRACE_SECONDS - 1
    assert loop.state.record().lock_holder is None
    proxy.release()
    loop.sync()
    loop.assert_published()


def test_a_round_that_fails_is_one_line_and_the_next_one_goes_on(
    start: StartProject, serve: Serve, proxy: Proxy
) -> None:
    loop = start(texts(12), through=proxy.url)
    service = serve(loop, "--project", str(loop.id), "--every", "5")
    assert "round 1" in service.line()
    proxy.fail_with = 502
    line = service.error()
    assert re.fullmatch(TIME + f"Error in project {loop.id}: Label Studio at {proxy.url} failed with 502: .*", line)
    assert "failed with 502" in service.error()
    proxy.fail_with = None
    assert "round 1" in service.line(), "that it works again"
    code, out, err = service.end()
    assert (code, out) == (0, [])
    assert not [line for line in err if "Traceback" in line]


def test_what_will_not_heal_ends_the_service_of_a_single_project(start: StartProject, serve: Serve) -> None:
    loop = start(texts(3))
    wrong = serve(loop, "--project", str(loop.id), "--every", "5", LABEL_STUDIO_API_KEY="0" * 40)
    code, out, err = wrong.end(None)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("Error: ")
    assert "refuses the token" in err[0]
    service = serve(loop, "--project", str(loop.id), "--every", "5", "--json")
    assert service.round()["round"] == 1
    loop.call("DELETE", f"/api/projects/{loop.id}/")
    code, out, err = service.end(None)
    assert code == 2
    assert json.loads(out[-1])["exit_code"] == 2
    assert f"no project {loop.id}" in err[-1]


@pytest.mark.postgresql
@pytest.mark.parametrize("state_url", ["postgresql"], indirect=True)
def test_of_three_projects_the_bad_one_is_told_once_and_the_others_go_on(
    start: StartProject, people: Annotators, serve: Serve, state_url: str, request: pytest.FixtureRequest
) -> None:
    database = State(state_url)
    request.addfinalizer(database.close)
    loops = []
    for _ in range(3):
        loop = start(texts(12), adopted=False)
        loops.append(replace(loop, state_url=state_url, state=database.project(loop.gateway.url, loop.id)))
    for loop in loops[:2]:
        loop.adopt()
    service = serve(loops[0], "--all", "--every", "5", "--window", "10")
    for loop in loops[:2]:
        assert f"Project {loop.id}, round 1" in service.line()
    loops[0].call("DELETE", f"/api/projects/{loops[0].id}/")
    assert f"no project {loops[0].id}" in service.error()
    loops[2].adopt()  # joins in
    assert f"Project {loops[2].id}, round 1" in service.line()
    loops[1].turn(people(1)[0])
    assert f"Project {loops[1].id}, round 2" in service.line()
    failed_at = loops[0].state.record().last_sync["at"]
    until(lambda: loops[0].state.record().last_sync["at"] != failed_at)
    assert service.end() == (0, [], [])
    assert [loop.state.record().lock_holder for loop in loops] == [None] * 3
    for loop in loops[1:]:
        loop.assert_published()


@pytest.mark.nightly
def test_rounds_with_nothing_new_leave_no_file_or_connection_open(
    start: StartProject, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    loop = start(texts(50))
    loop.sync()
    rounds: list[int] = []  # open files and connections after each
    waited = [0.0]

    def wait(stop: StopSignals, seconds: float) -> bool:
        waited[0] += 3600  # the next round, without a poll
        rounds.append(len(list(Path("/proc/self/fd").iterdir())))
        return len(rounds) == 40

    for name, value in command_environment(loop).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StopSignals, "wait", wait)
    monkeypatch.setattr("connector.cli.sync.time", SimpleNamespace(monotonic=lambda: waited[0]))
    monkeypatch.setattr(sys, "argv", ["connector", "sync", "--all", "--every", "5", "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    lines = [json.loads(line)["projects"][0] for line in capfd.readouterr().out.splitlines()]
    assert len(lines) == 40
    assert {line["round"] for line in lines} == {1}
    assert rounds[39] == rounds[9]
