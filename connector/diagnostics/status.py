"""`connector status`: how a project stands, for who looks once a day; nothing is changed in Label Studio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from connector.active_learning.stopping import forecast, sentence
from connector.active_learning.window import Slot, open_places
from connector.annotations.records import Task, moment
from connector.annotations.statistics import label_counts, task_counts
from connector.errors import ConnectorError
from connector.formatting import count, now_here, one_line
from connector.label_studio.client import LabelStudio
from connector.queue.settings import changed_settings, out_of_order
from connector.state.lock import is_held
from connector.state.project_state import ProjectState
from connector.state.pull import Pulled, look
from connector.state.rows import ProjectRecord

NEXT_TASKS = 5
TEXT_WIDTH = 60


def status(
    project_id: int,
    gateway: LabelStudio,
    state: ProjectState,
    clock: Callable[[], datetime] = now_here,
) -> dict[str, Any]:
    """How the project stands now (the object that `--json` prints); docs/commands.md describes its keys.

    `clock`: an aware datetime, whose time zone says when a day begins. Where Label Studio does not answer or refuses,
    `error` says so and the rest is what the last sync knew. Raises UsageError when the project is not adopted.
    """
    state.require_initialized()
    now = clock()
    record, window, answers = state.record(), state.window(), state.answers_at_publishing()
    latest = state.last_round() or {}
    mirrored = state.tasks()
    pulled: Pulled | None = None
    error: ConnectorError | None = None
    try:
        pulled = look(project_id, gateway, state)
    except ConnectorError as failure:
        error = failure
    tasks = pulled.tasks if pulled else mirrored
    places = open_places(window, answers, tasks)
    left = [slot for slot in window if slot.task in places]
    texts = (pulled.texts if pulled else state.texts)([slot.task for slot in left[:NEXT_TASKS]])
    found = {
        "project": project_id,
        "title": pulled.project["title"] if pulled else None,
        "label_studio": gateway.url,
        "at": now.isoformat(timespec="seconds"),
        "error": {"message": str(error), "exit_code": error.exit_code} if error else None,
        "last_sync": _with_age(record.last_sync, now),
        "last_round": last_round(state, now),
        "sync_running": is_held(record.lock_holder, record.lock_until, now.timestamp()),
        "queue": _queue(record, window, left, tasks, pulled),
        "labels": label_counts([row for task in tasks.values() for row in task.annotations], now),
        "tasks": task_counts(tasks),
        "model": _model(record, latest),
        "forecast": _forecast(latest),
        "new_annotations": len(_row_ids(tasks) - _row_ids(mirrored)),
        "next_tasks": [_next_task(places[slot.task][0], slot, texts.get(slot.task, "")) for slot in left[:NEXT_TASKS]],
    }
    return {**found, "next_step": _next_step(found, pulled)}


def exit_code(found: Iterable[Mapping[str, Any]]) -> int:
    """0 where Label Studio told all of it, or else the code of the gravest error: 2 before 3."""
    return min((one["error"]["exit_code"] for one in found if one["error"]), default=0)


# -- the parts -----------------------------------------------------------------------------------------------------


def _with_age(known: Mapping[str, Any] | None, now: datetime) -> dict[str, Any] | None:
    if known is None:
        return None
    return {**known, "seconds_ago": max(0, round((now - moment(known["at"])).total_seconds()))}


def last_round(state: ProjectState, now: datetime) -> dict[str, Any] | None:
    """The last round's `number`, `at` and `seconds_ago`; None before the first. `now`: an aware datetime."""
    last = state.last_round()
    return _with_age({"number": last["round"], "at": last["at"]}, now) if last else None


def _queue(
    record: ProjectRecord,
    window: list[Slot],
    left: list[Slot],
    tasks: Mapping[int, Task],
    pulled: Pulled | None,
) -> dict[str, Any] | None:
    version = record.queue_version
    if version is None:
        return None
    there = sum(slot.task in tasks for slot in window)
    return {
        "version": version,
        "size": len(window),
        "served": there - len(left),
        "left": len(left),
        "second_opinions_open": sum(slot.relabel for slot in left),
        "in_charge": None if pulled is None else not changed_settings(pulled, version),
    }


def _model(record: ProjectRecord, last: Mapping[str, Any]) -> dict[str, Any] | None:
    if record.model_version is None:
        return None
    return {
        "version": record.model_version,
        "agreement": last.get("model_agreement"),
        "ground_truth_tasks": last.get("ground_truth_tasks", 0),
        "ground_truth_accuracy": last.get("ground_truth_accuracy"),
    }


def _forecast(last: Mapping[str, Any]) -> dict[str, Any]:
    said = last.get("forecast")  # a round of an older connector has none
    return {**(said or forecast(None, 0)), "words": sentence(said)}


def _row_ids(tasks: Mapping[int, Task]) -> set[int]:
    return {row.id for task in tasks.values() for row in task.annotations}


def _next_task(rank: int, slot: Slot, text: str) -> dict[str, Any]:
    text = one_line(text)
    short = text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 1].rstrip() + "…"
    return {"rank": rank, "task": slot.task, "text": short, "second_opinion": slot.relabel}


def _next_step(found: Mapping[str, Any], pulled: Pulled | None) -> str:
    """One sentence: what happens next, or what somebody should do."""
    project, window, new = found["project"], found["queue"], found["new_annotations"]
    run = f"run connector sync --project {project}"
    if pulled is None:
        return f"This is what the last sync knew; for more, connector doctor --project {project}"
    if found["sync_running"]:
        return "A sync is at work right now."
    if (last := found["last_sync"]) and last["result"] == "failed":
        return f"The last sync failed: {last['error'].rstrip('.')}; connector doctor --project {project}"
    if window is None:
        return f"There is no window yet: {run}"
    if not window["in_charge"]:
        return f"{out_of_order(changed_settings(pulled, window['version']))}: {run}"
    if window["size"] and not window["left"]:
        return f"The window is used up, and what is left comes at random: {run}"
    if new:
        return f"{count(new, 'new annotation')}: the next connector sync chooses a new window."
    if pulled.changed:
        return "The project has changed: the next connector sync chooses a new window."
    if not window["size"]:
        return "There is no task left to ask for."
    return "Nothing new: annotators go on with this window, and the next connector sync leaves it as it is."
