"""`connector` alone: where one stands, a line for each server and each project; nothing is changed anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from connector.diagnostics.status import last_round, status
from connector.diagnostics.status_text import in_short, round_words
from connector.errors import ConnectorError
from connector.formatting import one_line
from connector.label_studio.client import LabelStudio
from connector.state.project_state import State

INDENT = 14


@dataclass(frozen=True)
class Line:
    """What is said under a name; `exit_code`: 2 when somebody has to change something, 3 when a server is away."""

    name: str
    said: str
    exit_code: int = 0

    def __str__(self) -> str:
        return f"{self.name:<{INDENT - 1}} {self.said}"


class Checked(Protocol):
    """What is asked of the ML backend (connector.backend.Backend)."""

    url: str

    def check(self) -> None: ...


def standing(gateway: LabelStudio, backend: Checked, state: State, now: datetime) -> Iterator[Line]:
    """Where one stands, line by line as it is found. `now`: an aware datetime, in the time zone of who asks."""
    try:
        user, server = gateway.whoami(), gateway.version()
    except ConnectorError as error:
        yield Line("Label Studio", f"not connected: {error}", error.exit_code)
        away = True
    else:
        yield Line("Label Studio", f"{gateway.url}, as {user['email']}; version {server['release']}")
        away = False
    try:
        backend.check()
    except ConnectorError as error:
        yield Line("ML backend", str(error), error.exit_code)
    else:
        yield Line("ML backend", f"{backend.url}, ready")
    projects = state.adopted(gateway.url)
    for project in projects:
        known = state.project(gateway.url, project)
        if away:  # each would wait for it again
            yield Line(f"Project {project}", f"round {round_words(last_round(known, now))}")
            continue
        found = status(project, gateway, known, lambda: now)
        failure = found["error"] or {"message": found["next_step"], "exit_code": 0}
        yield Line(f"Project {project}", in_short(found), failure["exit_code"])
        yield Line("", one_line(failure["message"]))
    if not projects and not away:
        yield not_set_up()


def not_connected(error: ConnectorError) -> Iterator[Line]:
    """Where one stands with settings that are missing or wrong."""
    if "is not set" not in str(error):
        yield Line("Settings", str(error), error.exit_code)
        return
    yield Line("Label Studio", f"not connected: {error}", error.exit_code)
    yield Line("Next", "write them into a file .env here; then connector init --project ID takes a project over.")


def not_set_up() -> Line:
    """What comes next where there is no project yet."""
    return Line(
        "Next",
        "connector init --project ID takes a project over, the ID from its address in Label Studio; "
        "connector init --title T --data texts.csv makes one.",
    )


def exit_code(lines: Iterable[Line]) -> int:
    """0 where all is well, or else the code of the gravest error: 2 before 3."""
    return min((line.exit_code for line in lines if line.exit_code), default=0)
