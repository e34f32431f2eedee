"""One project of Label Studio in memory, for tests of what the connector reads and restores."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from connector.annotations.label_config import packaged_label_config
from connector.errors import ConnectorError

CONFIG = packaged_label_config()
VERSION = "activelab-20260301-100000-000000"
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=timezone.utc)


def within(number: int, span: tuple[int, int | None]) -> bool:
    after, upto = span
    return number > after and (upto is None or number <= upto)


class Studio:
    """One project of Label Studio in memory, with its clock, its counters and what it does beside what it is asked."""

    def __init__(self, tasks: int = 6) -> None:
        self.clock = datetime(2026, 3, 1, 10, tzinfo=timezone.utc)
        self.server_time: datetime | None = None
        self.calls: list[Any] = []
        self.rows: dict[int, dict[str, Any]] = {}
        self.versions: dict[str, int] = {}
        self.users: dict[int, str] = {}  # {id: e-mail address}
        self.predictions: dict[int, list[dict[str, Any]]] = {}  # {task: in the order of their ids}
        self.meanwhile: Callable[[], object] | None = None  # done once, after the project was read and before its tasks
        self._annotations = self._predictions = 0
        self.settings: dict[str, Any] = {
            "id": 7,
            "title": "Requests",
            "label_config": CONFIG,
            "model_version": "",
            "sampling": "Uncertainty sampling",
            "maximum_annotations": 1,
            "show_collab_predictions": True,
            "show_overlap_first": False,
            "skip_queue": "REQUEUE_FOR_OTHERS",
        }
        for _ in range(tasks):
            self.add_task()
        self.wait(3600)

    # -- what people do ----------------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        self.clock += timedelta(seconds=seconds)

    def add_task(self) -> int:
        number = max(self.rows, default=0) + 1
        data = {"text": f"Text {number}"}
        self.rows[number] = {"id": number, "data": data, "is_labeled": False, "overlap": 1, "annotations": []}
        self._touch(number)
        return number

    def annotate(self, task: int, annotator: int, choice: str | None = "Polite") -> int:
        """An annotation, or a skip where `choice` is None."""
        self._annotations += 1
        region = {"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": [choice]}}
        self._touch(task)
        self.rows[task]["annotations"].append(
            {
                "id": self._annotations,
                "completed_by": annotator,
                "was_cancelled": choice is None,
                "ground_truth": False,
                "result": [region] if choice is not None else [],
                "created_at": self.rows[task]["updated_at"],
                "updated_at": self.rows[task]["updated_at"],
            }
        )
        self.rows[task]["is_labeled"] = choice is not None
        return self._annotations

    def predict(self, task: int, version: str, choice: str, score: float | None = None) -> int:
        """A prediction. It leaves the task's updated_at as it is."""
        self._predictions += 1
        region = {"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": [choice]}}
        self.predictions.setdefault(task, []).append(
            {"id": self._predictions, "model_version": version, "result": [region], "score": score}
        )
        self.versions[version] = self.versions.get(version, 0) + 1
        return self._predictions

    def delete_predictions(self, version: str) -> None:
        for rows in self.predictions.values():
            rows[:] = [row for row in rows if row["model_version"] != version]
        self.versions.pop(version, None)

    def delete_annotation(self, number: int) -> None:
        for task in self.rows.values():
            if any(row["id"] == number for row in task["annotations"]):
                task["annotations"] = [row for row in task["annotations"] if row["id"] != number]
                self._touch(task["id"])

    def _touch(self, task: int) -> None:
        self.wait(1.25)
        self.rows[task]["updated_at"] = self.clock.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    # -- what the gateway asks ---------------------------------------------------------------------------------------

    def get_project(self, project: int) -> dict[str, Any]:
        self.calls.append("project")
        self.server_time = self.clock.replace(microsecond=0)  # as a Date header says it
        rows = [row for task in self.rows.values() for row in task["annotations"]]
        skips = sum(row["was_cancelled"] for row in rows)
        return {
            **self.settings,
            "task_number": len(self.rows),
            "total_annotations_number": len(rows) - skips,
            "skipped_annotations_number": skips,
        }

    def emails(self) -> dict[int, str]:
        return dict(self.users)

    def model_versions(self, project: int) -> dict[str, int]:
        self.calls.append("versions")
        return dict(self.versions)

    def update_project(self, project: int, **settings: Any) -> dict[str, Any]:
        self.calls.append(("settings", settings))
        if settings.get("show_collab_predictions") is False and "model_version" not in settings:
            self.settings["model_version"] = ""
        self.settings.update(settings)
        if "maximum_annotations" in settings:
            for task in self.rows.values():
                task["overlap"] = settings["maximum_annotations"]  # and updated_at stays
        return self.get_project(project)

    def tasks(
        self,
        project: int,
        since: str | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        *,
        span: tuple[int, int | None] = (0, None),
    ) -> Iterator[list[dict[str, Any]]]:
        everything = "all tasks" if span == (0, None) else ("tasks of", span)
        self.calls.append(everything if since is None else ("tasks since", since))
        if self.meanwhile is not None:
            self.meanwhile()
            self.meanwhile = None
        chosen = [task for _, task in sorted(self.rows.items()) if since is None or task["updated_at"] > since]
        chosen = [task for task in chosen if within(task["id"], span)]
        for start in range(0, len(chosen), 2):
            progress(min(start + 2, len(chosen)), len(chosen))
            yield copy.deepcopy(chosen[start : start + 2])

    def count_tasks(self, project: int, span: tuple[int, int | None] = (0, None)) -> tuple[int, int]:
        self.calls.append(("count", span))
        chosen = [task for number, task in self.rows.items() if within(number, span)]
        return len(chosen), sum(not row["was_cancelled"] for task in chosen for row in task["annotations"])

    def tasks_with_version(self, project: int, version: str) -> Iterator[list[dict[str, Any]]]:
        self.calls.append(("tasks with", version))
        for task, rows in sorted(self.predictions.items()):
            if any(version in row["model_version"] for row in rows):
                yield [{"id": task, "predictions": copy.deepcopy(rows)}]

    def last_task_with_version(self, project: int, version: str) -> dict[str, Any] | None:
        self.calls.append(("last with", version))
        having = [
            task for task, rows in self.predictions.items() if any(version in row["model_version"] for row in rows)
        ]
        return {"id": max(having), "predictions": copy.deepcopy(self.predictions[max(having)])} if having else None

    def tasks_by_id(self, project: int, ids: Sequence[int], *, fields: str | None = None) -> Iterator[dict[str, Any]]:
        self.calls.append(("tasks by id", list(ids)))
        for task in ids:
            if task in self.rows:
                yield {"id": task, "predictions": copy.deepcopy(self.predictions.get(task, []))}

    def guard_writes(self, check: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def read_everything(self) -> bool:
        return "all tasks" in self.calls


class Server(Studio):
    """The played Label Studio, which can be away or refuse."""

    url = "http://studio"
    failure: ConnectorError | None = None

    def get_project(self, project: int) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        return super().get_project(project)
