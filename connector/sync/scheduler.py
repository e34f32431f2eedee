"""When `connector sync --every` syncs which project: the times alone, with the clock and all that is done passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from connector.errors import ConnectorError, UsageError
from connector.sync.projects import Outcome

# Between syncs, Label Studio is asked how many answers a project has: no more often than this, and for no more than
# this share of its time (the call takes it 0.07 s, and 0.13 s for 20,000 tasks).
POLL_SECONDS = 5.0
POLL_SHARE = 0.02
LONGEST_BACKOFF_SECONDS = 900.0  # or `every`, where that is longer


@dataclass
class _Plan:
    """A project's next sync, and what its window has been used for.

    `places`: of the published window; `answers`: how many annotations and skips the project had after the last sync,
    None when nobody knows; `pause_until`: no refilling before.
    """

    due: float
    pause_until: float = 0.0
    failures: int = 0
    told: str | None = None
    places: int = 0
    answers: int | None = None
    begun: bool = False


class Watch:
    """Syncs each project `every` seconds, and as soon as half of its window is used up.

    `projects`: which there are (a ConnectorError: as before); `sync` yields their outcomes; `answers`: how many
    annotations and skips a project has.
    `tell(outcome, loud)` is told of each sync as it ends: not `loud` means that a quiet log does without. `ended` is
    given the outcomes of each round. `wait` waits some seconds, and says whether the command was told to end.
    With `alone` (a single project), a UsageError ends it.
    """

    def __init__(
        self,
        every: float,
        *,
        projects: Callable[[], Sequence[int]],
        sync: Callable[[Sequence[int]], Iterator[Outcome]],
        answers: Callable[[int], int],
        tell: Callable[[Outcome, bool], None],
        ended: Callable[[list[Outcome]], None],
        wait: Callable[[float], bool],
        clock: Callable[[], float],
        alone: bool = False,
    ) -> None:
        self._every = every
        self._projects = projects
        self._sync = sync
        self._answers = answers
        self._tell = tell
        self._ended = ended
        self._wait = wait
        self._clock = clock
        self._alone = alone
        self._plans: dict[int, _Plan] = {}
        self._next_poll = clock()

    def run(self) -> None:
        """Goes on until `wait` says to end. Raises UsageError where `alone`."""
        while True:
            now = self._clock()
            try:
                there = self._projects()
            except ConnectorError:  # the next sync will tell
                there = list(self._plans)
            self._plans = {project: self._plans.get(project) or _Plan(due=now) for project in there}
            due = [project for project, plan in self._plans.items() if plan.due <= now]
            if due:
                self._round(due)
            elif now >= self._next_poll:
                self._poll()
            else:
                wake = min([self._next_poll, *(plan.due for plan in self._plans.values())])
                if self._wait(wake - now):
                    return

    def _round(self, due: Sequence[int]) -> None:
        outcomes: list[Outcome] = []
        began = self._clock()
        try:
            for outcome in self._sync(due):
                outcomes.append(outcome)
                ended = self._clock()
                self._settle(outcome, ended, ended - began)
                began = ended
        finally:  # a round that is broken off is told as far as it came
            if outcomes:
                self._ended(outcomes)

    def _settle(self, outcome: Outcome, now: float, took: float) -> None:
        """Plans the project's next sync, and tells of this one."""
        plan = self._plans[outcome.project]
        if outcome.error is None:
            self._tell(outcome, outcome.published or bool(plan.failures) or not plan.begun or _restored(outcome))
            plan.begun, plan.failures, plan.told = True, 0, None
            plan.due, plan.pause_until = now + self._every, now + took
            plan.places = outcome.summary["window"]["size"] if outcome.summary else 0
            plan.answers = self._counted(outcome.project)
            return
        if self._alone and isinstance(outcome.error, UsageError):
            raise outcome.error
        # What somebody has to change is said once, and what may pass at every attempt.
        known = isinstance(outcome.error, UsageError) and plan.told == str(outcome.error)
        self._tell(outcome, not known)
        plan.failures += 1
        plan.told = str(outcome.error)
        longest = max(self._every, LONGEST_BACKOFF_SECONDS)
        plan.due = now + min(self._every * 2.0 ** min(plan.failures - 1, 30), longest)

    def _poll(self) -> None:
        """Has the projects synced whose window is half used up."""
        began = self._clock()
        for project, plan in self._plans.items():
            if plan.failures or not plan.places:
                continue
            answers = self._counted(project)
            if answers is None:
                continue
            plan.answers = answers if plan.answers is None else min(plan.answers, answers)  # some may be deleted
            if 2 * (answers - plan.answers) >= plan.places:
                plan.due = min(plan.due, max(self._clock(), plan.pause_until))
        now = self._clock()
        self._next_poll = now + max(POLL_SECONDS, (now - began) / POLL_SHARE)

    def _counted(self, project: int) -> int | None:
        """How many answers the project has; None when Label Studio does not say, which the next sync will tell of."""
        try:
            return self._answers(project)
        except ConnectorError:
            return None


def _restored(outcome: Outcome) -> bool:
    return bool(outcome.summary and outcome.summary.get("restored"))
