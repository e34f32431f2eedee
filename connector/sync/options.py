"""The options of a sync, and which of them a window depends on. Free of NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connector.active_learning import DEFAULT_AUDIT, DEFAULT_MAX_ANNOTATIONS, DEFAULT_STRATEGY

Cost = Literal["labels", "time"]


@dataclass(frozen=True)
class SyncOptions:
    """How to sync. The fields are named after the command's options, but for the setting CONNECTOR_SCORER."""

    window: int = 100
    max_annotations_per_task: int | None = None  # see `most_annotations`
    train: str = "auto"
    prelabel_new: bool = False
    prelabel: str = ""  # the machine whose labels are preselected on new tasks
    dry_run: bool = False
    scorer: str = "activelab"
    strategy: str = DEFAULT_STRATEGY
    ground_truth: bool = False
    publish_consensus: bool = False
    audit: float = DEFAULT_AUDIT  # share of the window that is drawn at random
    skip_ambiguous: bool = False
    gold: float = 0.0
    annotator_versions: tuple[str, ...] = ()  # whose predictions are to count from now on, beside those known
    cost: Cost = "labels"  # what an answer costs
    media_hosts: tuple[str, ...] = ()  # private hosts from which files may be fetched

    def most_annotations(self, wanted: int) -> int:
        """How many annotations a task may get, if `wanted` are to be on every task."""
        given = self.max_annotations_per_task
        return given if given is not None else max(DEFAULT_MAX_ANNOTATIONS, wanted)

    @classmethod
    def of_round(cls, stored: Mapping[str, Any] | None, wanted: int, **changes: Any) -> SyncOptions:
        """The options of a round as the state database has it. They may be changed.

        `wanted`: how many annotations are to be on every task.
        """
        known = dict((stored or {}).get("options") or {})
        names = cls.__dataclass_fields__.keys() & known.keys()
        options = {name: known[name] for name in names - {"max_annotations_per_task", "media_hosts"}}
        most = max(known.get("max_annotations_per_task", DEFAULT_MAX_ANNOTATIONS), wanted)
        return cls(**{**options, "max_annotations_per_task": most, **changes})

    def window_fingerprint(self, skip_queue: str) -> dict[str, Any]:
        """What a window depends on, the project's rule for skipped tasks too. If it changes, a new window is due."""
        return {
            "window": self.window,
            "max_annotations_per_task": self.most_annotations(0),
            "prelabel_new": self.prelabel_new,
            "skip_queue": skip_queue,
            "scorer": self.scorer,
            "strategy": self.strategy,
            "ground_truth": self.ground_truth,
            **({"prelabel": self.prelabel} if self.prelabel else {}),
            **({"audit": self.audit} if self.audit else {}),
            **({"gold": self.gold} if self.gold else {}),
            **({"publish_consensus": True} if self.publish_consensus else {}),
            **({"skip_ambiguous": True} if self.skip_ambiguous else {}),
            **({"cost": self.cost} if self.cost != "labels" else {}),
            # Without a training the window may be another one than with it: the next sync that may train is to do so.
            **({"train": "never"} if self.train == "never" else {}),
            # Media that could not be fetched may be, now.
            **({"media_hosts": sorted(self.media_hosts)} if self.media_hosts else {}),
        }
