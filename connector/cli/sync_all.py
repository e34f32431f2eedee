"""`connector sync`, of all projects and on and on: what is asked, what is said, and how it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from connector.cli import options as console
from connector.errors import UsageError
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.retry import Retries
from connector.settings import Settings
from connector.state.project_state import State
from connector.sync.cycle import SyncOptions
from connector.sync.projects import Connect, Outcome, Rounds, error_words, exit_code, untried_words, words
from connector.sync.scheduler import Watch
from connector.sync.signals import StopSignals

if TYPE_CHECKING:
    from connector.backend import Backend


@dataclass(frozen=True)
class SyncCommand:
    """The command with its servers; `project`: None for all that `init` has set up."""

    settings: Settings
    gateway: LabelStudio
    state: State
    options: SyncOptions
    project: int | None
    as_json: bool

    def once(self) -> int:
        """Syncs each project once, and returns the exit code."""
        outcomes: list[Outcome] = []
        with closing(self._rounds(lambda project: Reporter(about=f"Project {project}: "))) as rounds:
            for outcome in rounds.sync(self._first_projects()):
                outcomes.append(outcome)
                if outcome.error is None and not self.as_json:
                    click.echo(words(outcome.summary or {}))
                elif outcome.error is not None and not outcome.untried:
                    console.say(error_words(outcome), err=True)
        if untried := untried_words(outcomes):
            click.echo(untried, err=True)
        if self.as_json:
            click.echo(json.dumps({"projects": [outcome.to_json() for outcome in outcomes]}))
        return exit_code(outcomes)

    def on_and_on(self, every: float, stop: StopSignals) -> None:
        """Syncs again and again until a signal comes. Raises UsageError where a single project needs a change."""
        # Whoever waits for a server wakes up when a signal comes.
        self.gateway.retries = Retries(self.settings.retry_seconds, sleep=stop.sleep)
        projects = _Listing(self)
        said = _Said(self.as_json, several=self.project is None)

        def reporter(project: int) -> Reporter:
            return Reporter(about=f"Project {project}: ", quiet=True, checkpoint=stop.check)

        with closing(self._looker()) as looker, closing(self._rounds(reporter)) as rounds:
            Watch(
                every,
                projects=projects,
                sync=rounds.sync,
                answers=lambda project: _answers(looker, project),
                tell=said.tell,
                ended=said.ended,
                wait=stop.wait,
                clock=time.monotonic,
                alone=self.project is not None,
            ).run()

    def _rounds(self, reporter: Callable[[int], Reporter]) -> Rounds:
        from connector.sync.cycle import sync

        url = self.settings.label_studio_url

        def one(project: int, connect: Connect, reporter: Reporter) -> dict[str, Any]:
            state = self.state.project(url, project)
            return sync(project, self.gateway, connect, state, self.options, reporter)

        def look() -> None:
            with closing(self._looker()) as looker:
                looker.whoami()

        def open_backend() -> Backend:
            from connector.backend import Backend  # with NumPy: a sync with nothing to do must not pay for it

            return Backend.of(self.settings, self.gateway.retries)

        return Rounds(
            one,
            open_backend=open_backend,
            look=look,
            explain=console.explain,
            reporter=reporter,
        )

    def _looker(self) -> LabelStudio:
        """A gateway that asks once, for what can be left."""
        token = self.settings.label_studio_api_key.get_secret_value()
        return LabelStudio(self.settings.label_studio_url, token, retries=Retries(0))

    def _first_projects(self) -> list[int]:
        if self.project is not None:
            return [self.project]
        url = self.settings.label_studio_url
        found = self.state.adopted(url)
        if not found:
            raise UsageError(f"No project of {url} is set up yet: run connector init --project ID first.")
        return found


class _Listing:
    """Which projects there are, at every call; those that are set up later join in."""

    def __init__(self, command: SyncCommand) -> None:
        self._command = command
        self._last: list[int] | None = None

    def __call__(self) -> list[int]:
        if self._command.project is not None:
            return [self._command.project]
        try:
            found = self._command.state.adopted(self._command.settings.label_studio_url)
        except Exception as error:
            raise console.explain(error) from error
        if not found and self._last != []:
            since = "any more" if self._last else "yet"
            click.echo(_at(f"No project is set up {since}; waiting for connector init --project ID."), err=True)
        self._last = found
        return found


class _Said:
    """What `--every` prints: a line for what was done, or an object a round, each with the time."""

    def __init__(self, as_json: bool, *, several: bool) -> None:
        self._as_json = as_json
        self._several = several
        self._loud_error = False

    def tell(self, outcome: Outcome, loud: bool) -> None:
        """One sync has ended."""
        if outcome.error is not None and loud:
            self._loud_error = True
            if not outcome.untried:
                console.say(_at(error_words(outcome)), err=True)
        elif outcome.error is None and loud and not self._as_json:
            click.echo(_at(words(outcome.summary or {})))

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """All of a round have ended."""
        if self._loud_error and (untried := untried_words(outcomes)):
            click.echo(_at(untried), err=True)
        self._loud_error = False
        if self._as_json:
            found = [outcome.to_json() for outcome in outcomes]
            at = datetime.now().astimezone().isoformat(timespec="seconds")
            click.echo(json.dumps({"at": at, **({"projects": found} if self._several else found[0])}))


def _answers(looker: LabelStudio, project: int) -> int:
    """How many annotations and skips the project has."""
    found = looker.get_project(project)
    return int(found["total_annotations_number"] + found["skipped_annotations_number"])


def _at(line: str) -> str:
    return f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}"
