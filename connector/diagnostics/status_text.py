"""The status of a project as text: several lines for `connector status`, one line for the overview."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.annotations.statistics import LabelCounts, TaskCounts
from connector.diagnostics.project_status import (
    AcceptedStatus,
    AnnotatorStatus,
    ExcludedStatus,
    LastRound,
    ModelStatus,
    ProjectStatus,
    QuestionStatus,
    QueueStatus,
    RuleStatus,
)
from connector.formatting import ago, count, embedding_words, next_opinion, one_line, share
from connector.sync.accepted import accepted_words

if TYPE_CHECKING:
    from connector.active_learning.people import Estimate

ANNOTATORS = 10


def format_status(status: ProjectStatus, target: float | None = None) -> str:
    """The whole status, a line per part. `target`: the share of the labels that is asked for."""
    title = f" ({status.title})" if status.title else ""
    lines = [f"Project {status.project}{title} at {status.label_studio}"]
    if status.error is not None:
        lines.append(f"  {status.error.message}")
    parts = {
        "Last sync": _format_sync(status),
        "Last round": "none yet" if status.last_round is None else _format_round(status.last_round),
        "Queue": _format_queue(status),
        "Order": status.cost.words if status.cost is not None else "",
        "Labels": _format_labels(status.labels),
        "Tasks": _format_tasks(status.tasks),
        "Rule": _format_rule(status.rule),
        "Model": _format_model(status.model, status.labels.ground_truth) if not status.questions else "",
        "Accuracy": _format_accuracy(status, target),
        "Accepted": _format_accepted(status.accepted),
        "Preselected": status.prelabelled.words if status.prelabelled is not None else "",
        "Codebook": _format_codebook(status),
        "Forecast": status.forecast.words,
    }
    for name, text in parts.items():
        if text:
            lines.append(f"  {name:<12}{text}")
        if name == "Labels":
            lines += [f"  {'' if place else 'Annotators':<12}{text}" for place, text in enumerate(_annotators(status))]
            lines += [f"  {'' if place else 'Machines':<12}{text}" for place, text in enumerate(_machines(status))]
            lines += [f"  {'Left out':<12}{_format_excluded(status, one)}" for one in status.excluded]
        if name == "Model":
            lines += [f"  {'Question':<12}{_format_question(question)}" for question in status.questions]
    for index, task in enumerate(status.next_tasks):
        kind = next_opinion(max(1, task.labels)) if task.second_opinion else "new"
        lines.append(f"  {'' if index else 'Next':<12}{task.rank}. task {task.task} ({kind}): {task.text}")
    return "\n".join([*lines, f"  {status.next_step}"])


def _format_accuracy(status: ProjectStatus, target: float | None) -> str:
    """How many labels are right. Of several questions, each has a line of its own for that."""
    if status.audit is not None:
        return status.audit.words
    asked = target is not None and not any(question.audit for question in status.questions)
    return status.no_audit if asked else ""


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


def _annotators(status: ProjectStatus) -> list[str]:
    """A line for each annotator, those who need a look first, and what it is about."""
    ordered = sorted(status.annotators, key=lambda one: not one.found.warnings)
    lines = []
    for one in ordered[:ANNOTATORS]:
        lines.append(_format_annotator(one))
        for warning in one.found.warnings:
            from connector.sync.people import remedy, warning_words  # which need NumPy

            words = warning_words(warning, f"'{one_line(warning.label or '')}'")
            about = f" {remedy(status.project, one.found.annotator, one.email)}" * (warning.kind != "slow")
            lines.append(f"  {one_line(one.name)} {words}.{about}")
    if len(ordered) > ANNOTATORS:
        more = count(len(ordered) - ANNOTATORS, "more annotator")
        lines.append(f"and {more}: connector report --project {status.project}")
    return lines


def _format_annotator(one: AnnotatorStatus) -> str:
    found = one.found
    of = f" on '{one_line(found.control)}'" if found.control else ""
    parts = [f"{one_line(one.name)}: {count(found.answers, 'label')}{of}"]
    if found.accuracy is not None:
        parts.append(f"{share(found.accuracy.value)} right ({_range(found.accuracy)})")
    if found.halves is not None and not _overlap(*found.halves):
        parts.append(f"{share(found.halves[0].value)} in the first half and {share(found.halves[1].value)} since")
    if found.on_truth:
        parts.append(f"{found.right_on_truth:,} of {found.on_truth:,} right on ground truth")
    if found.seconds is not None:
        pace = f" ({found.pace:.2g} times the others' time)" if found.pace is not None else ""
        parts.append(f"{found.seconds:.2g} s per label{pace}")
    return ", ".join(parts)


def _machines(status: ProjectStatus) -> list[str]:
    """A line for each machine, and in which classes it is as good as people."""
    lines = []
    for one in status.machines:
        of = f" on '{one_line(one.control)}'" if one.control else ""
        parts = [f"{one_line(one.machine)}: {count(one.labels, 'label')}{of}, {one.shared:,} of them on people's tasks"]
        if one.accuracy is not None:
            parts.append(f"{share(one.accuracy.value)} right ({_range(one.accuracy)})")
        if one.on_truth:
            parts.append(f"{one.right_on_truth:,} of {one.on_truth:,} right on ground truth")
        lines.append(f"{', '.join(parts)}. " + one.words(lambda name: f"'{one_line(name)}'"))
    return lines


def _range(estimate: Estimate) -> str:
    return f"{100 * estimate.low:.0f} to {100 * estimate.high:.0f} %"


def _overlap(one: Estimate, other: Estimate) -> bool:
    return one.low <= other.high and other.low <= one.high


def _format_excluded(status: ProjectStatus, one: ExcludedStatus) -> str:
    concerned = f"{one_line(one.name)}, {count(one.annotations, 'annotation')}"
    back = f"connector init --project {status.project} --include {one.email or one.annotator}"
    return f"{concerned}. To count them again: {back}"


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
    accuracy = f". Accuracy: {question.audit.words}" if question.audit is not None else ""
    return f"{labels}, model {_format_model(question.model, 0)}{accuracy}"


def _format_codebook(status: ProjectStatus) -> str:
    """The pair of classes that the best annotators confuse most often, and how many more there are."""
    if not status.codebook:
        return ""
    worst, more = status.codebook[0], len(status.codebook) - 1
    first, second = map(one_line, worst.classes)
    of = f" ({one_line(worst.control)})" * bool(status.questions)
    others = f", and {count(more, 'more pair')} of classes" * bool(more)
    return (
        f"likely a problem: the best annotators confuse '{first}' and '{second}'{of} on {worst.tasks:,} of "
        f"{count(worst.of, 'task')}{others} (connector report --project {status.project} shows them)"
    )


def _format_accepted(accepted: AcceptedStatus | None) -> str:
    if accepted is None:
        return ""
    return accepted_words(accepted.labels, accepted.left, accepted.max_error, accepted.bound)


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
