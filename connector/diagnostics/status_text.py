"""`connector status` as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.annotations.statistics import RECENT_DAYS
from connector.formatting import ago, count, one_line


def words(found: Mapping[str, Any]) -> str:
    """The status as a person reads it, times in words."""
    title = f" ({found['title']})" if found["title"] else ""
    lines = [f"Project {found['project']}{title} at {found['label_studio']}"]
    if found["error"]:
        lines.append(f"  {found['error']['message']}")
    parts = {
        "Last sync": _sync_words(found["last_sync"]),
        "Last round": round_words(found["last_round"]),
        "Queue": _queue_words(found),
        "Labels": _labels_words(found["labels"]),
        "Tasks": _tasks_words(found["tasks"]),
        "Model": _model_words(found["model"]),
        "Forecast": found["forecast"]["words"],
    }
    lines += [f"  {name:<12}{said}" for name, said in parts.items()]
    for index, task in enumerate(found["next_tasks"]):
        kind = "second opinion" if task["second_opinion"] else "new"
        lines.append(f"  {'' if index else 'Next':<12}{task['rank']}. task {task['task']} ({kind}): {task['text']}")
    return "\n".join([*lines, f"  {found['next_step']}"])


def in_short(found: Mapping[str, Any]) -> str:
    """The status in one line: title, last round, window and labels."""
    window = found["queue"]
    parts = [
        one_line(found["title"] or ""),
        f"round {round_words(found['last_round'])}",
        f"{window['left']:,} of {count(window['size'], 'task')} left in the window" if window else "",
        count(found["labels"]["total"], "label"),
    ]
    return "; ".join(filter(None, parts))


def _sync_words(last: Mapping[str, Any] | None) -> str:
    if last is None:
        return "never"
    said = {"published": "published a window", "nothing new": "found nothing new"}
    return f"{ago(last['seconds_ago'])}, {said.get(last['result']) or 'failed: ' + last['error']}"


def round_words(last: Mapping[str, Any] | None) -> str:
    """The last round's number and how long ago it was."""
    return "none yet" if last is None else f"{last['number']}, {ago(last['seconds_ago'])}"


def _queue_words(found: Mapping[str, Any]) -> str:
    window, running = found["queue"], "; a sync holds the project right now" * found["sync_running"]
    if window is None:
        return f"no window yet{running}"
    opinions = f", {window['second_opinions_open']} of them for a second opinion" * bool(window["left"])
    size = count(window["size"], "task")
    return f"{size}: {window['served']} answered, {window['left']} left{opinions} ({window['version']}){running}"


def _labels_words(labels: Mapping[str, Any]) -> str:
    more = [
        f"{labels['ground_truth']} imported as ground truth" * bool(labels["ground_truth"]),
        f"{labels['skipped']} skipped" * bool(labels["skipped"]),
        f"{labels['unknown_choices']} with a choice that the config no longer has" * bool(labels["unknown_choices"]),
    ]
    said = f"{labels['total']:,} by {count(labels['annotators'], 'annotator')}"
    rate = f"{labels['today']} today, {labels['mean_of_7_days']:g} a day over the last {RECENT_DAYS} days"
    return "; ".join([said, rate, *filter(None, more)])


def _tasks_words(tasks: Mapping[str, int]) -> str:
    without = f"; {tasks['without_text']} without a text" * bool(tasks["without_text"])
    return f"{tasks['total']:,}: {tasks['labelled']:,} labelled, {tasks['unlabelled']:,} unlabelled{without}"


def _model_words(model: Mapping[str, Any] | None) -> str:
    if model is None:
        return "none yet"
    said = [str(model["version"])]
    if model["agreement"] is not None:
        said.append(f"out of sample it agrees with {model['agreement']:.0%} of the consensus labels")
    if model["ground_truth_accuracy"] is not None:
        tasks = count(model["ground_truth_tasks"], "task")
        said.append(f"it is right on {model['ground_truth_accuracy']:.0%} of {tasks} with a ground truth")
    return ", ".join(said)
