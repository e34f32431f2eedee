"""The summary of a sync, for tests without one."""

from __future__ import annotations

from typing import Any

from connector.sync.summary import ModelSummary, SyncSummary, WindowSummary


def sync_summary(project: int = 7, *, size: int = 20, relabel: int = 5, **changes: Any) -> SyncSummary:
    """The summary of a round that trained the model, with these changes."""
    values: dict[str, Any] = {
        "round": 3,
        "tasks": 200,
        "annotations": 60,
        "annotators": 4,
        "labels_changed": 12,
        "trained": True,
        "model_version": "v3",
        "model": ModelSummary(0.9, 0, None, None),
        "queue_version": "activelab-1",
        "window": WindowSummary(size, size - relabel, relabel),
        "without_text": 2,
        "unknown_choices": 0,
        "unreadable_annotations": 0,
        "left_out": ["2 tasks without a text: 4, 9 ('text' is blank)"],
        "restored": ["sampling"],
        "seconds": {"pull": 0.5, "publish": 0.1},
    }
    return SyncSummary(project, **{**values, **changes})
