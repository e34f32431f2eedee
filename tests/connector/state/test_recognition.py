"""A project is recognised by itself: under another spelling of the address, after a move, and never for another one."""

from collections.abc import Iterator
from typing import Any

import pytest

from connector.errors import ConnectorError, ProjectGone, StaleTasks, TryAgainLater, UsageError
from connector.state.project_state import ProjectState, State
from connector.state.recognition import (
    explain_deleted,
    not_set_up,
    open_deleted,
    open_for_init,
    open_project,
    same_place,
    set_up_projects,
)

HERE, SAME, ELSEWHERE = "http://127.0.0.1:8080", "http://localhost:8080", "http://127.0.0.1:9090"
FIRST, SECOND = "2026-03-01T10:00:00.123456Z", "2026-03-01T10:00:00.123457Z"
WINDOW = "activelab-20260301-100000-000000"


class Server:
    """A Label Studio at `url` whose projects were created at those moments, and hold those windows."""

    def __init__(self, url: str, projects: dict[int, str], versions: tuple[str, ...] = (WINDOW,)) -> None:
        self.url = url
        self.projects = projects
        self.versions = versions
        self.away = False
        self.asked = 0

    def get_project(self, project: int) -> dict[str, Any]:
        self.asked += 1
        if self.away:
            raise TryAgainLater("Label Studio does not answer.")
        if project not in self.projects:
            raise ProjectGone(f"Label Studio at {self.url} has no project {project}.")
        return {"id": project, "created_at": self.projects[project]}

    def model_versions(self, project: int) -> dict[str, int]:
        return dict.fromkeys(self.versions, 5)


@pytest.fixture
def state() -> Iterator[State]:
    opened = State("sqlite://")
    yield opened
    opened.close()


def adopt(state: State, number: int = 7, url: str = HERE, created_at: str = FIRST) -> ProjectState:
    project = state.project(url, number)
    project.put(created_at=created_at, adopted_at="2026-03-02T10:00:00+00:00", queue_version=WINDOW)
    return project


def never(question: str) -> bool:
    raise AssertionError(f"asked: {question}")


def opened(server: Server, state: State, number: int = 7, *, remember: bool = False) -> ProjectState:
    return open_project(number, server, state, remember=remember)  # type: ignore[arg-type]


def initialized(server: Server, state: State, confirm: Any = never, number: int = 7) -> ProjectState:
    return open_for_init(number, server, state, confirm)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (HERE, SAME, True),
        (HERE, "http://[::1]:8080", True),
        (HERE, "http://0.0.0.0:8080", True),
        (HERE, "http://127.0.0.2:8080", True),
        ("https://127.0.0.1", "https://localhost:443", True),
        (HERE, ELSEWHERE, False),
        (HERE, "http://localhost:8080/label-studio", False),
        (HERE, "http://192.0.2.7:8080", False),
        ("http://192.0.2.7", "http://192.0.2.8", False),
        (HERE, "http://no-such-host.invalid:8080", False),
    ],
)
def test_two_spellings_of_one_place(one: str, other: str, same: bool) -> None:
    assert (same_place(one, other), same_place(other, one)) == (same, same)


def test_where_it_was_set_up_nobody_is_asked(state: State) -> None:
    ours, server = adopt(state), Server(HERE, {7: FIRST})
    assert opened(server, state).key == ours.key
    assert server.asked == 0


def test_another_spelling_leads_to_the_same_state_and_is_recorded_if_wanted(state: State) -> None:
    ours, server = adopt(state), Server(SAME, {7: FIRST})
    assert opened(server, state).key == ours.key
    assert ours.addresses() == [HERE]  # looking leaves no trace
    assert opened(server, state, remember=True).key == ours.key
    assert ours.addresses() == [HERE, SAME]
    server.asked = 0
    assert opened(server, state).key == ours.key
    assert server.asked == 0
    assert state.adopted(SAME) == state.adopted(HERE) == [7]


@pytest.mark.parametrize(
    "server",
    [
        Server(ELSEWHERE, {7: SECOND}),
        Server(SAME, {7: SECOND}),  # the server there was replaced
    ],
    ids=["elsewhere", "same place"],
)
def test_two_servers_may_both_have_a_project_7(state: State, server: Server) -> None:
    ours = adopt(state)
    other = opened(server, state)
    assert other.key != ours.key
    with pytest.raises(UsageError, match=f"Project 7 of {server.url} is not set up yet"):
        other.require_initialized()
    assert initialized(server, state).key == other.key
    assert ours.addresses() == [HERE]


