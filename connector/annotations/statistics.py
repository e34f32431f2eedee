"""How many labels and tasks a project has, by kind."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from connector.annotations.records import Annotation, Task, moment

RECENT_DAYS = 7


def label_counts(rows: list[Annotation], now: datetime) -> dict[str, Any]:
    """Labels that people gave. Those imported as ground truth are counted separately."""
    labels = [row for row in rows if row.label is not None and not row.ground_truth]
    made = [moment(row.created_at) for row in labels]
    recent = sum(when > now - timedelta(days=RECENT_DAYS) for when in made)
    return {
        "total": len(labels),
        "annotators": len({row.annotator for row in labels}),
        "today": sum(when.astimezone(now.tzinfo).date() == now.date() for when in made),
        "mean_of_7_days": round(recent / RECENT_DAYS, 1),
        "ground_truth": sum(row.label is not None and row.ground_truth for row in rows),
        "skipped": sum(row.skipped for row in rows),
        "unknown_choices": sum(row.unknown for row in rows),
    }


def task_counts(tasks: Mapping[int, Task]) -> dict[str, int]:
    labelled = sum(any(row.label is not None for row in task.annotations) for task in tasks.values())
    return {
        "total": len(tasks),
        "labelled": labelled,
        "unlabelled": len(tasks) - labelled,
        "without_text": sum(task.digest is None for task in tasks.values()),
    }
