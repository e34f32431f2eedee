"""Who is to be served what, and a gateway that tells each write of the queue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from connector.demo.people import Person
from connector.label_studio.client import TASK_FIELDS
from connector.label_studio.client import LabelStudio as Gateway
from support.project_driver import ProjectDriver


class Expected:
    """Who is to be given what: the window in rank order, one more annotation a place, nobody the same task twice."""

    def __init__(self, loop: ProjectDriver) -> None:
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

    def __init__(self, loop: ProjectDriver, *, before: Hook | None = None, after: Hook | None = None) -> None:
        super().__init__(loop.gateway.url, loop.server.token)
        loop.gateways.append(self)
        self.writes: list[tuple[str, Any]] = []
        self.readings: list[str] = []
        self._before = before or (lambda name, about: None)
        self._after = after or (lambda name, about: None)

    def import_predictions(self, project: int, rows: Sequence[dict[str, Any]], *, singly: bool = False) -> int:
        write = super().import_predictions
        return self._watch("import_predictions", len(rows), lambda: write(project, rows, singly=singly))

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
