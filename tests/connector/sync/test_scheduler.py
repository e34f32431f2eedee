"""When `connector sync --every` syncs which project, on a clock that only waits move."""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from support.summary_factory import sync_summary

from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.sync.projects import SyncResult
from connector.sync.scheduler import LONGEST_BACKOFF_SECONDS, POLL_SECONDS, POLL_SHARE, Scheduler
from connector.sync.summary import SyncSummary

AWAY = TryAgainLater("Label Studio does not answer.")
GONE = UsageError("There is no project 2.")


def summary(project: int, *, size: int = 10, published: bool = True, restored: Sequence[str] = ()) -> SyncSummary:
    stages = ["pull", "publish"] if published else ["pull"]
    return sync_summary(project, size=size, relabel=0, restored=list(restored), seconds=dict.fromkeys(stages, 0.1))


class World:
    """Label Studio, its projects and the time; `plan` says how the syncs of a project end, the last one for good."""

    def __init__(self, *projects: int, every: float = 60, alone: bool = False) -> None:
        self.time = 1000.0
        self.end = 0.0
        self.there = list(projects)
        self.plan: dict[int, list[Any]] = {}
        self.answers: dict[int, int] = dict.fromkeys(projects, 0)
        self.answers_fail = False
        self.sync_seconds = 1.0
        self.poll_seconds = 0.1
        self.syncs: list[tuple[float, int]] = []
        self.polls: list[tuple[float, int]] = []
        self.shown: list[tuple[int, bool]] = []
        self.rounds: list[list[int]] = []
        self.waits: list[float] = []
        self.at: list[tuple[float, Callable[[], None]]] = []
        self.listing_fails = False
        self.without_projects: list[bool] = []
        self.scheduler = Scheduler(every, self, self, wait=self._wait, clock=lambda: self.time, alone=alone)

    def run(self, seconds: float) -> "World":
        self.end = self.time + seconds
        self.scheduler.run_forever()
        return self

    def happens(self, after: float, what: Callable[[], None]) -> None:
        self.at.append((1000.0 + after, what))

    # -- as the projects ------------------------------------------------------------------------------------------

    def projects(self) -> list[int]:
        if self.listing_fails:
            raise AWAY
        return list(self.there)

    def sync(self, ids: Sequence[int]) -> Iterator[SyncResult]:
        for project in ids:
            self.syncs.append((self.time - 1000.0, project))
            self.pass_(self.sync_seconds)
            planned = self.plan.get(project, [summary(project)])
            result = planned[0] if len(planned) == 1 else planned.pop(0)
            if isinstance(result, ConnectorError):
                yield SyncResult(project, error=result)
            else:
                yield SyncResult(project, result)

    def count_annotations(self, project: int) -> int:
        self.polls.append((self.time - 1000.0, project))
        self.pass_(self.poll_seconds)
        if self.answers_fail:
            raise AWAY
        return self.answers[project]

    # -- as the log -----------------------------------------------------------------------------------------------

    def no_projects(self, *, any_more: bool) -> None:
        self.without_projects.append(any_more)

    def sync_ended(self, result: SyncResult, *, notable: bool) -> None:
        self.shown.append((result.project, notable))

    def round_ended(self, results: Sequence[SyncResult]) -> None:
        self.rounds.append([result.project for result in results])

    # -- the time -------------------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> bool:
        return self.wait(seconds)

    def wait(self, seconds: float) -> bool:
        assert seconds > 0
        self.waits.append(seconds)
        self.pass_(seconds)
        return self.time >= self.end

    def pass_(self, seconds: float) -> None:
        self.time += seconds
        for event in [event for event in self.at if event[0] <= self.time]:
            self.at.remove(event)
            event[1]()

    def times(self, project: int = 7) -> list[float]:
        return [round(at, 1) for at, which in self.syncs if which == project]


# -- the ordinary run of things --------------------------------------------------------------------------------------


def test_a_sync_comes_at_once_and_then_so_long_after_each() -> None:
    world = World(7, every=60).run(200)
    assert world.times() == [0, 61, 122, 183]


def test_a_sync_that_takes_longer_than_the_pause_is_followed_by_a_pause() -> None:
    world = World(7, every=10)
    world.sync_seconds = 100
    assert world.run(400).times() == [0, 110, 220, 330]


def test_it_ends_as_soon_as_a_wait_is_told_to() -> None:
    world = World(7, every=60)
    world.wait = lambda seconds: True  # type: ignore[method-assign]
    world.scheduler.run_forever()
    assert world.times() == [0]


