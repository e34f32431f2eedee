"""What several tests of the connector's parts ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.state import ProjectState, State


@pytest.fixture
def state() -> Iterator[ProjectState]:
    """A project's state in memory, held as a sync holds it."""
    opened = State("sqlite://")
    project = opened.project("http://studio", 7)
    with project.lock():
        yield project
    opened.close()
