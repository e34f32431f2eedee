"""A sync that sleeps until its lock has expired and another one has taken the project over: a laptop's lid was shut."""

from __future__ import annotations

import time

import pytest
from support.connector_commands import start_connector
from support.label_studio_server import Annotators
from support.project_driver import StartProject, texts
from support.proxy import Proxy

PROJECT = r"/api/projects/\d+/"
MOMENTS = {
    "the project was read": ("GET", PROJECT, True),
    "the settings were put right": ("PATCH", PROJECT, True),
    "the tasks were read": ("GET", "/api/tasks", False),
    "the window was imported": ("POST", r"/api/projects/\d+/import/predictions", False),
    "a second opinion was opened": ("PATCH", r"/api/tasks/\d+", False),
    "the project was flipped": ("PATCH", PROJECT, False),
}


# By day the first and the last.
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, marks=() if place in (0, len(MOMENTS) - 1) else pytest.mark.nightly)
        for place, moment in enumerate(MOMENTS)
    ],
)
def test_it_writes_nothing_over_the_other_s_window(
    start: StartProject, people: Annotators, proxy: Proxy, moment: str
) -> None:
    method, path, changed = MOMENTS[moment]
    loop = start(texts(20), through=proxy.url)
    first, second = people(2)
    for number, task in enumerate(loop.tasks[:6]):
        loop.label(first, task, ["Polite", "Impolite"][number % 2])
    loop.sync(window=8)
    loop.label(second, loop.window[0])
    if changed:
        loop.set(sampling="Uniform sampling")
    proxy.hold(method, path)
    suspended = start_connector(loop, "sync", "--project", str(loop.id), "--window", "14")
    reached = proxy.wait_until_reached(suspended)
    loop.state.put(lock_until=time.time() - 1)  # an hour passes
    other = loop.sync(window=12)
    annotations = loop.annotations()
    proxy.release()
    _, errors = suspended.communicate(timeout=120)
    assert reached, errors
    assert suspended.returncode == 3, errors
    assert errors.splitlines()[-1] == "Error: Another sync took this project over. Nothing more was written."
    assert loop.state.record().queue_version == other["queue_version"]
    assert len(loop.window) == other["window"]["size"]
    loop.assert_published()
    assert loop.annotations() == annotations
    assert loop.sync(window=12)["seconds"].keys() == {"pull"}, "there is nothing to mend"
