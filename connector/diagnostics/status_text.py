"""The status of a project as text: several lines for `connector status`, one line for the overview."""

from __future__ import annotations

from connector.annotations.statistics import LabelCounts, TaskCounts
from connector.diagnostics.status import LastRound, ModelStatus, ProjectStatus, QuestionStatus, QueueStatus, RuleStatus
from connector.formatting import ago, count, embedding_words, next_opinion, one_line, share


def format_status(status: ProjectStatus) -> str:
    """The whole status, a line per part."""
    title = f" ({status.title})" if status.title else ""
    lines = [f"Project {status.project}{title} at {status.label_studio}"]
    if status.error is not None:
        lines.append(f"  {status.error.message}")
    parts = {
        "Last sync": _format_sync(status),
        "Last round": "none yet" if status.last_round is None else _format_round(status.last_round),
        "Queue": _format_queue(status),
        "Labels": _format_labels(status.labels),
        "Tasks": _format_tasks(status.tasks),
        "Rule": _format_rule(status.rule),
        "Model": _format_model(status.model, status.labels.ground_truth) if not status.questions else "",
        "Forecast": status.forecast.words,
    }
    for name, text in parts.items():
        if text:
            lines.append(f"  {name:<12}{text}")
        if name == "Model":
            lines += [f"  {'Question':<12}{_format_question(question)}" for question in status.questions]
    for index, task in enumerate(status.next_tasks):
        kind = next_opinion(max(1, task.labels)) if task.second_opinion else "new"
        lines.append(f"  {'' if index else 'Next':<12}{task.rank}. task {task.task} ({kind}): {task.text}")
    return "\n".join([*lines, f"  {status.next_step}"])


def format_status_line(status: ProjectStatus) -> str:
    """Title, last round, window and number of labels in one line."""
    window = status.queue
    parts = [
        one_line(status.title or ""),
        format_last_round(status.last_round),
        _format_window(window) if window else "",
        count(status.labels.total, "label"),
    ]
    return ", ".join(filter(None, parts))


def format_last_round(last: LastRound | None) -> str:
    """The last round in a list of other figures: "round 4, 2 hours ago"."""
    return "no round yet" if last is None else f"round {_format_round(last)}"


def _format_round(last: LastRound) -> str:
    return f"{last.number}, {ago(last.seconds_ago)}"


def _format_window(window: QueueStatus) -> str:
    if not window.size:
        return "no task left to ask for"
    return f"{window.left:,} of {count(window.size, 'task')} left in the window"


def _format_sync(status: ProjectStatus) -> str:
    last, window = status.last_sync, status.queue
    if last is None:
        return "never"
    if last.result == "failed":
        result = f"failed: {last.error}"
    elif last.result == "nothing new":
        result = "found nothing new"
    elif window is not None and not window.size:
        result = "found no task to ask for"
    else:
        result = "published a window"
    return f"{ago(last.seconds_ago)}, {result}"


def _format_queue(status: ProjectStatus) -> str:
    window, running = status.queue, ", a sync is running" * status.sync_running
    if window is None:
        return f"no window yet{running}"
    if not window.size:
        return f"empty, no task is left to ask for{running}"
    spare = f" ({window.spare:,} of them spare, so that annotators do not run out)" * bool(window.spare)
    opinions = f", {window.second_opinions_open:,} of them for a second opinion" * bool(window.left)
    deleted = window.size - window.served - window.left
    answers = f"{window.served:,} answered, " + f"{deleted:,} deleted, " * bool(deleted) + f"{window.left:,} left"
    return f"{count(window.size, 'task')}{spare}: {answers}{opinions} ({window.version}){running}"


def _format_labels(labels: LabelCounts) -> str:
    counted = f"{labels.total:,} by {count(labels.annotators, 'annotator')}, {labels.today:,} today"
    since = f"{labels.days} days" if labels.days > 1 else "day"
    parts = [
        counted if labels.total else "none yet",
        f"{labels.per_day:,g} per day over the last {since}" if labels.per_day is not None else "",
        f"{labels.ground_truth:,} marked as ground truth" * bool(labels.ground_truth),
        f"{labels.skipped:,} skipped" * bool(labels.skipped),
        f"{labels.unknown_choices:,} with an answer that the config no longer has" * bool(labels.unknown_choices),
        f"{labels.unreadable_annotations:,} that cannot be read" * bool(labels.unreadable_annotations),
    ]
    return ", ".join(filter(None, parts))


def _format_tasks(tasks: TaskCounts) -> str:
    without = f", {tasks.without_text:,} without content" * bool(tasks.without_text)
    return f"{tasks.total:,}: {tasks.labelled:,} labelled, {tasks.unlabelled:,} unlabelled{without}"


def _format_rule(rule: RuleStatus) -> str:
    if rule.min_annotations_per_task == 1:
        return ""
    wanted = count(rule.min_annotations_per_task, "label")
    return (
        f"every labelled task is to have at least {wanted} ({count(rule.tasks_below, 'task has', 'tasks have')} fewer)"
    )


def _format_question(question: QuestionStatus) -> str:
    labels = f"'{one_line(question.control)}': {count(question.labels, 'label')} on {count(question.labelled, 'task')}"
    return f"{labels}, model {_format_model(question.model, 0)}"


def _format_model(model: ModelStatus | None, ground_truth: int) -> str:
    if model is None:
        aside = " (not of the test set, if connector sync --ground-truth holds one out)" * bool(ground_truth)
        return f"none, a training makes one: it needs labels of two classes, on two tasks that differ{aside}"
    parts = [model.version]
    if model.embedding is not None:
        parts.append(embedding_words(model.embedding, model.embedding_since))
    if model.agreement is not None:
        parts.append(f"out of sample it agrees with {share(model.agreement)} of the consensus labels")
    if model.ground_truth_accuracy is not None:
        tasks = count(model.ground_truth_tasks, "task")
        parts.append(f"it is right on {share(model.ground_truth_accuracy)} of {tasks} with a ground truth")
    if model.in_training:
        parts.append("the ML backend goes on fine-tuning: the next connector sync takes the result")
    return ", ".join(parts)
