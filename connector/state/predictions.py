"""Reads the predictions of those model versions that count as machines: after the tasks, in every sync."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from connector.annotations.questions import Questions
from connector.annotations.records import Task, digest
from connector.label_studio.client import PREDICTION_FIELDS, LabelStudio
from connector.state.lock import KEEP_SECONDS
from connector.state.project_state import ProjectState
from connector.state.rows import Machine, MachineLabel

# If fewer tasks lack a prediction, these are read by their ids, in place of all that have one.
FEW = 3_000


def read_machines(
    project: Mapping[str, Any],
    gateway: LabelStudio,
    state: ProjectState,
    questions: Questions,
    tasks: Mapping[int, Task],
    versions: Mapping[str, int],
    *,
    everything: bool = False,
) -> bool:
    """Reads the predictions of every machine that are not known yet. Returns whether a label differs.

    Label Studio does not say when predictions were made: it leaves their tasks' updated_at as it is. But it counts them
    by version. Where the number is another one, tasks without a known prediction are read if they are few, and all that
    have one otherwise. Where it is the same, one task is looked at, to see whether all were made anew. A prediction
    that was changed in place goes unnoticed.

    Args:
        project: the project's settings.
        gateway: Label Studio.
        state: the project's state.
        questions: those that are served.
        tasks: all tasks, as they were just read.
        versions: how many predictions Label Studio has of each model version.
        everything: read all of them.
    """
    changed = False
    under = digest(project["label_config"] + json.dumps(questions.to_json(), sort_keys=True))
    for name, machine in state.machines().items():
        if "predictions" not in machine:
            continue  # connector label-with asks it
        reader = _Reader(project["id"], gateway, state, name, questions, tasks)
        same = machine.get("under") == under
        there = versions.get(name, 0)
        if same and not everything and machine["predictions"] == there and reader.is_up_to_date():
            continue
        added = there - machine["predictions"] if same and not everything else 0
        changed |= reader.read(added, keep_digests=same)
        state.put_machine(name, Machine(predictions=there, under=under))
    return changed


class _Reader:
    """Reads the predictions of one model version."""

    def __init__(
        self,
        project_id: int,
        gateway: LabelStudio,
        state: ProjectState,
        version: str,
        questions: Questions,
        tasks: Mapping[int, Task],
    ) -> None:
        self._project_id, self._gateway, self._state, self._version = project_id, gateway, state, version
        self._questions, self._tasks = questions, tasks
        self._known = state.stored_machine_labels(version)
        self._found: dict[int, MachineLabel] = {}
        self._predictions = 0

    def is_up_to_date(self) -> bool:
        """Whether the last task with a prediction still has the one that is known."""
        raw = self._gateway.last_task_with_version(self._project_id, self._version)
        newest = _newest(raw, self._version) if raw else None
        if raw is None or newest is None:  # none at all, or that task has one of a version with a longer name
            return not self._known or raw is not None
        known = self._known.get(raw["id"])
        return known is not None and known.prediction == newest["id"]

    def read(self, added: int, *, keep_digests: bool) -> bool:
        """Reads what differs. Returns whether anything does.

        Args:
            added: how many more than are known. Not above zero: some may be others than are known.
            keep_digests: a known prediction was made for what its task showed when it was read first.
        """
        lacking = [task for task in self._tasks if task not in self._known]
        gone: list[int] = []
        if added > 0 and len(lacking) <= FEW:
            self._add(
                self._gateway.tasks_by_id(self._project_id, lacking, fields=PREDICTION_FIELDS),
                keep_digests=keep_digests,
            )
        if added <= 0 or self._predictions != added:
            self._found, self._predictions = {}, 0
            for page in self._gateway.tasks_with_version(self._project_id, self._version):
                self._add(page, keep_digests=keep_digests)
                self._state.renew_lock(at_most_every=KEEP_SECONDS)
            gone = sorted(self._known.keys() - self._found.keys())
        renewed = {task: one for task, one in self._found.items() if self._known.get(task) != one}
        if renewed or gone:
            self._state.store_machine_labels(self._version, renewed, gone=gone)
        return bool(renewed or gone)

    def _add(self, rows: Iterable[Mapping[str, Any]], *, keep_digests: bool) -> None:
        for raw in rows:
            self._predictions += sum(one["model_version"] == self._version for one in raw.get("predictions", ()))
            newest, task = _newest(raw, self._version), self._tasks.get(raw["id"])
            if newest is None or task is None or task.digest is None:
                continue
            known = self._known.get(task.id)
            is_known = keep_digests and known is not None and known.prediction == newest["id"]
            self._found[task.id] = MachineLabel(
                self._questions.read(newest.get("result")).label,
                newest.get("score"),
                known.digest if is_known and known is not None else task.digest,
                newest["id"],
            )


def _newest(raw: Mapping[str, Any], version: str) -> dict[str, Any] | None:
    """The newest of a task's predictions of a version. None without any."""
    mine = [one for one in raw.get("predictions", ()) if one["model_version"] == version]
    return max(mine, key=lambda one: int(one["id"]), default=None)
