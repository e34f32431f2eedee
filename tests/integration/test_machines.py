"""Machines as annotators on a real Label Studio: predictions in the queue, the report and the export."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from support.connector_commands import connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

LABELLED, TASKS = 30, 80
GOOD, BAD = "llm/good", "llm/same"


def run(loop: ProjectDriver, command: str, *options: str, code: int = 0) -> str:
    """What a command prints, or says if it fails."""
    done = connector(loop, command, "--project", str(loop.id), *options)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def found(loop: ProjectDriver, command: str, *options: str) -> dict[str, Any]:
    return dict(json.loads(run(loop, command, "--json", *options)))


def exported(loop: ProjectDriver, out: Path) -> list[dict[str, Any]]:
    run(loop, "export", "--out", str(out))
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def truth(number: int) -> str:
    """A class that the text does not show, so that the model has to leave it to the machine."""
    return "Impolite" if number // 2 % 2 else "Polite"


def predict(loop: ProjectDriver, version: str, labels: dict[int, str], score: float = 0.9) -> None:
    """Imports predictions as another ML backend would."""

    def result(label: str) -> list[dict[str, Any]]:
        return [{"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]

    rows = [
        {"task": task, "result": result(label), "score": score, "model_version": version}
        for task, label in labels.items()
    ]
    answer = loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=rows)
    assert answer["created"] == len(rows)


def test_two_machines_from_their_predictions_to_the_export_and_back(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    loop = start(texts(TASKS))
    crew = people(2)
    label_of = {task: truth(number) for number, task in enumerate(loop.tasks)}
    for person in crew:
        for task in loop.tasks[:LABELLED]:
            loop.label(person, task, label_of[task])
    predict(loop, GOOD, {task: label_of[task] for task in loop.tasks[:60]})
    predict(loop, BAD, dict.fromkeys(loop.tasks, "Polite"))
    before = loop.annotations()

    assert "no predictions of the version 'gpt'. It has 'llm/good', 'llm/same'" in run(
        loop, "init", "--annotator-version", "gpt", code=2
    )
    done = found(loop, "init", "--annotator-version", GOOD)
    assert done["machines"] == [GOOD]
    summary = found(loop, "sync", "--annotator-version", BAD)
    assert (summary["annotations"], summary["annotators"]) == (2 * LABELLED, 2)
    good, bad = summary["machines"]
    assert (good["machine"], good["labels"], good["shared"]) == (GOOD, 60, LABELLED)
    assert good["accuracy"]["low"] > 0.8
    assert good["worse"] == []
    assert good["weight"] > 0
    assert (bad["machine"], bad["labels"], bad["weight"]) == (BAD, TASKS, 0.0)
    assert bad["worse"] == ["Impolite"]

    # To ask people is worth more where the good machine has no label. They see none of it.
    out = tmp_path / "labels.jsonl"
    score = {row["task_id"]: row["score"] for row in exported(loop, out)}
    assert (
        fmean(score[task] for task in loop.tasks[LABELLED:60]) > fmean(score[task] for task in loop.tasks[60:]) + 0.05
    )
    loop.assert_published()
    served = crew[0].next_task(loop.id)
    assert served is not None
    assert [row["result"] for row in served["predictions"] if row["model_version"].startswith("activelab")] == [[]]
    assert loop.annotations() == before

    assert not found(loop, "sync")["trained"]
    predict(loop, GOOD, {task: label_of[task] for task in loop.tasks[60:]})
    summary = found(loop, "sync")
    assert summary["trained"]
    assert summary["machines"][0]["labels"] == TASKS

    shown = run(loop, "status")
    assert f"{GOOD}" in shown
    rows = exported(loop, out)
    assert [row[f"machine_{GOOD}"] for row in rows] == [label_of[row["task_id"]] for row in rows]
    assert {row[f"machine_{BAD}"] for row in rows} == {"Polite"}
    assert all(len(row["annotations"]) in (0, 2) for row in rows)
    page = tmp_path / "report.html"
    run(loop, "report", "--out", str(page))
    assert GOOD in page.read_text(encoding="utf-8")

    done = found(loop, "init", "--no-annotator-version", BAD)
    assert done["machines"] == [GOOD]
    assert [one["machine"] for one in found(loop, "sync")["machines"]] == [GOOD]
    run(loop, "undo")
    versions = loop.call("GET", f"/api/projects/{loop.id}/model-versions/")
    assert versions == {GOOD: TASKS, BAD: TASKS}
    assert loop.annotations() == before


def test_a_version_of_the_connectors_own_is_no_machine(start: StartProject, people: Annotators) -> None:
    loop = start(texts(20))
    window = loop.project()["model_version"]
    if not window:
        run(loop, "sync")
        window = loop.project()["model_version"]
    message = run(loop, "init", "--annotator-version", window, code=2)
    assert f"{window} is a model version of the connector itself, and no machine" in message
    assert "'nobody' is no machine of this project" in run(loop, "init", "--no-annotator-version", "nobody", code=2)
    assert "without --dry-run" in run(loop, "sync", "--annotator-version", "gpt", "--dry-run", code=2)


def test_labels_of_a_machine_are_preselected_on_new_tasks_alone(start: StartProject, people: Annotators) -> None:
    loop = start(texts(60))
    crew = people(2)
    label_of = {task: truth(number) for number, task in enumerate(loop.tasks)}
    for person in crew:
        for task in loop.tasks[:20]:
            loop.label(person, task, label_of[task])
    predict(loop, GOOD, dict.fromkeys(loop.tasks[:55], "Polite"))
    assert "has no machine of that name" in run(loop, "sync", "--prelabel", GOOD, code=2)
    run(loop, "init", "--annotator-version", GOOD)
    run(loop, "sync", "--prelabel", GOOD, "--audit", "0.1", "--window", "60")
    shown = {row["task"]: row["result"] for row in loop.served()}
    drawn = {slot.task for slot in loop.state.window() if slot.audit}
    assert drawn
    seen = {task for task, result in shown.items() if result}
    assert seen == {task for task in shown if task in loop.tasks[20:55]} - drawn
    assert {str(shown[task][0]["value"]["choices"]) for task in seen} == {"['Polite']"}
    for task in sorted(seen)[:20]:
        loop.label(crew[0], task, "Polite")
    status = found(loop, "sync", "--prelabel", GOOD)["prelabelled"]
    assert status == {"shown": 20, "same": 20, "blind": 40, "blind_same": 20}
    assert "100 % of 20 answers, and without seeing it in 50 % of 40: they seem to follow it" in run(loop, "status")
