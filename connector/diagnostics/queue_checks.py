"""What tasks and answers tell of the queue: places used up, tasks that are stuck, answers out of order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from connector.active_learning.window import Slot, active_annotators, open_places
from connector.annotations.records import Task, latest_labels, lock_rows, moment
from connector.diagnostics import serving_order as evidence
from connector.diagnostics.finding import Finding, ok, problem, warning
from connector.queue.publish import stale_open_tasks
from connector.queue.versions import published_at
from connector.state.lock import is_held
from connector.state.project_state import ProjectState
from connector.state.pull import Pulled
from connector.state.rows import ProjectRecord

ENOUGH_ANSWERS = 8
OUT_OF_ORDER_SHARE = 0.25
STALE = timedelta(hours=1)


@dataclass(frozen=True)
class Chart:
    """What the checks of this module look at: the project as it is and the window as it was published."""

    project_id: int
    pulled: Pulled
    version: str | None
    window: list[Slot]
    unanswered: set[int]
    reopened: set[int]
    answers: list[evidence.Answer]
    active: set[int]

    @property
    def ranked(self) -> list[int]:
        """The window's tasks in rank order."""
        return [slot.task for slot in self.window]

    def can_be_served(self, task: Task) -> bool:
        """Whether Label Studio serves the task to somebody who has not answered it, as far as its flags go."""
        rows = lock_rows(task.annotations, self.pulled.project["skip_queue"])
        return not task.is_labeled and rows < task.overlap

    @property
    def sync(self) -> str:
        """The command that most remedies end in."""
        return f"connector sync --project {self.project_id}"


def chart(project_id: int, pulled: Pulled, state: ProjectState) -> Chart:
    """Reads what is remembered of the published window, without the tasks that were deleted since."""
    window = [slot for slot in state.window() if slot.task in pulled.tasks]
    version = state.record().queue_version
    published = _published_at(version, state)
    return Chart(
        project_id,
        pulled,
        version,
        window,
        set(open_places(window, state.answers_at_publishing(), pulled.tasks)),
        set(state.reopened()),
        evidence.answers_since(published, pulled.tasks) if published else [],
        active_annotators(row for task in pulled.tasks.values() for row in task.annotations),
    )


def _published_at(version: str | None, state: ProjectState) -> datetime | None:
    """When the published window came to be served, or None when there is none."""
    if not version:
        return None
    last = state.last_round()
    if last is not None and last["queue_version"] == version:
        return datetime.fromisoformat(last["at"])
    # The sync was killed before it ended: the version tells when it began to publish.
    return published_at(version)


def window(chart: Chart) -> Finding:
    """Are there places left for everybody who is at work?"""
    left, active = len(chart.unanswered), len(chart.active)
    if chart.version is None:
        return ok("window", "Nothing is published yet.")
    if not chart.window:
        return ok("window", "The window is empty: there was nothing to ask for when it was published.")
    if left < active and left < len(chart.window):
        return warning(
            "window",
            f"{left} of the window's {len(chart.window)} places are left for {active} active annotators; beyond it "
            "tasks come in random order.",
            f"Run {chart.sync}, from cron more often than a window lasts, or give it a larger --window.",
        )
    return ok("window", f"{left} of its {len(chart.window)} places are left.")


def served_order(chart: Chart) -> Finding:
    """Were the answers since the window was published served in its order?"""
    telling, wrong = evidence.out_of_order(chart.ranked, chart.answers, chart.pulled.tasks, len(chart.active))
    if telling < ENOUGH_ANSWERS:
        return ok("served_order", f"Too few answers since the window was published to tell ({telling}).")
    counted = f"{wrong} of {telling} answers since the window was published were served out of its order"
    if wrong <= OUT_OF_ORDER_SHARE * telling:
        return ok("served_order", f"{counted}.")
    return warning(
        "served_order",
        f"{counted}. Possible causes: the project has members (Label Studio then serves a random task of the window); "
        "people open tasks from the Data Manager's list, or the label stream by a link or bookmark "
        "(…/data?labeling=1); a setting was changed in between; on SQLite, several people asking at the same instant.",
        "Remove the project's members; have people start from the project's page by Label All Tasks; then run "
        f"{chart.sync}, which begins a new window, and look again after some answers.",
    )


