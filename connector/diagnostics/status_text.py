"""The status of a project as text: several lines for `connector status`, one line for the overview."""

from __future__ import annotations

from connector.annotations.statistics import RECENT_DAYS, LabelCounts, TaskCounts
from connector.diagnostics.status import LastRound, LastSync, ModelStatus, ProjectStatus, RuleStatus
from connector.formatting import ago, count, one_line

_RESULTS = {"published": "published a window", "nothing new": "found nothing new"}


def format_status(status: ProjectStatus) -> str:
    """The whole status, a line per part."""
    title = f" ({status.title})" if status.title else ""
    lines = [f"Project {status.project}{title} at {status.label_studio}"]
    if status.error is not None:
        lines.append(f"  {status.error.message}")
    parts = {
        "Last sync": _format_sync(status.last_sync),
        "Last round": "none yet" if status.last_round is None else _format_round(status.last_round),
        "Queue": _format_queue(status),
        "Labels": _format_labels(status.labels),
        "Tasks": _format_tasks(status.tasks),
        "Rule": _format_rule(status.rule),
        "Model": _format_model(status.model),
        "Forecast": status.forecast.words,
    }
    lines += [f"  {name:<12}{text}" for name, text in parts.items() if text]
    for index, task in enumerate(status.next_tasks):
        kind = "second opinion" if task.second_opinion else "new"
        lines.append(f"  {'' if index else 'Next':<12}{task.rank}. task {task.task} ({kind}): {task.text}")
    return "\n".join([*lines, f"  {status.next_step}"])


def format_status_line(status: ProjectStatus) -> str:
    """Title, last round, window and number of labels in one line."""
    window = status.queue
    parts = [
        one_line(status.title or ""),
        format_last_round(status.last_round),
        f"{window.left:,} of {count(window.size, 'task')} left in the window" if window else "",
        count(status.labels.total, "label"),
    ]
    return ", ".join(filter(None, parts))


def format_last_round(last: LastRound | None) -> str:
    """The last round in a list of other figures: "round 4, 2 hours ago"."""
    return "no round yet" if last is None else f"round {_format_round(last)}"


def _format_round(last: LastRound) -> str:
    return f"{last.number}, {ago(last.seconds_ago)}"


def _format_sync(last: LastSync | None) -> str:
    if last is None:
        return "never"
    return f"{ago(last.seconds_ago)}, {_RESULTS.get(last.result) or f'failed: {last.error}'}"


def _format_queue(status: ProjectStatus) -> str:
    window, running = status.queue, ", a sync is running" * status.sync_running
    if window is None:
        return f"no window yet{running}"
    opinions = f", {window.second_opinions_open} of them for a second opinion" * bool(window.left)
    size = count(window.size, "task")
    return f"{size}: {window.served} answered, {window.left} left{opinions} ({window.version}){running}"


def _format_labels(labels: LabelCounts) -> str:
    parts = [
        f"{labels.total:,} by {count(labels.annotators, 'annotator')}",
        f"{labels.today} today",
        f"{labels.mean_of_7_days:g} per day over the last {RECENT_DAYS} days",
        f"{labels.ground_truth} imported as ground truth" * bool(labels.ground_truth),
        f"{labels.skipped} skipped" * bool(labels.skipped),
        f"{labels.unknown_choices} with a choice that the config no longer has" * bool(labels.unknown_choices),
        f"{labels.unreadable_annotations} that cannot be read" * bool(labels.unreadable_annotations),
    ]
    return ", ".join(filter(None, parts))


def _format_tasks(tasks: TaskCounts) -> str:
    without = f", {tasks.without_text} without a text" * bool(tasks.without_text)
    return f"{tasks.total:,}: {tasks.labelled:,} labelled, {tasks.unlabelled:,} unlabelled{without}"


def _format_rule(rule: RuleStatus) -> str:
    if rule.min_annotations_per_task == 1:
        return ""
    wanted = count(rule.min_annotations_per_task, "label")
    return (
        f"every labelled task is to have at least {wanted} ({count(rule.tasks_below, 'task has', 'tasks have')} fewer)"
    )


def _format_model(model: ModelStatus | None) -> str:
    if model is None:
        return "none yet"
    parts = [model.version]
    if model.agreement is not None:
        parts.append(f"out of sample it agrees with {model.agreement:.0%} of the consensus labels")
    if model.ground_truth_accuracy is not None:
        tasks = count(model.ground_truth_tasks, "task")
        parts.append(f"it is right on {model.ground_truth_accuracy:.0%} of {tasks} with a ground truth")
    return ", ".join(parts)
