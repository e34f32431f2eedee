"""The connector's commands within the test's own process, for the many ways in which they can fail."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from connector.cli.main import main
from connector.state.project_state import ProjectState
from support.project_driver import ProjectDriver

# Every command on a project that is set up; {project} and {folder} are filled in.
COMMANDS = {
    "init": "init --project {project} --yes",
    "sync": "sync --project {project}",
    "status": "status --project {project}",
    "export": "export --project {project} --out {folder}/out.csv",
    "report": "report --project {project} --out {folder}/out.html",
    "undo": "undo --project {project}",
    "doctor": "doctor --project {project}",
}
ASK_THE_BACKEND = ("sync", "export", "report", "doctor")


class Done(NamedTuple):
    """How a command ended, and what it said: `doctor` and `status` report faults on standard output."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Commands:
    """Runs commands on the project of a ProjectDriver; each ends without a traceback and without telling the token."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], folder: Path) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def run(self, loop: ProjectDriver, name: str, *more: str, **environment: str) -> Done:
        """Runs the command called `name` in COMMANDS with `more` options."""
        written = COMMANDS[name].format(project=loop.id, folder=self.folder)
        settings = {
            "LABEL_STUDIO_URL": loop.gateway.url,
            "LABEL_STUDIO_API_KEY": loop.server.token,
            "ML_BACKEND_URL": loop.backend,
            "CONNECTOR_STATE": loop.state_url,
            "CONNECTOR_RETRY_SECONDS": "0",
            **environment,
        }
        self._capfd.readouterr()
        with self._monkeypatch.context() as patched:
            patched.chdir(self.folder)
            patched.setattr(sys, "argv", ["connector", *written.split(), *more])
            for setting, value in settings.items():
                patched.setenv(setting, value)
            with pytest.raises(SystemExit) as end:
                main()
        done = Done(int(end.value.code or 0), *self._capfd.readouterr())
        assert "Traceback" not in done.said
        assert "unforeseen" not in done.said, done.err
        assert settings["LABEL_STUDIO_API_KEY"] not in done.said
        return done

    def fail(self, loop: ProjectDriver, name: str, *more: str, **environment: str) -> Done:
        """Runs a command that is to fail: what it says is on standard error, unless reporting is its work."""
        done = self.run(loop, name, *more, **environment)
        assert done.code != 0, f"{name} succeeded: {done.said}"
        if name not in ("status", "doctor"):
            assert done.out == "", name
            assert done.err.splitlines()[-1].startswith("Error: "), done.err
        return done


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Commands:
    """`commands.run(loop, "sync", …)`."""
    return Commands(monkeypatch, capfd, tmp_path)


class Answer(NamedTuple):
    """What a server that is not Label Studio says to everything."""

    status: int
    body: Any
    location: str | None = None


class OtherServer:
    """A web server that gives the same answer to every call."""

    def __init__(self, answer: Answer) -> None:
        content = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        kind = "text/html" if isinstance(answer.body, str) else "application/json"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response_only(answer.status)
                self.send_header("Content-Type", kind)
                if answer.location is not None:
                    self.send_header("Location", answer.location)
                self.send_header("Content-Length", str(len(content.encode())))
                self.end_headers()
                self.wfile.write(content.encode())

            do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

            def log_message(self, *values: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def other_server() -> Iterator[Callable[[Answer], str]]:
    """`other_server(answer)`: the address of a server that says nothing else."""
    started: list[OtherServer] = []

    def start(answer: Answer) -> str:
        started.append(OtherServer(answer))
        return started[-1].url

    yield start
    for server in started:
        server.close()


def kept(state: ProjectState) -> dict[str, Any]:
    """What `init` found and what is published, as the state database has it."""
    known = state.record()
    names = ("adopted_at", "original_settings", "found", "queue_version", "label_config")
    return {**{name: getattr(known, name) for name in names}, "window": state.window(), "originals": state.originals()}


def assert_all_fail(
    commands: Commands, loop: ProjectDriver, code: int, words: str, *, names: Any = tuple(COMMANDS), **environment: str
) -> None:
    """Each of the commands ends with the code and the words, and leaves Label Studio and its memory as they were."""
    before, known = loop.dump(), kept(loop.state)
    for name in names:
        done = commands.fail(loop, name, **environment)
        assert done.code == code, f"{name}: {done.said}"
        assert words in " ".join(done.said.split()), f"{name}: {done.said}"
    assert loop.dump() == before
    assert kept(loop.state) == known
    assert list(commands.folder.glob("out.*")) == []
