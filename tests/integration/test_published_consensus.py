"""Consensus labels as predictions on a real Label Studio: as an export has them, at the cost of what changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from support.browser_pages import Profile, read_window
from support.connector_commands import connector
from support.doctor_helpers import findings
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, new, second, texts
from support.watched_queue import Watched

from connector.backend import Backend
from connector.demo.people import Person
from connector.errors import TryAgainLater
from connector.progress import Reporter
from connector.queue.label_predictions import QUALITY_STEP
from connector.queue.undo import undo
from connector.queue.versions import PUBLISHED_CONSENSUS
from connector.sync.review import review


class Counted(Watched):
    """The gateway, whose writes to single predictions are watched, too."""

    def update_prediction(self, prediction: int, *, result: list[dict[str, Any]], score: float) -> None:
        write = super().update_prediction
        self._watch("update_prediction", prediction, lambda: write(prediction, result=result, score=score))

    def delete_prediction(self, prediction: int) -> None:
        write = super().delete_prediction
        self._watch("delete_prediction", prediction, lambda: write(prediction))


def labelled(start: StartProject, people: Annotators, count: int = 8) -> ProjectDriver:
    """A project of 16 tasks that has a model and a window, the first `count` tasks labelled by one or two people."""
    loop = start(texts(16))
    first, other = people(2)
    for number, task in enumerate(loop.tasks[:count]):
        loop.label(first, task, ("Polite", "Impolite")[number % 2])
    loop.label(other, loop.tasks[0], "Polite")
    loop.sync(window=6)
    return loop


def published(loop: ProjectDriver) -> dict[int, list[tuple[str, float]]]:
    """What Label Studio has: the labels and scores of each task."""
    found: dict[int, list[tuple[str, float]]] = {}
    for row in loop.predictions():
        if row["model_version"] == PUBLISHED_CONSENSUS:
            (result,) = row["result"]
            found.setdefault(row["task"], []).append((result["value"]["choices"][0], row["score"]))
    return found


def exported(loop: ProjectDriver) -> dict[int, tuple[str, float]]:
    """The consensus labels with their qualities, as `connector export` finds them."""
    reviewed = review(loop.read(), Backend(loop.backend), Reporter())
    return {task: (reviewed.scored.consensus[task], quality) for task, quality in reviewed.quality.items()}


def assert_as_exported(loop: ProjectDriver) -> None:
    wanted, there = exported(loop), published(loop)
    assert there.keys() == wanted.keys()
    for task, (label, quality) in wanted.items():
        ((said, score),) = there[task]
        assert said == label
        assert abs(score - quality) <= QUALITY_STEP
    assert loop.state.published_labels(PUBLISHED_CONSENSUS).keys() == wanted.keys()


def test_consensus_is_as_exported_and_is_kept_up_to_date_by_what_changed(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    loop = labelled(start, people)
    first, other = people(2)
    assert published(loop) == {}
    loop.sync(window=6, publish_consensus=True)
    assert len(published(loop)) == 8
    assert_as_exported(loop)
    loop.assert_published()

    before = loop.dump()
    assert loop.sync(window=6, publish_consensus=True)["seconds"].keys() == {"pull"}
    assert loop.dump() == before

    # As many predictions as before, but others. Label Studio renews updated_at of one of the two tasks only.
    rows = [row for row in loop.predictions() if row["model_version"] == PUBLISHED_CONSENSUS]
    stray = {name: rows[0][name] for name in ("result", "score", "model_version")} | {"task": loop.tasks[15]}
    loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=[stray])
    loop.call("DELETE", f"/api/predictions/{rows[4]['id']}/")
    assert loop.versions()[PUBLISHED_CONSENSUS] == 8
    loop.sync(window=6, train="never", publish_consensus=True)
    assert_as_exported(loop)
    assert loop.sync(window=6, train="never", publish_consensus=True)["seconds"].keys() == {"pull"}

    # One label more, one taken back, one that turns.
    mine = {row["task"]: row["id"] for row in rows_of(loop, first)}
    loop.label(other, loop.tasks[12], "Polite")
    first.delete(mine[loop.tasks[7]])
    first.update(mine[loop.tasks[3]], "politeness", "text", "Polite")
    writes = Counted(loop)
    loop.sync(writes, window=6, train="never", publish_consensus=True)
    assert_as_exported(loop)
    assert published(loop)[loop.tasks[3]][0][0] == "Polite"
    assert loop.tasks[7] not in published(loop)
    assert [about for name, about in writes.writes if name == "import_predictions"][1:] == [1]
    kinds = [name for name, _ in writes.writes if name.endswith("_prediction")]
    assert kinds.count("delete_prediction") == 1
    assert 1 <= kinds.count("update_prediction") <= 7

    out = tmp_path / "labels.json"
    done = connector(loop, "export", "--project", str(loop.id), "--format", "label-studio", "--out", str(out))
    assert done.returncode == 0, done.stderr
    versions = {one["model_version"] for row in json.loads(out.read_text()) for one in row["predictions"]}
    assert versions == {"consensus"}


def rows_of(loop: ProjectDriver, person: Person) -> list[dict[str, Any]]:
    return [row for row in loop.annotations().values() if row["completed_by"] == person.user_id]


def test_without_the_option_the_next_sync_removes_them_and_undo_does(start: StartProject, people: Annotators) -> None:
    loop = start(texts(12), adopted=False)
    first = people(1)[0]
    for number, task in enumerate(loop.tasks[:6]):
        loop.label(first, task, ("Polite", "Impolite")[number % 2])
    theirs = [{"task": loop.tasks[0], "result": [], "score": 0.5, "model_version": "consensus"}]
    loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=theirs)
    before = loop.predictions()
    loop.adopt()
    done = connector(loop, "sync", "--project", str(loop.id), "--publish-consensus", "--json")
    assert done.returncode == 0, done.stderr
    assert loop.versions()[PUBLISHED_CONSENSUS] == 6
    loop.sync()
    assert PUBLISHED_CONSENSUS not in loop.versions()
    assert loop.state.published_labels(PUBLISHED_CONSENSUS) == {}
    loop.assert_published()
    assert loop.sync()["seconds"].keys() == {"pull"}

    loop.sync(publish_consensus=True)
    assert loop.versions()[PUBLISHED_CONSENSUS] == 6
    undo(loop.id, loop.gateway, loop.state, Reporter())
    assert loop.predictions() == before
    assert loop.state.published_labels(PUBLISHED_CONSENSUS) == {}


@pytest.mark.nightly
def test_predictions_that_somebody_deletes_or_adds_are_put_right(start: StartProject, people: Annotators) -> None:
    loop = labelled(start, people)
    loop.sync(window=6, publish_consensus=True)
    rows = [row for row in loop.predictions() if row["model_version"] == PUBLISHED_CONSENSUS]
    for row in rows[:3]:
        loop.call("DELETE", f"/api/predictions/{row['id']}/")
    again = {name: rows[4][name] for name in ("task", "result", "score", "model_version")}
    stray = {**again, "task": loop.tasks[15]}
    loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=[again, stray])
    loop.sync(window=6, publish_consensus=True)
    assert_as_exported(loop)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize("moment", [pytest.param("before", marks=pytest.mark.nightly), "after"])
@pytest.mark.parametrize(
    "write",
    [
        "import_predictions",
        pytest.param("update_prediction", marks=pytest.mark.nightly),
        pytest.param("delete_prediction", marks=pytest.mark.nightly),
    ],
)
def test_a_sync_that_is_killed_at_a_write_is_made_good_by_the_next(
    start: StartProject, people: Annotators, write: str, moment: str
) -> None:
    loop = labelled(start, people)
    first, other = people(2)
    loop.sync(window=6, publish_consensus=True)
    mine = {row["task"]: row["id"] for row in rows_of(loop, first)}
    loop.label(other, loop.tasks[12], "Polite")
    first.delete(mine[loop.tasks[7]])
    first.update(mine[loop.tasks[3]], "politeness", "text", "Polite")
    seen: list[str] = []

    def kill(name: str, about: Any) -> None:
        seen.append(name)
        # The first import is the window's.
        if name == write and seen.count(name) == (2 if name == "import_predictions" else 1):
            raise Killed

    with pytest.raises(Killed):
        loop.sync(Counted(loop, **{moment: kill}), window=6, train="never", publish_consensus=True)
    loop.assert_published()
    loop.sync(window=6, train="never", publish_consensus=True)
    assert_as_exported(loop)
    assert loop.sync(window=6, train="never", publish_consensus=True)["seconds"].keys() == {"pull"}


def test_a_server_that_fails_at_the_consensus_leaves_the_queue_whole(start: StartProject, people: Annotators) -> None:
    loop = labelled(start, people)
    imported: list[int] = []

    def fail(name: str, about: Any) -> None:
        if name == "import_predictions":
            imported.append(about)
            if len(imported) == 2:
                raise TryAgainLater("Label Studio does not answer.")

    with pytest.raises(TryAgainLater):
        loop.sync(Watched(loop, before=fail), window=6, publish_consensus=True)
    loop.assert_published()
    assert loop.sync(window=6)["seconds"].keys() != {"pull"}
    loop.sync(window=6, publish_consensus=True)
    assert_as_exported(loop)


def test_forms_stay_blank_and_the_score_is_the_queues(
    start: StartProject, people: Annotators, log_in: Callable[[str, str], Profile]
) -> None:
    loop = labelled(start, people)
    loop.sync(window=6, publish_consensus=True)
    loop.publish([*second(loop.tasks[1], loop.tasks[3]), *new(*loop.tasks[9:12])])
    assert {task for task in loop.window if task in published(loop)} == {loop.tasks[1], loop.tasks[3]}
    window = read_window(loop.server, loop.id)
    query = {"view": loop.tabs()[0]["id"], "project": loop.id}
    shown = loop.call("GET", "/api/tasks", params=query)["tasks"]
    assert [row["predictions_score"] for row in shown] == [rank / 6 for rank in range(1, 6)]

    person = people(2)[1]
    profile = log_in(person.email, person.password)
    profile.press_label_all_tasks(window)
    profile.label_in_order(window, window.order)
    expect(profile.page.locator(".lsf-richtext__line")).not_to_have_text(window.texts[window.order[-1]])
    mine = [row for row in rows_of(loop, person) if row["task"] in window.order]
    assert len(mine) == 5


@pytest.mark.nightly
def test_doctor_finds_nothing_in_it(start: StartProject, people: Annotators) -> None:
    loop = labelled(start, people)
    loop.sync(window=6, publish_consensus=True)
    found = findings(loop)
    assert {name: finding.level for name, finding in found.items() if finding.level == "problem"} == {}
    assert found["model_version"].level == "ok"


def test_predictions_of_that_name_that_init_found_stay_until_a_sync(start: StartProject) -> None:
    loop = start(texts(6), adopted=False)
    rows = [{"task": task, "result": [], "score": 0.5, "model_version": PUBLISHED_CONSENSUS} for task in loop.tasks]
    loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=rows)
    for synced in (False, True):
        loop.adopt()
        if synced:
            loop.sync(window=4)
        done = undo(loop.id, loop.gateway, loop.state, Reporter())
        assert (done.replaced, loop.versions().get(PUBLISHED_CONSENSUS, 0)) == ((6, 0) if synced else (0, 6))
