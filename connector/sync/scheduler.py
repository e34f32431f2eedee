"""When `connector sync --every` syncs which project. Clock, waiting and all that is done are passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from connector.errors import ConnectorError, UsageError
from connector.sync.projects import SyncResult

# Between syncs, Label Studio is asked how many annotations a project has: no more often than this, and for no more than
# this share of its time (the call takes it 0.07 s, and 0.13 s for 20,000 tasks).
POLL_SECONDS = 5.0
POLL_SHARE = 0.02
LONGEST_BACKOFF_SECONDS = 900.0  # or `every`, if that is longer


class Syncs(Protocol):
    """The projects, and what can be done with them (`connector.sync.projects.ProjectSyncs`)."""

    def projects(self) -> list[int]: ...

    def sync(self, ids: Sequence[int]) -> Iterator[SyncResult]: ...

    def count_annotations(self, project: int) -> int: ...


class Log(Protocol):
    """What is shown of the syncs."""

    def no_projects(self, *, any_more: bool) -> None:
        """There are no projects to sync. `any_more`: there were some before."""
        ...

    def sync_ended(self, result: SyncResult, *, notable: bool) -> None:
        """A sync has ended. A short log leaves out those that are not `notable`."""
        ...

    def round_ended(self, results: Sequence[SyncResult]) -> None:
        """All syncs of a round have ended."""
        ...


@dataclass
class _Plan:
    """A project's next sync, and how far its window is used up.

    Attributes:
        due: when the project is synced next.
        pause_until: no refilling before.
        failures: how many syncs in a row have failed.
        last_error: the error of the last one.
        places: how many tasks the published window has.
        annotations: how many annotations and skips the project had after the last sync. None if unknown.
        begun: whether a sync has succeeded.
    """

    due: float
    pause_until: float = 0.0
    failures: int = 0
    last_error: str | None = None
    places: int = 0
    annotations: int | None = None
    begun: bool = False


class Scheduler:
    """Syncs each project every `every` seconds, and as soon as half of its window is used up.

    Args:
        every: seconds between the end of a sync and the next one.
        syncs: the projects.
        log: is shown what happens.
        wait: waits so many seconds, and returns whether to end.
        clock: the time in seconds.
        alone: there is a single project, and a UsageError ends the schedule.
    """

    def __init__(
        self,
        every: float,
        syncs: Syncs,
        log: Log,
        *,
        wait: Callable[[float], bool],
        clock: Callable[[], float],
        alone: bool = False,
    ) -> None:
        self._every = every
        self._syncs = syncs
        self._log = log
        self._wait = wait
        self._clock = clock
        self._alone = alone
        self._listed: list[int] | None = None
        self._plans: dict[int, _Plan] = {}
        self._next_poll = clock()

    def run_forever(self) -> None:
        """Goes on until `wait` says to end. Raises UsageError if `alone`."""
        while True:
            now = self._clock()
            self._plans = {project: self._plans.get(project) or _Plan(due=now) for project in self._projects()}
            due = [project for project, plan in self._plans.items() if plan.due <= now]
            if due:
                self._round(due)
            elif now >= self._next_poll:
                self._poll()
            else:
                wake = min([self._next_poll, *(plan.due for plan in self._plans.values())])
                if self._wait(wake - now):
                    return

    def _projects(self) -> list[int]:
        """The projects, or those of the last list if they cannot be listed: the next sync will show the error."""
        try:
            projects = self._syncs.projects()
        except ConnectorError:
            return list(self._plans)
        if not projects and self._listed != []:
            self._log.no_projects(any_more=bool(self._listed))
        self._listed = projects
        return projects

    def _round(self, due: Sequence[int]) -> None:
        results: list[SyncResult] = []
        began = self._clock()
        try:
            for result in self._syncs.sync(due):
                results.append(result)
                ended = self._clock()
                self._settle(result, ended, ended - began)
                began = ended
        finally:  # a round that is broken off is shown as far as it came
            if results:
                self._log.round_ended(results)

    def _settle(self, result: SyncResult, now: float, took: float) -> None:
        """Plans the project's next sync, and shows this one."""
        plan = self._plans[result.project]
        if result.summary is not None:
            notable = result.published or bool(plan.failures) or not plan.begun or result.restored
            self._log.sync_ended(result, notable=notable)
            plan.begun, plan.failures, plan.last_error = True, 0, None
            plan.due, plan.pause_until = now + self._every, now + took
            plan.places = result.summary.window.size
            plan.annotations = self._count(result.project)
            return
        if self._alone and isinstance(result.error, UsageError):
            raise result.error
        # An error that a person must mend is shown once, and one that may pass at every attempt.
        shown_before = isinstance(result.error, UsageError) and plan.last_error == str(result.error)
        self._log.sync_ended(result, notable=not shown_before)
        plan.failures += 1
        plan.last_error = str(result.error)
        longest = max(self._every, LONGEST_BACKOFF_SECONDS)
        plan.due = now + min(self._every * 2.0 ** min(plan.failures - 1, 30), longest)

    def _poll(self) -> None:
        """Makes the projects due whose window is half used up."""
        began = self._clock()
        for project, plan in self._plans.items():
            if plan.failures or not plan.places:
                continue
            count = self._count(project)
            if count is None:
                continue
            plan.annotations = count if plan.annotations is None else min(plan.annotations, count)  # some are deleted
            if 2 * (count - plan.annotations) >= plan.places:
                plan.due = min(plan.due, max(self._clock(), plan.pause_until))
        now = self._clock()
        self._next_poll = now + max(POLL_SECONDS, (now - began) / POLL_SHARE)

    def _count(self, project: int) -> int | None:
        """How many annotations the project has. None if Label Studio does not answer: the next sync will show it."""
        try:
            return self._syncs.count_annotations(project)
        except ConnectorError:
            return None
