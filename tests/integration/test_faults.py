"""Whatever call to Label Studio fails, or is a sync's last: after the next sync all is as if nothing had happened.

A call that only reads leaves the same behind whether it is cut before or after the server, so of those the faults that
end a sync are tried before it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from support.fault_proxy import ANSWER_500, ANSWER_502, CUT_AFTER, CUT_BEFORE, KILL_AFTER, KILL_BEFORE
from support.fault_scenarios import CALLS, DISPENSABLE, READS, Probes, Stage, Stages, by_day, places, sdk_warning

from connector.label_studio import client as label_studio
from connector.state import pull as mirror

pytestmark = sdk_warning


@pytest.fixture
def stage(stages: Stages) -> Stage:
    return stages.warm


def places_of(kind: str) -> list[int]:
    return list(places(CALLS[kind]).values())


def cases() -> list[Any]:
    """(kind, which of them, fault) for all calls."""
    before, after = (ANSWER_500, CUT_BEFORE, KILL_BEFORE), (CUT_AFTER, KILL_AFTER)
    return [
        pytest.param(
            *(kind, number, fault),
            id=f"{place}-{kind}-{fault}".replace(" ", "-"),
            marks=by_day(number == 1 and fault in faults_by_day(kind)),
        )
        for kind, count in CALLS.items()
        if kind not in DISPENSABLE
        for place, number in places(count).items()
        for fault in (before if kind in READS else before + after)
    ]


def faults_by_day(kind: str) -> set[str]:
    """What `make test` does to the first call of a kind: the rest of the matrix is for `make test-all`."""
    if kind in READS:
        return {ANSWER_500}
    return {CUT_AFTER, KILL_AFTER} if kind in ("import window", "flip") else {CUT_AFTER}


def test_sync_makes_every_kind_of_call_and_is_not_disturbed_by_people_who_ask(stage: Stage) -> None:
    probes = stage.begin(probed=True)
    stage.sync()
    assert Counter(stage.label_studio.record) == CALLS
    assert probes.asked > sum(CALLS.values())
    stage.check(probes)
    assert [slot.relabel for slot in stage.loop.state.window()] == [True] * 3 + [False] * 10  # six, and a tail


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        pytest.param(place, fault, marks=by_day((place, fault) == ("last", CUT_AFTER)))
        for place in ("first", "middle", "last")
        for fault in (ANSWER_500, ANSWER_502, CUT_BEFORE, CUT_AFTER)
    ],
)
def test_sync_recovers_by_itself_when_a_call_of_every_kind_fails_once(stage: Stage, place: str, fault: str) -> None:
    probes = stage.begin()
    calls = {(kind, places(count).get(place, 1)): fault for kind, count in CALLS.items()}
    stage.label_studio.fault(calls)
    stage.sync()
    assert set(stage.label_studio.hit) == calls.keys()
    stage.check(probes)


@pytest.mark.parametrize(("kind", "number", "fault"), cases())
def test_sync_after_one_that_failed(stage: Stage, kind: str, number: int, fault: str) -> None:
    probes = stage.begin()
    stage.fail(stage.label_studio, kind, number, fault)
    stage.sync()
    stage.check(probes)


@pytest.mark.parametrize("kind", sorted(DISPENSABLE))
@pytest.mark.parametrize(
    "fault", [ANSWER_500, *(pytest.param(cut, marks=by_day(False)) for cut in (CUT_BEFORE, CUT_AFTER))]
)
def test_sync_does_not_fail_for_a_tab(stage: Stage, kind: str, fault: str) -> None:
    probes = stage.begin()
    stage.label_studio.fault({(kind, 1): fault}, outage=True)
    stage.sync(patient=False)
    assert stage.label_studio.hit[0] == (kind, 1)
    stage.label_studio.mend()
    stage.check(probes)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        pytest.param(kind, fault, marks=by_day((kind, fault) == ("change tab", KILL_AFTER)))
        for kind in sorted(DISPENSABLE)
        for fault in (KILL_BEFORE, KILL_AFTER)
    ],
)
def test_sync_that_is_killed_at_a_tab_has_done_all_else(stage: Stage, kind: str, fault: str) -> None:
    probes = stage.begin()
    stage.fail(stage.label_studio, kind, 1, fault)
    assert stage.sync()["seconds"].keys() == {"pull"}
    stage.check(probes)


@pytest.fixture(scope="module")
def second_thoughts(stages: Stages) -> dict[str, Any]:
    """What is left when a sync without a fault is followed by one that wants no second opinion any more."""
    stages.warm.begin()
    stages.warm.sync()
    sync_without_second_opinions(stages.warm)
    rounds, _ = (outcome := stages.warm.outcome())["rounds"]
    return {**outcome, "rounds": (rounds - 1, rounds - 1)}  # that of the sync that will fail is none


def sync_without_second_opinions(stage: Stage) -> None:
    stage.loop.state.put(min_annotations_per_task=1)
    stage.sync(max_annotations_per_task=1)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        pytest.param(kind, number, marks=by_day(number == 1 and kind in ("flip", "close task")))
        for kind in ("import window", "open task", "flip", "close task")
        for number in places_of(kind)
    ],
)
def test_sync_after_one_that_wanted_something_else_and_was_cut_off(
    stage: Stage, second_thoughts: dict[str, Any], kind: str, number: int
) -> None:
    probes = stage.begin()
    stage.fail(stage.label_studio, kind, number, CUT_AFTER)
    sync_without_second_opinions(stage)
    dataclasses.replace(stage, wanted=second_thoughts).check(probes)
    assert stage.loop.flags(*stage.loop.tasks[:-1]) == [(1, True)] * 6 + [(1, False)] * 13
    assert stage.loop.state.reopened() == {}


@pytest.mark.parametrize("bookmark", [pytest.param(each, marks=by_day(False)) for each in ("with", "without")])
def test_sync_after_one_that_read_some_of_the_pages(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, bookmark: str
) -> None:
    for module in (label_studio, mirror):
        monkeypatch.setattr(module, "PAGE_SIZE", 5)

    def begin() -> Probes:
        probes = stage.begin()
        if bookmark == "without":
            stage.loop.state.put(bookmark=None)
        return probes

    begin()
    stage.sync()
    made = Counter(stage.label_studio.record)
    assert made["read tasks"] > 2  # with a bookmark, as many pages as there are tasks that changed lately
    assert (made["count tasks"] > 1) == (bookmark == "with")
    for kind in ("read tasks", "count tasks"):
        for number in places(made[kind]).values():
            probes = begin()
            stage.fail(stage.label_studio, kind, number, ANSWER_500)
            stage.sync()
            stage.check(probes)


def test_a_day_after_syncs_that_failed_the_window_that_is_served_is_the_only_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes, wanted = stage.begin(), copy.deepcopy(stage.wanted)
    for kind in ("open task", "flip", "close task"):
        stage.fail(stage.label_studio, kind, 1, CUT_AFTER)
    stage.sync()
    stage.check(probes)
    assert len(stage.loop.versions()) > 3
    monkeypatch.setattr("connector.queue.versions.KEEP_WINDOWS", timedelta(0))
    for _ in range(len(stage.loop.versions()) - 1):  # each sync with nothing new deletes one
        assert stage.sync()["seconds"].keys() == {"pull"}
    assert stage.loop.versions() == {stage.loop.state.record().queue_version: len(stage.loop.window)}
    outcome = stage.outcome()
    # Label Studio takes out of an annotation which prediction its form began as, when it deletes that.
    for annotation in (one for result in (outcome, wanted) for one in result["annotations"].values()):
        annotation.pop("parent_prediction")
    assert outcome == wanted
