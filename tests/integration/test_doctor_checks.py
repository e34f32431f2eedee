"""`connector doctor` on a real Label Studio: each fault of a project is found, alone, and its remedy works."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from support.connector_commands import connector
from support.doctor_helpers import CHECKS, FINE, findings, follow, not_fine
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, new, second, texts
from support.proxy import Proxy

NOWHERE = "http://127.0.0.1:9"


def label_some(loop: ProjectDriver, people: Annotators, count: int = 6) -> None:
    """Two people label the first tasks, each half of them."""
    team = people(2)
    for index, task in enumerate(loop.tasks[:count]):
        loop.label(team[index // 2 % 2], task, "Impolite" if index % 2 else "Polite")


def restored(loop: ProjectDriver, check: str) -> None:
    """The remedy of that check's finding makes everything fine."""
    follow(loop, findings(loop)[check].remedy)
    assert not_fine(loop) == FINE


# -- a project in order ------------------------------------------------------------------------------------------------


def test_a_project_in_order_is_fine_and_stays_as_it_is(start: StartProject, people: Annotators, proxy: Proxy) -> None:
    loop = start(texts(20), through=proxy.url)
    label_some(loop, people)
    loop.sync()
    before, known = loop.dump(), loop.state.record()
    proxy.calls.clear()
    done = connector(loop, "doctor", "--project", str(loop.id), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["project"] == loop.id
    assert [check["check"] for check in told["checks"]] == CHECKS
    assert {check["level"] for check in told["checks"]} == {"ok"}
    assert {frozenset(check) for check in told["checks"]} == {frozenset(("check", "level", "cause", "remedy"))}
    assert len(proxy.calls) <= 8
    assert {method for method, _ in proxy.calls} == {"GET"}
    assert not any("next" in path for _, path in proxy.calls)

    with loop.state.lock():
        spoken = connector(loop, "doctor", "--project", str(loop.id))
    assert spoken.returncode == 0
    first, *lines = spoken.stdout.splitlines()
    assert first == f"Project {loop.id}: all {len(CHECKS)} checks are fine."
    assert [line.split()[:2] for line in lines] == [["Fine", check] for check in CHECKS]
    assert "A process holds the project now" in lines[-1]
    assert "\x1b" not in spoken.stdout
    assert loop.dump() == before
    assert replace(loop.state.record(), lock_until=None) == replace(known, lock_until=None)


def test_a_new_project_is_led_from_init_to_sync(start: StartProject) -> None:
    loop = start(texts(6), adopted=False)
    assert not_fine(loop) == {"adopted": "problem"}
    assert connector(loop, "doctor", "--project", str(loop.id)).returncode == 2
    follow(loop, findings(loop)["adopted"].remedy)
    assert not_fine(loop) == {"model_version": "problem"}
    restored(loop, "model_version")


def test_a_project_of_another_state_database_is_not_called_new(start: StartProject, tmp_path: Path) -> None:
    loop = start(texts(4))
    loop.sync()
    done = connector(loop, "doctor", "--project", str(loop.id), CONNECTOR_STATE=f"sqlite:///{tmp_path}/other.sqlite")
    assert done.returncode == 2
    assert f"Project {loop.id} has windows that this state database (CONNECTOR_STATE) does not know." in done.stdout
    assert "Set CONNECTOR_STATE to the one that init was run with." in done.stdout


def test_a_project_that_is_not_there_is_named(start: StartProject) -> None:
    loop = start(texts(2), adopted=False)
    done = connector(loop, "doctor", "--project", "999999")
    assert done.returncode == 2
    assert "Problem  project" in done.stdout
    assert "has no project 999999" in done.stdout
    assert "--project" in done.stdout.splitlines()[1]


def test_a_control_that_is_gone_from_the_config_is_named(start: StartProject) -> None:
    loop = start(texts(4))
    loop.sync()
    config = loop.project()["label_config"]
    loop.set(label_config=config.replace('name="politeness"', 'name="tone"'))
    assert not_fine(loop) == {"adopted": "problem"}
    found = findings(loop)["adopted"]
    assert "called 'politeness' that can be served. Found: Choices 'tone' (can be served)" in found.cause
    follow(loop, found.remedy, NAME="tone")
    follow(loop, f"connector sync --project {loop.id}")
    assert not_fine(loop) == FINE


# -- settings ----------------------------------------------------------------------------------------------------------


def test_a_changed_setting_is_found_alone_and_set_back_by_sync(start: StartProject, people: Annotators) -> None:
    loop = start(texts(16))
    label_some(loop, people)
    loop.sync()
    for name, value, consequences in (
        ("sampling", "Sequential sampling", {}),
        ("maximum_annotations", 3, {}),
        ("show_overlap_first", True, {}),
        # Label Studio empties model_version with it.
        ("show_collab_predictions", False, {"model_version": "problem"}),
    ):
        loop.set(**{name: value})
        assert not_fine(loop) == {name: "problem", **consequences}
        restored(loop, name)
    loop.set(sampling="Uniform sampling")
    done = connector(loop, "doctor", "--project", str(loop.id))
    assert done.returncode == 2
    assert done.stdout.splitlines()[1].split()[:2] == ["Problem", "sampling"]


def test_sync_that_repairs_a_setting_points_to_doctor(start: StartProject) -> None:
    loop = start(texts(6))
    loop.sync()
    hint = f"connector doctor --project {loop.id}"
    again = connector(loop, "sync", "--project", str(loop.id))
    assert hint not in again.stderr
    unchanged = "Annotators keep the window of 6 tasks. 6 tasks, no annotations yet."
    assert again.stdout.startswith(f"Project {loop.id}: nothing new since round 1. {unchanged}")
    loop.set(sampling="Uniform sampling")
    repaired = connector(loop, "sync", "--project", str(loop.id))
    assert repaired.returncode == 0
    assert "The setting sampling was changed in Label Studio." in repaired.stderr
    assert hint in repaired.stderr
    assert f"nothing new since round 1. It restored sampling. {unchanged}" in repaired.stdout
    assert not_fine(loop) == FINE


def test_annotator_evaluation_breaks_the_order_until_it_is_off(start: StartProject, people: Annotators) -> None:
    loop = start(texts(12))
    first, other, third = people(3)
    t = loop.tasks
    annotation = loop.label(first, t[5])
    loop.call("PATCH", f"/api/annotations/{annotation}/", json={"ground_truth": True})
    loop.publish([*new(*t[6:]), *second(t[5])])
    loop.set(annotator_evaluation_enabled=True)
    assert (loop.give(other), loop.give(third)) == (t[5], t[5]), "the last place of the window, and to both"
    assert not_fine(loop) == {"annotator_evaluation": "problem"}
    follow(loop, findings(loop)["annotator_evaluation"].remedy)
    assert not_fine(loop) == FINE


# -- the window in Label Studio ----------------------------------------------------------------------------------------


def empty_model_version(loop: ProjectDriver) -> None:
    loop.set(model_version="")


def choose_other_predictions(loop: ProjectDriver) -> None:
    row = {"task": loop.tasks[0], "result": [], "score": 0.5, "model_version": "bert-3"}
    loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=[row])
    loop.set(model_version="bert-3")


