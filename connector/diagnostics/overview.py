"""`connector` without a command: one line per server and per project. Nothing is changed anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from connector.diagnostics.status import last_round, status
from connector.diagnostics.status_text import format_last_round, format_status_line
from connector.errors import ConnectorError
from connector.formatting import one_line
from connector.label_studio.client import LabelStudio
from connector.state import recognition
from connector.state.project_state import State

INDENT = 14


@dataclass(frozen=True)
class OverviewLine:
    """A line of the overview. `exit_code`: 2 if a person has to change something, 3 if a server is unavailable."""

    name: str
    text: str
    exit_code: int = 0

    def __str__(self) -> str:
        return f"{self.name:<{INDENT - 1}} {self.text}"


class CheckedBackend(Protocol):
    """What the overview asks of the ML backend (connector.backend.Backend)."""

    url: str

    def check(self) -> None: ...


def overview(gateway: LabelStudio, backend: CheckedBackend, state: State, now: datetime) -> Iterator[OverviewLine]:
    """The lines, each as soon as it is known. `now`: an aware datetime in the reader's time zone."""
    label_studio_answers = True
    try:
        user, server = gateway.whoami(), gateway.version()
    except ConnectorError as error:
        yield OverviewLine("Label Studio", f"not connected: {error}", error.exit_code)
        label_studio_answers = False
    else:
        yield OverviewLine("Label Studio", f"{gateway.url}, as {user['email']}, version {server['release']}")
    try:
        backend.check()
    except ConnectorError as error:
        yield OverviewLine("ML backend", str(error), error.exit_code)
    else:
        yield OverviewLine("ML backend", f"{backend.url}, ready")
    if label_studio_answers:
        projects = recognition.set_up_projects(gateway, state)
    else:
        projects = {number: state.project(gateway.url, number) for number in state.adopted(gateway.url)}
    for project_id, project in projects.items():
        name = f"Project {project_id}"
        if not label_studio_answers:  # every project would wait for it again
            yield OverviewLine(name, format_last_round(last_round(project, now)))
            continue
        current = status(project_id, gateway, project, lambda: now)
        yield OverviewLine(name, format_status_line(current), current.exit_code)
        yield OverviewLine("", one_line(current.error.message if current.error else current.next_step))
    if not projects and label_studio_answers:
        known_elsewhere = bool(state.elsewhere(gateway.url))
        yield OverviewLine("Next", recognition.not_set_up(gateway.url, state)) if known_elsewhere else not_set_up()


def not_connected(error: ConnectorError) -> Iterator[OverviewLine]:
    """The lines if settings are missing or wrong."""
    if "is not set" not in str(error):
        yield OverviewLine("Settings", str(error), error.exit_code)
        return
    yield OverviewLine("Label Studio", f"not connected: {error}", error.exit_code)
    yield OverviewLine("Next", "write them into a file .env here. Then connector init --project ID sets up a project.")


def not_set_up() -> OverviewLine:
    """What to do if no project is set up."""
    return OverviewLine(
        "Next",
        "connector init --project ID sets up the project with that number in its address in Label Studio. "
        "connector init --title T --data texts.csv makes a new one.",
    )
