"""A project that was deleted in Label Studio: before a sync, during one, and how the connector forgets it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.connector_commands import connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, second, texts
from support.watched_queue import Watched

from connector.errors import ConnectorError, ProjectGone


def delete(loop: ProjectDriver) -> None:
    loop.call("DELETE", f"/api/projects/{loop.id}/")


def how_to_forget(loop: ProjectDriver) -> str:
    return f"If it was deleted, make the connector forget it: connector undo --project {loop.id} --forget."


def test_all_other_projects_go_on_and_the_deleted_one_can_be_forgotten(start: StartProject) -> None:
    kept = start(texts(6))
    loop = replace(start(texts(6), adopted=False), state_url=kept.state_url)
    number = str(loop.id)
    assert connector(loop, "init", "--project", number).returncode == 0
    delete(loop)

    first = connector(loop, "sync", "--all")
    (error,) = (line for line in first.stderr.splitlines() if line.startswith("Error"))
    assert (first.returncode, error.startswith(f"Error in project {number}: ")) == (2, True)
    assert f"has no project {number}, or none that the token's user may see" in error
    assert error.endswith(how_to_forget(loop))
    again = connector(loop, "sync", "--all", "--json")
    assert again.returncode == 0
    assert f"Left out project {number}: Label Studio at {loop.gateway.url} has no project {number}" in again.stderr
    synced, left_out = json.loads(again.stdout)["projects"]
    assert (synced["project"], left_out["project"], left_out["exit_code"]) == (kept.id, loop.id, 0)
    for command in ("sync", "status", "undo"):
        alone = connector(loop, command, "--project", number)
        assert (alone.returncode, how_to_forget(loop) in alone.stdout + alone.stderr) == (2, True), command
    doctor = connector(loop, "doctor", "--project", number).stdout
    assert f"If it was deleted, run connector undo --project {number} --forget." in doctor

    refused = connector(kept, "undo", "--project", str(kept.id), "--forget")
    assert refused.returncode == 2
    assert f"Nothing was changed: Label Studio has project {kept.id}." in refused.stderr
    forgotten = connector(loop, "undo", "--project", number, "--forget")
    assert forgotten.stdout == (
        f"The state database has forgotten project {number}. Label Studio was not changed. If cron runs connector sync "
        "for the project, remove that line.\n"
    )
    assert "nothing to undo" in connector(loop, "undo", "--project", number, "--forget").stdout
    clean = connector(loop, "sync", "--all", "--json")
    assert (clean.returncode, f"project {number}" in clean.stderr.lower()) == (0, False)
    assert [one["project"] for one in json.loads(clean.stdout)["projects"]] == [kept.id]


@pytest.mark.parametrize("write", ["import_predictions", "open", "update_project"])
def test_a_project_that_is_deleted_while_a_sync_publishes_is_said_to_be_gone(
    start: StartProject, people: Annotators, write: str
) -> None:
    loop = start(texts(8))
    loop.label(people(1)[0], loop.tasks[0])

    def delete_once(name: str, about: Any) -> None:
        if name == write and loop.id not in deleted:
            deleted.append(loop.id)
            delete(loop)

    deleted: list[int] = []
    watched = Watched(loop, before=delete_once)
    publish = publish_second_opinion if write == "open" else ProjectDriver.sync
    with pytest.raises(ConnectorError) as failed:
        publish(loop, watched)
    assert deleted == [loop.id]
    assert isinstance(failed.value, ProjectGone)
    assert str(failed.value).endswith(how_to_forget(loop))


def publish_second_opinion(loop: ProjectDriver, gateway: Watched) -> None:
    """Publishes a second opinion as a sync does, which the model would have to choose first."""
    from connector.state.recognition import explain_deleted

    with explain_deleted(loop.id, gateway):
        loop.publish(second(loop.tasks[0]), gateway)
