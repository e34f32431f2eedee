"""Turns what a round found into its summary. Free of NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from connector.active_learning.stopping import forecast
from connector.active_learning.window import Slot
from connector.annotations.left_out import LeftOut
from connector.state.project_state import ProjectState
from connector.state.snapshot import ProjectSnapshot
from connector.sync.options import SyncOptions
from connector.sync.summary import (
    CodebookSummary,
    ModelSummary,
    QuestionSummary,
    SyncSummary,
    WindowSummary,
    codebook_of_round,
    cost_of_round,
)

if TYPE_CHECKING:
    from connector.sync.scoring import Scored


def summarize(
    snapshot: ProjectSnapshot,
    state: ProjectState,
    options: SyncOptions,
    restored: list[str],
    seconds: Mapping[str, float],
    scored: Scored | None = None,
    model: ModelSummary | None = None,
    window: Sequence[Slot] | None = None,
) -> SyncSummary:
    """The summary of a sync, without `scored`, `model` and `window` of one that had nothing to do.

    Args:
        snapshot: the project as it is now.
        state: the project's state.
        options: the sync's.
        restored: the names of what the sync restored.
        seconds: {stage: how long it took}.
        scored: what the round found.
        model: how well the model does.
        window: as annotators are served it.
    """
    record, last = state.record(), state.last_round()
    window = state.window() if window is None else window
    rows = [row for task in snapshot.tasks.values() for row in task.annotations if not row.skipped]
    relabel = sum(slot.relabel for slot in window)
    left_out = LeftOut.of(snapshot.tasks.values())
    return SyncSummary(
        project=snapshot.project["id"],
        round=record.round,
        tasks=len(snapshot.tasks),
        annotations=len(rows),
        annotators=len({row.annotator for row in rows}),
        labels_changed=scored.labels_changed if scored else 0,
        trained=scored is not None and scored.trained,
        model_version=scored.model_version if scored else record.model_version,
        model=model or ModelSummary.of_round(last),
        queue_version=record.queue_version,
        window=WindowSummary(size=len(window), new=len(window) - relabel, relabel=relabel),
        without_text=len(left_out.without_text),
        unknown_choices=len(left_out.unknown),
        unreadable_annotations=len(left_out.unreadable),
        left_out=snapshot.left_out_sentences(left_out),
        restored=restored,
        seconds=dict(seconds),
        spare=max(0, len(window) - options.window) if scored else 0,
        ambiguous=len(scored.ambiguous) if scored else (last or {}).get("ambiguous", 0),
        codebook=_codebook(snapshot, scored) if scored else codebook_of_round(last),
        cost=scored.cost if scored else cost_of_round(last),
    )


def question_summaries(
    snapshot: ProjectSnapshot, scored: Scored, models: Mapping[str, Mapping[str, Any]]
) -> list[QuestionSummary]:
    """Of several questions, what was found of each."""
    return [
        QuestionSummary(
            control=name,
            labels=len(part.labels),
            labelled=len(part.consensus),
            labels_changed=part.labels_changed,
            trained=part.trained,
            model_version=part.model_version,
            model_agreement=part.agreement,
            ground_truth_tasks=len(part.held_out),
            ground_truth_accuracy=part.accuracy,
            model_embedding=models.get(name, {}).get("embedding"),
            model_embedding_since=models.get(name, {}).get("since"),
            audit=_audit(part),
        )
        for name, part in zip(snapshot.questions.names, scored.parts, strict=bool(scored.parts))
    ]


def _codebook(snapshot: ProjectSnapshot, scored: Scored) -> list[CodebookSummary]:
    return [
        CodebookSummary(name, pair.classes, pair.tasks, pair.of)
        for name, part in zip(snapshot.questions.names, scored.parts or [scored], strict=True)
        for pair in part.confused
    ]


def model_summary(scored: Scored, model: Mapping[str, Any] | None) -> ModelSummary:
    """How well the model does. `model`: as the ML backend describes it, None without one."""
    described = model or {}
    return ModelSummary(
        model_agreement=scored.agreement,
        ground_truth_tasks=len(scored.held_out),
        ground_truth_accuracy=scored.accuracy,
        forecast=forecast(scored.agreement, len(scored.consensus)),
        model_embedding=described.get("embedding"),
        model_embedding_since=described.get("since"),
        model_in_training=bool(described.get("in_training")),
        audit=_audit(scored),
    )


def _audit(scored: Scored) -> dict[str, Any] | None:
    return None if scored.audit is None else asdict(scored.audit)
