"""A project under our queue on the real Label Studio: what a test does to it, and how it looks from outside."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.active_learning.window import Slot
from connector.backend import Backend
from connector.demo.people import Person
from connector.demo.servers import local_session
from connector.label_studio.client import TASK_FIELDS
from connector.label_studio.client import LabelStudio as Gateway
from connector.progress import Reporter
from connector.queue.init import initialize
from connector.queue.publish import Published, publish
from connector.queue.versions import unknown_newer
from connector.state.project_state import ProjectState, State
from connector.state.pull import ProjectSnapshot, pull, read_project
from connector.sync.cycle import SyncOptions, sync
from support import ROOT
from support.in_process import run_in_process

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio, MakeProject
    from support.ready_projects import ReadyProjects

OPTIONS = SyncOptions()
READY_TASKS = 60  # up to so many standard texts make a project that is a copy

# The tests with this mark run on Label Studio on SQLite and on PostgreSQL.
on_both_databases_by_day = pytest.mark.parametrize(
    "label_studio", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)
# These on PostgreSQL only in make test-all: what differs there has tests of its own.
on_both_databases = pytest.mark.parametrize(
    "label_studio",
    ["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgresql, pytest.mark.nightly])],
    indirect=True,
)


def new(*tasks: int) -> list[Slot]:
    """Places of a window for new tasks."""
    return [Slot(task, relabel=False) for task in tasks]


def second(*tasks: int) -> list[Slot]:
    """Places of a window for second opinions."""
    return [Slot(task, relabel=True) for task in tasks]


def texts(count: int) -> list[str]:
    """Short texts, no two alike, every other one rude."""
    polite, rude = "Could you please look at section {}, thank you?", "Fix section {} now, you broke it again!"
    return [(rude if number % 2 else polite).format(number) for number in range(count)]


@dataclass
class Loop:
    """One project, its state and its gateway."""

    server: LabelStudio
    id: int
    tasks: list[int]
    gateway: Gateway
    state: ProjectState
    state_url: str
    backend: str
    gateways: list[Gateway] = field(default_factory=list)

    # -- the connector ---------------------------------------------------------------------------------------------

    def adopt(self, **options: Any) -> dict[str, Any]:
        return initialize(self.id, self.gateway, self.state, **{"confirm": lambda question: True, **options})

    def read(self) -> ProjectSnapshot:
        """A full reading, which repairs nothing."""
        return pull(read_project(self.id, self.gateway), self.gateway, self.state, everything=True)

    def publish(self, window: Sequence[Slot], gateway: Gateway | None = None, **options: Any) -> Published:
        """Serves `window` as a sync would that had chosen it."""
        with self.state.lock():
            pulled = self.read()
            return publish(
                gateway or self.gateway,
                self.state,
                pulled,
                window,
                **{"options": OPTIONS.window_fingerprint(pulled.project["skip_queue"]), **options},
            )

    def sync(self, gateway: Gateway | None = None, backend: Backend | None = None, **options: Any) -> dict[str, Any]:
        return sync(
            self.id,
            gateway or self.gateway,
            lambda: backend or Backend(self.backend),
            self.state,
            SyncOptions(**options),
            Reporter(),
        ).to_json()

    @property
    def window(self) -> list[int]:
        """The published window's tasks in rank order."""
        return [slot.task for slot in self.state.window()]

    # -- people ----------------------------------------------------------------------------------------------------

    def give(self, person: Person) -> int | None:
        """The task that the button gives the person, and locks for them; None on a 404."""
        task = person.next_task(self.id)
        return None if task is None else int(task["id"])

    def label(self, person: Person, task: int, label: str = "Polite") -> int:
        return person.submit({"id": task}, "politeness", "text", label)

    def turn(self, person: Person, label: str = "Polite") -> int | None:
        """The person asks for a task and labels what they are given."""
        task = person.next_task(self.id)
        if task is None:
            return None
        person.submit(task, "politeness", "text", label)  # as it was served: with the prediction that it came with
        return int(task["id"])

    # -- Label Studio, seen from outside -----------------------------------------------------------------------------

    def call(self, method: str, path: str, **request: Any) -> Any:
        return self.server.call(method, path, **request)

    def project(self) -> dict[str, Any]:
        """The project as the API gives it."""
        answer: dict[str, Any] = self.call("GET", f"/api/projects/{self.id}/")
        return answer

    def set(self, **settings: Any) -> None:
        """Changes settings of the project, as somebody else would."""
        self.call("PATCH", f"/api/projects/{self.id}/", json=settings)

    def rows(self) -> list[dict[str, Any]]:
        """All tasks with all their annotations and predictions."""
        query = {"project": self.id, "fields": "all", "page_size": 500}
        answer: list[dict[str, Any]] = self.call("GET", "/api/tasks", params=query)["tasks"]
        for task in answer:
            _forget_the_clock(task["annotations"] + task["predictions"])
        return answer

    def flags(self, *tasks: int) -> list[tuple[int, bool]]:
        """Overlap and whether it is complete, of each of the tasks."""
        known = {row["id"]: (row["overlap"], row["is_labeled"]) for row in self.rows()}
        return [known[task] for task in tasks]

    def annotations(self) -> dict[int, dict[str, Any]]:
        """Every annotation of the project, whole."""
        return {row["id"]: row for task in self.rows() for row in task["annotations"]}

    def versions(self) -> dict[str, int]:
        """How many predictions each model version has."""
        answer: dict[str, int] = self.call("GET", f"/api/projects/{self.id}/model-versions/")
        return answer

    def predictions(self) -> list[dict[str, Any]]:
        """All predictions, by task."""
        rows: list[dict[str, Any]] = self.call("GET", "/api/predictions", params={"project": self.id})
        _forget_the_clock(rows)
        return sorted(rows, key=lambda row: (row["task"], row["id"]))

    def served(self) -> list[dict[str, Any]]:
        """The predictions of the version that the project serves, by rank."""
        version = self.project()["model_version"]
        rows = [row for row in self.predictions() if row["model_version"] == version]
        return sorted(rows, key=lambda row: float(row["score"]))

    def tabs(self) -> list[dict[str, Any]]:
        """The Data Manager's tabs in order."""
        answer: list[dict[str, Any]] = self.call("GET", "/api/dm/views/", params={"project": self.id})
        return answer

    def dump(self) -> dict[str, Any]:
        """Everything that the connector could change in Label Studio."""
        backends = self.call("GET", "/api/ml/", params={"project": self.id})
        webhooks = self.call("GET", "/api/webhooks/", params={"project": self.id})
        drafted = self.server.tasks_with_drafts([row["id"] for row in self.rows()])
        by_task = [self.call("GET", f"/api/tasks/{task}/drafts") for task in drafted]  # everybody's
        drafts = [draft for of_task in by_task for draft in of_task]
        _forget_the_clock(drafts)
        return {
            "drafts": drafts,
            "project": self.project(),
            "tabs": self.tabs(),
            "tasks": self.rows(),
            "predictions": self.predictions(),
            "backends": [backend["id"] for backend in backends],
            "webhooks": webhooks,
        }

    def assert_published(self) -> None:
        """What Label Studio holds is the window as the state knows it, nothing less and nothing more of ours."""
        version = self.state.record().queue_version
        window = self.state.window()
        assert self.project()["model_version"] == version
        assert not unknown_newer(self.versions(), version)
        ours = [row for row in self.predictions() if row["model_version"] == version]
        ranked = [row["task"] for row in sorted(ours, key=lambda row: row["score"])]
        assert [task for task in ranked if task in self.window] == self.window
        asked = {slot.task for slot in window if slot.relabel}
        for row in self.rows():
            if row["id"] in asked:
                assert not row["is_labeled"], f"task {row['id']} is asked for and closed"
            elif any(not annotation["was_cancelled"] for annotation in row["annotations"]):
                assert row["is_labeled"], f"task {row['id']} is labelled, not asked for, and open"
        assert set(self.state.reopened()) >= asked