def test_all_projects_are_synced_one_after_another_and_a_new_one_joins_in() -> None:
    world = World(1, 2, every=60)
    world.answers[3] = 0
    world.happens(20, lambda: world.there.append(3))
    world.happens(100, lambda: world.there.remove(1))
    world.run(150)
    assert [which for _, which in world.syncs] == [1, 2, 3, 1, 2, 3, 2, 3]
    assert world.rounds[0] == [1, 2]
    assert 20 <= world.times(3)[0] <= 20 + 2 * POLL_SECONDS


def test_no_project_at_all_is_waited_for_and_not_asked_for_in_a_hurry() -> None:
    world = World(every=60).run(100)
    assert world.syncs == []
    assert len(world.waits) <= 100 / POLL_SECONDS


def test_a_list_of_projects_that_cannot_be_read_leaves_them_as_they_were() -> None:
    world = World(7, every=60)
    world.happens(30, lambda: setattr(world, "listing_fails", True))
    assert world.run(130).times() == [0, 61, 122]
    assert world.without_projects == []


def test_that_there_are_no_projects_is_shown_once_each_time() -> None:
    world = World(every=60)
    world.answers[7] = 0
    world.happens(100, lambda: world.there.append(7))
    world.happens(200, lambda: world.there.clear())
    world.run(400)
    assert world.without_projects == [False, True]
    assert world.times()[0] >= 100


# -- refilling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "half"), [(10, 5), (9, 5), (1, 1), (2, 1)])
def test_a_window_is_refilled_when_half_of_it_is_used_up(size: int, half: int) -> None:
    for answers, refilled in ((half - 1, False), (half, True)):
        world = World(7, every=600)
        world.plan[7] = [summary(7, size=size)]
        world.answers[7] = 40
        world.happens(100, partial(world.answers.update, {7: 40 + answers}))
        world.run(300)
        assert len(world.times()) == 1 + refilled
        if refilled:
            assert 100 <= world.times()[1] <= 100 + 2 * POLL_SECONDS


def test_answers_are_counted_from_the_latest_window_on() -> None:
    world = World(7, every=600)
    for minute in range(1, 10):
        world.happens(60 * minute, lambda: world.answers.update({7: world.answers[7] + 2}))
    world.run(590)
    assert len(world.times()) == 4  # at the start, and after 6, 12 and 18 answers
    assert [round(at / 60) for at in world.times()] == [0, 3, 6, 9]


def test_answers_that_were_deleted_do_not_count_against_those_that_come() -> None:
    world = World(7, every=900)
    world.answers[7] = 100
    world.happens(50, lambda: world.answers.update({7: 20}))
    world.happens(100, lambda: world.answers.update({7: 25}))
    assert len(world.run(300).times()) == 2


def test_an_empty_window_is_not_polled() -> None:
    world = World(7, every=600)
    world.plan[7] = [summary(7, size=0)]
    world.answers[7] = 3
    world.happens(50, lambda: world.answers.update({7: 30}))
    world.run(300)
    assert (len(world.times()), len(world.polls)) == (1, 1)


def test_answers_that_lead_to_no_new_window_do_not_lead_to_sync_after_sync() -> None:
    world = World(7, every=600)
    world.plan[7] = [summary(7), summary(7, published=False)]
    world.happens(50, lambda: world.answers.update({7: 8}))
    world.run(300)
    assert len(world.times()) == 2


def test_refilling_leaves_as_long_a_pause_as_the_sync_took() -> None:
    world = World(7, every=600)
    world.sync_seconds = 50
    for second in range(0, 400, 5):
        world.happens(second, lambda: world.answers.update({7: world.answers[7] + 10}))
    world.run(400)
    starts = world.times()
    assert len(starts) == 4
    assert min(later - earlier for earlier, later in pairwise(starts)) >= 100


@pytest.mark.parametrize("seconds", [0.01, 0.1, 1.0, 10.0])
def test_polls_take_a_small_share_of_the_server_s_time(seconds: float) -> None:
    world = World(1, 2, every=3600)
    world.poll_seconds = seconds
    world.run(3500)
    polls = [at for at, which in world.polls if which == 1]
    assert len(polls) > 2
    assert len(world.polls) * seconds <= POLL_SHARE * 3500 + 4 * seconds
    assert min(b - a for a, b in pairwise(polls[1:])) >= POLL_SECONDS


