"""The progress of a training, in stages."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_FIRST_ESTIMATE = 0.02  # share of the work that must be done before the remaining time is estimated


@dataclass(frozen=True)
class ProgressUpdate:
    """How far the work is.

    `step` of `steps` counts within the stage. `progress` is the share of all the work, from 0 to 1. `fold` is the fold
    whose model is in work, None for the final model and outside of a fit. `seconds_left` is None without an estimate.
    """

    stage: str
    fold: int | None
    step: int
    steps: int
    progress: float
    seconds_left: float | None


class Progress:
    """Collects what the stages of a job report, and passes it on."""

    def __init__(self, on_update: Callable[[ProgressUpdate], None]) -> None:
        """Call `on_update` at every report. An exception that it raises ends the work."""
        self._on_update = on_update
        self._started = time.monotonic()
        self._costs: dict[str, float] = {}

    def plan(self, costs: dict[str, float]) -> None:
        """Set the stages in order, each with its estimated seconds."""
        self._costs = costs

    def report(self, stage: str, done: float = 0, total: float = 1, fold: int | None = None) -> None:
        """Report that `done` of `total` steps of a planned stage are complete, for the model of `fold`."""
        stages = list(self._costs)
        before = sum(self._costs[name] for name in stages[: stages.index(stage)])
        share = self._costs[stage] * (done / total if total else 1.0)
        progress = (before + share) / sum(self._costs.values())
        elapsed = time.monotonic() - self._started
        left = elapsed * (1 - progress) / progress if progress > _FIRST_ESTIMATE else None
        self._on_update(ProgressUpdate(stage, fold, int(done), int(total), round(progress, 4), left))