def locks(chart: Chart, order_holds: bool) -> Finding:
    """Does somebody who is not there hold places of the window?"""
    if not order_holds:
        return ok("locks", "Cannot be told while tasks are not served in the window's order.")
    tasks = chart.pulled.tasks
    waiting = {task for task in chart.unanswered if chart.can_be_served(tasks[task])}
    held = evidence.held(chart.ranked, waiting, chart.answers, tasks)
    if not held:
        return ok("locks", "No place of the window is passed over.")
    return warning(
        "locks",
        f"{_some(held, 'task')} of the window {_are(held)} passed over: somebody was probably given {_them(held)} and "
        "went away, or put it aside as a draft. Label Studio keeps a task for its holder for 24 hours, and its API "
        "neither shows nor ends that.",
        "Whoever left a task open presses Label All Tasks again and is given it; else it comes free by itself. With "
        "TASK_LOCK_TTL=3600 in its environment, Label Studio keeps tasks for an hour only.",
    )


def skip_queue(chart: Chart, url: str, emails: Callable[[], Mapping[int, str]]) -> Finding:
    """Are there skipped tasks that nobody else will ever be served?"""
    rule = chart.pulled.project["skip_queue"]
    stuck = skipped_for_good(chart.pulled.tasks.values(), rule)
    if not stuck:
        return ok("skip_queue", f"{rule}: no skipped task is stuck.")
    whose = sorted({row.annotator for task in stuck for row in task.annotations})
    known = emails()
    names = ", ".join(known.get(person, f"user {person}") for person in whose)
    why = "wait for those who skipped them" if rule == "REQUEUE_FOR_ME" else "count as done, without a label"
    return warning(
        "skip_queue",
        f"Under {rule} {_some([task.id for task in stuck], 'skipped task')} {why} ({names}), and nobody else is "
        "served them.",
        f'To have others asked: PATCH {url}/api/projects/{chart.project_id}/ with {{"skip_queue": '
        f'"REQUEUE_FOR_OTHERS"}}, then {chart.sync}.',
    )


def skipped_for_good(tasks: Collection[Task], rule: str) -> list[Task]:
    """Tasks that somebody skipped, that have no label, and that are not served to others under the `rule`."""
    if rule == "REQUEUE_FOR_OTHERS":
        return []
    return [
        task for task in tasks if any(row.skipped for row in task.annotations) and not latest_labels(task.annotations)
    ]


def zombies(chart: Chart) -> Finding:
    """Are there labelled tasks in a state in which they are never served?"""
    asked = {slot.task for slot in chart.window if slot.relabel}
    tasks = chart.pulled.tasks
    stuck = sorted(stale_open_tasks(tasks, asked, chart.pulled.project["skip_queue"]))
    shut = sorted(task for task in asked & chart.unanswered if not chart.can_be_served(tasks[task]))
    if not stuck and not shut:
        return ok("zombies", "No labelled task is open and yet never served.")
    told = []
    if stuck:
        told.append(f"{_some(stuck, 'labelled task')} {_are(stuck)} open and yet never served")
    if shut:
        told.append(
            f"{_some(shut, 'second opinion')} of the window cannot be served, for somebody closed {_them(shut)}"
        )
    return warning("zombies", f"{'; '.join(told)}.", f"Run {chart.sync}, which puts them right.")


