"""`connector sync --all`: the projects of one state database, one after another, on a real Label Studio."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.connector_commands import command_environment
from support.project_driver import ProjectDriver, StartProject, texts
from support.proxy import Proxy

from connector.state.project_state import State

NOWHERE = "http://127.0.0.1:9"
on_sqlite = pytest.mark.parametrize("state_url", ["sqlite"], indirect=True)


@pytest.fixture
def three(start: StartProject, state_url: str, request: pytest.FixtureRequest) -> Callable[..., list[ProjectDriver]]:
    """`three(through=…)`: three projects that share a state database."""

    def make(**more: Any) -> list[ProjectDriver]:
        database = State(state_url)
        request.addfinalizer(database.close)
        found = []
        for _ in range(3):
            loop = start(texts(12), adopted=False, **more)
            shared = replace(loop, state_url=state_url, state=database.project(loop.gateway.url, loop.id))
            shared.adopt()
            found.append(shared)
        return found

    return make


Three = Callable[..., list[ProjectDriver]]


def sync_all(loop: ProjectDriver, *arguments: str, **environment: str) -> Any:
    """Runs the real command in a process of its own until it ends, asking each server once."""
    return subprocess.run(
        [sys.executable, "-m", "connector.cli", "sync", "--all", *arguments],
        env=command_environment(loop, changed={"CONNECTOR_RETRY_SECONDS": "0", **environment}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize(
    "state_url",
    ["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgresql, pytest.mark.nightly])],
    indirect=True,
)
def test_all_projects_are_synced_and_nothing_is_done_twice(three: Three) -> None:
    loops = three()
    done = sync_all(loops[0], "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    summaries = json.loads(done.stdout)["projects"]
    assert [(one["project"], one["round"]) for one in summaries] == [(loop.id, 1) for loop in loops]
    for loop in loops:
        loop.assert_published()
        assert f"Project {loop.id}: Reading what changed" in done.stderr

    again = sync_all(loops[0])
    assert again.returncode == 0, again.stderr
    assert [line.partition(".")[0] for line in again.stdout.splitlines()] == [
        f"Project {loop.id}: nothing new since round 1" for loop in loops
    ]


@on_sqlite
def test_one_project_that_fails_does_not_stop_the_others(three: Three) -> None:
    loops = three()
    gone = loops[1].id
    loops[0].call("DELETE", f"/api/projects/{gone}/")
    with loops[0].state.lock():
        done = sync_all(loops[0], "--json")
    assert done.returncode == 2
    held, lost, synced = json.loads(done.stdout)["projects"]
    assert (held["project"], held["exit_code"]) == (loops[0].id, 3)
    assert "Another sync holds this project" in held["error"]
    assert (lost["project"], lost["exit_code"]) == (gone, 2)
    assert synced["round"] == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(told) == 2
    assert told[0].startswith(f"Error in project {loops[0].id}: Another sync")
    assert f"no project {gone}" in told[1]
    assert "Traceback" not in done.stderr
    loops[2].assert_published()


@on_sqlite
@pytest.mark.nightly
def test_a_label_studio_that_is_away_stops_everything_at_once(three: Three, proxy: Proxy) -> None:
    loops = three(through=proxy.url)
    proxy.calls.clear()
    proxy.fail_with = 502
    done = sync_all(loops[0])
    assert (done.returncode, done.stdout) == (3, "")
    first, rest = done.stderr.splitlines()[-2:]
    assert first.startswith(f"Error in project {loops[0].id}: Label Studio at {proxy.url} failed with 502")
    assert rest == f"Not tried, for the same reason: projects {loops[1].id}, {loops[2].id}."
    assert len(proxy.calls) == 2  # the sync's, and the look whether it is there for the others


@on_sqlite
@pytest.mark.nightly
def test_a_token_that_is_refused_stops_everything_at_once(three: Three) -> None:
    loops = three()
    done = sync_all(loops[0], "--json", LABEL_STUDIO_API_KEY="0" * 40)
    assert done.returncode == 2
    assert [one["exit_code"] for one in json.loads(done.stdout)["projects"]] == [2, 2, 2]
    assert done.stderr.count("refuses the token") == 1


@on_sqlite
def test_without_the_ml_backend_projects_with_nothing_new_are_synced_all_the_same(three: Three) -> None:
    loops = three()
    quiet = loops[1]
    quiet.sync()
    for loop in loops:
        loop.set(sampling="Uniform sampling")
    done = sync_all(loops[0], "--json", ML_BACKEND_URL=NOWHERE)
    assert done.returncode == 3, done.stderr
    first, second, third = json.loads(done.stdout)["projects"]
    assert (first["exit_code"], third["exit_code"]) == (3, 3)
    assert f"The ML backend at {NOWHERE} does not answer" in first["error"]
    assert third["error"] == first["error"]
    assert second["restored"] == ["sampling"]
    assert {loop.project()["sampling"] for loop in loops} == {"Uncertainty sampling"}


def test_who_has_nothing_set_up_is_told_what_to_do(start: StartProject) -> None:
    loop = start(texts(1), adopted=False)
    done = sync_all(loop)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: No project of {loop.gateway.url} is set up yet: run connector init --project ID first.\n"
    )