def delete_the_window(loop: ProjectDriver) -> None:
    version = loop.project()["model_version"]
    loop.call("DELETE", f"/api/projects/{loop.id}/model-versions/", json={"model_version": version})


def delete_all_predictions(loop: ProjectDriver) -> None:
    action = {"id": "delete_tasks_predictions", "project": loop.id}
    everything = {"selectedItems": {"all": True, "excluded": []}, "project": loop.id}
    loop.call("POST", "/api/dm/actions", params=action, json=everything)


def delete_one_prediction(loop: ProjectDriver) -> None:
    loop.call("DELETE", f"/api/predictions/{loop.predictions()[-1]['id']}/")


@pytest.mark.nightly
def test_a_window_that_is_not_served_is_found_and_published_again(start: StartProject) -> None:
    loop = start(texts(16))
    loop.sync()
    for break_it, told in (
        (empty_model_version, "model_version is empty"),
        (choose_other_predictions, "is 'bert-3', not our window"),
        (delete_the_window, "is gone"),
        (delete_one_prediction, "has 15 predictions instead of 16"),
        (delete_all_predictions, "is gone"),
    ):
        break_it(loop)
        assert not_fine(loop) == {"model_version": "problem"}
        assert told in findings(loop)["model_version"].cause
        restored(loop, "model_version")
        loop.assert_published()


# -- tasks that are stuck ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["REQUEUE_FOR_ME", pytest.param("IGNORE_SKIPPED", marks=pytest.mark.nightly)])
def test_skipped_tasks_that_nobody_else_gets_are_counted_and_set_free(
    start: StartProject, people: Annotators, rule: str
) -> None:
    loop = start(texts(14), skip_queue=rule)
    first, other = people(2)
    loop.sync()
    loop.turn(other)
    skipped = []
    for _ in range(2):
        task = loop.give(first)
        assert task is not None
        first.skip({"id": task})
        skipped.append(task)
    assert not_fine(loop) == {"skip_queue": "warning"}
    cause = findings(loop)["skip_queue"].cause
    assert f"2 skipped tasks ({min(skipped)}, {max(skipped)})" in cause
    assert f"({first.email})" in cause
    loop.sync()
    assert not_fine(loop) == {"skip_queue": "warning"}
    assert set(loop.window).isdisjoint(skipped)

    follow(loop, findings(loop)["skip_queue"].remedy)
    assert not_fine(loop) == FINE
    assert set(loop.window) >= set(skipped)
    assert {loop.turn(other) for _ in range(13)} >= set(skipped)


