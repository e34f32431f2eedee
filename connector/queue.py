"""From a window to the least writes that make Label Studio serve it.

At every instant an annotator who asks is given the old queue, the new one or the task they hold: the new window is
imported beside the old one, one PATCH of the project flips between them, and only then is the old one cleaned up.
Calls are in proportion to the window and to the tasks that enter or leave it, never to the project.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from connector.annotations import Task, choice_result, latest_labels, lock_rows, read_task
from connector.errors import ConnectorError
from connector.label_config import Control
from connector.label_studio import LabelStudio
from connector.lock import KEEP_SECONDS
from connector.selection import Slot
from connector.state import ProjectState

VERSION_PREFIX = "activelab-"
ATTEMPTS = 3

# What the project must be set to for Label Studio to serve the window in order. show_collab_predictions is on because
# Label Studio empties model_version whenever its settings are saved while it is off; predictions are empty, so forms
# stay blank all the same.
REQUIRED_SETTINGS: dict[str, Any] = {
    "sampling": "Uncertainty sampling",
    "maximum_annotations": 1,
    "show_collab_predictions": True,
    "show_overlap_first": False,
}


@dataclass(frozen=True)
class Published:
    """A window that annotators are now served, without the tasks that somebody labelled meanwhile (`raced`)."""

    version: str
    window: list[Slot]
    raced: int


def wrong_settings(project: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of REQUIRED_SETTINGS that the project does not have, with the values to set."""
    return {name: value for name, value in REQUIRED_SETTINGS.items() if project.get(name) != value}


def our_versions(versions: Collection[str]) -> set[str]:
    """Those of a project's model versions that are windows of ours."""
    return {version for version in versions if version.startswith(VERSION_PREFIX)}


def to_close(tasks: Mapping[int, Task], second_opinions: Collection[int], skip_queue: str) -> dict[int, int]:
    """Labelled tasks that are open and yet never served (they have their label but were not closed), with overlaps.

    One of them at the head of a window can keep everybody from being served; those of `second_opinions` are wanted
    open.
    """
    return {
        task.id: task.overlap
        for task in tasks.values()
        if not task.is_labeled
        and task.id not in second_opinions
        and lock_rows(task.annotations, skip_queue) >= task.overlap
        and latest_labels(task.annotations)
    }


def publish(
    gateway: LabelStudio,
    state: ProjectState,
    project: Mapping[str, Any],
    control: Control,
    tasks: Mapping[int, Task],
    window: Sequence[Slot],
    *,
    options: dict[str, Any],
    old_versions: Collection[str],
    prelabels: Mapping[int, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Published:
    """Makes Label Studio serve `window` in rank order, reopening and closing labelled tasks as it asks.

    `tasks`: the mirror; `old_versions`: windows to clean up afterwards; `prelabels`: {task: class} shown preselected
    on new tasks. Raises StaleTasks when a task of the window is gone (nothing was flipped), ConnectorError when Label
    Studio keeps fewer predictions than it was sent.
    """
    project_id, skip_queue = project["id"], project["skip_queue"]
    second_opinions = {slot.task for slot in window if slot.relabel}
    opening = [task for task in sorted(second_opinions) if not is_open(tasks[task], skip_queue)]
    reopened = state.reopened()
    closing = {**to_close(tasks, second_opinions, skip_queue), **reopened}
    closing = {task: overlap for task, overlap in closing.items() if task not in second_opinions}
    steps, done = len(opening) + len(closing), 0

    version = ""
    if window:
        version = _import(gateway, project_id, control, window, prelabels or {})
    raced = set()
    for task in opening:
        if not _open(gateway, state, tasks[task], control, skip_queue):
            raced.add(task)
        state.keep_lock(at_most_every=KEEP_SECONDS)
        done += 1
        progress(done, steps)
    state.keep_lock()
    gateway.update_project(project_id, model_version=version)
    served = [slot for slot in window if slot.task not in raced]
    state.store_window(version, len(window), served, options)
    for task, overlap in closing.items():
        close(gateway, state, control, tasks.get(task), task, overlap)
        state.keep_lock(at_most_every=KEEP_SECONDS)
        done += 1
        progress(done, steps)
    for old in sorted(our_versions(old_versions) - {version}):
        gateway.delete_version(project_id, old)
    # A settings page loaded before the flip and saved after it sends the old version, and deleting that one empties the
    # project's model_version.
    if gateway.get_project(project_id)["model_version"] != version:
        gateway.update_project(project_id, model_version=version)
    return Published(version, served, len(raced))


def close(
    gateway: LabelStudio, state: ProjectState, control: Control, task: Task | None, task_id: int, overlap: int
) -> None:
    """Closes a reopened task, unless Label Studio has done so or the task (None) is gone.

    A task that lost its labels, before or since it was read, is a new one again: its overlap is restored and it stays
    open.
    """
    if task is not None and not task.is_labeled:
        labelled = bool(latest_labels(task.annotations))
        answer = gateway.update_task(task_id, overlap=overlap, is_labeled=labelled)
        if labelled and not latest_labels(read_task(answer, control).annotations):
            gateway.update_task(task_id, overlap=overlap, is_labeled=False)
    state.close_task(task_id)


def _import(
    gateway: LabelStudio, project: int, control: Control, window: Sequence[Slot], prelabels: Mapping[int, str]
) -> str:
    """Imports the window under a version of its own, which it returns.

    `score` is the rank in [0, 1]: Label Studio serves the lowest first. When the server kept another number of rows
    than it was sent, the version is deleted and a new one tried: rows of one version sent twice would stand twice.
    """
    kept = 0
    for _ in range(ATTEMPTS):
        version = VERSION_PREFIX + datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
        kept = gateway.import_predictions(
            project,
            [
                {
                    "task": slot.task,
                    "result": choice_result(control, prelabels[slot.task])
                    if not slot.relabel and slot.task in prelabels
                    else [],
                    "score": (rank + 1) / (len(window) + 1),
                    "model_version": version,
                }
                for rank, slot in enumerate(window)
            ],
        )
        if kept == len(window):
            return version
        gateway.delete_version(project, version)
    raise ConnectorError(
        f"Label Studio kept {kept} of {len(window)} predictions of a new window; the old one still holds."
    )


def _open(gateway: LabelStudio, state: ProjectState, task: Task, control: Control, skip_queue: str) -> bool:
    """Reopens a labelled task for one more annotation; False, and closed again, if one has arrived since it was read.

    Label Studio never serves an open task whose rows reach its overlap, and one at the head of a window can keep
    everybody from being served: hence rows + 1, and the look at the answer.
    """
    state.reopen(task.id, task.overlap)
    answer = gateway.update_task(task.id, overlap=lock_rows(task.annotations, skip_queue) + 1, is_labeled=False)
    current = read_task(answer, control)
    if {row.id for row in current.annotations} == {row.id for row in task.annotations}:
        return True
    close(gateway, state, control, current, task.id, state.reopened()[task.id])
    return False


def is_open(task: Task, skip_queue: str) -> bool:
    """Whether Label Studio serves the labelled task to exactly one more person as it stands."""
    return not task.is_labeled and task.overlap == lock_rows(task.annotations, skip_queue) + 1
