"""Our scorer and cleanlab on a real project: a sync with either publishes a window."""

from __future__ import annotations

import json
from typing import Any

from support.connector_commands import connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

from connector.active_learning.window import Slot


def label(loop: ProjectDriver, people: Annotators) -> None:
    """Three people label the first tasks, two of them each, and one of them differs now and then."""
    team = people(3)
    for index, task in enumerate(loop.tasks[:12]):
        for who in {index % 3, (index + 1) % 3} if index < 8 else {index % 3}:
            loop.label(team[who], task, "Impolite" if (index + (who == 2 and index % 4 == 0)) % 2 else "Polite")


def published(loop: ProjectDriver, train: str, **environment: str) -> tuple[dict[str, Any], list[Slot]]:
    """What a sync prints that has to publish, and the window."""
    loop.state.put(window_options=None)
    options = ("--train", train, "--window", "20", "--strategy", "activelab", "--json")
    done = connector(loop, "sync", "--project", str(loop.id), *options, **environment)
    assert done.returncode == 0, done.stderr
    loop.assert_published()
    return json.loads(done.stdout), loop.state.window()


def test_a_sync_with_cleanlab_publishes_a_window_of_its_own(start: StartProject, people: Annotators) -> None:
    loop = start(texts(30))
    label(loop, people)
    trained, _ = published(loop, "auto")
    assert trained["trained"]
    ours, window = published(loop, "never")
    theirs, other = published(loop, "never", CONNECTOR_SCORER="cleanlab")
    assert theirs["round"] == ours["round"] + 1
    assert theirs["queue_version"] != ours["queue_version"]
    assert theirs["model_version"] == ours["model_version"] == trained["model_version"]
    assert ours["window"]["relabel"] > 0
    assert theirs["window"]["relabel"] > 0
    # Both temperatures keep the order of new tasks. Second opinions differ: docs/decisions/0061.
    new, other_new = ([slot.task for slot in each if not slot.relabel] for each in (window, other))
    assert len(new) > 5
    assert new[: len(other_new)] == other_new[: len(new)]
