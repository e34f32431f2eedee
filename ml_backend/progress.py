"""How far a piece of work is."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How far the work is: `step` of `steps` of the stage; `progress` of it all, from 0 to 1.

    `fold`: the one whose model is at work, None for the final one and elsewhere; `seconds_left`: None where nobody can
    tell.
    """

    stage: str
    fold: int | None
    step: int
    steps: int
    progress: float
    seconds_left: float | None


class Progress:
    """Where the work of a job says how far it is."""

    def __init__(self, update: Callable[[Standing], None]) -> None:
        """Call `update` at every report; what it raises ends the work."""
        self._update = update
        self._started = time.monotonic()
        self._costs: dict[str, float] = {}

    def plan(self, costs: dict[str, float]) -> None:
        """State the stages in order, each with its estimated seconds."""
        self._costs = costs

    def report(self, stage: str, done: float = 0, total: float = 1, fold: int | None = None) -> None:
        """Say that `done` of `total` steps of a planned stage are behind us, and which fold's model is at work."""
        stages = list(self._costs)
        before = sum(self._costs[name] for name in stages[: stages.index(stage)])
        share = self._costs[stage] * (done / total if total else 1.0)
        progress = (before + share) / sum(self._costs.values())
        elapsed = time.monotonic() - self._started
        left = elapsed * (1 - progress) / progress if progress > 0.02 else None
        self._update(Standing(stage, fold, int(done), int(total), round(progress, 4), left))
