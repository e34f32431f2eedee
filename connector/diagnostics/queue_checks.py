"""Doctor's checks of tasks and answers: is the window used up, are tasks stuck, are answers out of order?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from connector.active_learning.window import Slot, active_annotators, open_places
from connector.annotations.records import Task, is_answered, lock_rows, moment
from connector.diagnostics.finding import Finding, ok, problem, warning
from connector.diagnostics.serving_order import ServedAnswer, answers_since, count_out_of_order, find_held_tasks
from connector.formatting import count, verb
from connector.queue.publish import stale_open_tasks
from connector.queue.versions import published_at
from connector.state.lock import is_held
from connector.state.project_state import ProjectState
from connector.state.rows import ProjectRecord
from connector.state.snapshot import ProjectSnapshot

ENOUGH_ANSWERS = 8
OUT_OF_ORDER_SHARE = 0.25
STALE = timedelta(hours=1)


@dataclass(frozen=True)
class WindowSnapshot:
    """What the checks of this module read: the project as it is and the window as it was published.

    `unanswered`: tasks of the window whose place no one has used. `reopened`: labelled tasks that sync has opened for
    one more annotation. `answers`: since the window was published. `active`: ids of the active annotators.
    """

    project_id: int
    pulled: ProjectSnapshot
    version: str | None
    slots: list[Slot]
    unanswered: set[int]
    reopened: set[int]
    answers: list[ServedAnswer]
    active: set[int]

    @property
    def ranked(self) -> list[int]:
        """The window's tasks in rank order."""
        return [slot.task for slot in self.slots]

    def can_be_served(self, task: Task) -> bool:
        """Whether the task's flags let Label Studio serve it to an annotator who has not answered it."""
        rows = lock_rows(task.annotations, self.pulled.project["skip_queue"])
        return not task.is_labeled and rows < task.overlap

    @property
    def sync(self) -> str:
        """The command that most remedies name."""
        return f"connector sync --project {self.project_id}"


def read_window(project_id: int, pulled: ProjectSnapshot, state: ProjectState) -> WindowSnapshot:
    """Reads the published window from the state, without the tasks that were deleted since."""
    window = [slot for slot in state.window() if slot.task in pulled.tasks]
    version = state.record().queue_version
    published = _published(version, state)
    return WindowSnapshot(
        project_id,
        pulled,
        version,
        window,
        set(open_places(window, state.answers_at_publishing(), pulled.tasks)),
        set(state.reopened()),
        answers_since(published, pulled.tasks) if published else [],
        active_annotators(row for task in pulled.tasks.values() for row in task.annotations),
    )


def _published(version: str | None, state: ProjectState) -> datetime | None:
    """When Label Studio began to serve the published window, or None if there is none."""
    if not version:
        return None
    last = state.last_round()
    if last is not None and last["queue_version"] == version:
        return datetime.fromisoformat(last["at"])
    # The sync was killed before it ended: the version says when it began to publish.
    return published_at(version)


def places_left(window: WindowSnapshot) -> Finding:
    """Are there places left for all active annotators?"""
    left, active = len(window.unanswered), len(window.active)
    if window.version is None:
        return ok("window", "Nothing is published yet.")
    if not window.slots:
        return ok("window", "The window is empty: there was nothing to ask for when it was published.")
    if left < active and left < len(window.slots) and _serves_more(window):
        return warning(
            "window",
            f"{left} of the window's {count(len(window.slots), 'place')} {verb(left)} left for "
            f"{count(active, 'active annotator')}. "
            "Beyond the window, tasks are served in random order.",
            f"Run {window.sync} more often, for example from cron, or with a larger --window.",
        )
    if not left:
        return warning(
            "window",
            "The window is used up, and Label Studio has no other task to serve.",
            f"Run {window.sync}: if tasks need more labels, it asks for them.",
        )
    return ok("window", f"{left} of its {count(len(window.slots), 'place')} {verb(left)} left.")


def _serves_more(window: WindowSnapshot) -> bool:
    """Whether Label Studio has tasks to serve beyond the window."""
    tasks = window.pulled.tasks
    return any(window.can_be_served(tasks[task]) for task in tasks.keys() - {slot.task for slot in window.slots})


