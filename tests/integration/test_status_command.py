"""`connector status` on a real Label Studio, by the real command: what it tells, how it fails, and no trace of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from support.connector_commands import connector, start_connector
from support.label_studio_server import Annotators, MakeProject
from support.project_driver import ProjectDriver, StartProject, texts
from support.proxy import Proxy

from connector.state import schema

if TYPE_CHECKING:
    pass


KEYS = {
    "project": set(),
    "title": set(),
    "label_studio": set(),
    "at": set(),
    "error": {"message", "exit_code"},
    "last_sync": {"at", "result", "error", "seconds_ago"},
    "last_round": {"number", "at", "seconds_ago"},
    "sync_running": set(),
    "queue": {"version", "size", "spare", "served", "left", "second_opinions_open", "in_charge"},
    "labels": {
        *("total", "annotators", "today", "mean_of_7_days", "days", "per_day"),
        *("ground_truth", "skipped", "unknown_choices", "unreadable_annotations"),
    },
    "tasks": {"total", "labelled", "unlabelled", "without_text"},
    "rule": {"min_annotations_per_task", "tasks_below"},
    "model": {
        *("version", "agreement", "ground_truth_tasks", "ground_truth_accuracy"),
        *("embedding", "embedding_since", "in_training"),
    },
    "audit": {"audited", "model", "consensus", "project", "words"},
    "machines": {
        *("machine", "control", "labels", "shared", "accuracy", "by_class"),
        *("on_truth", "right_on_truth", "weight", "as_good", "worse"),
    },
    "prelabelled": {"shown", "same", "blind", "blind_same"},
    "accepted": {"labels", "left", "max_error", "bound", "at"},
    "cost": {"ignored", "answers", "low", "high"},
    "forecast": {"labels", "gain", "likely_to_pay", "words"},
    "new_annotations": set(),
    "next_tasks": {"rank", "task", "text", "second_opinion", "labels"},
    "next_step": set(),
    "ambiguous": set(),
    "codebook": {"control", "classes", "tasks", "of"},
    "annotators": {
        *("email", "annotator", "control", "answers", "accuracy", "by_class", "halves", "on_truth", "right_on_truth"),
        *("seconds", "pace", "warnings"),
    },
    "excluded": {"annotator", "email", "annotations"},
}


def told(loop: ProjectDriver, *, code: int = 0, **environment: str) -> dict[str, Any]:
    """What `connector status --json` prints about the project, with the keys that the README names."""
    done = connector(loop, "status", "--project", str(loop.id), "--json", **environment)
    assert done.returncode == code, done.stderr
    assert done.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.keys() == KEYS.keys()
    for name, keys in KEYS.items():
        part = found[name][0] if isinstance(found[name], list) and found[name] else found[name]
        if keys and part:
            assert part.keys() == keys, name
    return found


def rows(loop: ProjectDriver) -> dict[str, list[Any]]:
    """Every row of the state database."""
    engine = sa.create_engine(loop.state_url)
    with engine.connect() as db:
        found = {name: [tuple(row) for row in db.execute(sa.select(table))] for name, table in tables().items()}
    engine.dispose()
    return found


def tables() -> dict[str, sa.Table]:
    return dict(schema.metadata.tables)


def test_status_follows_a_project_from_init_to_second_opinions(start: StartProject, people: Annotators) -> None:
    loop = start(texts(40))
    first, other = people(2)
    found = told(loop)
    assert (found["last_sync"], found["queue"], found["tasks"]["total"]) == (None, None, 40)

    loop.sync(window=20)
    found = told(loop)
    assert found["last_sync"]["result"] == "published"
    assert found["last_sync"]["seconds_ago"] < 60
    assert (found["queue"]["size"], found["queue"]["left"], found["queue"]["in_charge"]) == (20, 20, True)
    assert [task["task"] for task in found["next_tasks"]] == loop.window[:5]
    assert found["next_tasks"][0]["text"] == texts(40)[loop.tasks.index(loop.window[0])]

    rude = set(loop.tasks[1::2])
    for turn in range(12):
        person = (first, other)[turn % 2]
        task = loop.give(person)
        assert task is not None
        loop.label(person, task, "Impolite" if task in rude else "Polite")
    first.skip({"id": loop.give(first)})
    found = told(loop)
    assert (found["queue"]["served"], found["queue"]["left"], found["new_annotations"]) == (13, 7, 13)
    assert [task["task"] for task in found["next_tasks"]] == loop.window[13:18]
    assert found["labels"] == {
        "total": 12,
        "annotators": 2,
        "today": 12,
        "mean_of_7_days": 1.7,
        "days": 0,
        "per_day": None,
        "ground_truth": 0,
        "skipped": 1,
        "unknown_choices": 0,
        "unreadable_annotations": 0,
    }
    assert found["next_step"] == "13 new annotations: the next connector sync chooses a new window."

    done = loop.sync(window=40)
    found = told(loop)
    assert found["model"] == {
        "version": done["model_version"],
        "agreement": done["model_agreement"],
        "ground_truth_tasks": 0,
        "ground_truth_accuracy": None,
        "embedding": "frozen",
        "embedding_since": done["model_embedding_since"],
        "in_training": False,
    }
    assert found["forecast"]["words"] == "Too early to say: this needs a model and 100 labelled tasks."
    assert 0 <= found["model"]["agreement"] <= 1
    assert (found["last_round"]["number"], found["new_annotations"], found["queue"]["served"]) == (2, 0, 0)
    assert found["queue"]["second_opinions_open"] == done["window"]["relabel"] > 0
    opened = {slot.task for slot in loop.state.window() if slot.relabel}
    assert {task["task"] for task in found["next_tasks"] if task["second_opinion"]} == opened & set(loop.window[:5])

    shown = connector(loop, "status", "--project", str(loop.id))
    assert shown.returncode == 0
    assert shown.stderr == ""
    assert "Last sync   less than a minute ago, published a window" in shown.stdout
    assert f"Model       {done['model_version']}, frozen embeddings since " in shown.stdout


def test_status_changes_nothing_in_label_studio_and_in_the_state(
    start: StartProject, people: Annotators, proxy: Proxy
) -> None:
    loop = start(texts(12), through=proxy.url)
    loop.sync()
    loop.label(people(1)[0], loop.window[0])
    loop.set(sampling="Sequential sampling")  # a sync would set it right
    loop.call("DELETE", f"/api/tasks/{loop.window[3]}")  # and read everything
    before, state = loop.dump(), rows(loop)
    proxy.calls.clear()
    assert told(loop)["queue"]["in_charge"] is False
    assert connector(loop, "status").returncode == 0
    assert {method for method, _ in proxy.calls} == {"GET"}
    assert loop.dump() == before
    assert rows(loop) == state


def test_status_works_while_a_sync_runs(start: StartProject, proxy: Proxy) -> None:
    loop = start(texts(12), through=proxy.url)
    proxy.hold("POST", r"/api/projects/\d+/import/predictions")
    running = start_connector(loop, "sync", "--project", str(loop.id))
    try:
        assert proxy.wait_until_reached(running)
        found = told(loop)
        assert found["sync_running"]
        assert found["next_step"] == "A sync is running."
    finally:
        proxy.release()
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert not told(loop)["sync_running"]
    loop.assert_published()


def test_what_the_last_sync_knew_is_told_when_label_studio_is_away(
    start: StartProject, people: Annotators, proxy: Proxy
) -> None:
    loop = start(texts(12), through=proxy.url)
    loop.label(people(1)[0], loop.tasks[0])
    loop.sync()
    proxy.fail_with = 503
    found = told(loop, code=3)
    assert found["error"]["exit_code"] == 3
    assert f"Label Studio at {proxy.url} failed with 503" in found["error"]["message"]
    assert (found["labels"]["total"], found["tasks"]["total"], found["queue"]["left"]) == (1, 12, 11)
    proxy.close()
    done = connector(loop, "status")
    assert done.returncode == 3
    assert f"Label Studio at {proxy.url} does not answer" in done.stdout
    assert "published a window" in done.stdout
    assert "These are the figures of the last sync" in done.stdout


def test_a_failed_sync_is_told_by_the_next_status(start: StartProject) -> None:
    loop = start(texts(12))
    assert connector(loop, "sync", "--project", str(loop.id), ML_BACKEND_URL="http://127.0.0.1:9").returncode == 3
    found = told(loop)
    assert found["last_sync"]["result"] == "failed"
    assert "The ML backend at http://127.0.0.1:9 does not answer" in found["last_sync"]["error"]
    assert found["next_step"].startswith("The last sync failed: The ML backend")
    assert found["next_step"].endswith(f"connector doctor --project {loop.id}")


def test_one_project_that_is_gone_does_not_hide_the_others(start: StartProject, make_project: MakeProject) -> None:
    loop = start(texts(3))
    gone, last = make_project(texts(2)).id, make_project(texts(2)).id
    for project in (gone, last):
        assert connector(loop, "init", "--project", str(project)).returncode == 0
    loop.call("DELETE", f"/api/projects/{gone}/")

    done = connector(loop, "status", "--json")
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {"projects"}
    assert [one["project"] for one in found["projects"]] == [loop.id, gone, last]
    assert [one["error"] and one["error"]["exit_code"] for one in found["projects"]] == [None, 2, None]
    assert f"no project {gone}" in found["projects"][1]["error"]["message"]
    shown = connector(loop, "status").stdout.split("\n\n")
    assert [part.split(" at ")[0].split(" (")[0] for part in shown] == [
        f"Project {project}" for project in (loop.id, gone, last)
    ]


def test_the_command_alone_says_where_one_stands(start: StartProject) -> None:
    loop = start(texts(12))
    before = connector(loop)
    assert (before.returncode, before.stderr) == (0, "")
    assert before.stdout.startswith(f"Label Studio  {loop.gateway.url}, as {loop.server.login.email}, version 1.23.2\n")
    assert f"ML backend    {loop.backend}, ready\n" in before.stdout
    assert f"run connector sync --project {loop.id}" in before.stdout
    assert connector(loop, "sync", "--project", str(loop.id)).returncode == 0
    after = connector(loop).stdout
    assert "round 1, less than a minute ago, 12 of 12 tasks left in the window, 0 labels" in after
    assert "Nothing new: annotators continue with this window" in after
    away = connector(loop, LABEL_STUDIO_URL="http://127.0.0.1:9")
    assert away.returncode == 3
    assert "not connected: Label Studio at http://127.0.0.1:9 does not answer" in away.stdout


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["words", "json"])
def test_without_a_project_of_ours_status_says_so(start: StartProject, arguments: tuple[str, ...]) -> None:
    loop = start(texts(2), adopted=False)
    done = connector(loop, "status", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    if arguments:
        assert json.loads(done.stdout) == {"projects": []}
    else:
        assert "is set up yet: run connector init --project ID first." in done.stdout
    refused = connector(loop, "status", "--project", str(loop.id), *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"run connector init --project {loop.id} first" in refused.stderr
