"""What the demo's servers need before any is started, and whom `stop` leaves alone."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support import ROOT

from connector.annotations.label_config import find_control
from connector.demo import servers
from connector.demo.project import label_config
from connector.errors import UsageError
from connector.simulation import processes


def test_missing_label_studio_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_VENV", str(tmp_path))
    with pytest.raises(UsageError, match="run `make setup`"):
        servers.label_studio_program()


# Answers every request with its own environment.
SHOWS_ITS_ENVIRONMENT = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ)).encode())

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def test_variables_given_to_label_studio_come_before_the_ones_it_is_started_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "label-studio"
    program.parent.mkdir()
    program.write_text(SHOWS_ITS_ENVIRONMENT.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("LABEL_STUDIO_VENV", str(tmp_path))
    login = servers.Login("admin@example.com", "secret", "0" * 40)
    given = {"DJANGO_DB": "default", "SSRF_PROTECTION_ENABLED": "true"}
    server = servers.start_label_studio(tmp_path, login, environment=given)
    try:
        with servers.local_session() as session:
            shown = session.get(server.url, timeout=10).json()
    finally:
        servers.stop(tmp_path, servers.LABEL_STUDIO)
    assert {name: shown[name] for name in given} == given
    assert (shown["ML_BLOCK_LOCAL_IP"], shown["LABEL_STUDIO_USERNAME"]) == ("false", "admin@example.com")


def test_stop_leaves_another_process_with_the_same_number_alone(tmp_path: Path) -> None:
    record = {"name": "ml-backend", "url": "http://127.0.0.1:1", "pid": os.getpid(), "command": ["ml-backend", "serve"]}
    (tmp_path / "ml-backend.json").write_text(json.dumps(record))
    assert servers.running(tmp_path) == []
    assert servers.stop(tmp_path, servers.ML_BACKEND) is False
    assert not (tmp_path / "ml-backend.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_process_starts_ends_it_with_the_one_who_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    started: list[int] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)
            signal.raise_signal(number)  # before anybody else knows the number of the process

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    before = signal.signal(number, end)
    try:
        with pytest.raises(KeyboardInterrupt):
            processes.start("sleeper", ["sleep", "60"], {}, processes.free_port(), tmp_path, timeout_s=60)
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)
    assert not processes.is_running(processes.Server("sleeper", "", started[0], ["sleep", "60"]))
    assert not (tmp_path / "sleeper.json").exists()


def test_a_process_that_was_started_this_moment_runs() -> None:
    # It has no command line until its program is loaded: of 3,000 on busy cores, 2,494 had none yet.
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    for _ in range(50):
        process = subprocess.Popen(command)
        runs = processes.is_running(processes.Server("sleeper", "", process.pid, command))
        process.kill()
        not_waited_for = processes.is_running(processes.Server("sleeper", "", process.pid, ["no such command"]))
        process.wait()
        ended = processes.is_running(processes.Server("sleeper", "", process.pid, command))
        assert (runs, not_waited_for, ended) == (True, False, False)


def test_preferred_port_is_taken_only_when_it_is_free() -> None:
    with socket.socket() as taken:
        taken.bind((servers.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert servers.free_port(port) != port
    assert servers.free_port(port) == port


def test_config_is_label_config_xml_for_its_own_classes() -> None:
    written = (ROOT / "label_config.xml").read_text(encoding="utf-8")
    assert label_config(["Impolite", "Polite"]) == written


def test_config_gets_the_classes_of_other_data() -> None:
    control = find_control(label_config(["ham & eggs", "spam", "undecided"]))
    assert (control.name, control.classes) == ("label", ("ham & eggs", "spam", "undecided"))
