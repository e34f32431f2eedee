"""Images that could not be fetched: kept until they can, and tried again less and less often."""

from __future__ import annotations

import pytest

from connector.state.media import MediaFailure
from connector.state.project_state import ProjectState

HOUR = 3600.0


def test_failures_are_kept_until_the_image_is_fetched(state: ProjectState) -> None:
    assert state.media_failures() == {}
    first = MediaFailure("404", "its image answers 404 (not found)", 1, 100.5)
    second = MediaFailure("timed out", "its image did not arrive within 30 s", 3, 200.0)
    state.store_media({"a" * 32: first, "b" * 32: second}, [])
    assert state.media_failures() == {"a" * 32: first, "b" * 32: second}
    again = first._replace(attempts=2, tried_at=300.0)
    state.store_media({"a" * 32: again}, ["b" * 32, "c" * 32])
    assert state.media_failures() == {"a" * 32: again}
    state.forget_adoption()
    assert state.media_failures() == {}


@pytest.mark.parametrize(
    ("attempts", "hours"), [(1, 1), (2, 2), (3, 4), (7, 64), (8, 128), (9, 168), (50, 168), (10_000, 168)]
)
def test_the_time_between_attempts_doubles_up_to_a_week(attempts: int, hours: int) -> None:
    failure = MediaFailure("404", "", attempts, 1_000.0)
    assert not failure.is_due(1_000.0 + hours * HOUR - 1)
    assert failure.is_due(1_000.0 + hours * HOUR)


def test_a_private_host_is_tried_at_every_sync() -> None:
    assert MediaFailure("private address", "", 5, 1_000.0).is_due(1_001.0)