@pytest.mark.nightly
def test_a_labelled_task_that_is_open_and_never_served_is_closed_by_sync(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(20))
    label_some(loop, people)
    loop.sync()
    asked = {slot.task for slot in loop.state.window() if slot.relabel}
    closed = next(task for task in loop.tasks[:6] if task in asked)
    loop.call("PATCH", f"/api/tasks/{closed}", json={"overlap": 1, "is_labeled": True})
    assert not_fine(loop) == {"stuck_tasks": "warning"}
    assert f"1 second opinion ({closed}) of the window cannot be served" in findings(loop)["stuck_tasks"].cause
    restored(loop, "stuck_tasks")

    done = people(2)[0]
    task = next(slot.task for slot in loop.state.window() if not slot.relabel)
    loop.label(done, task)
    loop.call("PATCH", f"/api/tasks/{task}", json={"is_labeled": False})
    assert not_fine(loop) == {"stuck_tasks": "warning"}
    assert f"1 labelled task ({task}) is open and yet never served" in findings(loop)["stuck_tasks"].cause
    restored(loop, "stuck_tasks")


def test_a_second_opinion_that_we_did_not_ask_for_is_found_and_closed(start: StartProject, people: Annotators) -> None:
    loop = start(texts(12))
    first = people(1)[0]
    task = loop.tasks[0]
    loop.label(first, task)
    loop.sync()  # the only annotator has seen it: nobody is asked again
    loop.call("PATCH", f"/api/tasks/{task}", json={"overlap": 2, "is_labeled": False})
    assert not_fine(loop) == {"second_opinions": "warning"}
    found = findings(loop)["second_opinions"]
    assert f"1 labelled task ({task}) is open" in found.cause
    follow(loop, found.remedy, ID=str(task))
    assert loop.flags(task) == [(1, True)]
    assert not_fine(loop) == FINE


# -- tasks and labels that do not count --------------------------------------------------------------------------------


def test_tasks_without_a_text_are_told_until_they_have_one(start: StartProject) -> None:
    loop = start([{"text": "Hello, could you?"}, {"text": " "}, {"text": []}, {"text": "Do it now."}])
    loop.sync()
    assert not_fine(loop) == {"texts": "warning"}
    remedy = findings(loop)["texts"].remedy
    for task in loop.tasks[1:3]:
        assert str(task) in findings(loop)["texts"].cause
        follow(loop, remedy, ID=str(task), body={"data": {"text": f"Text of {task}."}})
    assert not_fine(loop) == FINE


def test_annotations_with_an_unknown_choice_are_told_until_the_config_has_it(start: StartProject) -> None:
    choice = {"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": ["Rude"]}}
    loop = start(
        [{"data": {"text": "Do it now."}, "annotations": [{"result": [choice]}]}, {"data": {"text": "Thanks."}}]
    )
    loop.sync()
    assert not_fine(loop) == {"choices": "warning"}
    found = findings(loop)["choices"]
    (annotation,) = loop.annotations()
    assert f"1 annotation has an answer that the labelling config does not have: {annotation} ('Rude')." in found.cause
    config = loop.project()["label_config"]
    loop.set(label_config=config.replace("</Choices>", '<Choice value="Rude"/></Choices>'))
    follow(loop, found.remedy)
    assert not_fine(loop) == FINE


# -- the last sync -----------------------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_a_failed_sync_is_told_until_the_next_one_ends_well(start: StartProject) -> None:
    loop = start(texts(6))
    sync = ("sync", "--project", str(loop.id))
    assert connector(loop, *sync, ML_BACKEND_URL=NOWHERE).returncode == 3
    assert not_fine(loop) == {"last_sync": "problem", "model_version": "problem"}
    assert f"The ML backend at {NOWHERE} does not answer" in findings(loop)["last_sync"].cause
    restored(loop, "last_sync")
    loop.set(model_version="")
    assert connector(loop, *sync, "--train", "always", ML_BACKEND_URL=NOWHERE).returncode == 3
    away = connector(loop, "doctor", "--project", str(loop.id), ML_BACKEND_URL=NOWHERE)
    assert away.returncode == 3, "whoever starts the backend again has done all there is to do"
    assert {line.split()[1] for line in away.stdout.splitlines() if line.startswith("Problem")} == {
        "backend",
        "last_sync",
    }
    restored(loop, "last_sync")


@pytest.mark.nightly
def test_annotations_that_no_sync_has_seen_for_long_raise_the_question_of_cron(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(14))
    loop.sync()
    ended = {"at": (datetime.now(timezone.utc) - timedelta(hours=2)).isoformat(), "result": "published", "error": None}
    loop.state.put(last_sync=ended)
    assert not_fine(loop) == FINE
    loop.turn(people(1)[0])
    assert not_fine(loop) == {"last_sync": "warning"}
    assert "1 annotation has come since" in findings(loop)["last_sync"].cause
    restored(loop, "last_sync")
