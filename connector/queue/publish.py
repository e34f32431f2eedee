"""From a window to the least writes that make Label Studio serve it.

At every instant an annotator who asks is given the old queue, the new one or the task they hold: the new window is
imported beside the old one, and one PATCH of the project flips between them. The old one stays for a day: a form that
was opened from it names its prediction when it is submitted, and Label Studio refuses that once it is deleted.
Calls are in proportion to the window and to the tasks that enter or leave it, never to the project. Before each write
the lock is looked at, so that a sync that was suspended and lost the project meanwhile writes nothing over another's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from connector.active_learning.window import Slot
from connector.annotations.label_config import Control
from connector.annotations.records import Task, choice_result, latest_labels, lock_rows, read_task
from connector.errors import ConnectorError
from connector.label_studio.client import LabelStudio
from connector.retry import AnswerLost
from connector.state.lock import KEEP_SECONDS
from connector.state.project_state import ProjectState

VERSION_PREFIX = "activelab-"
# The version of consensus labels that are published as predictions (consensus.py): no window of ours.
PUBLISHED_CONSENSUS = VERSION_PREFIX + "consensus"
_STAMP = "%Y%m%d-%H%M%S-%f"
ATTEMPTS = 3
SLOW_IMPORT_SECONDS = 10.0
# Label Studio 1.23.2 looks at all tasks of a project at each import of predictions unless it is started with this.
QUICK_IMPORT = "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short=true"
# How long an old window stays: as long as Label Studio keeps a task for whoever was given it.
KEEP_WINDOWS = timedelta(hours=24)
DELETED_A_TIME = 10  # a project that was left alone for a day has hundreds, and each takes most of a second


@dataclass(frozen=True)
class Published:
    """A window that annotators are now served, without the tasks that somebody labelled meanwhile (`raced`).

    `import_seconds`: how long Label Studio took to import it.
    """

    version: str
    window: list[Slot]
    raced: int
    import_seconds: float = field(default=0.0, compare=False)


def our_versions(versions: Collection[str]) -> set[str]:
    """Those of a project's model versions that are windows of ours."""
    return {version for version in versions if is_ours(version)}


def is_ours(version: str | None) -> bool:
    """Whether a model version is a window of ours: the prefix and a time, since others may like the prefix, too."""
    return version is not None and version.startswith(VERSION_PREFIX) and published_at(version) is not None


def published_at(version: str) -> datetime | None:
    """When a window of ours was made, in UTC, as its version says; None where it says nothing."""
    try:
        stamp = datetime.strptime(version.removeprefix(VERSION_PREFIX), _STAMP)
    except ValueError:
        return None
    return stamp.replace(tzinfo=timezone.utc)


def expired(versions: Collection[str], current: str | None, now: datetime | None = None) -> list[str]:
    """Windows of ours, without the `current` one, that no open form can come from any more; oldest first."""
    now = now or datetime.now(timezone.utc)
    made = {version: published_at(version) for version in our_versions(versions) - {current}}
    return sorted(version for version, at in made.items() if at is not None and now - at > KEEP_WINDOWS)


def delete_expired(
    gateway: LabelStudio,
    state: ProjectState,
    project_id: int,
    versions: Collection[str],
    current: str | None,
    *,
    at_most: int,
) -> None:
    """Deletes the oldest of the expired windows."""
    for old in expired(versions, current)[:at_most]:
        state.keep_lock()
        gateway.delete_version(project_id, old)