def second_opinions(chart: Chart, url: str) -> Finding:
    """Are there labelled tasks open for one more annotation that we do not know of?"""
    known = {slot.task for slot in chart.window if slot.relabel} | chart.reopened
    unknown = sorted(
        task.id
        for task in chart.pulled.tasks.values()
        if task.id not in known and chart.can_be_served(task) and latest_labels(task.annotations)
    )
    if not unknown:
        return ok("second_opinions", f"{len(known)} labelled tasks are open for one more annotation, all asked by us.")
    return warning(
        "second_opinions",
        f"{_some(unknown, 'labelled task')} {_are(unknown)} open for one more annotation without our having asked: "
        "opened by hand, or by a connector whose state database is lost. They are served once the window is used up.",
        f'To close one: PATCH {url}/api/tasks/ID with {{"overlap": 1, "is_labeled": true}}.',
    )


def texts(chart: Chart, url: str) -> Finding:
    """Are there tasks without a text?"""
    key = chart.pulled.control.data_key
    without = sorted(task.id for task in chart.pulled.tasks.values() if task.digest is None)
    if not without:
        return ok("texts", f"All {len(chart.pulled.tasks)} tasks have a text.")
    return warning(
        "texts",
        f"{_some(without, 'task')} {'has' if len(without) == 1 else 'have'} no text under '{key}' and will never be "
        "asked for.",
        f"Delete them in the Data Manager, or PATCH {url}/api/tasks/ID with the data they lack.",
    )


def choices(chart: Chart) -> Finding:
    """Are there annotations whose choice the labelling config does not have?"""
    tasks = sorted({row.task for task in chart.pulled.tasks.values() for row in task.annotations if row.unknown})
    control = chart.pulled.control
    if not tasks:
        some = "no others than" if control.multiple else "one of"
        return ok("choices", f"All annotations hold {some} {', '.join(control.classes)}.")
    left = "they count as no label"
    if control.multiple:
        left = "it is left out of the set, and a set of nothing else counts as no label"
    return warning(
        "choices",
        f"{_some(tasks, 'task')} {'has' if len(tasks) == 1 else 'have'} annotations with a choice that the labelling "
        f"config does not have; {left}.",
        "Put the choice back into the labelling config, or correct those annotations, then run " + chart.sync + ".",
    )


def last_sync(project_id: int, record: ProjectRecord, tasks: Collection[Task], now: datetime, away: bool) -> Finding:
    """Did the last sync end well, and is there one as often as annotations come? `away`: a server does not answer."""
    command = f"connector sync --project {project_id}"
    running = ""
    if is_held(record.lock_holder, record.lock_until, now.timestamp()):
        running = f" A process holds the project now ({(record.lock_holder or '').rpartition(':')[0]})."
    last = record.last_sync
    if last is None:
        return ok("last_sync", f"None has run yet.{running}")
    at = datetime.fromisoformat(last["at"])
    ended = f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    if last["result"] == "failed":
        return problem(
            "last_sync",
            f"It failed at {ended}: {last['error']}{running}",
            f"Mend what it names, then run {command}.",
            away=away,
        )
    # An older connector's mirror does not tell when annotations were made.
    since = sum(bool(row.created_at) and moment(row.created_at) > at for task in tasks for row in task.annotations)
    if since and now - at > STALE:
        return warning(
            "last_sync",
            f"It ended at {ended}, and {since} annotations have come since.{running}",
            f"Run {command}; if cron should do that, look at its log: it knows neither your PATH nor your environment.",
        )
    return ok("last_sync", f"It ended at {ended}: {last['result']}.{running}")


def _some(ids: Collection[int], what: str) -> str:
    """How many, and the first few by id: `2 tasks (4, 7)`."""
    shown = ", ".join(str(item) for item in list(ids)[:5]) + (", …" if len(ids) > 5 else "")
    return f"{len(ids)} {what}{'' if len(ids) == 1 else 's'} ({shown})"


def _are(ids: Collection[int]) -> str:
    return "is" if len(ids) == 1 else "are"


def _them(ids: Collection[int]) -> str:
    return "it" if len(ids) == 1 else "them"
