"""Brings the mirror of a project up to date and puts its settings right: what every sync begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from connector import queue
from connector.annotations import Task, moment, read_task
from connector.label_config import Control, find_control
from connector.label_studio import LabelStudio
from connector.state import ProjectState

# Tasks updated this long before the last sync began are read again: clocks differ a little between servers, and a
# transaction may end after one that began later.
OVERLAP = timedelta(seconds=60)

Progress = Callable[[int, int], None]


@dataclass
class Pulled:
    """The project as Label Studio has it now.

    `changed`: an annotation, a text or the set of tasks differs from the last sync. `versions`: predictions by model
    version. `restored`: what somebody had changed and is as the queue needs it again; "predictions"
    where the published window itself was deleted.
    """

    project: dict[str, Any]
    control: Control
    tasks: dict[int, Task]
    versions: dict[str, int]
    changed: bool
    restored: list[str] = field(default_factory=list)


def pull(
    project_id: int,
    gateway: LabelStudio,
    state: ProjectState,
    *,
    everything: bool = False,
    repair: bool = True,
    progress: Progress = lambda done, total: None,
) -> Pulled:
    """Reads what changed since the bookmark into the mirror, or `everything`, and (`repair`) restores settings."""
    known = state.get()
    project = gateway.get_project(project_id)
    # What happens from now on is for the next sync: the server's clock, since tasks carry its time.
    asked_at = gateway.server_time
    config_changed = project["label_config"] != known["label_config"]
    control = Control.from_json(known["control"])
    if config_changed:
        control = find_control(project["label_config"], control.name)
    versions = gateway.model_versions(project_id)
    restored: list[str] = []
    if repair:
        project, restored = _restore(project, gateway, state, versions)

    before = state.tasks()
    bookmark = None if everything or config_changed else state.get()["bookmark"]
    if bookmark is None:
        tasks = _read_all(project_id, gateway, state, control, before, progress)
    else:
        tasks = _read_changes(project, gateway, state, control, before, bookmark, progress)
    state.put(bookmark=(asked_at or _latest(tasks)).isoformat())
    if config_changed:
        state.put(control=control.to_json(), label_config=project["label_config"])
    changed = config_changed or _answers(before) != _answers(tasks)
    return Pulled(project, control, tasks, versions, changed, restored)


def _restore(
    project: dict[str, Any], gateway: LabelStudio, state: ProjectState, versions: Mapping[str, int]
) -> tuple[dict[str, Any], list[str]]:
    """Sets what the queue needs and somebody has changed, model_version included, in one PATCH."""
    wrong = queue.wrong_settings(project)
    known = state.get()
    ours = known["queue_version"]
    version = project["model_version"] or ""
    # Nothing to set here: the round that follows publishes a new window.
    deleted = ["predictions"] if known["queue_size"] and not versions.get(ours) else []
    if deleted and version != ours:
        deleted.insert(0, "model_version")
    # Another window of ours stands when a sync was killed right after it had flipped: it is as good as the one we know.
    if ours and versions.get(ours) and version != ours and version not in queue.our_versions(versions):
        wrong["model_version"] = ours
    elif wrong:
        wrong["model_version"] = version  # a PATCH of show_collab_predictions without it may empty it
    if not wrong:
        return project, deleted
    if "maximum_annotations" in wrong:
        # It rewrites overlaps and flags of all tasks and leaves their updated_at alone: read all, now or next time.
        state.put(bookmark=None)
    answer = gateway.update_project(project["id"], **wrong)
    restored = sorted(name for name, value in wrong.items() if (project.get(name) or "") != (value or ""))
    return {**project, **{name: answer[name] for name in wrong}}, restored + deleted


def _read_all(
    project_id: int,
    gateway: LabelStudio,
    state: ProjectState,
    control: Control,
    before: Mapping[int, Task],
    progress: Progress,
) -> dict[int, Task]:
    read = {raw["id"]: read_task(raw, control) for page in gateway.tasks(project_id, None, progress) for raw in page}
    _expect_a_new_window(state, before, read)
    state.store_tasks(list(read.values()), all_of_them=True)
    return dict(sorted(read.items()))


def _read_changes(
    project: Mapping[str, Any],
    gateway: LabelStudio,
    state: ProjectState,
    control: Control,
    before: Mapping[int, Task],
    bookmark: str,
    progress: Progress,
) -> dict[int, Task]:
    """The mirror with the tasks updated since the bookmark; read anew where the project's counters do not fit it."""
    since = (datetime.fromisoformat(bookmark) - OVERLAP).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    read = {
        raw["id"]: read_task(raw, control) for page in gateway.tasks(project["id"], since, progress) for raw in page
    }
    tasks = {**before, **read}
    held, counted = _count(tasks), _counters(project)
    missing = any(mine < theirs for mine, theirs in zip(held, counted, strict=True))
    if any(mine > theirs for mine, theirs in zip(held, counted, strict=True)):
        # Somebody has annotated since the project was read, or something was deleted, which no filter shows.
        counted = _counters(gateway.get_project(project["id"]))
        missing = missing or any(mine > theirs for mine, theirs in zip(held, counted, strict=True))
    if missing:
        return _read_all(project["id"], gateway, state, control, before, progress)
    changed = [task for task in read.values() if task != before.get(task.id)]
    if changed:
        _expect_a_new_window(state, before, tasks)
        state.store_tasks(changed)
    return dict(sorted(tasks.items()))


def _expect_a_new_window(state: ProjectState, before: Mapping[int, Task], after: Mapping[int, Task]) -> None:
    """Notes, before the mirror tells, that a new window is due: so the next sync knows whatever becomes of this one."""
    if _answers(before) != _answers(after):
        state.put(window_options=None)


def _count(tasks: Mapping[int, Task]) -> tuple[int, int, int]:
    """Tasks, annotations and skips of the mirror."""
    skips = sum(row.skipped for task in tasks.values() for row in task.annotations)
    return len(tasks), sum(len(task.annotations) for task in tasks.values()) - skips, skips


def _counters(project: Mapping[str, Any]) -> tuple[int, int, int]:
    """Tasks, annotations and skips as Label Studio counts them."""
    return project["task_number"], project["total_annotations_number"], project["skipped_annotations_number"]


def _answers(tasks: Mapping[int, Task]) -> dict[int, Any]:
    """The texts and what people did, without the flags that the queue itself sets."""
    return {task.id: (task.text, task.annotations) for task in tasks.values()}


def _latest(tasks: Mapping[int, Task]) -> datetime:
    """The latest change of a task, for a server (or a proxy before it) that does not say what time it is."""
    return max((moment(task.updated_at) for task in tasks.values()), default=datetime.fromtimestamp(0, timezone.utc))
