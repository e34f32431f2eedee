"""`connector status`: the progress of one project. Label Studio and the state are only read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from connector.active_learning.audit import audit_words
from connector.active_learning.stopping import forecast, sentence
from connector.active_learning.target import Target, target_of_round, target_words, unknown_words
from connector.active_learning.window import Slot, open_places
from connector.annotations.questions import Questions, questions_from_json
from connector.annotations.records import Task, latest_labels, moment, readable, without_labels_of
from connector.annotations.statistics import label_counts, seconds_per_label, task_counts
from connector.diagnostics.project_status import (
    AcceptedStatus,
    AnnotatorStatus,
    AuditStatus,
    ExcludedStatus,
    ForecastStatus,
    LastRound,
    LastSync,
    ModelStatus,
    NextTask,
    ProjectStatus,
    QuestionStatus,
    QueueStatus,
    RuleStatus,
    StatusError,
)
from connector.errors import ConnectorError
from connector.formatting import count, now_here, one_line
from connector.label_studio.client import LabelStudio
from connector.queue.settings import not_served
from connector.queue.versions import our_versions
from connector.state.lock import is_held
from connector.state.project_state import ProjectState
from connector.state.pull import read_snapshot
from connector.state.rows import ProjectRecord
from connector.state.snapshot import ProjectSnapshot, usable_tasks
from connector.sync.accepted import still_accepted, without_label
from connector.sync.prelabelled import Following
from connector.sync.summary import codebook_of_round, cost_of_round

if TYPE_CHECKING:
    from connector.sync.machine_summary import MachineSummary
    from connector.sync.people import PersonSummary

NEXT_TASKS = 5
TEXT_WIDTH = 60


def status(
    project_id: int,
    gateway: LabelStudio,
    state: ProjectState,
    clock: Callable[[], datetime] = now_here,
    *,
    target: float | None = None,
) -> ProjectStatus:
    """The status of the project now.

    Args:
        project_id: Label Studio's id of the project.
        gateway: Label Studio. If it does not answer or refuses, `error` says so and the rest is that of the last sync.
        state: the project's rows of the state database.
        clock: gives an aware datetime, in whose time zone a day begins.
        target: the share of the labels that are to be right, for which `audit` tells what it takes.

    Raises:
        UsageError: the project is not set up.
    """
    state.require_initialized()
    now = clock()
    record, window, answers = state.record(), state.window(), state.answers_at_publishing()
    round_summary = state.last_round() or {}
    excluded, theirs = record.excluded, record.annotations_of_excluded
    mirrored = {number: without_labels_of(task, excluded, theirs) for number, task in state.tasks().items()}
    pulled: ProjectSnapshot | None = None
    error: StatusError | None = None
    try:
        pulled = read_snapshot(project_id, gateway, state)
    except ConnectorError as failure:
        error = StatusError(str(failure), failure.exit_code)
    tasks = pulled.tasks if pulled else mirrored
    served = _served(pulled, record)
    if pulled is not None:
        usable = pulled.usable_tasks
    else:
        usable = mirrored if served is None else usable_tasks(mirrored, served, state.texts)
    people = _people(round_summary, record)
    emails = gateway.emails() if pulled is not None and (people or record.excluded) else {}
    places = open_places(window, answers, tasks)
    left = [slot for slot in window if slot.task in places]
    texts = (pulled.texts if pulled else state.texts)([slot.task for slot in left[:NEXT_TASKS]])
    rows = [row for task in usable.values() for row in task.annotations]

    seconds = None if target is None else seconds_per_label(rows)

    def expects(audit: Mapping[str, Any]) -> Target | None:
        return None if target is None else target_of_round(audit, target, round_summary, seconds)

    result = ProjectStatus(
        project=project_id,
        title=pulled.project["title"] if pulled else None,
        label_studio=gateway.url,
        at=now.isoformat(timespec="seconds"),
        error=error,
        last_sync=_last_sync(record, now),
        last_round=last_round(state, now),
        sync_running=is_held(record.lock_holder, record.lock_until, now.timestamp()),
        queue=_queue(record, window, left, tasks, pulled),
        labels=label_counts(rows, now),
        tasks=task_counts(usable),
        rule=_rule(record.min_annotations_per_task, usable),
        model=_model(record, round_summary),
        audit=_audit(round_summary, expects),
        forecast=_forecast(round_summary),
        new_annotations=len(_row_ids(tasks) - _row_ids(mirrored)),
        next_tasks=[
            _next_task(places[slot.task][0], slot, texts.get(slot.task, ""), usable[slot.task])
            for slot in left[:NEXT_TASKS]
        ],
        next_step="",
        questions=_questions(usable, served, round_summary, expects),
        ambiguous=round_summary.get("ambiguous", 0),
        codebook=codebook_of_round(round_summary),
        annotators=[AnnotatorStatus(emails.get(one.annotator), one) for one in people],
        machines=_machines(round_summary, record),
        prelabelled=Following(**known) if (known := round_summary.get("prelabelled")) else None,
        excluded=_excluded(tasks, record, emails),
        no_audit=unknown_words(
            multiple=served is not None and all(control.multiple for control in served.controls),
            audited=record.audits,
        ),
        cost=cost_of_round(round_summary),
        accepted=None if pulled is None else _accepted(pulled, record, state),
    )
    return replace(result, next_step=_next_step(result, pulled, record))


# -- the parts -----------------------------------------------------------------------------------------------------


def _last_sync(record: ProjectRecord, now: datetime) -> LastSync | None:
    last = record.last_sync
    if last is None:
        return None
    return LastSync(last["at"], last["result"], last["error"], _seconds_since(last["at"], now))


def last_round(state: ProjectState, now: datetime) -> LastRound | None:
    """The last round, or None before the first. `now`: an aware datetime."""
    last = state.last_round()
    return LastRound(last["round"], last["at"], _seconds_since(last["at"], now)) if last else None


def _seconds_since(at: str, now: datetime) -> int:
    return max(0, round((now - moment(at)).total_seconds()))


def _queue(
    record: ProjectRecord,
    window: list[Slot],
    left: list[Slot],
    tasks: Mapping[int, Task],
    pulled: ProjectSnapshot | None,
) -> QueueStatus | None:
    version = record.queue_version
    if version is None:
        return None
    return QueueStatus(
        version=version,
        size=len(window),
        spare=max(0, len(window) - (record.window_options or {}).get("window", len(window))),
        served=sum(slot.task in tasks for slot in window) - len(left),
        left=len(left),
        second_opinions_open=sum(slot.relabel for slot in left),
        in_charge=None if pulled is None else not not_served(pulled, version),
    )


def _rule(minimum: int, tasks: Mapping[int, Task]) -> RuleStatus:
    if minimum == 1:
        return RuleStatus(minimum, 0)
    labels = [len(latest_labels(task.annotations)) for task in tasks.values() if task.digest is not None]
    return RuleStatus(minimum, sum(0 < number < minimum for number in labels))


def _model(record: ProjectRecord, round_summary: Mapping[str, Any]) -> ModelStatus | None:
    return None if record.model_version is None else _model_of(record.model_version, round_summary)


def _model_of(version: str, round_summary: Mapping[str, Any]) -> ModelStatus:
    return ModelStatus(
        version=version,
        agreement=round_summary.get("model_agreement"),
        ground_truth_tasks=round_summary.get("ground_truth_tasks", 0),
        ground_truth_accuracy=round_summary.get("ground_truth_accuracy"),
        embedding=round_summary.get("model_embedding"),
        embedding_since=round_summary.get("model_embedding_since"),
        in_training=round_summary.get("model_in_training", False),
    )


def _served(pulled: ProjectSnapshot | None, record: ProjectRecord) -> Questions | None:
    if pulled is not None:
        return pulled.questions
    return None if record.control is None else questions_from_json(record.control)


def _questions(
    tasks: Mapping[int, Task],
    questions: Questions | None,
    round_summary: Mapping[str, Any],
    expects: Callable[[Mapping[str, Any]], Target | None],
) -> list[QuestionStatus]:
    """Of several questions, the status of each, by the last round. `tasks`: the usable ones."""
    if questions is None or not questions.several:
        return []
    labels: Counter[str] = Counter()
    labelled: dict[str, set[int]] = {name: set() for name in questions.names}
    for row in (row for task in tasks.values() for row in task.annotations if not row.ground_truth):
        for name in questions.labels_of(row.label) if row.label is not None else ():
            labels[name] += 1
            labelled[name].add(row.task)
    rounds = {found["control"]: found for found in round_summary.get("questions", ())}
    return [
        QuestionStatus(name, labels[name], len(labelled[name]), _question_model(found), _audit(found, expects))
        for name, found in ((name, rounds.get(name, {})) for name in questions.names)
    ]


def _people(round_summary: Mapping[str, Any], record: ProjectRecord) -> list[PersonSummary]:
    """The annotators as the last round found them, without those who were left out since."""
    stored = round_summary.get("people", ())
    if not stored:
        return []
    from connector.sync.people import PersonSummary  # which needs NumPy

    found = [PersonSummary.from_json(one) for one in stored]
    return [one for one in found if one.annotator not in record.excluded]


def _machines(round_summary: Mapping[str, Any], record: ProjectRecord) -> list[MachineSummary]:
    """The machines as the last round found them, without those that were dropped since."""
    stored = round_summary.get("machines", ())
    if not stored:
        return []
    from connector.sync.machine_summary import MachineSummary  # which needs NumPy

    found = [MachineSummary.from_json(one) for one in stored]
    return [one for one in found if one.machine in (record.machines or {})]


def _excluded(tasks: Mapping[int, Task], record: ProjectRecord, emails: Mapping[int, str]) -> list[ExcludedStatus]:
    rows = [row for task in tasks.values() for row in task.annotations if row.excluded]
    former = record.annotations_of_excluded
    concerned = Counter(row.annotator or former.get(row.id, 0) for row in rows)
    return [ExcludedStatus(number, emails.get(number), concerned[number]) for number in sorted(record.excluded)]


def _accepted(pulled: ProjectSnapshot, record: ProjectRecord, state: ProjectState) -> AcceptedStatus | None:
    done = record.finish
    if done is None:
        return None
    labels = len(still_accepted(pulled, state.accepted()))
    left = without_label(pulled) - labels
    return AcceptedStatus(labels, left, done["max_error"], done["bound"], done["at"])


def _question_model(found: Mapping[str, Any]) -> ModelStatus | None:
    return _model_of(found["model_version"], found) if found.get("model_version") else None


def _forecast(round_summary: Mapping[str, Any]) -> ForecastStatus:
    """The last round's forecast, or before the first round one that says nothing."""
    expected = round_summary.get("forecast") or forecast(None, 0)
    return ForecastStatus(**expected, words=sentence(expected))


