"""Annotators on a real Label Studio: who needs a look, and how a lead leaves labels out and takes them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.connector_commands import connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

from connector.demo.people import Person

ANSWERED = 40


def run(loop: ProjectDriver, command: str, *options: str, code: int = 0) -> str:
    """What a command prints, or says if it fails."""
    done = connector(loop, command, "--project", str(loop.id), *options)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def found(loop: ProjectDriver, command: str, *options: str) -> dict[str, Any]:
    return dict(json.loads(run(loop, command, "--json", *options)))


def exported(loop: ProjectDriver, folder: Path) -> list[dict[str, Any]]:
    out = folder / "labels.jsonl"
    run(loop, "export", "--out", str(out))
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_who_always_answers_the_same_is_named_left_out_and_taken_back(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    loop = start(texts(60))
    honest, constant = people(4)[:3], people(4)[3]
    for number, task in enumerate(loop.tasks[:ANSWERED]):
        for person in honest:
            loop.label(person, task, "Impolite" if number % 2 else "Polite")
        loop.label(constant, task, "Polite")
    alone = loop.tasks[ANSWERED]
    loop.label(constant, alone, "Polite")
    assert "1 annotator needs a look: connector status" in run(loop, "sync")

    shown = run(loop, "status")
    assert f"{constant.email} always answers 'Polite' (at most 1 of " in shown
    leave_out = f"connector init --project {loop.id} --exclude {constant.email}"
    assert leave_out in shown
    by_email = {one["email"]: one for one in found(loop, "status")["annotators"]}
    assert by_email[constant.email]["accuracy"]["high"] < 0.7
    assert by_email[constant.email]["by_class"]["Impolite"]["high"] < 0.3
    assert all(by_email[person.email]["accuracy"]["low"] > 0.85 for person in honest)
    assert [one for one, known in by_email.items() if known["warnings"]] == [constant.email]
    page = tmp_path / "report.html"
    run(loop, "report", "--out", str(page))
    assert leave_out in page.read_text(encoding="utf-8")

    assert found(loop, "sync")["annotators"] == 4
    done = found(loop, "init", "--exclude", constant.email.upper())
    assert done["excluded"] == [constant.email]
    before = loop.annotations()
    after = found(loop, "sync")
    assert after["trained"]  # on the labels of the others alone
    assert any("annotations by annotators whom init --exclude leaves out" in note for note in after["left_out"])
    assert alone in loop.window  # its only answer does not count, so another person is asked
    assert loop.annotations() == before
    loop.assert_published()
    status = found(loop, "status")
    assert (status["labels"]["total"], status["labels"]["annotators"]) == (3 * ANSWERED, 3)
    assert [(one["email"], one["annotations"]) for one in status["excluded"]] == [(constant.email, ANSWERED + 1)]
    assert {one["email"] for one in status["annotators"]} == {person.email for person in honest}
    assert f"connector init --project {loop.id} --include {constant.email}" in run(loop, "status")
    run(loop, "report", "--out", str(page))
    assert f"The labels of {constant.email} do not count (41 annotations)" in page.read_text(encoding="utf-8")
    rows = {row["task_id"]: row for row in exported(loop, tmp_path)}
    assert (rows[alone]["consensus"], rows[alone]["label_count"]) == (None, 0)
    assert rows[loop.tasks[1]]["label_count"] == 3
    excluded = [row for row in rows[loop.tasks[1]]["annotations"] if row["excluded"]]
    assert [(row["annotator"], row["label"]) for row in excluded] == [(constant.email, "Polite")]

    assert "counted again" in run(loop, "init", "--include", constant.email)
    assert found(loop, "sync")["trained"]
    status = found(loop, "status")
    assert (status["labels"]["annotators"], status["excluded"]) == (4, [])
    assert {row["task_id"]: row for row in exported(loop, tmp_path)}[alone]["consensus"] == "Polite"


def test_an_unknown_address_changes_nothing(start: StartProject, people: Annotators) -> None:
    loop = start(texts(10))
    (person,) = people(1)
    loop.label(person, loop.tasks[0])
    run(loop, "sync")
    said = run(loop, "init", "--exclude", "no.one@example.com", code=2)
    assert "no user of Label Studio has the e-mail address 'no.one@example.com'" in said
    assert f"Annotators of project {loop.id}: {person.email}" in said
    both = run(loop, "init", "--exclude", person.email, "--include", person.email, code=2)
    assert "--exclude and --include both name" in both
    assert found(loop, "status")["excluded"] == []


@pytest.mark.parametrize("ground_truth", [False, True])
def test_a_ground_truth_counts_though_its_annotator_is_left_out(
    start: StartProject, people: Annotators, ground_truth: bool
) -> None:
    loop = start(texts(10))
    (person,) = people(1)
    number = loop.label(person, loop.tasks[0])
    loop.call("PATCH", f"/api/annotations/{number}/", json={"ground_truth": ground_truth})
    run(loop, "init", "--exclude", person.email)
    run(loop, "sync")
    assert found(loop, "status")["tasks"]["labelled"] == ground_truth


def test_accounts_that_are_gone_are_left_out_by_their_ids(start: StartProject, people: Annotators) -> None:
    loop = start(texts(40))
    (honest,) = people(1)
    first, second = (Person.sign_up(loop.server.url, f"leaver-{number}@example.com") for number in (1, 2))
    for place, task in enumerate(loop.tasks[:20]):
        for person, label in ((honest, "Impolite" if place % 2 else "Polite"), (first, "Polite"), (second, "Impolite")):
            loop.label(person, task, label)
    run(loop, "sync")
    emails = {user["email"]: user["id"] for user in loop.call("GET", "/api/users/")}
    numbers = [emails[person.email] for person in (first, second)]
    for number in numbers:
        loop.call("DELETE", f"/api/organizations/1/memberships/{number}/")
    run(loop, "sync")
    assert f"user {numbers[0]}: 20 labels" in run(loop, "status")
    said = run(loop, "init", "--exclude", first.email, code=2)
    assert f"{numbers[0]} (an id, without an address)" in said
    assert "no user of Label Studio has the id 4711." in run(loop, "init", "--exclude", "4711", code=2)
    run(loop, "init", "--exclude", str(numbers[0]))
    run(loop, "sync")
    status = found(loop, "status")
    assert (status["labels"]["annotators"], status["labels"]["total"]) == (2, 40)
    assert [(one["annotator"], one["annotations"]) for one in status["excluded"]] == [(numbers[0], 20)]

    # A deleted account's annotations are nobody's, and stay out.
    loop.call("DELETE", f"/api/users/{numbers[0]}/")
    assert {row["completed_by"] for row in loop.annotations().values()} == {None, numbers[1], emails[honest.email]}
    assert any("20 annotations by annotators whom" in note for note in found(loop, "sync")["left_out"])
    status = found(loop, "status")
    assert status["labels"]["total"] == 40
    assert [(one["annotator"], one["annotations"]) for one in status["excluded"]] == [(numbers[0], 20)]
    assert f"--include {numbers[0]}" in run(loop, "status")
    run(loop, "init", "--include", str(numbers[0]))
    run(loop, "sync")
    assert found(loop, "status")["labels"]["total"] == 60
    for person in (first, second):
        person.session.close()


def test_a_model_of_labels_that_are_all_left_out_is_not_used(start: StartProject, people: Annotators) -> None:
    loop = start(texts(30))
    (person,) = people(1)
    for place, task in enumerate(loop.tasks[:12]):
        loop.label(person, task, "Impolite" if place % 2 else "Polite")
    assert found(loop, "sync")["trained"]
    run(loop, "init", "--exclude", person.email)
    done = connector(loop, "sync", "--project", str(loop.id))
    assert "All labels that the model was trained on are gone, so it is not used" in done.stdout + done.stderr
    run(loop, "init", "--include", person.email)
    assert found(loop, "sync")["trained"]
