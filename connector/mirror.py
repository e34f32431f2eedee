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
    control = control_of(project, known)
    versions = gateway.model_versions(project_id)
    restored: list[str] = []
    if repair:
        project, restored = _restore(project, gateway, state, versions)

    before = state.tasks()
    bookmark = None if everything or _all_differ(project, known) else state.get()["bookmark"]
    tasks, all_read = _read(project, gateway, control, before, bookmark, progress)
    changed = config_changed or _answers(before) != _answers(tasks)
    if _answers(before) != _answers(tasks):
        # Before the mirror tells: so the next sync knows that a new window is due, whatever becomes of this one.
        state.put(window_options=None)
    if all_read:
        state.store_tasks(list(tasks.values()), all_of_them=True)
    elif renewed := [task for task in tasks.values() if task != before.get(task.id)]:
        state.store_tasks(renewed)
    state.put(bookmark=(asked_at or _latest(tasks)).isoformat())
    if config_changed:
        state.put(control=control.to_json(), label_config=project["label_config"])
    return Pulled(project, control, tasks, versions, changed, restored)


def look(
    project_id: int, gateway: LabelStudio, state: ProjectState, progress: Progress = lambda done, total: None
) -> Pulled:
    """The project as it is now, without a trace: nothing is stored, nothing is restored, no lock is needed."""
    known = state.get()
    project = gateway.get_project(project_id)
    control = control_of(project, known)
    before = state.tasks()
    bookmark = None if _all_differ(project, known) else known["bookmark"]
    tasks, _ = _read(project, gateway, control, before, bookmark, progress)
    return Pulled(
        project, control, tasks, gateway.model_versions(project_id), changed=_answers(before) != _answers(tasks)
    )


def _all_differ(project: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether every task may differ from the mirror, whenever it was updated.

    Another labelling config has other texts or labels. With another rule for skipped tasks Label Studio sets the flags
    of all tasks anew and leaves their updated_at alone.
    """
    rule = (known["window_options"] or {}).get("skip_queue", project["skip_queue"])
    return bool(project["label_config"] != known["label_config"] or project["skip_queue"] != rule)


def control_of(project: Mapping[str, Any], known: Mapping[str, Any]) -> Control:
    """The control that is served, read anew when the labelling config has changed."""
    control = Control.from_json(known["control"])
    if project["label_config"] == known["label_config"]:
        return control
    return find_control(project["label_config"], control.name)


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
    # A newer window of ours stands when a sync was killed right after it had flipped: it is as good as the one we know.
    if ours and versions.get(ours) and version != ours and version not in queue.unknown_newer(versions, ours):
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


def _read(
    project: Mapping[str, Any],
    gateway: LabelStudio,
    control: Control,
    before: Mapping[int, Task],
    bookmark: str | None,
    progress: Progress,
) -> tuple[dict[int, Task], bool]:
    """All tasks, by id, and whether all were read: `before` with those updated since the bookmark, where that will do.

    It will not without a bookmark, or when the project's counters do not fit the result.
    """
    if bookmark is not None:
        since = (datetime.fromisoformat(bookmark) - OVERLAP).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        tasks = {**before, **_read_pages(project["id"], gateway, control, since, progress)}
        if _fit(project, gateway, tasks):
            return dict(sorted(tasks.items())), False
    return dict(sorted(_read_pages(project["id"], gateway, control, None, progress).items())), True


def _read_pages(
    project_id: int, gateway: LabelStudio, control: Control, since: str | None, progress: Progress
) -> dict[int, Task]:
    return {raw["id"]: read_task(raw, control) for page in gateway.tasks(project_id, since, progress) for raw in page}


def _fit(project: Mapping[str, Any], gateway: LabelStudio, tasks: Mapping[int, Task]) -> bool:
    """Whether the project's counters fit the mirror: deleted tasks and annotations show there alone."""
    held, counted = _count(tasks), _counters(project)
    if any(mine < theirs for mine, theirs in zip(held, counted, strict=True)):
        return False
    if held == counted:
        return True
    # Somebody has annotated since the project was read, or something was deleted.
    counted = _counters(gateway.get_project(project["id"]))
    return not any(mine > theirs for mine, theirs in zip(held, counted, strict=True))


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