def test_a_server_that_moved_is_a_question_of_init_alone(state: State) -> None:
    ours, second, others = adopt(state), adopt(state, 8, created_at=SECOND), adopt(state, 9, "http://192.0.2.7")
    server = Server(ELSEWHERE, {7: FIRST, 8: SECOND, 9: FIRST})
    with pytest.raises(UsageError) as refused:
        opened(server, state)
    assert str(refused.value) == (
        f"Project 7 was set up at {HERE}, and {ELSEWHERE} has the same project. If that server has moved or has "
        "another name, run connector init --project 7. A copy of that server needs another state database "
        "(CONNECTOR_STATE)."
    )
    with pytest.raises(UsageError, match=r"^Nothing was changed\. Project 7 .* Give --yes if that server has moved"):
        initialized(server, state, lambda question: False)
    assert state.adopted(ELSEWHERE) == []
    asked: list[str] = []
    assert initialized(server, state, lambda question: not asked.append(question)).key == ours.key  # type: ignore[func-returns-value]
    assert asked[0].endswith("Has that server moved, or has it another name?")
    assert state.adopted(ELSEWHERE) == [7, 8], "all projects of that server, and no other"
    assert [project.record().url for project in (ours, second, others)] == [ELSEWHERE, ELSEWHERE, "http://192.0.2.7"]
    assert initialized(server, state).key == ours.key


def test_a_copy_at_another_name_without_the_window_is_not_taken_for_the_server(state: State) -> None:
    ours, copy = adopt(state), Server(SAME, {7: FIRST}, versions=("activelab-20260101-100000-000000",))
    with pytest.raises(UsageError, match="A copy of that server needs another state database"):
        opened(copy, state, remember=True)
    assert ours.addresses() == [HERE]


def test_a_server_that_was_replaced_gets_a_state_of_its_own_by_init(state: State) -> None:
    ours, server = adopt(state), Server(HERE, {7: SECOND})
    with pytest.raises(UsageError, match=r"not the one that connector init set up\. .*T10:00:00\.123457Z"):
        opened(server, state).require_same(server.get_project(7))
    fresh = initialized(server, state)
    assert fresh.key != ours.key
    assert (ours.addresses(), fresh.addresses()) == ([], [HERE])
    assert fresh.record().adopted_at is None


def test_after_undo_init_goes_on_with_the_same_state(state: State) -> None:
    ours, server = adopt(state), Server(SAME, {7: FIRST})
    opened(server, state, remember=True)
    ours.forget_adoption()
    assert initialized(server, state).key == ours.key
    assert opened(server, state).key == ours.key


def test_all_projects_of_a_server_under_every_spelling(state: State) -> None:
    adopt(state, 7)
    adopt(state, 8, SAME, SECOND)
    adopt(state, 9, "http://192.0.2.7:8080")
    adopt(state, 10, HERE, FIRST)  # deleted since
    server = Server(SAME, {7: FIRST, 8: SECOND, 9: FIRST})
    assert list(set_up_projects(server, state)) == [7, 8]  # type: ignore[arg-type]
    assert state.adopted(SAME) == [8]
    assert list(set_up_projects(server, state, remember=True)) == [7, 8]  # type: ignore[arg-type]
    assert state.adopted(SAME) == [7, 8]


def test_a_server_that_is_away_is_not_taken_for_another_one(state: State) -> None:
    adopt(state)
    server = Server(SAME, {7: FIRST})
    server.away = True
    with pytest.raises(TryAgainLater):
        opened(server, state)
    with pytest.raises(TryAgainLater):
        set_up_projects(server, state)  # type: ignore[arg-type]


def test_a_state_that_knows_other_addresses_names_them(state: State) -> None:
    assert not_set_up(HERE, state) == f"No project of {HERE} is set up yet: run connector init --project ID first."
    adopt(state)
    assert f"This state database knows projects of {HERE}. Correct LABEL_STUDIO_URL." in not_set_up(ELSEWHERE, state)


# -- deleted projects --------------------------------------------------------------------------------------------------


def test_a_deleted_project_is_known_under_every_spelling(state: State) -> None:
    ours = adopt(state)
    for url in (HERE, SAME):
        assert open_deleted(7, Server(url, {}), state).key == ours.key  # type: ignore[arg-type]
    assert open_deleted(7, Server(ELSEWHERE, {}), state).key != ours.key  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [ConnectorError("It answered 404."), UsageError("It does not speak the API."), StaleTasks("A task is gone.")],
)
def test_whatever_fails_on_a_deleted_project_it_is_said_to_be_gone(error: ConnectorError) -> None:
    server = Server(HERE, {})
    with pytest.raises(ProjectGone) as gone, explain_deleted(7, server):  # type: ignore[arg-type]
        raise error
    assert str(gone.value) == (
        f"Label Studio at {HERE} has no project 7. If it was deleted, make the connector forget it: connector undo "
        "--project 7 --forget."
    )
    server.projects[7] = FIRST
    with pytest.raises(type(error)) as same, explain_deleted(7, server):  # type: ignore[arg-type]
        raise error
    assert same.value is error


def test_a_failure_that_may_pass_is_not_looked_into() -> None:
    server = Server(HERE, {})
    with pytest.raises(TryAgainLater, match="Busy"), explain_deleted(7, server):  # type: ignore[arg-type]
        raise TryAgainLater("Busy.")
    assert server.asked == 0
