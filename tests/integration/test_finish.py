"""Accepted labels of the model on a real Label Studio: bounded by an audit, out of the queue, and taken back."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from support.connector_commands import connector
from support.doctor_helpers import findings
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts
from support.watched_queue import Watched

from connector.annotations.label_config import find_questions
from connector.backend import Backend
from connector.progress import Reporter
from connector.queue.undo import undo
from connector.queue.versions import ACCEPTED_LABELS
from connector.sync.finish_cycle import finish

TASKS = 60
SKIPPED = 4
LIMIT = "0.35"


def run(loop: ProjectDriver, *arguments: str) -> Any:
    done = connector(loop, *arguments, "--project", str(loop.id))
    assert done.returncode == 0, done.stderr
    return done


def rude(loop: ProjectDriver, task: int) -> str:
    return ("Polite", "Impolite")[loop.tasks.index(task) % 2]


def audited(start: StartProject, people: Annotators, count: int = 24) -> ProjectDriver:
    """A project with a model, of which `count` tasks were drawn at random and labelled, all of them rightly.

    Some others were skipped, so they are left for people.
    """
    loop = start(texts(TASKS))
    run(loop, "sync", "--window", str(count), "--audit", "1")
    one, other = people(2)
    for place, task in enumerate(sorted(loop.state.drawn())):
        loop.label((one, other)[place % 2], task, rude(loop, task))
    for task in sorted(set(loop.tasks) - loop.state.drawn().keys())[:SKIPPED]:
        one.skip({"id": task})
    run(loop, "sync", "--window", "10", "--audit", "0.2")
    return loop


def accepted(loop: ProjectDriver) -> dict[int, list[tuple[str, float]]]:
    """What Label Studio has: labels and scores of each task."""
    found: dict[int, list[tuple[str, float]]] = {}
    for row in loop.predictions():
        if row["model_version"] == ACCEPTED_LABELS:
            (result,) = row["result"]
            found.setdefault(row["task"], []).append((result["value"]["choices"][0], row["score"]))
    return found


def exported(loop: ProjectDriver, path: Path, *options: str) -> list[dict[str, str]]:
    run(loop, "export", "--out", str(path), *options)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def labelled(loop: ProjectDriver) -> set[int]:
    return {row["id"] for row in loop.rows() if any(not one["was_cancelled"] for one in row["annotations"])}


def test_labels_are_accepted_told_exported_and_never_asked_for(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    loop = audited(start, people)
    before = loop.dump()
    shown = json.loads(run(loop, "finish", "--max-error", LIMIT, "--dry-run", "--json").stdout)
    assert shown["dry_run"]
    assert loop.dump() == before
    assert loop.state.accepted() == {}

    annotations = loop.annotations()
    done = json.loads(run(loop, "finish", "--max-error", LIMIT, "--json").stdout)
    there = accepted(loop)
    assert {**shown, "dry_run": False} == done
    assert done["accepted"] == len(there) == len(loop.state.accepted()) > 0
    assert done["left"] == TASKS - len(labelled(loop)) - len(there)
    assert 0 < done["bound"] <= float(LIMIT)
    assert (done["before"], done["audited_in_all"]) == (0, 24)
    assert not there.keys() & labelled(loop)
    assert loop.annotations() == annotations
    # The queue has those that are left for people, and nothing else.
    assert set(loop.window) <= set(loop.tasks) - labelled(loop) - there.keys()
    assert len(loop.window) == done["window"] >= SKIPPED
    loop.assert_published()

    rows = {int(row["task_id"]): row for row in exported(loop, tmp_path / "labels.csv")}
    for task, row in rows.items():
        source = "consensus" if task in labelled(loop) else "model" if task in there else ""
        assert row["source"] == source
        assert bool(row["label"]) == bool(source)
        if source == "model":
            ((label, score),) = there[task]
            assert (row["label"], row["consensus"]) == (label, "")
            assert abs(float(row["probability"]) - score) < 1e-4
    without = exported(loop, tmp_path / "without.csv", "--no-model")
    assert {int(row["task_id"]) for row in without if row["source"] == "model"} == there.keys()
    out = tmp_path / "labels.json"
    run(loop, "export", "--format", "label-studio", "--out", str(out))
    found = {row["id"]: [one["model_version"] for one in row["predictions"]] for row in json.loads(out.read_text())}
    assert {task for task, versions in found.items() if versions == ["accepted"]} == there.keys()

    status = json.loads(run(loop, "status", "--json").stdout)["accepted"]
    assert (status["labels"], status["max_error"]) == (len(there), float(LIMIT))
    told = run(loop, "status").stdout
    assert f"  Accepted    the model's label for {len(there)} tasks" in told
    assert {name for name, finding in findings(loop).items() if finding.level == "problem"} == set()

    # The next sync keeps to it, and has nothing to do after that.
    run(loop, "sync", "--window", "10")
    assert accepted(loop) == there
    assert set(loop.window) <= set(loop.tasks) - labelled(loop) - there.keys()
    assert json.loads(run(loop, "sync", "--window", "10", "--json").stdout)["seconds"].keys() == {"pull"}


def test_a_label_wins_and_lost_predictions_come_back(start: StartProject, people: Annotators, tmp_path: Path) -> None:
    loop = audited(start, people)
    run(loop, "finish", "--max-error", LIMIT)
    there = accepted(loop)
    first, second, third, fourth = sorted(there)[:4]
    other = {"Polite": "Impolite", "Impolite": "Polite"}
    loop.label(people(1)[0], first, other[there[first][0][0]])
    rows = {row["task"]: row["id"] for row in loop.predictions() if row["model_version"] == ACCEPTED_LABELS}
    loop.call("DELETE", f"/api/predictions/{rows[second]}/")
    loop.call("DELETE", f"/api/tasks/{third}/")
    # The label counts at once, the rest after a sync.
    shown = {int(row["task_id"]): row for row in exported(loop, tmp_path / "labels.csv")}
    assert (shown[first]["source"], shown[first]["label"]) == ("consensus", other[there[first][0][0]])
    assert third not in shown
    text = {"data": {"text": "Quite another text, thank you?"}}
    loop.call("PATCH", f"/api/tasks/{fourth}/", json=text)
    run(loop, "sync", "--window", "10")
    assert accepted(loop) == {task: label for task, label in there.items() if task not in (first, third, fourth)}
    assert fourth in loop.window
    shown = {int(row["task_id"]): row for row in exported(loop, tmp_path / "labels.csv")}
    assert shown[fourth]["source"] == ""
    assert json.loads(run(loop, "sync", "--window", "10", "--json").stdout)["seconds"].keys() == {"pull"}


def test_reopen_and_undo_take_all_back(start: StartProject, people: Annotators) -> None:
    loop = audited(start, people)
    run(loop, "finish", "--max-error", LIMIT)
    there = accepted(loop)
    again = json.loads(run(loop, "finish", "--max-error", LIMIT, "--json").stdout)
    assert (again["before"], again["accepted"]) == (len(there), len(there))
    assert accepted(loop) == there
    told = run(loop, "finish", "--reopen").stdout
    assert f"{len(there)} accepted labels of the model were given up." in told
    assert accepted(loop) == {}
    assert loop.state.accepted() == {}
    assert loop.state.record().finish is None
    assert set(loop.window) & there.keys()
    loop.assert_published()
    assert "no label of the model was accepted" in run(loop, "finish", "--reopen").stdout

    run(loop, "finish", "--max-error", LIMIT)
    assert accepted(loop)
    undo(loop.id, loop.gateway, loop.state, Reporter())
    assert loop.predictions() == []
    assert loop.state.accepted() == {}
    assert loop.state.published_labels(ACCEPTED_LABELS) == {}


def test_what_cannot_be_finished_is_refused(start: StartProject, people: Annotators) -> None:
    loop = start(texts(12))

    def refused(*arguments: str) -> str:
        before = loop.dump()
        done = connector(loop, "finish", "--project", str(loop.id), *arguments)
        assert done.returncode == 2
        assert loop.dump() == before
        return " ".join(done.stderr.split())

    assert "takes at least 125 labelled tasks that were drawn at random, and project" in refused("--max-error", "0.02")
    for arguments in ([], ["--max-error", "0.1", "--reopen"]):
        assert "Give --max-error SHARE, or --reopen" in refused(*arguments)
    for share in ("0", "1", "nan", "-0.1"):
        assert "is not a share above 0 and below 1" in refused("--max-error", share)
    status = json.loads(run(loop, "status", "--json").stdout)
    assert (status["accepted"], status["last_sync"]) == (None, None)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_finish_that_is_killed_is_made_good_by_the_next_sync(
    start: StartProject, people: Annotators, moment: str
) -> None:
    loop = audited(start, people)
    imported: list[Any] = []

    def kill(name: str, about: Any) -> None:
        if name == "import_predictions":
            imported.append(about)
            if len(imported) == 2:  # the first import is the window's
                raise Killed

    with pytest.raises(Killed):
        finish(
            loop.id,
            Watched(loop, **{moment: kill}),
            lambda: Backend(loop.backend),
            loop.state,
            Reporter(),
            float(LIMIT),
        )
    chosen = loop.state.accepted()
    assert chosen
    assert not set(loop.window) & chosen.keys()
    run(loop, "sync", "--window", "10")
    there = accepted(loop)
    assert {task: len(rows) for task, rows in there.items()} == dict.fromkeys(chosen, 1)
    assert json.loads(run(loop, "sync", "--window", "10", "--json").stdout)["seconds"].keys() == {"pull"}


TWO = """<View>
  <Text name="t" value="$text"/>
  <Choices name="topic" toName="t"><Choice value="fish"/><Choice value="bikes"/></Choices>
  <Rating name="stars" toName="t" maxRating="2"/>
