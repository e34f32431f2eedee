"""Predictions of chosen model versions are read as labels of machines, and no more of them than differ."""

from __future__ import annotations

from typing import Any

import pytest
from support.simulated_label_studio import Studio

from connector.state.project_state import ProjectState
from connector.state.pull import pull, read_project, read_snapshot
from connector.state.rows import MachineLabel
from connector.state.snapshot import ProjectSnapshot

GPT = "gpt-4"


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def state(adopted_state: ProjectState) -> ProjectState:
    adopted_state.put_machine(GPT, {"predictions": 0})
    return adopted_state


def read(studio: Studio, state: ProjectState, **how: Any) -> ProjectSnapshot:
    studio.calls.clear()
    return pull(read_project(7, studio), studio, state, **how)  # type: ignore[arg-type]


def labels(pulled: ProjectSnapshot, machine: str = GPT) -> dict[int, str | None]:
    return {task: one.label for task, one in pulled.machine_labels[machine].items()}


def test_predictions_of_a_machine_are_read_with_their_scores(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, GPT, "Polite", 0.9)
    studio.predict(3, GPT, "Impolite")
    studio.predict(4, "another", "Polite")
    pulled = read(studio, state)
    assert pulled.changed
    assert labels(pulled) == {2: "Polite", 3: "Impolite"}
    assert pulled.machine_labels[GPT][2] == MachineLabel("Polite", 0.9, pulled.tasks[2].digest or "", 1)
    assert pulled.machine_labels[GPT][3].score is None
    assert all(not task.annotations for task in pulled.tasks.values())
    assert read_snapshot(7, studio, state).machine_labels == pulled.machine_labels  # type: ignore[arg-type]


def test_the_newest_prediction_of_a_task_counts(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, GPT, "Polite")
    studio.predict(2, GPT, "Impolite")
    assert labels(read(studio, state)) == {2: "Impolite"}
    assert state.machines()[GPT]["predictions"] == 2
    read(studio, state)
    assert ("tasks with", GPT) not in studio.calls


def test_a_version_whose_name_contains_that_of_a_machine_is_another_one(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, "gpt-4o", "Polite")
    studio.predict(6, "gpt-4o", "Polite")
    studio.predict(3, GPT, "Impolite")
    assert labels(read(studio, state)) == {3: "Impolite"}
    assert labels(read(studio, state)) == {3: "Impolite"}


def test_nothing_new_costs_one_small_call(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, GPT, "Polite")
    read(studio, state)
    pulled = read(studio, state)
    assert not pulled.changed
    assert [call for call in studio.calls if call[0] in ("last with", "tasks with", "tasks by id")] == [
        ("last with", GPT)
    ]


def test_of_new_predictions_only_the_tasks_without_one_are_read(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, GPT, "Polite")
    read(studio, state)
    new = studio.add_task()
    studio.predict(new, GPT, "Impolite")
    pulled = read(studio, state)
    assert pulled.changed
    assert labels(pulled) == {2: "Polite", new: "Impolite"}
    assert ("tasks by id", [1, 3, 4, 5, 6, new]) in studio.calls
    assert ("tasks with", GPT) not in studio.calls


def test_a_second_prediction_of_a_known_task_is_found_too(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, GPT, "Polite")
    read(studio, state)
    studio.predict(2, GPT, "Impolite")
    assert labels(read(studio, state)) == {2: "Impolite"}
    assert ("tasks with", GPT) in studio.calls


def test_deleted_predictions_are_forgotten(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, GPT, "Polite")
    read(studio, state)
    studio.delete_predictions(GPT)
    pulled = read(studio, state)
    assert pulled.changed
    assert labels(pulled) == {}


def test_predictions_that_were_all_made_anew_are_read_again(studio: Studio, state: ProjectState) -> None:
    for task in (2, 3):
        studio.predict(task, GPT, "Polite")
    read(studio, state)
    studio.delete_predictions(GPT)
    for task in (2, 3):
        studio.predict(task, GPT, "Impolite")
    pulled = read(studio, state)
    assert pulled.changed
    assert labels(pulled) == {2: "Impolite", 3: "Impolite"}


def test_a_label_of_a_text_that_was_changed_since_does_not_count(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, GPT, "Polite")
    read(studio, state)
    studio.rows[2]["data"] = {"text": "Another text"}
    studio._touch(2)
    assert labels(read(studio, state)) == {}
    assert labels(read(studio, state, everything=True)) == {}
    studio.predict(2, GPT, "Impolite")
    assert labels(read(studio, state)) == {2: "Impolite"}


def test_another_labelling_config_has_the_predictions_read_by_it(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, GPT, "Polite")
    studio.predict(3, GPT, "Rude")
    assert labels(read(studio, state)) == {2: "Polite"}
    assert state.stored_machine_labels(GPT)[3].label is None
    studio.settings["label_config"] = studio.settings["label_config"].replace("Impolite", "Rude")
    assert labels(read(studio, state)) == {2: "Polite", 3: "Rude"}


def test_a_machine_that_is_asked_is_not_looked_for_in_label_studio(studio: Studio, state: ProjectState) -> None:
    state.drop_machine(GPT)
    state.put_machine("openai/gpt", {})
    first = read(studio, state)
    digest = first.tasks[2].digest or ""
    state.store_machine_labels("openai/gpt", {2: MachineLabel("Polite", None, digest)})
    pulled = read(studio, state)
    assert labels(pulled, "openai/gpt") == {2: "Polite"}
    assert not any(call[0] in ("last with", "tasks with", "tasks by id") for call in studio.calls)


def test_a_machine_that_was_dropped_leaves_nothing(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, GPT, "Polite")
    read(studio, state)
    state.drop_machine(GPT)
    assert state.stored_machine_labels(GPT) == {}
    assert read(studio, state).machine_labels == {}


def test_undo_forgets_all_machines(studio: Studio, state: ProjectState) -> None:
    studio.predict(2, GPT, "Polite")
    read(studio, state)
    state.store_trained_machines({GPT: 1})
    state.forget_adoption()
    assert (state.machines(), state.stored_machine_labels(GPT), state.trained_machines()) == ({}, {}, {})
