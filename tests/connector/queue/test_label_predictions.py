"""Which labels a sync publishes: what is new, what differs enough, what is gone."""

from collections.abc import Iterator
from typing import Any

import pytest

from connector.queue.label_predictions import (
    MOST_QUALITIES,
    QUALITY_STEP,
    Changes,
    Label,
    changed,
    forget_if_changed,
)
from connector.queue.versions import PUBLISHED_CONSENSUS
from connector.state.project_state import ProjectState


def test_what_is_as_published_is_left_alone() -> None:
    known = {1: Label("a", 0.8), 2: Label("b", 0.5)}
    assert changed(known, known) == Changes([], [], [])
    assert changed(known, {1: Label("a", 0.8 + QUALITY_STEP / 2), 2: Label("b", 0.5)}) == Changes([], [], [])


def test_what_is_new_another_or_gone_is_told_apart() -> None:
    known = {1: Label("a", 0.8), 2: Label("b", 0.5), 3: Label("a", 0.9), 4: Label("a", 0.9)}
    wanted = {2: Label("a", 0.5), 3: Label("a", 0.7), 4: Label("a", 0.9), 6: Label("b", 0.6), 5: Label("b", 0.6)}
    assert changed(known, wanted) == Changes(new=[5, 6], other=[2, 3], gone=[1])


def test_qualities_that_moved_most_come_first_and_labels_always() -> None:
    count = MOST_QUALITIES + 10
    known = {task: Label("a", 0.0) for task in range(2 * count)}
    moved = {task: Label("a", 0.1 + task / 1000) for task in range(count)}
    turned = {task: Label("b", 0.0) for task in range(count, 2 * count)}
    assert changed(known, moved | turned).other == [*range(10, count), *range(count, 2 * count)]


class Updated:
    """Label Studio with the tasks that were updated since the bookmark, {task: (model version, score) each}."""

    def __init__(self, tasks: dict[int, list[tuple[str, float]]]) -> None:
        self._tasks = tasks
        self.asked: list[str] = []

    def tasks(self, project: int, since: str, *, fields: str) -> Iterator[list[dict[str, Any]]]:
        self.asked.append(since)
        yield [
            {"id": task, "predictions": [{"model_version": version, "score": score} for version, score in rows]}
            for task, rows in self._tasks.items()
        ]


OURS = (PUBLISHED_CONSENSUS, 0.8123)


@pytest.mark.parametrize(
    ("updated", "known"),
    [
        ({}, True),
        ({1: [OURS], 3: []}, True),
        ({1: [OURS, ("theirs", 0.5)]}, True),
        ({1: []}, False),
        ({1: [OURS, OURS]}, False),
        ({1: [(PUBLISHED_CONSENSUS, 0.7)]}, False),
        ({3: [OURS]}, False),
    ],
    ids=["nothing", "as recorded", "beside others", "deleted", "added", "exchanged on a task", "on another task"],
)
def test_predictions_that_were_exchanged_are_found_by_one_call(
    state: ProjectState, updated: dict[int, list[tuple[str, float]]], known: bool
) -> None:
    state.store_published(PUBLISHED_CONSENSUS, {1: ("a", 0.81234), 2: ("b", 0.5)})
    state.put(bookmark="2026-03-01T10:00:00+00:00")
    gateway: Any = Updated(updated)
    forget_if_changed(gateway, state, 7, PUBLISHED_CONSENSUS, {PUBLISHED_CONSENSUS: 2})
    assert gateway.asked == ["2026-03-01T09:59:00.000000Z"]
    assert bool(state.published_labels(PUBLISHED_CONSENSUS)) is known


def test_predictions_are_all_read_again_if_it_is_not_known_since_when(state: ProjectState) -> None:
    state.store_published(PUBLISHED_CONSENSUS, {1: ("a", 0.8)})
    gateway: Any = Updated({})
    forget_if_changed(gateway, state, 7, PUBLISHED_CONSENSUS, {})
    assert state.published_labels(PUBLISHED_CONSENSUS) != {}  # the numbers tell
    forget_if_changed(gateway, state, 7, PUBLISHED_CONSENSUS, {PUBLISHED_CONSENSUS: 1})
    assert (gateway.asked, state.published_labels(PUBLISHED_CONSENSUS)) == ([], {})
