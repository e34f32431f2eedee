"""What several tests of the connector's parts ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from connector.annotations.label_config import find_control, packaged_label_config
from connector.state.project_state import ProjectState, State


@pytest.fixture
def state() -> Iterator[ProjectState]:
    """A project's state in memory, held as a sync holds it."""
    opened = State("sqlite://")
    project = opened.project("http://studio", 7)
    with project.lock():
        yield project
    opened.close()


@pytest.fixture
def adopted_state() -> Iterator[ProjectState]:
    """The state in memory of a project that `init` has set up."""
    opened = State("sqlite://")
    project, config = opened.project("http://studio", 7), packaged_label_config()
    project.put(adopted_at="2026-03-01", control=find_control(config).to_json(), label_config=config)
    yield project
    opened.close()


@pytest.fixture
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy settings from outside: a machine may have them, and `no_proxy` counts before `NO_PROXY`."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
