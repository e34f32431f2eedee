"""Syncs of several projects: what fails in one, and what fails for all."""

from typing import Any

import pytest

from connector.cli.options import explain
from connector.errors import ConnectorError, StateUnavailable, TryAgainLater, UsageError
from connector.progress import Reporter
from connector.sync.projects import Outcome, Rounds, error_words, exit_code, untried_words, words

AWAY = TryAgainLater("The ML backend does not answer.")


class Backend:
    def __init__(self, world: "World") -> None:
        self.world = world

    def check(self) -> None:
        self.world.checks += 1
        if self.world.backend_is_away:
            raise AWAY

    def close(self) -> None:
        self.world.closed += 1


class World:
    """Projects whose sync ends as `plan` says; those of `with_work` ask for the ML backend."""

    def __init__(self, plan: dict[int, Exception] | None = None, with_work: tuple[int, ...] = ()) -> None:
        self.plan = plan or {}
        self.with_work = with_work
        self.label_studio_is_away = False
        self.backend_is_away = False
        self.tried: list[int] = []
        self.looks = self.checks = self.opened = self.closed = 0
        self.rounds = Rounds(
            self.sync,
            open_backend=self.open,  # type: ignore[arg-type]
            look=self.look,
            explain=explain,
            reporter=lambda project: Reporter(quiet=True),
        )

    def sync(self, project: int, connect: Any, reporter: Reporter) -> dict[str, Any]:
        self.tried.append(project)
        if project in self.with_work:
            connect()
        if project in self.plan:
            raise self.plan[project]
        return {"project": project, "seconds": {"pull": 0.1}}

    def open(self) -> Backend:
        self.opened += 1
        return Backend(self)

    def look(self) -> None:
        self.looks += 1
        if self.label_studio_is_away:
            raise TryAgainLater("Label Studio does not answer.")

    def codes(self, *projects: int) -> list[int]:
        return [outcome.exit_code for outcome in self.rounds.sync(projects)]


def test_one_project_that_fails_does_not_stop_the_others() -> None:
    world = World({2: UsageError("No such project."), 3: ValueError("odd")})
    assert world.codes(1, 2, 3, 4) == [0, 2, 1, 0]
    assert world.tried == [1, 2, 3, 4]


def test_without_label_studio_the_rest_is_not_tried() -> None:
    world = World({2: TryAgainLater("It does not answer.")})
    world.label_studio_is_away = True
    outcomes = list(world.rounds.sync([1, 2, 3, 4]))
    assert (world.tried, world.looks) == ([1, 2], 1)
    assert [(one.project, one.exit_code, one.untried) for one in outcomes] == [
        (1, 0, False),
        (2, 3, False),
        (3, 3, True),
        (4, 3, True),
    ]
    assert untried_words(outcomes) == "Not tried, for the same reason: projects 3, 4."
    assert untried_words(outcomes[:3]) == "Not tried, for the same reason: project 3."
    assert untried_words(outcomes[:2]) is None


def test_after_the_last_project_nobody_is_asked() -> None:
    world = World({1: TryAgainLater("It does not answer.")})
    assert (world.codes(1), world.looks) == ([3], 0)


def test_without_the_state_database_the_rest_is_not_tried() -> None:
    world = World({1: StateUnavailable("Connection refused")})
    assert (world.codes(1, 2, 3), world.tried, world.looks) == ([3, 3, 3], [1], 0)


def test_an_ml_backend_that_is_away_is_waited_for_once_a_round() -> None:
    world = World(with_work=(1, 3, 4))
    world.backend_is_away = True
    assert world.codes(1, 2, 3, 4) == [3, 0, 3, 3]
    assert (world.tried, world.checks) == ([1, 2, 3, 4], 1)
    world.backend_is_away = False
    assert world.codes(1, 2, 3, 4) == [0, 0, 0, 0]
    assert (world.opened, world.closed) == (1, 0)
    world.rounds.close()
    assert world.closed == 1


def test_a_round_without_work_opens_no_backend() -> None:
    world = World()
    world.codes(1, 2)
    world.rounds.close()
    assert world.opened == 0


def test_the_reason_to_end_is_no_outcome() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    world = World(with_work=(2,))
    world.open = interrupt  # type: ignore[assignment, method-assign]
    world.rounds._open_backend = interrupt  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        world.codes(1, 2, 3)
    assert world.tried == [1, 2]


@pytest.mark.parametrize(
    ("codes", "worst"), [((), 0), ((0, 0), 0), ((0, 3), 3), ((3, 2, 0), 2), ((2, 1, 3), 1), ((3, 1), 1)], ids=str
)
def test_the_gravest_error_decides_the_exit_code(codes: tuple[int, ...], worst: int) -> None:
    errors: dict[int, ConnectorError | None] = {
        0: None,
        1: ConnectorError("a"),
        2: UsageError("b"),
        3: TryAgainLater("c"),
    }
    assert exit_code([Outcome(7, error=errors[code]) for code in codes]) == worst


def test_an_outcome_as_json_and_in_words() -> None:
    failed = Outcome(7, error=UsageError("No such\nproject."))
    assert failed.to_json() == {"project": 7, "error": "No such\nproject.", "exit_code": 2}
    assert error_words(failed) == "Error in project 7: No such project."
    done = Outcome(7, {"project": 7, "seconds": {"pull": 1, "publish": 1}})
    assert (done.to_json(), done.published, failed.published) == (done.summary, True, False)


def test_a_summary_in_words_tells_what_was_left_out() -> None:
    done = {
        "project": 7,
        "round": 2,
        "annotations": 3,
        "annotators": 1,
        "tasks": 9,
        "trained": False,
        "model_version": None,
        "window": {"size": 4, "new": 3, "relabel": 1},
        "without_text": 0,
        "unknown_choices": 2,
    }
    assert words(done) == (
        "Project 7, round 2: 3 annotations by 1 on 9 tasks; model none yet; the window holds 4 tasks, 3 new and 1 for "
        "a second opinion. Left out: 2 annotations hold a choice that the config no longer has."
    )