def _audit(found: Mapping[str, Any], expects: Callable[[Mapping[str, Any]], Target | None]) -> AuditStatus | None:
    """That of the last round, or of one of its questions. `expects`: what a target takes by an audit."""
    audit = found.get("audit")
    if not audit:
        return None
    target = expects(audit)
    words = audit_words(audit)
    if target is not None:
        words += f". {target_words(target)}"
    return AuditStatus(**audit, target=target, words=words)


def _row_ids(tasks: Mapping[int, Task]) -> set[int]:
    return {row.id for task in tasks.values() for row in task.annotations}


def _next_task(rank: int, slot: Slot, text: str, task: Task) -> NextTask:
    text = one_line(readable(text))
    short = text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 1].rstrip() + "…"
    return NextTask(rank, slot.task, short, slot.relabel, len(latest_labels(task.annotations)))


def _next_step(status: ProjectStatus, pulled: ProjectSnapshot | None, record: ProjectRecord) -> str:
    """What happens next, or what a person should do."""
    window = status.queue
    sync, doctor = (f"connector {command} --project {status.project}" for command in ("sync", "doctor"))
    if interrupted := record.interrupted_undo:
        return "An undo is running." if status.sync_running else interrupted
    if pulled is None:
        return f"These are the figures of the last sync. To find out more, run {doctor}"
    if status.sync_running:
        return "A sync is running."
    if status.last_sync is not None and status.last_sync.result == "failed":
        return f"The last sync failed: {(status.last_sync.error or '').rstrip('.')}. To find out more, run {doctor}"
    if not pulled.tasks:
        return f"The project has no tasks: import some in Label Studio, then run {sync}"
    if window is None and pulled.project["model_version"] in our_versions(pulled.versions):
        return f"Label Studio serves a window that the state database does not know: run {sync}"
    if window is None:
        return f"There is no window yet: run {sync}"
    if not window.in_charge:
        return f"{not_served(pulled, window.version)}: run {sync}"
    if window.size and not window.left and not status.tasks.unlabelled:
        return f"The window is used up, and no task without a label is left: run {sync} for second opinions"
    if window.size and not window.left:
        return f"The window is used up. Remaining tasks are served in random order until you run {sync}"
    if status.new_annotations:
        return f"{count(status.new_annotations, 'new annotation')}: the next connector sync chooses a new window."
    if pulled.changed:
        return "The project has changed: the next connector sync chooses a new window."
    if record.window_options is not None and "window" not in record.window_options:
        return f"The last sync did not end: the next connector sync chooses a new window. To do that now, run {sync}"
    if (record.window_options or {}).get("train") == "never":
        return "The last window was chosen with --train never: the next sync without it chooses a new window."
    if not window.size:
        why = ": those without a label were skipped, have no content, or their answers give no label"
        if status.accepted is not None and status.accepted.labels:
            why += ", or the model's label is accepted"
        return f"No task is left to ask for{why * (status.tasks.labelled < status.tasks.total)}."
    return "Nothing new: annotators continue with this window."
