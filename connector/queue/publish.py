"""Publishes a window: the fewest writes that make Label Studio serve its tasks in rank order.

At every instant an annotator who asks for a task gets the old queue, the new one, or the task they hold. The new window
is imported beside the old one, and one PATCH of the project switches between them. The old one stays for a day: a form
that was opened from it names its prediction when it is submitted, and Label Studio refuses that once it is deleted.

The number of calls grows with the window and with the tasks that enter or leave it, never with the project. The gateway
checks the lock before each write (`guard_writes`): a sync that was suspended and lost the project writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connector.active_learning.window import Slot
from connector.annotations.questions import Questions
from connector.annotations.records import Task, is_answered, lock_rows, read_task
from connector.errors import ConnectorError, TryAgainLater
from connector.formatting import count
from connector.label_studio import LabelStudio
from connector.queue.versions import DELETED_A_TIME, delete_expired, new_version
from connector.retry import TransientError, UnknownOutcome
from connector.state.lock import KEEP_SECONDS
from connector.state.project_state import ProjectState, now
from connector.state.snapshot import ProjectSnapshot

ATTEMPTS = 3
SLOW_IMPORT_SECONDS = 10.0
# Label Studio 1.23.2 looks at all tasks of a project at each import of predictions unless it is started with this.
QUICK_IMPORT = "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short=true"


@dataclass(frozen=True)
class Published:
    """A window that annotators are now served, without the tasks that were labelled meanwhile (`raced`).

    `import_seconds`: how long Label Studio took to import it.
    """

    version: str
    window: list[Slot]
    raced: int
    import_seconds: float = field(default=0.0, compare=False)


def publish(
    gateway: LabelStudio,
    state: ProjectState,
    pulled: ProjectSnapshot,
    window: Sequence[Slot],
    *,
    options: dict[str, Any],
    prelabels: Mapping[int, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Published:
    """Makes Label Studio serve `window` in rank order. Reopens and closes labelled tasks as the window asks.

    Args:
        gateway: Label Studio, with its writes guarded by the project's lock.
        state: The project's state, whose lock is held.
        pulled: The project as it is now. Its expired windows are deleted, at most DELETED_A_TIME.
        window: The tasks to serve, best first.
        options: What the window was chosen under. Remembered last, so that an interrupted publishing is done again.
        prelabels: {task: label} to show preselected on new tasks.
        progress: Called with the number of reopened and closed tasks so far, and in total.

    Raises:
        StaleTasks: A task of the window was deleted. Annotators are still served the old window.
        ConnectorError: Label Studio keeps fewer predictions than it was sent.
    """
    project_id, skip_queue = pulled.project["id"], pulled.project["skip_queue"]
    questions, tasks = pulled.questions, pulled.tasks
    second_opinions = {slot.task for slot in window if slot.relabel}
    opening = [task for task in sorted(second_opinions) if not is_open(tasks[task], skip_queue)]
    closing = {**stale_open_tasks(tasks, second_opinions, skip_queue), **state.reopened()}
    closing = {task: overlap for task, overlap in closing.items() if task not in second_opinions}
    steps, done = len(opening) + len(closing), 0

    version, began = "", time.monotonic()
    if window:
        version = _import(gateway, project_id, questions, window, prelabels or {}, pulled.versions)
    import_seconds = time.monotonic() - began
    raced = set()
    for task in opening:
        state.renew_lock(at_most_every=KEEP_SECONDS)  # it is recorded as reopened before Label Studio is asked
        if not _open(gateway, state, tasks[task], questions, skip_queue):
            raced.add(task)
        done += 1
        progress(done, steps)
    gateway.update_project(project_id, model_version=version)
    state.renew_lock()  # or the state would name our window though another sync has taken the project over
    served = [slot for slot in window if slot.task not in raced]
    # The other options are recorded at the end: a sync that is killed before that does its round again.
    state.store_window(version, len(window), served, {"skip_queue": skip_queue})
    seen = prelabels or {}
    state.store_shown({slot.task: seen[slot.task] for slot in served if is_prelabelled(slot, seen)}, now())
    for task, overlap in closing.items():
        state.renew_lock(at_most_every=KEEP_SECONDS)  # it is recorded as closed even if Label Studio closed it
        close(gateway, state, questions, tasks.get(task), task, overlap)
        done += 1
        progress(done, steps)
    delete_expired(gateway, project_id, pulled.versions, version, at_most=DELETED_A_TIME)
    # A settings page loaded before the switch and saved after it sends the old version, and deleting that one empties
    # the project's model_version.
    if gateway.get_project(project_id)["model_version"] != version:
        gateway.update_project(project_id, model_version=version)
    state.renew_lock()
    state.put(window_options=options)
    return Published(version, served, len(raced), import_seconds)


def is_prelabelled(slot: Slot, prelabels: Mapping[int, str]) -> bool:
    """Whether annotators see a label preselected. Second opinions and tasks of the audit are always blind."""
    return slot.task in prelabels and not slot.relabel and not slot.audit


def is_open(task: Task, skip_queue: str) -> bool:
    """Whether Label Studio serves the labelled task, as it is, to exactly one more annotator."""
    return not task.is_labeled and task.overlap == lock_rows(task.annotations, skip_queue) + 1


def stale_open_tasks(tasks: Mapping[int, Task], second_opinions: Collection[int], skip_queue: str) -> dict[int, int]:
    """{task: overlap} of tasks that are open and yet never served: they have their answer but are not closed.

    At the head of a window, such a task can keep every annotator from being served. Those of `second_opinions` are
    meant to be open.
    """
    return {
        task.id: task.overlap
        for task in tasks.values()
        if not task.is_labeled
        and task.id not in second_opinions
        and lock_rows(task.annotations, skip_queue) >= task.overlap
        and is_answered(task.annotations)
    }


def close(
    gateway: LabelStudio, state: ProjectState, questions: Questions, task: Task | None, task_id: int, overlap: int
) -> None:
    """Closes a reopened task, unless Label Studio has done so or the task (None) was deleted.

    A task that lost its answers, before or since it was read, is a new one again: its overlap is restored and it stays
    open.
    """
    if task is not None and not task.is_labeled:
        answered = is_answered(task.annotations)
        answer = gateway.update_task(task_id, overlap=overlap, is_labeled=answered)
        if answered and not is_answered(read_task(answer, questions).annotations):
            gateway.update_task(task_id, overlap=overlap, is_labeled=False)
    state.close_task(task_id)


def _open(gateway: LabelStudio, state: ProjectState, task: Task, questions: Questions, skip_queue: str) -> bool:
    """Reopens a labelled task for one more annotation. False, and closed again, if one has arrived since it was read.

    Label Studio never serves an open task whose rows reach its overlap, and one at the head of a window can keep every
    annotator from being served: hence rows + 1, and the look at the answer.
    """
    state.reopen(task.id, task.overlap)
    answer = gateway.update_task(task.id, overlap=lock_rows(task.annotations, skip_queue) + 1, is_labeled=False)
    current = read_task(answer, questions)
    if {row.id for row in current.annotations} == {row.id for row in task.annotations}:
        return True
    close(gateway, state, questions, current, task.id, state.reopened()[task.id])
    return False


def _import(
    gateway: LabelStudio,
    project_id: int,
    questions: Questions,
    window: Sequence[Slot],
    prelabels: Mapping[int, str],
    versions: Collection[str],
) -> str:
    """Imports the window under a new version, which it returns. The version with all rows is the one that counts.

    An import is never sent twice under one version: rows that arrive late would be there twice. If Label Studio kept
    only some of the rows, the version is deleted and the window sent under another one. If the outcome is unknown, the
    version is looked for now and before each further attempt.
    """
    sent: list[str] = []
    uncertain: list[str] = []
    incomplete = 0

    def arrived() -> str | None:
        counts = gateway.model_versions(project_id)
        return next((version for version in reversed(uncertain) if counts.get(version) == len(window)), None)

    def attempt() -> str:
        nonlocal incomplete
        if uncertain and (late := arrived()):
            return late
        version = new_version({*versions, *sent})
        sent.append(version)
        try:
            rows = _rows(window, version, questions, prelabels)
            kept = gateway.import_predictions(project_id, rows, singly=not questions.imports_in_bulk)
        except UnknownOutcome as unknown:
            uncertain.append(version)
            if there := arrived():
                return there
            # Not deleted: the server may still be importing it. No annotator is served it, and it expires.
            raise unknown.failure from unknown
        if kept == len(window):
            return version
        gateway.delete_version(project_id, version)
        incomplete += 1
        happened = f"Label Studio kept {kept} of {count(len(window), 'prediction')} of a new window"
        sentence = f"{happened}. Annotators are still served the old one."
        if incomplete == ATTEMPTS:
            raise ConnectorError(sentence)
        raise TransientError(TryAgainLater(sentence), happened)

    return gateway.retries.call(attempt, repeatable=True)


def _rows(
    window: Sequence[Slot], version: str, questions: Questions, prelabels: Mapping[int, str]
) -> list[dict[str, Any]]:
    """The predictions of a window. `score` is the rank in (0, 1): Label Studio serves the lowest first."""
    return [
        {
            "task": slot.task,
            "result": questions.result(prelabels[slot.task]) if is_prelabelled(slot, prelabels) else [],
            "score": (rank + 1) / (len(window) + 1),
            "model_version": version,
        }
        for rank, slot in enumerate(window)
    ]