def unknown_newer(versions: Collection[str], current: str | None) -> set[str]:
    """Windows of ours made after the `current` one, where there is one: a sync was killed before it could tell."""
    return {version for version in our_versions(versions) if current and version > current}


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

    `tasks`: the mirror; `old_versions`: all that Label Studio holds, the expired ones of which are deleted (at most
    DELETED_A_TIME); `prelabels`: {task: class} shown preselected on new tasks. Raises StaleTasks when a task of the
    window is gone (nothing was flipped), ConnectorError when Label Studio keeps fewer predictions than it was sent.
    """
    project_id, skip_queue = project["id"], project["skip_queue"]
    second_opinions = {slot.task for slot in window if slot.relabel}
    opening = [task for task in sorted(second_opinions) if not is_open(tasks[task], skip_queue)]
    reopened = state.reopened()
    closing = {**to_close(tasks, second_opinions, skip_queue), **reopened}
    closing = {task: overlap for task, overlap in closing.items() if task not in second_opinions}
    steps, done = len(opening) + len(closing), 0

    version, began = "", time.monotonic()
    if window:
        version = _import(gateway, state, project_id, control, window, prelabels or {}, old_versions)
    import_seconds = time.monotonic() - began
    raced = set()
    for task in opening:
        state.keep_lock(at_most_every=KEEP_SECONDS)
        if not _open(gateway, state, tasks[task], control, skip_queue):
            raced.add(task)
        done += 1
        progress(done, steps)
    state.keep_lock()
    gateway.update_project(project_id, model_version=version)
    state.keep_lock()  # or else what is known is the window of whoever took the project over
    served = [slot for slot in window if slot.task not in raced]
    # The other options are told at the end: a sync that is killed before that has its round to do again, and to record.
    state.store_window(version, len(window), served, {"skip_queue": skip_queue})
    for task, overlap in closing.items():
        state.keep_lock(at_most_every=KEEP_SECONDS)
        close(gateway, state, control, tasks.get(task), task, overlap)
        done += 1
        progress(done, steps)
    delete_expired(gateway, state, project_id, old_versions, version, at_most=DELETED_A_TIME)
    # A settings page loaded before the flip and saved after it sends the old version, and deleting that one empties the
    # project's model_version.
    if gateway.get_project(project_id)["model_version"] != version:
        state.keep_lock()  # or else it is the window of whoever took the project over
        gateway.update_project(project_id, model_version=version)
    state.keep_lock()
    state.put(window_options=options)
    return Published(version, served, len(raced), import_seconds)


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
    gateway: LabelStudio,
    state: ProjectState,
    project: int,
    control: Control,
    window: Sequence[Slot],
    prelabels: Mapping[int, str],
    old_versions: Collection[str],
) -> str:
    """Imports the window under a version of its own, which it returns.

    `score` is the rank in [0, 1]: Label Studio serves the lowest first. When the server kept another number of rows
    than it was sent, the version is deleted and a new one tried: rows of one version sent twice would stand twice.
    """
    kept, sent = 0, list[str]()

    def arrived() -> str | None:
        held = gateway.model_versions(project)
        return next((version for version in reversed(sent) if held.get(version) == len(window)), None)

    def attempt() -> tuple[str, int]:
        state.keep_lock()
        if sent and (late := arrived()):
            return late, len(window)
        version = _new_version({*old_versions, *sent})
        sent.append(version)
        rows = [
            {
                "task": slot.task,
                "result": choice_result(control, prelabels[slot.task])
                if not slot.relabel and slot.task in prelabels
                else [],
                "score": (rank + 1) / (len(window) + 1),
                "model_version": version,
            }
            for rank, slot in enumerate(window)
        ]
        try:
            return version, gateway.import_predictions(project, rows)
        except AnswerLost as lost:
            if there := arrived():
                return there, len(window)
            # Not deleted: the server may be at it still. Nobody is served it, and it goes when it expires.
            raise lost.failure from lost

    for _ in range(ATTEMPTS):
        version, kept = gateway.retries.call(attempt, repeatable=True)
        if kept == len(window):
            return version
        gateway.delete_version(project, version)
    raise ConnectorError(
        f"Label Studio kept {kept} of {len(window)} predictions of a new window; the old one still holds."
    )


def _new_version(old_versions: Collection[str]) -> str:
    """A version later than all of ours, even those of a machine whose clock is ahead."""
    at = datetime.now(timezone.utc)
    made = [old for old in map(published_at, our_versions(old_versions)) if old is not None]
    at = max([at, *(old + timedelta(microseconds=1) for old in made)])
    return VERSION_PREFIX + at.strftime(_STAMP)


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
