"""A project under our queue on the real Label Studio: what a test does to it, and how it looks from outside."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.active_learning.window import Slot
from connector.backend import Backend
from connector.demo.people import Person
from connector.label_studio.client import LabelStudio as Gateway
from connector.progress import Reporter
from connector.queue.init import initialize
from connector.queue.publish import Published, publish
from connector.queue.versions import unknown_newer
from connector.state.project_state import ProjectState, State
from connector.state.pull import pull, read_project
from connector.state.snapshot import ProjectSnapshot
from connector.sync.cycle import sync
from connector.sync.options import SyncOptions

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio, MakeProject
    from support.ready_projects import ReadyProjects

OPTIONS = SyncOptions()
READY_TASKS = 60  # up to so many standard texts make a project that is a copy

# The tests with this mark run on Label Studio on SQLite, and in make test-all on PostgreSQL: what differs there has
# tests of its own.
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
class ProjectDriver:
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


StartProject = Callable[..., ProjectDriver]


@contextlib.contextmanager
def projects_under_our_queue(
    label_studio: LabelStudio,
    make_project: MakeProject,
    backend: str,
    directory: Path,
    ready: ReadyProjects | None = None,
) -> Iterator[StartProject]:
    """Makes projects as the fixture `start` does, for a fixture of another scope. Their states are in `directory`."""
    opened: list[tuple[State, ProjectDriver]] = []

    def make(
        tasks: Any, *, adopted: bool = True, through: str = label_studio.url, fresh: bool = False, **settings: Any
    ) -> ProjectDriver:
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
        loop = ProjectDriver(label_studio, project.id, project.tasks, gateway, state, url, backend, [gateway])
        opened.append((database, loop))
        if adopted and not (copied and ready is not None):
            loop.adopt()
        return loop

    yield make
    for database, loop in opened:
        database.close()
        for gateway in loop.gateways:
            gateway.close()


def personal_access_token(server: LabelStudio) -> str:
    """A personal access token of a user who has just signed up."""
    person = Person.sign_up(server.url, f"{uuid.uuid4().hex}@example.com")
    headers = {"X-CSRFToken": person.session.cookies["csrftoken"], "Referer": server.url}
    answer = person.session.post(f"{server.url}/api/token/", headers=headers, timeout=30)
    person.close()
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token