def test_a_poll_that_fails_is_left_to_the_next_sync() -> None:
    world = World(7, every=60)
    world.happens(30, lambda: setattr(world, "answers_fail", True))
    world.run(100)
    assert world.times() == [0, 61]
    assert len(world.shown) == 2


def test_the_count_that_was_missed_at_publishing_is_made_up_for() -> None:
    world = World(7, every=600)
    world.answers_fail = True
    world.happens(20, lambda: setattr(world, "answers_fail", False))
    world.happens(100, lambda: world.answers.update({7: 5}))
    assert len(world.run(300).times()) == 2


# -- failures --------------------------------------------------------------------------------------------------------


def test_failures_are_repeated_after_longer_and_longer_and_then_forgotten() -> None:
    world = World(7, every=60)
    world.plan[7] = [*[AWAY] * 6, summary(7), AWAY, AWAY, summary(7)]
    world.run(4000)
    pauses = [round(b - a - 1) for a, b in pairwise(world.times())]
    assert pauses[:9] == [60, 120, 240, 480, 900, 900, 60, 60, 120]
    assert LONGEST_BACKOFF_SECONDS == 900


def test_a_long_pause_is_no_longer_after_failures() -> None:
    world = World(7, every=3600)
    world.plan[7] = [AWAY]
    assert world.run(11_000).times() == [0, 3601, 7202, 10_803]


def test_one_project_that_fails_does_not_slow_the_others() -> None:
    world = World(1, 2, 3, every=60)
    world.plan[2] = [GONE]
    world.run(1000)
    assert len(world.times(1)) == len(world.times(3)) > 14
    assert len(world.times(2)) == 5
    assert not [poll for poll in world.polls if poll[1] == 2]


def test_what_somebody_has_to_change_is_said_once_and_what_may_pass_each_time() -> None:
    world = World(1, 2, every=60)
    world.plan = {1: [AWAY], 2: [GONE, GONE, UsageError("Another."), GONE]}
    world.run(1000)
    assert [notable for project, notable in world.shown if project == 1] == [True] * 5
    assert [notable for project, notable in world.shown if project == 2] == [True, False, True, True, False]


def test_a_usage_error_ends_the_watch_of_a_single_project() -> None:
    world = World(2, alone=True)
    world.plan[2] = [AWAY, GONE]
    with pytest.raises(UsageError, match="no project 2"):
        world.run(1000)
    assert (world.rounds, world.shown) == ([[2], [2]], [(2, True)])


def test_a_quiet_log_leaves_out_syncs_that_found_nothing_new() -> None:
    world = World(7, every=60)
    same = summary(7, published=False)
    repaired = summary(7, published=False, restored=["sampling"])
    world.plan[7] = [same, same, summary(7), same, repaired, AWAY, same, same]
    world.run(600)
    assert [notable for _, notable in world.shown[:8]] == [True, False, True, False, True, True, True, False]


def test_a_round_that_is_broken_off_is_told_as_far_as_it_came() -> None:
    world = World(1, 2, 3)
    world.plan[2] = [ConnectorError("never mind")]

    def stop() -> None:
        if len(world.syncs) == 3:
            raise KeyboardInterrupt

    world.happens(2.5, stop)
    with pytest.raises(KeyboardInterrupt):
        world.run(100)
    assert world.rounds == [[1, 2]]


@pytest.mark.parametrize(
    ("seconds", "syncs"), [(60_000, 1_000), pytest.param(600_000, 10_000, marks=pytest.mark.nightly)]
)
def test_thousands_of_rounds_keep_nothing(seconds: int, syncs: int) -> None:
    world = World(1, 2, every=60)
    world.plan = {1: [summary(1, published=False)], 2: [GONE]}
    ours = [tracemalloc.Filter(True, f"*/connector/sync/{name}.py") for name in ("scheduler", "projects")]
    tracemalloc.start()
    world.run(6_000)
    before = tracemalloc.take_snapshot().filter_traces(ours)
    world.run(seconds)
    assert len(world.syncs) > syncs
    for seen in (world.syncs, world.polls, world.shown, world.rounds, world.waits):
        seen.clear()
    after = tracemalloc.take_snapshot().filter_traces(ours)
    tracemalloc.stop()
    assert before.statistics("filename"), "nothing was measured"
    assert sum(line.size_diff for line in after.compare_to(before, "lineno")) < 1_000
