"""`connector sync --ground-truth` on a real Label Studio: what is imported as ground truth is a test set."""

from __future__ import annotations

import json
from typing import Any

import requests
from support.connector_commands import connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts


def imported(text: str, label: str) -> dict[str, Any]:
    """A task to import with an annotation, which Label Studio marks as ground truth."""
    region = {"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
    return {"data": {"text": text}, "annotations": [{"result": [region]}]}


def synced(loop: ProjectDriver, *options: str) -> tuple[dict[str, Any], str]:
    """What one run of `connector sync --json` prints, and what it says."""
    done = connector(loop, "sync", "--project", str(loop.id), "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def trained_on(loop: ProjectDriver) -> int:
    model = requests.get(f"{loop.backend}/api/projects/{loop.id}/model", timeout=10).json()
    return int(model["labels"])


def test_a_test_set_is_measured_on_and_neither_trained_on_nor_asked_for(
    start: StartProject, people: Annotators
) -> None:
    words = texts(40)
    tests = [imported(text, "Impolite" if number % 2 else "Polite") for number, text in enumerate(words[:4])]
    loop = start([*tests, *words[4:]])
    held_out, first, other = loop.tasks[:4], *people(2)
    for number, task in enumerate(loop.tasks[4:24]):
        loop.label(first, task, "Impolite" if number % 2 else "Polite")
    loop.label(other, held_out[0], "Impolite")  # an ordinary answer beside the ground truth

    as_labels, said = synced(loop)
    assert (as_labels["ground_truth_tasks"], as_labels["ground_truth_accuracy"]) == (0, None)
    assert "ground truth" not in said
    assert trained_on(loop) == 24

    as_tests, said = synced(loop, "--ground-truth")
    assert as_tests["round"] == as_labels["round"] + 1
    assert as_tests["trained"]
    assert trained_on(loop) == 20
    assert as_tests["ground_truth_tasks"] == 4
    assert as_tests["ground_truth_accuracy"] >= 3 / 4  # the texts tell their label by two words
    assert not set(held_out) & set(loop.window)
    assert "marked as ground truth" not in said
    loop.assert_published()

    again, _ = synced(loop, "--ground-truth")
    assert again["round"] == as_tests["round"], "nothing is new"
    assert again["ground_truth_accuracy"] == as_tests["ground_truth_accuracy"]
    shown = connector(loop, "status", "--project", str(loop.id)).stdout
    assert "of 4 tasks with a ground truth" in shown
    assert "Forecast    Too early to say" in shown


def test_imported_labels_that_are_taken_for_a_test_set_are_warned_of(start: StartProject) -> None:
    words = texts(30)
    labels = [imported(text, "Impolite" if number % 2 else "Polite") for number, text in enumerate(words[:20])]
    loop = start([*labels, *words[20:]])
    found, said = synced(loop, "--ground-truth")
    assert "20 of 20 labelled tasks are marked as ground truth" in " ".join(said.split())
    assert (found["trained"], found["ground_truth_accuracy"]) == (False, None)
    assert sorted(loop.window) == loop.tasks[20:]
    assert synced(loop)[0]["trained"]