def _forget_the_clock(rows: list[dict[str, Any]]) -> None:
    """Takes out "2 minutes", the one thing in a row that changes by itself."""
    for row in rows:
        row.pop("created_ago", None)


StartProject = Callable[..., Loop]


class Expected:
    """Who is to be given what: the window in rank order, one more annotation a place, nobody the same task twice."""

    def __init__(self, loop: Loop) -> None:
        self._window = loop.window
        self._seen: defaultdict[int, set[int]] = defaultdict(set)
        self._held: dict[int, int] = {}
        for row in loop.rows():
            self._seen[row["id"]] = {annotation["completed_by"] for annotation in row["annotations"]}

    def ask(self, person: Person) -> int | None:
        """What the person is to be given, and holds from now on; None when the window has nothing for them."""
        if person.user_id not in self._held:
            taken = set(self._held.values())
            for task in self._window:
                if task not in taken and person.user_id not in self._seen[task]:
                    self._held[person.user_id] = task
                    break
        return self._held.get(person.user_id)

    def hold(self, person: Person, task: int | None) -> None:
        """The person holds `task` since before."""
        assert task in self._window
        self._held[person.user_id] = task

    def answer(self, person: Person) -> None:
        """The person labels the task they hold: its place in the window is used up."""
        self._window.remove(self._held.pop(person.user_id))

    def turn(self, person: Person) -> int | None:
        task = self.ask(person)
        if task is not None:
            self.answer(person)
        return task