def served_order(window: WindowSnapshot) -> Finding:
    """Were the answers since the window was published served in its order?"""
    judged, wrong = count_out_of_order(window.ranked, window.answers, window.pulled.tasks, len(window.active))
    if judged < ENOUGH_ANSWERS:
        return ok("served_order", f"There are too few answers since the window was published ({judged}).")
    were = verb(wrong, "was", "were")
    counted = f"{wrong} of {judged} answers since the window was published {were} served out of its order"
    if wrong <= OUT_OF_ORDER_SHARE * judged:
        return ok("served_order", f"{counted}.")
    return warning(
        "served_order",
        f"{counted}. Possible causes: the project has members (Label Studio then serves a random task of the window), "
        "or people open tasks from the Data Manager's list, or the label stream by a link or bookmark "
        "(…/data?labeling=1). Perhaps a setting was changed in between, or on SQLite several people asked at the same "
        "instant.",
        "Remove the project's members. Ask people to start from the project's page with Label All Tasks. Then run "
        f"{window.sync}, which begins a new window, and check again after some answers.",
    )


def held_tasks(window: WindowSnapshot, in_order: bool) -> Finding:
    """Does a person who left hold places of the window? `in_order`: whether tasks are served in the window's order."""
    if not in_order:
        return ok("held_tasks", "This is unknown as long as tasks are not served in the window's order.")
    tasks = window.pulled.tasks
    waiting = {task for task in window.unanswered if window.can_be_served(tasks[task])}
    held = find_held_tasks(window.ranked, waiting, window.answers, tasks)
    if not held:
        return ok("held_tasks", "No answer shows that a place of the window was passed over.")
    return warning(
        "held_tasks",
        f"{_some(held, 'task')} of the window {verb(len(held))} passed over: someone probably got {_them(held)} and "
        f"left, or saved {_them(held)} as a draft. Label Studio keeps a task for its holder for 24 hours. Its API "
        "neither shows nor ends that.",
        "A person who left a task open presses Label All Tasks again and gets it. Otherwise it becomes free by itself. "
        "With TASK_LOCK_TTL=3600 in its environment, Label Studio keeps tasks for one hour only.",
    )


def skip_queue(window: WindowSnapshot, url: str, emails: Callable[[], Mapping[int, str]]) -> Finding:
    """Are there skipped tasks that no other annotator will ever get?"""
    rule = window.pulled.project["skip_queue"]
    stuck = skipped_for_good(window.pulled.tasks.values(), rule)
    if not stuck:
        return ok("skip_queue", f"{rule}: no skipped task is stuck.")
    whose = sorted({row.annotator for task in stuck for row in task.annotations})
    email_of = emails()
    names = ", ".join(email_of.get(annotator, f"user {annotator}") for annotator in whose)
    whom = verb(len(stuck), "it", "them")
    if rule == "REQUEUE_FOR_ME":
        why = f"{verb(len(stuck), 'waits', 'wait')} for those who skipped {whom}"
    else:
        why = f"{verb(len(stuck), 'counts', 'count')} as done, without a label"
    return warning(
        "skip_queue",
        f"Under {rule}, {_some([task.id for task in stuck], 'skipped task')} {why} ({names}), and no one else gets "
        f"{whom}.",
        f"To ask others once, tick {_them(stuck)} in a new tab of the Data Manager and choose Delete Annotations, "
        f"which deletes the skips. To always ask others, PATCH {url}/api/projects/{window.project_id}/ with "
        f'{{"skip_queue": "REQUEUE_FOR_OTHERS"}}. In the Enterprise edition, this is in Settings, Annotation, Skip '
        f"Queue. Then run {window.sync}.",
    )


def skipped_for_good(tasks: Collection[Task], rule: str) -> list[Task]:
    """Tasks that someone skipped, that have no answer, and that the `rule` does not let others get."""
    if rule == "REQUEUE_FOR_OTHERS":
        return []
    return [
        task for task in tasks if any(row.skipped for row in task.annotations) and not is_answered(task.annotations)
    ]


