"""Sync several projects in turn. A failure in one does not stop the others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.errors import ConnectorError, ProjectGone, StateError, TryAgainLater
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.state.project_state import ProjectState, State
from connector.state.recognition import not_set_up, open_project, set_up_projects
from connector.state.rows import LastSync
from connector.sync import cycle
from connector.sync.options import SyncOptions
from connector.sync.summary import SyncSummary

if TYPE_CHECKING:
    from connector.backend import Backend


@dataclass(frozen=True)
class SyncResult:
    """How the sync of a project ended: with its summary or with an error.

    `untried`: it was not begun, since the error of an earlier project would stop it, too. `still_gone`: Label Studio
    has no such project, as an earlier sync found. That is no failure any more.
    """

    project: int
    summary: SyncSummary | None = None
    error: ConnectorError | None = None
    untried: bool = False
    still_gone: bool = False

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error and not self.still_gone else 0

    @property
    def published(self) -> bool:
        """Whether annotators are served a new window."""
        return self.summary is not None and self.summary.published

    @property
    def restored(self) -> bool:
        """Whether settings were put in order."""
        return self.summary is not None and bool(self.summary.restored)

    def to_json(self) -> dict[str, Any]:
        """The summary, or the project with `error` and `exit_code`."""
        if self.summary is not None:
            return self.summary.to_json()
        return {"project": self.project, "error": str(self.error), "exit_code": self.exit_code}


@dataclass(frozen=True)
class Servers:
    """What a sync talks to.

    Attributes:
        url: the address of Label Studio, under which the state database has its projects.
        gateway: Label Studio, which is tried again if it does not answer.
        state: the state database.
        open_backend: makes the client of the ML backend.
        open_probe: opens a gateway to the same Label Studio that asks once.
        explain: makes any other error one of ours.
    """

    url: str
    gateway: LabelStudio
    state: State
    open_backend: Callable[[], Backend]
    open_probe: Callable[[], LabelStudio]
    explain: Callable[[Exception], ConnectorError]


class ProjectSyncs:
    """Syncs projects of one Label Studio.

    Args:
        servers: what the syncs talk to.
        options: how to sync.
        reporter: makes the reporter of a project's sync.
        only: the only project. None: all that init has set up.
    """

    def __init__(
        self,
        servers: Servers,
        options: SyncOptions,
        *,
        reporter: Callable[[int], Reporter],
        only: int | None = None,
    ) -> None:
        self._servers = servers
        self._options = options
        self._reporter = reporter
        self._only = only
        self._backend: Backend | None = None
        self._backend_error: ConnectorError | None = None
        self._probe: LabelStudio | None = None
        self._looked_at: set[int] = set()

    def projects(self) -> list[int]:
        """The ids of the projects. Those that are set up later appear in later calls."""
        if self._only is not None:
            return [self._only]
        try:
            known = self._servers.state.adopted(self._servers.url)
            with contextlib.suppress(*([TryAgainLater] if known else [])):  # their syncs say that it is away
                self._recognize()
            return self._servers.state.adopted(self._servers.url)
        except Exception as error:
            raise self._servers.explain(error) from error

    def no_projects(self) -> str:
        """What to do if there are no projects."""
        return not_set_up(self._servers.url, self._servers.state)

    def sync(self, ids: Sequence[int]) -> Iterator[SyncResult]:
        """Syncs each of the projects once, and yields each result as its sync ends.

        If a server is unavailable, it is waited for once: without Label Studio or the state database the remaining
        projects are untried, and the ML backend is not asked again.
        """
        self._backend_error = None
        for place, project in enumerate(ids):
            before: LastSync | None = None
            try:
                state = open_project(project, self._servers.gateway, self._servers.state, remember=True)
                before = state.record().last_sync
                yield SyncResult(project, self._sync(project, state))
            except Exception as error:
                explained = self._servers.explain(error)
                gone = self._only is None and isinstance(error, ProjectGone)
                still_gone = gone and before is not None and before["error"] == str(error)
                yield SyncResult(project, error=explained, still_gone=still_gone)
                rest = ids[place + 1 :]
                if rest and (isinstance(error, StateError) or not self._is_label_studio_available()):
                    yield from (SyncResult(untried, error=explained, untried=True) for untried in rest)
                    return

    def count_annotations(self, project: int) -> int:
        """How many annotations and skips the project has. Raises ConnectorError if Label Studio does not answer."""
        counts = self._open_probe().get_project(project)
        return int(counts["total_annotations_number"] + counts["skipped_annotations_number"])

    def close(self) -> None:
        """Ends the connections that the syncs opened."""
        for opened in (self._backend, self._probe):
            if opened is not None:
                opened.close()

    def _recognize(self) -> None:
        """Finds projects that were set up under another spelling of the address. Each is looked at once."""
        servers = self._servers
        elsewhere = {project.key for project in servers.state.elsewhere(servers.url)}
        if elsewhere - self._looked_at:
            set_up_projects(servers.gateway, servers.state, remember=True)
            self._looked_at |= elsewhere

    def _sync(self, project: int, state: ProjectState) -> SyncSummary:
        reporter = self._reporter(project)
        return cycle.sync(project, self._servers.gateway, self._connect, state, self._options, reporter)

    def _connect(self) -> Backend:
        if self._backend_error is not None:
            raise self._backend_error
        if self._backend is None:
            self._backend = self._servers.open_backend()
        try:
            self._backend.check()
        except ConnectorError as error:
            self._backend_error = error
            raise
        return self._backend

    def _is_label_studio_available(self) -> bool:
        try:
            self._open_probe().whoami()
        except ConnectorError:
            return False
        return True

    def _open_probe(self) -> LabelStudio:
        if self._probe is None:
            self._probe = self._servers.open_probe()
        return self._probe


def format_error(result: SyncResult) -> str:
    """A project's error in one line."""
    start = "Left out project" if result.still_gone else "Error in project"
    return f"{start} {result.project}: {' '.join(str(result.error).split())}"


def format_untried(results: Iterable[SyncResult]) -> str | None:
    """Which projects were not tried, or None."""
    untried = [str(result.project) for result in results if result.untried]
    if not untried:
        return None
    return f"Not tried, for the same reason: project{'s' * (len(untried) > 1)} {', '.join(untried)}."