Hook = Callable[[str, Any], None]


class Watched(Gateway):
    """The gateway, which calls `before` and `after` at each write with its name and what it is about."""

    def __init__(self, loop: Loop, *, before: Hook | None = None, after: Hook | None = None) -> None:
        super().__init__(loop.gateway.url, loop.server.token)
        loop.gateways.append(self)
        self.writes: list[tuple[str, Any]] = []
        self.readings: list[str] = []
        self._before = before or (lambda name, about: None)
        self._after = after or (lambda name, about: None)

    def import_predictions(self, project: int, rows: Sequence[dict[str, Any]]) -> int:
        write = super().import_predictions
        return self._watch("import_predictions", len(rows), lambda: write(project, rows))

    def update_task(self, task: int, *, overlap: int, is_labeled: bool) -> dict[str, Any]:
        write = super().update_task
        return self._watch(
            "close" if is_labeled else "open", task, lambda: write(task, overlap=overlap, is_labeled=is_labeled)
        )

    def update_project(self, project: int, **settings: Any) -> dict[str, Any]:
        write = super().update_project
        return self._watch("update_project", settings, lambda: write(project, **settings))

    def tasks(
        self,
        project: int,
        since: str | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        *,
        span: tuple[int, int | None] = (0, None),
        fields: str | None = TASK_FIELDS,
    ) -> Iterator[list[dict[str, Any]]]:
        self.readings.append("changes" if since is not None else "all" if span == (0, None) else "some")
        return super().tasks(project, since, progress, span=span, fields=fields)

    def delete_version(self, project: int, version: str) -> None:
        write = super().delete_version
        self._watch("delete_version", version, lambda: write(project, version))

    def delete_tab(self, tab: int) -> None:
        delete = super().delete_tab
        self._watch("delete_tab", tab, lambda: delete(tab))

    def delete_backend(self, backend: int) -> None:
        delete = super().delete_backend
        self._watch("delete_backend", backend, lambda: delete(backend))

    def delete_webhook(self, webhook: int) -> None:
        delete = super().delete_webhook
        self._watch("delete_webhook", webhook, lambda: delete(webhook))

    def _watch(self, name: str, about: Any, write: Callable[[], Any]) -> Any:
        self.writes.append((name, about))
        self._before(name, about)
        answer = write()
        self._after(name, about)
        return answer


@contextlib.contextmanager
def projects_under_our_queue(
    label_studio: LabelStudio,
    make_project: MakeProject,
    backend: str,
    directory: Path,
    ready: ReadyProjects | None = None,
) -> Iterator[StartProject]:
    """Makes projects as the fixture `start` does, for a fixture of another scope. Their states are in `directory`."""
    opened: list[tuple[State, Loop]] = []

    def make(
        tasks: Any, *, adopted: bool = True, through: str = label_studio.url, fresh: bool = False, **settings: Any
    ) -> Loop:
        count = len(tasks)
        copied = adopted and not fresh and not settings and 0 < count <= READY_TASKS and tasks == texts(count)
        if copied and ready is not None:
            project, file = ready.copy(count, through, directory)
        else:
            project = make_project(tasks, **settings)
            file = directory / f"state-{project.id}.sqlite"
        url = f"sqlite:///{file}"
        database = State(url)
        gateway = Gateway(through, label_studio.token)
        state = database.project(through, project.id)
        loop = Loop(label_studio, project.id, project.tasks, gateway, state, url, backend, [gateway])
        opened.append((database, loop))
        if adopted and not (copied and ready is not None):
            loop.adopt()
        return loop

    yield make
    for database, loop in opened:
        database.close()
        for gateway in loop.gateways:
            gateway.close()


