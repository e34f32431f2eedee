"""Syncs of several projects, one after another: what fails in one is no matter to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.errors import ConnectorError, StateError
from connector.progress import Reporter

if TYPE_CHECKING:
    from connector.backend import Backend

Connect = Callable[[], "Backend"]


@dataclass(frozen=True)
class Outcome:
    """How the sync of a project ended: with its summary or with an error.

    `untried`: it was not begun, since the error of a project before it is everyone's.
    """

    project: int
    summary: dict[str, Any] | None = None
    error: ConnectorError | None = None
    untried: bool = False

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error else 0

    @property
    def published(self) -> bool:
        """Whether annotators are served a new window."""
        return self.summary is not None and "publish" in self.summary["seconds"]

    def to_json(self) -> dict[str, Any]:
        """The summary, or the project with `error` and `exit_code`."""
        if self.error is None:
            return self.summary or {}
        return {"project": self.project, "error": str(self.error), "exit_code": self.exit_code}


class Rounds:
    """Syncs projects of one Label Studio.

    `sync` does one project's; `open_backend` makes the client of the ML backend; `look` raises a ConnectorError when
    Label Studio is away or refuses us altogether; `explain` makes any other error one of ours.
    """

    def __init__(
        self,
        sync: Callable[[int, Connect, Reporter], dict[str, Any]],
        *,
        open_backend: Connect,
        look: Callable[[], object],
        explain: Callable[[Exception], ConnectorError],
        reporter: Callable[[int], Reporter],
    ) -> None:
        self._sync = sync
        self._open_backend = open_backend
        self._look = look
        self._explain = explain
        self._reporter = reporter
        self._backend: Backend | None = None
        self._backend_is_away: ConnectorError | None = None

    def sync(self, projects: Sequence[int]) -> Iterator[Outcome]:
        """Syncs each of the projects once, and tells of each as it ends.

        A server that is away is waited for once: without Label Studio or the state database the rest is untried, and
        the ML backend is not asked again.
        """
        self._backend_is_away = None
        for place, project in enumerate(projects):
            try:
                yield Outcome(project, self._sync(project, self._connect, self._reporter(project)))
            except Exception as error:
                known = self._explain(error)
                yield Outcome(project, error=known)
                rest = projects[place + 1 :]
                if rest and (isinstance(error, StateError) or not self._is_label_studio_there()):
                    yield from (Outcome(other, error=known, untried=True) for other in rest)
                    return

    def close(self) -> None:
        """Ends the connection to the ML backend."""
        if self._backend is not None:
            self._backend.close()

    def _connect(self) -> Backend:
        if self._backend_is_away is not None:
            raise self._backend_is_away
        if self._backend is None:
            self._backend = self._open_backend()
        try:
            self._backend.check()
        except ConnectorError as error:
            self._backend_is_away = error
            raise
        return self._backend

    def _is_label_studio_there(self) -> bool:
        try:
            self._look()
        except ConnectorError:
            return False
        return True


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """0 where all succeeded, or else the gravest: 1 (unforeseen) before 2 (change something) before 3 (try again)."""
    return min((outcome.exit_code for outcome in outcomes if outcome.error), default=0)


def words(done: Mapping[str, Any]) -> str:
    """A sync's summary as sentences."""
    size = done["window"]
    trained = f"trained {done['model_version']}" if done["trained"] else f"model {done['model_version'] or 'none yet'}"
    verb = "would hold" if done.get("dry_run") else "holds"
    left_out = [
        f"{done['without_text']} tasks have no text" * bool(done["without_text"]),
        f"{done['unknown_choices']} annotations hold a choice that the config no longer has"
        * bool(done["unknown_choices"]),
    ]
    notes = "".join(f" Left out: {note}." for note in left_out if note)
    return (
        f"Project {done['project']}, round {done['round']}: {done['annotations']} annotations by {done['annotators']} "
        f"on {done['tasks']} tasks; {trained}; the window {verb} {size['size']} tasks, {size['new']} new and "
        f"{size['relabel']} for a second opinion.{notes}"
    )


def error_words(outcome: Outcome) -> str:
    """A project's error in one line."""
    return f"Error in project {outcome.project}: {' '.join(str(outcome.error).split())}"


def untried_words(outcomes: Iterable[Outcome]) -> str | None:
    """Which projects were not tried, or None."""
    untried = [str(outcome.project) for outcome in outcomes if outcome.untried]
    if not untried:
        return None
    return f"Not tried, for the same reason: project{'s' * (len(untried) > 1)} {', '.join(untried)}."
