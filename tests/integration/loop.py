"""A project under our queue on the real Label Studio: what a test does to it, and how it looks from outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector import queue
from connector.adopt import adopt
from connector.backend import Backend
from connector.demo.people import Person
from connector.label_studio import LabelStudio as Gateway
from connector.mirror import Pulled, pull
from connector.progress import Reporter
from connector.selection import Slot
from connector.state import ProjectState, State
from connector.sync import SyncOptions, sync

if TYPE_CHECKING:
    from conftest import LabelStudio, Project

OPTIONS = SyncOptions()


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
        return adopt(self.id, self.gateway, self.state, **{"confirm": lambda question: True, **options})

    def read(self) -> Pulled:
        """A full reading, which repairs nothing."""
        return pull(self.id, self.gateway, self.state, everything=True, repair=False)

    def publish(self, window: Sequence[Slot], gateway: Gateway | None = None, **options: Any) -> queue.Published:
        """Serves `window` as a sync would that had chosen it."""
        with self.state.lock():
            pulled = self.read()
            return queue.publish(
                gateway or self.gateway,
                self.state,
                pulled.project,
                pulled.control,
                pulled.tasks,
                window,
                options=OPTIONS.chosen_under(),
                old_versions=pulled.versions,
                **options,
            )

    def sync(self, gateway: Gateway | None = None, **options: Any) -> dict[str, Any]:
        return sync(
            self.id,
            gateway or self.gateway,
            lambda: Backend(self.backend),
            self.state,
            SyncOptions(**options),
            Reporter(),
        )

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
        task = self.give(person)
        if task is not None:
            self.label(person, task, label)
        return task

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
        return answer

    def task(self, task: int) -> dict[str, Any]:
        """One task with all its annotations."""
        answer: dict[str, Any] = self.call("GET", f"/api/tasks/{task}")
        return answer

    def flags(self, task: int) -> tuple[int, bool]:
        """The task's overlap and whether it is complete."""
        row = self.task(task)
        return row["overlap"], row["is_labeled"]

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
        return sorted(rows, key=lambda row: (row["task"], row["id"]))

    def tabs(self) -> list[dict[str, Any]]:
        """The Data Manager's tabs in order."""
        answer: list[dict[str, Any]] = self.call("GET", "/api/dm/views/", params={"project": self.id})
        return answer

    def dump(self) -> dict[str, Any]:
        """Everything that the connector could change in Label Studio."""
        backends = self.call("GET", "/api/ml/", params={"project": self.id})
        return {
            "project": self.project(),
            "tabs": self.tabs(),
            "tasks": self.rows(),
            "predictions": self.predictions(),
            "backends": [backend["id"] for backend in backends],
        }

    def assert_published(self) -> None:
        """What Label Studio holds is the window as the state knows it, nothing less and nothing more of ours."""
        version = self.state.get()["queue_version"]
        window = self.state.window()
        assert self.project()["model_version"] == version
        ours = [row for row in self.predictions() if row["model_version"].startswith(queue.VERSION_PREFIX)]
        assert {row["model_version"] for row in ours} == {version}
        ranked = [row["task"] for row in sorted(ours, key=lambda row: row["score"])]
        assert [task for task in ranked if task in self.window] == self.window
        asked = {slot.task for slot in window if slot.relabel}
        for row in self.rows():
            if row["id"] in asked:
                assert not row["is_labeled"], f"task {row['id']} is asked for and closed"
            elif any(not annotation["was_cancelled"] for annotation in row["annotations"]):
                assert row["is_labeled"], f"task {row['id']} is labelled, not asked for, and open"
        assert set(self.state.reopened()) >= asked


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

    def delete_version(self, project: int, version: str) -> None:
        write = super().delete_version
        self._watch("delete_version", version, lambda: write(project, version))

    def _watch(self, name: str, about: Any, write: Callable[[], Any]) -> Any:
        self.writes.append((name, about))
        self._before(name, about)
        answer = write()
        self._after(name, about)
        return answer


@pytest.fixture
def project_under_our_queue(
    label_studio: LabelStudio, make_project: Callable[..., Project], backend: str, tmp_path: Path
) -> Iterator[Callable[..., Loop]]:
    """`start(texts or tasks, adopted=True, config=…, **settings)`: a fresh project, set up unless told not to."""
    opened: list[tuple[State, Loop]] = []

    def make(tasks: Any, *, adopted: bool = True, **settings: Any) -> Loop:
        project = make_project(tasks, **settings)
        url = f"sqlite:///{tmp_path}/state-{project.id}.sqlite"
        database = State(url)
        gateway = Gateway(label_studio.url, label_studio.token)
        state = database.project(label_studio.url, project.id)
        loop = Loop(label_studio, project.id, project.tasks, gateway, state, url, backend, [gateway])
        opened.append((database, loop))
        if adopted:
            loop.adopt()
        return loop

    yield make
    for database, loop in opened:
        database.close()
        for gateway in loop.gateways:
            gateway._http.httpx_client.close()
