"""Commands that are stopped by Ctrl-C, and commands that meet a running sync."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from support.command_runner import Commands
from support.connector_commands import start_connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts
from support.proxy import Proxy

from connector.queue.settings import wrong_settings

PROJECT = r"/api/projects/\d+/"


@pytest.mark.parametrize(
    ("command", "method", "path"),
    [
        pytest.param("init", "GET", "/api/tasks", marks=pytest.mark.nightly),
        pytest.param("init", "PATCH", PROJECT, marks=pytest.mark.nightly),
        pytest.param("sync", "GET", "/api/tasks", marks=pytest.mark.nightly),
        ("sync", "POST", r"/api/projects/\d+/import/predictions"),
        pytest.param("sync", "PATCH", PROJECT, marks=pytest.mark.nightly),
        pytest.param("undo", "PATCH", PROJECT, marks=pytest.mark.nightly),
        pytest.param("status", "GET", "/api/tasks", marks=pytest.mark.nightly),
        pytest.param("export", "GET", "/api/tasks", marks=pytest.mark.nightly),
        pytest.param("doctor", "GET", "/api/tasks", marks=pytest.mark.nightly),
    ],
    ids=lambda value: value.strip("/").replace(r"\d+", "7"),
)
def test_ctrl_c_ends_a_command_and_the_next_one_goes_on(
    start: StartProject, people: Annotators, proxy: Proxy, command: str, method: str, path: str
) -> None:
    loop = start(texts(12), through=proxy.url, adopted=False, maximum_annotations=2)
    more = {"init": ["--yes"], "export": ["--out", f"{loop.state_url.removeprefix('sqlite:///')}.csv"]}
    first = people(1)[0]
    for task in loop.tasks[:3]:
        loop.label(first, task)
    if command != "init":
        loop.adopt()
        loop.sync(window=4)
        loop.label(first, loop.window[0])
    annotations = loop.annotations()

    proxy.hold(method, path)
    running = start_connector(loop, command, "--project", str(loop.id), *more.get(command, []))
    reached = proxy.wait_until_reached(running)
    running.send_signal(signal.SIGINT)
    try:
        out, err = running.communicate(timeout=60)
    finally:
        proxy.release()
    assert reached, err
    assert (running.returncode, out) == (1, "")
    assert err.splitlines()[-1] == "Stopped."
    assert "Traceback" not in err
    assert loop.state.record().lock_holder is None

    again = start_connector(loop, command, "--project", str(loop.id), *more.get(command, []))
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert loop.annotations() == annotations
    if command == "undo":
        assert loop.project()["maximum_annotations"] == 2
    else:
        assert wrong_settings(loop.project()) == {}
    if command == "sync":
        loop.assert_published()


def test_what_would_write_waits_for_a_sync_that_runs_and_what_reads_does_not(
    commands: Commands, start: StartProject, proxy: Proxy
) -> None:
    loop = start(texts(12), through=proxy.url)
    proxy.hold("POST", r"/api/projects/\d+/import/predictions")
    running = start_connector(loop, "sync", "--project", str(loop.id))
    try:
        assert proxy.wait_until_reached(running)
        before, known = loop.dump(), loop.state.record()
        for name in ("init", "sync", "undo"):
            done = commands.fail(loop, name)
            assert done.code == 3
            assert "Another sync holds this project. Try again when it has ended." in done.err
        for name in ("status", "export"):
            done = commands.run(loop, name)
            assert done.code == 0, done.said
        # The window is not published yet, which doctor has to say.
        assert commands.fail(loop, "doctor").code == 2
        assert (loop.dump(), kept(loop)) == (before, {name: getattr(known, name) for name in kept(loop)})
    finally:
        proxy.release()
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    loop.assert_published()


def kept(loop: ProjectDriver) -> dict[str, Any]:
    """The project's row, without the time until which the sync holds it."""
    return {name: value for name, value in vars(loop.state.record()).items() if name != "lock_until"}


def test_a_label_studio_that_is_slow_to_import_is_told_with_what_helps(
    start: StartProject, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    loop = start(texts(3))
    loop.sync()
    assert "to import the window" not in caplog.text
    loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"text": "One more."}])
    monkeypatch.setattr("connector.sync.publishing.SLOW_IMPORT_SECONDS", 0.0)
    monkeypatch.setattr("connector.sync.publishing.MANY_TASKS", 4)
    loop.sync()
    assert "is started with the environment variable fflag_fix_back_4620_" in caplog.text