def stuck_tasks(window: WindowSnapshot, url: str) -> Finding:
    """Are there tasks in a state in which Label Studio never serves them? `url`: Label Studio's address."""
    asked = {slot.task for slot in window.slots if slot.relabel}
    tasks, rule = window.pulled.tasks, window.pulled.project["skip_queue"]
    stuck = sorted(stale_open_tasks(tasks, asked, rule))
    shut = sorted(task for task in asked & window.unanswered if not window.can_be_served(tasks[task]))
    # The check `skip_queue` names those that the project's rule makes complete.
    by_rule = {task.id for task in skipped_for_good(tasks.values(), rule)}
    done = sorted(
        task.id
        for task in tasks.values()
        if task.is_labeled and not is_answered(task.annotations) and task.id not in by_rule
    )
    if not stuck and not shut and not done:
        return ok("stuck_tasks", "No labelled task is open and yet never served.")
    causes, remedies = [], []
    if stuck or shut:
        remedies.append(f"Run {window.sync}, which corrects this.")
    if done:
        marked = f"{_some(done, 'task')} without an answer {verb(len(done))} marked as complete"
        causes.append(f"{marked}, so Label Studio never serves {_them(done)}")
        patch = f'PATCH {url}/api/tasks/ID/ with {{"is_labeled": false}}'
        remedies.append(f"To have {_them(done)} labelled, {patch}. Then run {window.sync}.")
    if stuck:
        causes.append(f"{_some(stuck, 'labelled task')} {verb(len(stuck))} open and yet never served")
    if shut:
        causes.append(
            f"{_some(shut, 'second opinion')} of the window cannot be served, because someone closed {_them(shut)}"
        )
    return warning("stuck_tasks", f"{'. '.join(causes)}.", " ".join(remedies))


def second_opinions(window: WindowSnapshot, url: str) -> Finding:
    """Are there labelled tasks open for one more annotation that sync did not open?"""
    requested = {slot.task for slot in window.slots if slot.relabel} | window.reopened
    unrequested = sorted(
        task.id
        for task in window.pulled.tasks.values()
        if task.id not in requested and window.can_be_served(task) and is_answered(task.annotations)
    )
    if not unrequested:
        if not requested:
            return ok("second_opinions", "No labelled task is open for one more annotation.")
        opened = f"{count(len(requested), 'labelled task')} {verb(len(requested))} open for one more annotation"
        return ok("second_opinions", f"{opened}, as sync asked.")
    return warning(
        "second_opinions",
        f"{_some(unrequested, 'labelled task')} {verb(len(unrequested))} open for one more annotation without a "
        "request by sync: opened by hand, or by a connector whose state database is lost. Label Studio serves "
        f"{_them(unrequested)} once the window is used up.",
        "If one more label is welcome, leave them open. To close one, open it in the Data Manager and submit a label "
        f'of your own. Without a label, PATCH {url}/api/tasks/ID/ with {{"overlap": 1, "is_labeled": true}}.',
    )


def last_sync(
    project_id: int, record: ProjectRecord, tasks: Collection[Task], now: datetime, unavailable: bool
) -> Finding:
    """Did the last sync succeed, and do syncs run as often as annotations come?

    `now`: an aware datetime. `unavailable`: whether a server does not answer.
    """
    command = f"connector sync --project {project_id}"
    running = ""
    if is_held(record.lock_holder, record.lock_until, now.timestamp()):
        running = f" A process holds the project now ({(record.lock_holder or '').rpartition(':')[0]})."
    last = record.last_sync
    if last is None:
        return ok("last_sync", f"No sync has run yet.{running}")
    at = datetime.fromisoformat(last["at"])
    ended = f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    if last["result"] == "failed":
        return problem(
            "last_sync",
            f"It failed at {ended}: {last['error']}{running}",
            f"Correct what it names, then run {command}.",
            unavailable=unavailable,
        )
    since = sum(moment(row.created_at) > at for task in tasks for row in task.annotations)
    if since and now - at > STALE:
        return warning(
            "last_sync",
            f"It ended at {ended}, and {count(since, 'annotation')} {verb(since, 'has', 'have')} come since.{running}",
            f"Run {command}. If cron runs it, check its log: cron knows neither your PATH nor your environment.",
        )
    return ok("last_sync", f"It ended at {ended}: {last['result']}.{running}")


def _some(ids: Collection[int], noun: str) -> str:
    """How many, and the ids of the first few: `2 tasks (4, 7)`."""
    shown = ", ".join(str(item) for item in list(ids)[:5]) + (", …" if len(ids) > 5 else "")
    return f"{count(len(ids), noun)} ({shown})"


def _them(ids: Collection[object]) -> str:
    return verb(len(ids), "it", "them")
