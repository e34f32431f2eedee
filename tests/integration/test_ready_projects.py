"""A project that is a copy is what Label Studio's API and init make."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

# What no two projects have in common. Ids of tasks and tabs become their places.
OF_ONE_PROJECT = (
    "created_at",
    "updated_at",
    "adopted_at",
    "bookmark",
    "key",
    "project_id",
    "project",
    "url",
    "lock_until",
)


def without_ids(loop: ProjectDriver, value: dict[str, Any]) -> dict[str, Any]:
    """The value as JSON, the project's and its tasks' and tabs' ids as names, and moments left out."""
    ids = {loop.id: "the project"}
    ids |= {task: f"task {place}" for place, task in enumerate(loop.tasks)}

    def renamed(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: renamed(item, key) for key, item in value.items() if key not in OF_ONE_PROJECT}
        if isinstance(value, list):
            return [renamed(item, name) for item in value]
        return ids.get(value, value) if name in ("id", "task") and isinstance(value, int) else value

    without: dict[str, Any] = renamed(json.loads(json.dumps(value)))
    return without


def in_label_studio(loop: ProjectDriver) -> dict[str, Any]:
    dump = loop.dump()
    dump["tabs"] = [{**tab, "id": f"tab {place}"} for place, tab in enumerate(dump["tabs"])]
    return without_ids(loop, dump)


def in_the_state(loop: ProjectDriver) -> dict[str, Any]:
    file = Path(loop.state_url.removeprefix("sqlite:///"))
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.row_factory = sqlite3.Row
        names = [row["name"] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: [dict(row) for row in database.execute(f'SELECT * FROM "{name}"')] for name in names}
    found = json.loads(rows["projects"][0]["found"])
    assert found["made_tabs"] == [tab["id"] for tab in loop.tabs()]
    assert found.pop("recorded_at")
    rows["projects"][0]["found"] = {**found, "made_tabs": len(found["made_tabs"])}
    return without_ids(loop, rows)


def test_a_copy_is_what_the_api_and_init_make(start: StartProject) -> None:
    made, copy = start(texts(7), fresh=True), start(texts(7))
    assert copy.id != made.id
    assert in_label_studio(copy) == in_label_studio(made)
    assert in_the_state(copy) == in_the_state(made)
    moment = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)?")
    assert moment.fullmatch(copy.project()["created_at"])


def test_copies_live_side_by_side(start: StartProject, people: Annotators) -> None:
    first, second, larger = start(texts(5)), start(texts(5)), start(texts(9))
    assert len({first.id, second.id, larger.id}) == 3
    assert not set(first.tasks) & set(second.tasks) & set(larger.tasks)
    for loop in (first, second, larger):
        loop.sync()
        loop.assert_published()
        assert loop.turn(people(1)[0]) == loop.window[0]
    made = first.server.make_project(texts(2), config=first.project()["label_config"])
    assert made.id > larger.id
    assert min(made.tasks) > max(larger.tasks)
