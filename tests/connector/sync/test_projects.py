"""Syncs of several projects: what fails in one, and what fails for all."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.summary_factory import sync_summary

from connector.cli.options import explain
from connector.errors import ProjectGone, StateUnavailable, TryAgainLater, UsageError
from connector.progress import Reporter
from connector.state.project_state import State
from connector.sync.options import SyncOptions
from connector.sync.projects import ProjectSyncs, Servers, SyncResult, format_error, format_untried
from connector.sync.summary import SyncSummary

AWAY = TryAgainLater("The ML backend does not answer.")
URL = "http://studio"


class World:
    """Servers on which a sync ends as `plan` says. Those of `with_work` ask for the ML backend."""

    url = URL

    def __init__(self) -> None:
        self.plan: dict[int, Exception] = {}
        self.with_work: tuple[int, ...] = ()
        self.label_studio_is_away = False
        self.backend_is_away = False
        self.tried: list[int] = []
        self.looked_for: list[int] = []
        self.created_at: str | None = None
        self.looks = self.checks = self.opened = self.closed = 0
        self.state = State("sqlite://")
        self.syncs = self.syncs_of()

    def syncs_of(self, only: int | None = None) -> ProjectSyncs:
        servers = Servers(
            self.url,
            self,  # type: ignore[arg-type]
            self.state,
            open_backend=self.open_backend,  # type: ignore[arg-type]
            open_probe=lambda: self,  # type: ignore[arg-type, return-value]
            explain=explain,
        )
        return ProjectSyncs(servers, SyncOptions(), reporter=lambda project: Reporter(quiet=True), only=only)

    def sync(self, project: int, gateway: Any, connect: Callable[[], Any], *more: Any) -> SyncSummary:
        self.tried.append(project)
        if project in self.with_work:
            connect()
        if project in self.plan:
            raise self.plan[project]
        return sync_summary(project)

    def open_backend(self) -> "World":
        self.opened += 1
        return self

    def codes(self, *projects: int) -> list[int]:
        return [result.exit_code for result in self.syncs.sync(projects)]

    # As the ML backend, and as a gateway to Label Studio that asks once.

    def check(self) -> None:
        self.checks += 1
        if self.backend_is_away:
            raise AWAY

    def whoami(self) -> None:
        self.looks += 1
        if self.label_studio_is_away:
            raise TryAgainLater("Label Studio does not answer.")

    def get_project(self, project: int) -> dict[str, Any]:
        self.looked_for.append(project)
        counts = {"total_annotations_number": 5, "skipped_annotations_number": 2}
        return {"id": project, "created_at": self.created_at, **counts}

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World()
    monkeypatch.setattr("connector.sync.cycle.sync", made.sync)
    yield made
    made.state.close()


def test_one_project_that_fails_does_not_stop_the_others(world: World) -> None:
    world.plan = {2: UsageError("No such project."), 3: ValueError("odd")}
    assert world.codes(1, 2, 3, 4) == [0, 2, 1, 0]
    assert world.tried == [1, 2, 3, 4]


def test_without_label_studio_the_rest_is_not_tried(world: World) -> None:
    world.plan = {2: TryAgainLater("It does not answer.")}
    world.label_studio_is_away = True
    results = list(world.syncs.sync([1, 2, 3, 4]))
    assert (world.tried, world.looks) == ([1, 2], 1)
    assert [(result.project, result.exit_code, result.untried) for result in results] == [
        (1, 0, False),
        (2, 3, False),
        (3, 3, True),
        (4, 3, True),
    ]
    assert format_untried(results) == "Not tried, for the same reason: projects 3, 4."
    assert format_untried(results[:3]) == "Not tried, for the same reason: project 3."
    assert format_untried(results[:2]) is None


def test_after_the_last_project_nobody_is_asked(world: World) -> None:
    world.plan = {1: TryAgainLater("It does not answer.")}
    assert (world.codes(1), world.looks) == ([3], 0)


def test_without_the_state_database_the_rest_is_not_tried(world: World) -> None:
    world.plan = {1: StateUnavailable("Connection refused")}
    assert (world.codes(1, 2, 3), world.tried, world.looks) == ([3, 3, 3], [1], 0)


def test_an_ml_backend_that_is_away_is_waited_for_once_a_round(world: World) -> None:
    world.with_work = (1, 3, 4)
    world.backend_is_away = True
    assert world.codes(1, 2, 3, 4) == [3, 0, 3, 3]
    assert (world.tried, world.checks) == ([1, 2, 3, 4], 1)
    world.backend_is_away = False
    assert world.codes(1, 2, 3, 4) == [0, 0, 0, 0]
    assert (world.opened, world.closed) == (1, 0)
    world.syncs.close()
    assert world.closed == 2  # the ML backend, and the gateway that asked whether Label Studio is there


def test_a_round_without_work_opens_no_backend(world: World) -> None:
    world.codes(1, 2)
    world.syncs.close()
    assert world.opened == 0


def test_the_reason_to_end_is_no_result(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    world.with_work = (2,)
    monkeypatch.setattr(world, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        world.codes(1, 2, 3)
    assert world.tried == [1, 2]


def test_the_projects_are_those_that_init_has_set_up_or_the_only_one(world: World) -> None:
    assert world.syncs.projects() == []
    for project, url in ((5, URL), (3, URL), (4, "http://other")):
        world.state.project(url, project).put(adopted_at="2026-03-01T10:00:00+00:00", control={})
    assert world.syncs.projects() == [3, 5]
    assert world.syncs_of(only=9).projects() == [9]


def test_a_project_that_is_still_gone_is_a_line_and_no_failure_of_all(world: World) -> None:
    gone = ProjectGone("Label Studio has no project 2.")
    world.plan = {2: gone}
    for project in (1, 2):
        world.state.project(URL, project).put(adopted_at="2026-03-01T10:00:00+00:00", control={})
    first = list(world.syncs.sync([1, 2]))
    assert [result.exit_code for result in first] == [0, 2]
    assert format_error(first[1]) == "Error in project 2: Label Studio has no project 2."
    # As a sync records it.
    world.state.project(URL, 2).put(last_sync={"at": "2026-03-02", "result": "failed", "error": str(gone)})
    again = list(world.syncs.sync([1, 2]))
    assert [result.exit_code for result in again] == [0, 0]
    assert format_error(again[1]) == "Left out project 2: Label Studio has no project 2."
    assert again[1].to_json() == {"project": 2, "error": str(gone), "exit_code": 0}
    alone = list(world.syncs_of(only=2).sync([2]))
    assert [result.exit_code for result in alone] == [2]
    world.plan = {2: UsageError("No such control.")}
    assert world.codes(1, 2) == [0, 2]


def test_a_project_under_another_spelling_of_the_address_is_found_once_and_then_known(world: World) -> None:
    world.url = "http://localhost:8080"
    created = "2026-03-01T10:00:00.123456Z"
    state = world.state.project("http://127.0.0.1:8080", 7)
    state.put(adopted_at="2026-03-01T10:00:00+00:00", created_at=created)
    world.created_at = created
    syncs = world.syncs_of()
    assert syncs.projects() == [7]
    assert syncs.projects() == [7]
    assert world.looked_for == [7]
    assert state.addresses() == ["http://127.0.0.1:8080", "http://localhost:8080"]


def test_annotations_and_skips_are_counted_on_one_connection_that_is_closed(world: World) -> None:
    assert [world.syncs.count_annotations(7) for _ in range(2)] == [7, 7]
    world.syncs.close()
    assert world.closed == 1


def test_a_result_as_json_and_in_words() -> None:
    failed = SyncResult(7, error=UsageError("No such\nproject."))
    assert failed.to_json() == {"project": 7, "error": "No such\nproject.", "exit_code": 2}
    assert format_error(failed) == "Error in project 7: No such project."
    summary = sync_summary()
    done = SyncResult(7, summary)
    assert (done.to_json(), done.published, done.restored) == (summary.to_json(), True, True)
    assert (failed.published, failed.restored, failed.exit_code, done.exit_code) == (False, False, 2, 0)
