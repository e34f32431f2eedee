"""The button "Start Training" on a real Label Studio with the real backend: before any sync, and after one."""

from __future__ import annotations

import time
from typing import Any

import requests
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

from connector.demo.people import Person

RIGHT = ["Polite", "Impolite"] * 5  # as loop.texts has them
WRONG = RIGHT[::-1]


def press(loop: ProjectDriver, backend: int, before: str | None) -> str:
    """Start Training; the version that serves when that has ended."""
    loop.call("POST", f"/api/ml/{backend}/train")
    deadline = time.monotonic() + 60
    while (version := model(loop)["model_version"]) == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert version is not None
    return str(version)


def model(loop: ProjectDriver) -> dict[str, Any]:
    answer: dict[str, Any] = requests.get(f"{loop.backend}/api/projects/{loop.id}/model", timeout=10).json()
    return answer


def predicted(loop: ProjectDriver, version: str) -> list[str]:
    """What Label Studio retrieves from the backend for every task, all of it of `version`."""
    chosen = {"selectedItems": {"all": True, "excluded": []}, "filters": {"conjunction": "and", "items": []}}
    action = {"id": "retrieve_tasks_predictions", "project": loop.id}
    loop.call("POST", "/api/dm/actions", params=action, json={**chosen, "project": str(loop.id)})
    rows = [row for row in loop.predictions() if row["model_version"] == version]
    assert [row["task"] for row in rows] == loop.tasks
    return [row["result"][0]["value"]["choices"][0] for row in rows]


def change(person: Person, annotations: list[int], labels: list[str]) -> None:
    for annotation, label in zip(annotations, labels, strict=True):
        person.update(annotation, "politeness", "text", label)


def test_the_button_trains_and_the_new_version_serves(start: StartProject, people: Annotators) -> None:
    loop = start(texts(len(RIGHT)), adopted=False)
    connected = {"url": loop.backend, "project": loop.id, "title": "ml-backend"}
    backend: int = loop.call("POST", "/api/ml", json=connected)["id"]
    (person,) = people(1)

    # No connector yet: the annotations alone, first all of them wrong and then all of them right.
    annotations = [loop.label(person, task, label) for task, label in zip(loop.tasks, WRONG, strict=True)]
    wrong = press(loop, backend, before=None)
    assert predicted(loop, wrong) == WRONG
    assert loop.call("GET", f"/api/ml/{backend}")["model_version"] == wrong
    change(person, annotations, RIGHT)
    right = press(loop, backend, before=wrong)
    assert predicted(loop, right) == RIGHT

    # Of what a sync has found a consensus for, that counts, whatever the annotations have become.
    loop.adopt()
    synced = str(loop.sync(train="always")["model_version"])
    change(person, annotations, WRONG)
    again = press(loop, backend, before=synced)
    assert predicted(loop, again) == RIGHT
    assert model(loop)["labels"] == len(RIGHT)
