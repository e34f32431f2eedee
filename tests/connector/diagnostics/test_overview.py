"""The overview that `connector` prints without a command."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.simulated_label_studio import CONFIG, NOW, Studio

from connector.active_learning.window import Slot
from connector.annotations.label_config import find_control
from connector.diagnostics.overview import OverviewLine, overview
from connector.errors import ConnectorError, TryAgainLater, UsageError, gravest_exit_code
from connector.state.project_state import State

AWAY = TryAgainLater("Label Studio at http://studio does not answer: start it or check LABEL_STUDIO_URL.")


class Server(Studio):
    """The played Label Studio, which can be away or refuse."""

    url = "http://studio"
    failure: ConnectorError | None = None

    def whoami(self) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        return {"email": "lead@example.com"}

    def version(self) -> dict[str, Any]:
        return {"release": "1.23.2"}


class Backend:
    """An ML backend that answers, or fails with `failure`."""

    url = "http://backend"

    def __init__(self, failure: ConnectorError | None = None) -> None:
        self.failure = failure

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def state() -> Iterator[State]:
    opened = State("sqlite://")
    yield opened
    opened.close()


def ask(studio: Server, state: State, backend: Backend | None = None) -> list[OverviewLine]:
    return list(overview(studio, backend or Backend(), state, NOW))  # type: ignore[arg-type]


def adopt(state: State, number: int) -> None:
    project = state.project(Server.url, number)
    project.put(adopted_at="2026-03-01", control=find_control(CONFIG).to_json(), label_config=CONFIG)


def test_before_the_first_project_it_says_what_comes_next(state: State) -> None:
    lines = ask(Server(), state)
    assert [line.name for line in lines] == ["Label Studio", "ML backend", "Next"]
    assert lines[0].text == "http://studio, as lead@example.com, version 1.23.2"
    assert lines[1].text == "http://backend, ready"
    assert "connector init --project ID" in lines[2].text
    assert gravest_exit_code(line.exit_code for line in lines) == 0


def test_a_project_says_its_last_round_and_what_is_next(state: State) -> None:
    adopt(state, 7)
    lines = ask(Server(), state)
    assert [line.name for line in lines[2:]] == ["Project 7", ""]
    assert lines[2].text.endswith("no round yet, 0 labels")
    assert "connector sync --project 7" in lines[3].text


def test_the_window_and_the_round_are_told(state: State) -> None:
    adopt(state, 7)
    project = state.project(Server.url, 7)
    project.store_window("activelab-1", 2, [Slot(1, relabel=False), Slot(2, relabel=False)], {})
    project.store_round(4, {"round": 4})
    (line,) = (line for line in ask(Server(), state) if line.name == "Project 7")
    assert "round 4, " in line.text
    assert "2 of 2 tasks left in the window" in line.text


def test_a_title_is_no_command_to_the_terminal(state: State) -> None:
    adopt(state, 7)
    studio = Server()
    studio.settings["title"] = "Polite\x1b[2J\nness"
    (line,) = (line for line in ask(studio, state) if line.name == "Project 7")
    assert line.text.startswith("Polite[2J ness, ")


def test_without_label_studio_the_state_tells_and_nobody_waits_again(state: State) -> None:
    adopt(state, 7)
    adopt(state, 8)
    state.project(Server.url, 7).store_round(4, {"round": 4})
    studio = Server()
    studio.failure = AWAY
    studio.get_project = None  # type: ignore[assignment, method-assign]  # asking it is an error
    lines = ask(studio, state)
    assert lines[0].text == f"not connected: {AWAY}"
    assert lines[2].text.startswith("round 4, ")
    assert lines[3] == OverviewLine("Project 8", "no round yet")
    assert gravest_exit_code(line.exit_code for line in lines) == 3


def test_without_label_studio_and_projects_nothing_comes_next(state: State) -> None:
    studio = Server()
    studio.failure = AWAY
    assert [line.name for line in ask(studio, state)] == ["Label Studio", "ML backend"]


def test_names_and_what_is_said_never_touch() -> None:
    assert str(OverviewLine("Project 7", "Requests")) == "Project 7     Requests"
    assert str(OverviewLine("Project 1234567", "Requests")) == "Project 1234567 Requests"


def test_what_somebody_has_to_change_comes_before_what_passes(state: State) -> None:
    studio = Server()
    studio.failure = AWAY
    refused = UsageError("The ML backend at http://backend wants credentials: set ML_BACKEND_TOKEN.")
    lines = ask(studio, state, Backend(refused))
    assert lines[1] == OverviewLine("ML backend", str(refused), 2)
    assert gravest_exit_code(line.exit_code for line in lines) == 2
    assert gravest_exit_code(line.exit_code for line in lines[:1]) == 3