</View>"""
ASK_AFTER = """<Choices name="water" toName="t" visibleWhen="choice-selected" whenTagName="topic"
    whenChoiceValue="fish"><Choice value="sea"/><Choice value="lake"/>
  </Choices>
</View>"""
SETS = """<View><Text name="t" value="$text"/><Choices name="tags" toName="t" choice="multiple">
  <Choice value="old"/><Choice value="new"/></Choices></View>"""


def test_a_task_is_accepted_with_the_labels_of_all_questions(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    said = [("fish", "1"), ("bikes", "1"), ("fish", "2"), ("bikes", "2")]
    words = {"fish": "a salmon swims", "bikes": "new wheels", "1": "awful and dull", "2": "superb, what a joy"}
    loop = start(
        [{"data": {"text": f"{words[said[n % 4][1]]}: {words[said[n % 4][0]]} ({n})"}} for n in range(TASKS)],
        config=TWO,
    )
    questions = find_questions(TWO)
    run(loop, "sync", "--window", "32", "--audit", "1")
    for task in loop.state.drawn():
        topic, stars = said[loop.tasks.index(task) % 4]
        result = questions.result(questions.joint({"topic": topic, "stars": stars}))
        loop.call("POST", f"/api/tasks/{task}/annotations/", json={"result": result})
    done = json.loads(run(loop, "finish", "--max-error", "0.4", "--json").stdout)
    ours = {row["task"]: row for row in loop.predictions() if row["model_version"] == ACCEPTED_LABELS}
    assert len(ours) == done["accepted"] > 0
    assert all({one["from_name"] for one in row["result"]} == {"topic", "stars"} for row in ours.values())
    for row in exported(loop, tmp_path / "labels.csv"):
        model = int(row["task_id"]) in ours
        assert (row["topic.source"] == "model") == (row["stars.source"] == "model") == model
        if model:
            assert row["topic.label"] in ("fish", "bikes")
            assert row["topic.probability"] == row["stars.probability"]
            assert abs(float(row["stars.probability"]) - ours[int(row["task_id"])]["score"]) < 1e-4


@pytest.mark.parametrize(
    ("config", "why"),
    [(SETS, "takes several classes per task"), (TWO.replace("</View>", ASK_AFTER), "only after certain answers")],
    ids=["sets", "hidden questions"],
)
def test_questions_without_a_bound_are_refused(start: StartProject, config: str, why: str) -> None:
    loop = start([{"data": {"text": f"Text {number}"}} for number in range(4)], config=config)
    before = loop.dump()
    done = connector(loop, "finish", "--project", str(loop.id), "--max-error", "0.5")
    assert done.returncode == 2
    assert why in done.stderr
    assert loop.dump() == before
