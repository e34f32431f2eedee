"""The head of a report: the project, its figures, and what a reader should know first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from connector import __version__
from connector.active_learning.audit import audit_words
from connector.active_learning.stopping import sentence
from connector.active_learning.target import target_of_round, target_words, unknown_words
from connector.annotations.records import Annotation
from connector.annotations.statistics import LabelCounts, label_counts, seconds_per_label, task_counts
from connector.formatting import count, embedding_words, listed, verb
from connector.queue.settings import not_served
from connector.reporting.content import Head
from connector.reporting.no_model import no_model_note
from connector.reporting.numbers import NO_BREAK
from connector.reporting.report_data import NAME_LENGTH, SENTENCE_LENGTH, ReportData, shorten


def head_section(
    data: ReportData, url: str, now: datetime, *, asked_model: bool, target: float | None, accepted: str
) -> Head:
    """The head.

    Args:
        data: the project.
        url: Label Studio's address.
        now: an aware datetime.
        asked_model: whether the ML backend was asked.
        target: the share of the labels that are to be right.
        accepted: sentences on accepted labels of the model.
    """
    pulled, last, scored = data.pulled, data.last_round, data.reviewed.scored
    rows = [row for task in pulled.usable_tasks.values() for row in task.annotations]
    labels, tasks = label_counts(rows, now), task_counts(pulled.usable_tasks)
    last_sync = data.record.last_sync
    version = scored.model_version
    return Head(
        project=pulled.project["id"],
        title=shorten(pulled.project["title"], NAME_LENGTH),
        label_studio=shorten(url, SENTENCE_LENGTH),
        made_at=now.isoformat(timespec="seconds"),
        version=__version__,
        classes=[] if data.parts else [data.class_name(name) for name in data.control.classes],
        multiple=not data.parts and data.control.multiple,
        questions=[shorten(part.control.name, NAME_LENGTH) for part in data.parts],
        tasks=tasks.total,
        labelled=tasks.labelled,
        labels=len(data.labels),
        annotators=labels.annotators,
        skipped=labels.skipped,
        ground_truth=labels.ground_truth,
        without_text=tasks.without_text,
        last_sync=last_sync["at"] if last_sync else None,
        asked_model=asked_model,
        model_version=None if version is None else shorten(version, NAME_LENGTH),
        model_embedding=_embedding(last),
        round=last.get("round"),
        agreement=last.get("model_agreement"),
        ground_truth_tasks=last.get("ground_truth_tasks", 0),
        ground_truth_accuracy=last.get("ground_truth_accuracy"),
        holds_out=bool((data.record.window_options or {}).get("ground_truth")),
        accuracy=_accuracy(last, target, rows) or _no_accuracy(data, target),
        accepted=accepted,
        advice=sentence(last.get("forecast")),
        notes=[shorten(note, SENTENCE_LENGTH) for note in _notes(data, labels, asked_model=asked_model)],
    )


def _accuracy(last: Mapping[str, Any], target: float | None, rows: Iterable[Annotation]) -> str:
    found = last.get("audit")
    if not found:
        return ""
    words = audit_words(found)
    words = f"{words[:1].upper()}{words[1:]}."
    if target is not None:
        words += f" {target_words(target_of_round(found, target, last, seconds_per_label(rows)))}"
    return words.replace(" %", f"{NO_BREAK}%")


def _no_accuracy(data: ReportData, target: float | None) -> str:
    """Why a target cannot be looked at."""
    controls, record = data.pulled.questions.controls, data.record
    if target is None or any(one.get("audit") for one in data.last_round.get("questions", ())):
        return ""
    why = unknown_words(multiple=all(control.multiple for control in controls), audited=record.audits)
    return f"How many labels are right: {why}."


def _embedding(last: Mapping[str, Any]) -> str:
    embedding = last.get("model_embedding")
    return embedding_words(embedding, last.get("model_embedding_since")) if embedding else ""


def _notes(data: ReportData, labels: LabelCounts, *, asked_model: bool) -> list[str]:
    """What a reader should know first."""
    record, project = data.record, data.pulled.project["id"]
    last_sync, version, truth = record.last_sync, record.queue_version, labels.ground_truth
    notes = []
    if not asked_model:
        notes.append(
            "The ML backend was not used (--no-model). Consensus labels are majority votes, their quality is unknown, "
            "and the model's figures are those of the last round."
        )
    elif data.reviewed.scored.model_version is None:
        notes.append(no_model_note(project, record))
    if last_sync is None:
        notes.append(
            f"The project has never been synced: connector sync --project {project} trains a model and chooses what "
            "annotators are asked."
        )
    elif last_sync["result"] == "failed":
        notes.append(f"The last sync failed: {last_sync['error']}")
    elif data.pulled.changed:
        notes.append("The project has changed since the last sync, which chose the window and added the last round.")
    if record.interrupted_undo is not None:
        notes.append(record.interrupted_undo)
    elif version is not None and (cause := not_served(data.pulled, version)):
        notes.append(f"{cause}: run connector sync --project {project}.")
    if truth:
        marked = f"{count(truth, 'annotation')} {verb(truth)} marked as ground truth"
        notes.append(f'{marked} and counted as no annotator\'s work. Import labels with "ground_truth": false instead.')
    if data.record.excluded:
        concerned = sum(row.excluded for task in data.pulled.tasks.values() for row in task.annotations)
        names = listed([data.name(number) for number in sorted(data.record.excluded)])
        notes.append(
            f"The labels of {names} do not count ({count(concerned, 'annotation')}). To count them again: connector "
            f"init --project {project} --include EMAIL."
        )
    if labels.unknown_choices:
        choice = "with an answer that the labelling config no longer has"
        notes.append(f"There {verb(labels.unknown_choices)} {count(labels.unknown_choices, 'annotation')} {choice}.")
    if labels.unreadable_annotations:
        some = count(labels.unreadable_annotations, "annotation")
        notes.append(f"{some} cannot be read: connector doctor --project {project} says why.")
    return notes
