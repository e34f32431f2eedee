"""A project's state in a file, which several threads may use: the scripted server changes it in the middle of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.annotations.label_config import find_control, packaged_label_config
from connector.state.project_state import ProjectState, State


@pytest.fixture
def adopted_state(tmp_path: Path) -> Iterator[ProjectState]:
    """The state of a project that `init` has set up."""
    opened = State(f"sqlite:///{tmp_path}/state.sqlite")
    project, config = opened.project("http://studio", 7), packaged_label_config()
    project.put(adopted_at="2026-03-01", control=find_control(config).to_json(), label_config=config)
    yield project
    opened.close()
