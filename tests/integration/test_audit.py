"""An audit on a real Label Studio: served among all others, seen by nobody who annotates, and told to the lead."""

from __future__ import annotations

import json
from pathlib import Path

from support.connector_commands import connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

WINDOW = 20


def synced(loop: ProjectDriver, *options: str) -> None:
    done = connector(loop, "sync", "--project", str(loop.id), "--window", str(WINDOW), *options)
    assert done.returncode == 0, done.stderr


def test_an_audit_is_drawn_served_blind_answered_and_told(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    loop = start(texts(60))
    rude = {task for place, task in enumerate(loop.tasks) if place % 2}
    synced(loop, "--audit", "0.5")
    drawn = loop.state.drawn()
    assert len(drawn) == WINDOW / 2
    assert drawn.keys() < set(loop.window[:WINDOW])
    # Nothing in Label Studio tells them from the others: predictions differ in their score, which is the rank.
    rows = {row["task"]: row for row in loop.predictions()}
    for name in ("result", "model_version", "model", "cluster", "neighbors", "mislabeling"):
        assert len({json.dumps(rows[task].get(name)) for task in loop.window}) == 1
    order = sorted(loop.window, key=lambda task: rows[task]["score"])
    assert order == loop.window
    tasks = {row["id"]: row for row in loop.rows()}
    same = [{**tasks[task], "data": None} for task in loop.window]
    for name in ("overlap", "is_labeled", "meta"):
        assert len({json.dumps(row.get(name)) for row in same}) == 1

    first, other = people(2)
    served = []
    for turn in range(WINDOW):
        person = (first, other)[turn % 2]
        task = loop.give(person)
        assert task is not None
        loop.label(person, task, "Impolite" if task in rude else "Polite")
        served.append(task)
    assert set(served) == set(loop.window[:WINDOW])

    synced(loop, "--audit", "0.5")
    assert drawn.items() < loop.state.drawn().items()
    shown = json.loads(connector(loop, "status", "--project", str(loop.id), "--json").stdout)["audit"]
    assert shown["audited"] == len(drawn)
    for name in ("model", "consensus", "project"):
        assert 0 <= shown[name]["low"] <= shown[name]["value"] <= shown[name]["high"] <= 1
    told = connector(loop, "status", "--project", str(loop.id)).stdout
    assert "  Accuracy    the labels are right for " in told
    assert "(by 10 labelled tasks drawn at random)" in told

    target = json.loads(connector(loop, "status", "--project", str(loop.id), "--target", "1", "--json").stdout)["audit"]
    assert (target["labelled"], target["tasks"]) == (WINDOW, 60)
    assert (target["target"]["target"], target["target"]["met"]) == (1.0, False)
    for share, said in (("0.01", "The target of 1 % is met."), ("1", "The target of 100 % ")):
        assert said in connector(loop, "status", "--project", str(loop.id), "--target", share).stdout
        page = tmp_path / "report.html"
        done = connector(loop, "report", "--project", str(loop.id), "--target", share, "--out", str(page))
        assert done.returncode == 0, done.stderr
        assert said in page.read_text("utf-8").replace("\u00a0", " ")

    # Without an audit nothing more is drawn, and what is known by the former one stays.
    synced(loop, "--audit", "0")
    assert loop.state.drawn().keys() == drawn.keys()
    assert connector(loop, "undo", "--project", str(loop.id)).returncode == 0
    assert loop.state.drawn() == {}


def test_a_target_without_an_audit_says_what_is_missing(start: StartProject) -> None:
    loop = start(texts(4))
    done = connector(loop, "status", "--project", str(loop.id), "--target", "0.95")
    assert "  Accuracy    unknown without an audit. connector sync --audit 0.1 draws" in done.stdout
    synced(loop, "--audit", "0.5")
    done = connector(loop, "status", "--project", str(loop.id), "--target", "0.95")
    assert "  Accuracy    too early to say: it takes a model, and a sync after 10 tasks that were drawn" in done.stdout
    for share in ("0", "1.01", "nan"):
        done = connector(loop, "status", "--project", str(loop.id), "--target", share)
        assert done.returncode == 2
        assert "is not a share above 0 and at most 1, such as 0.95." in done.stderr


def test_a_share_that_is_none_is_refused(start: StartProject) -> None:
    loop = start(texts(4))
    for share in ("1.5", "-0.1", "nan"):
        done = connector(loop, "sync", "--project", str(loop.id), "--audit", share)
        assert done.returncode == 2
        assert "is not a share of at least 0 and at most 1, such as 0.05." in done.stderr