def start_connector(loop: Loop, *arguments: str) -> subprocess.Popen[str]:
    """Starts the real command in a process of its own, which Ctrl-C reaches.

    A shell has what it starts in the background ignore Ctrl-C, and whatever that starts in turn.
    """
    code = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); import connector.cli.main as c; c.main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=command_environment(loop),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def connector(
    loop: Loop, *arguments: str, unset: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command within this process, without a terminal."""
    return run_in_process(arguments, command_environment(loop, unset, environment), _folder(loop))


def connector_process(
    loop: Loop, *arguments: str, unset: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the real command in a process of its own, without a terminal, until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "connector.cli", *arguments],
        env=command_environment(loop, unset, environment),
        cwd=_folder(loop),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _folder(loop: Loop) -> Path:
    return Path(loop.state_url.removeprefix("sqlite:///")).parent


def command_environment(
    loop: Loop, unset: Sequence[str] = (), changed: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of the command: the settings of `loop`, some of them `changed` or `unset`."""
    ours = {
        "LABEL_STUDIO_URL": loop.gateway.url,
        "LABEL_STUDIO_API_KEY": loop.server.token,
        "ML_BACKEND_URL": loop.backend,
        "CONNECTOR_STATE": loop.state_url,
        "CONNECTOR_RETRY_SECONDS": "1",
        "PYTHONPATH": str(ROOT),
        **(changed or {}),
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {name: value for name, value in (inherited | ours).items() if name not in unset}


class Cut(Exception):
    """The connection is to end without an answer."""


class Proxy:
    """Stands between the connector and Label Studio: counts the calls, fails them, or holds one back."""

    def __init__(self, target: str) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fail_with: int | None = None
        self._reached = threading.Event()
        self._released = threading.Event()
        self._hold: tuple[str, str] | None = None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.calls.append((self.command, self.path.split("?")[0]))
                try:
                    status, headers, content = proxy._answer(target, self.command, self.path, dict(self.headers), body)
                except Cut:
                    self.close_connection = True
                    return
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

            def log_message(self, *values: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *values: Any) -> None:
                pass  # whoever asked is gone

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def hold(self, method: str, path: str) -> None:
        """Holds back the answer to the next call whose path matches `path`, after Label Studio has given it."""
        self._reached.clear()
        self._released.clear()
        self._hold = (method, path)

    def wait_until_reached(self, process: subprocess.Popen[str]) -> bool:
        """Whether `process` waits for the answer that is held back; false when it ended without, or takes too long."""
        deadline = time.monotonic() + 60
        while not self._reached.wait(0.1):
            if process.poll() is not None or time.monotonic() > deadline:
                return False
        return True

    def release(self) -> None:
        """Lets the answer go."""
        self._released.set()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def _answer(
        self, target: str, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if self.fail_with is not None:
            return self.fail_with, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>"
        headers = {name: value for name, value in headers.items() if name.lower() not in ("host", "connection")}
        with local_session() as session:
            answer = session.request(method, target + path, headers=headers, data=body, timeout=60)
        kept = {name: answer.headers[name] for name in ("Content-Type", "Date") if name in answer.headers}
        if self._hold is not None and method == self._hold[0] and re.fullmatch(self._hold[1], path.split("?")[0]):
            self._hold = None
            self._reached.set()
            self._released.wait(60)
        return answer.status_code, kept, answer.content


def personal_access_token(loop: Loop) -> str:
    """A personal access token of a user who has just signed up."""
    person = Person.sign_up(loop.server.url, f"{uuid.uuid4().hex}@example.com")
    headers = {"X-CSRFToken": person.session.cookies["csrftoken"], "Referer": loop.server.url}
    answer = person.session.post(f"{loop.server.url}/api/token/", headers=headers, timeout=30)
    person.close()
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token
