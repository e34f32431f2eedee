"""`connector undo` on a real Label Studio: the project is as `init` found it, but for what people annotated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.command_runner import Commands
from support.connector_commands import connector, start_connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, new, second, texts
from support.proxy import Proxy
from support.watched_queue import Watched

from connector.demo.people import Person
from connector.errors import TryAgainLater
from connector.progress import Reporter
from connector.queue.task_flags import ONE_BY_ONE
from connector.queue.undo import undo

# What every save of a project or a task sets, whoever saves: nobody can put that back.
STAMPS = ("updated_at", "updated_by")
# What Label Studio counts up when somebody annotates.
COUNTERS = (
    "num_tasks_with_annotations",
    "useful_annotation_number",
    "skipped_annotations_number",
    "total_annotations_number",
    "finished_task_number",
    "queue_total",
    "queue_done",
)


# Every kind of write that undo makes, in its order.
WRITES = (
    "close",
    "update_project",
    "open",
    "delete_version",
    "delete_tab",
    "delete_webhook",
    "delete_backend",
)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def give_back(loop: ProjectDriver, gateway: Any = None) -> dict[str, Any]:
    return undo(loop.id, gateway or loop.gateway, loop.state, Reporter()).to_json()


def team_project(start: StartProject, people: Annotators, count: int = 24, **options: Any) -> ProjectDriver:
    """A project in the middle of its life: three annotations a task asked for, overlaps mixed, skips, a draft, more."""
    loop = start(texts(count), adopted=False, maximum_annotations=3, sampling="Uniform sampling", **options)
    loop.set(show_overlap_first=True, show_collab_predictions=False)
    first, other = people(2)
    for task in loop.tasks[:4]:
        loop.label(first, task)
    loop.label(other, loop.tasks[0], "Impolite")
    first.skip({"id": loop.tasks[4]})
    other.skip({"id": loop.tasks[1]})
    other.draft({"id": loop.tasks[5]}, "politeness", "text", "Polite")
    for task, overlap in ((1, 1), (6, 2), (7, 1), (8, 4), (9, 1)):
        loop.call("PATCH", f"/api/tasks/{loop.tasks[task]}", json={"overlap": overlap})
    # Reopened by hand, as a team may do it, against the rule that Label Studio itself would follow.
    loop.call("PATCH", f"/api/tasks/{loop.tasks[1]}", json={"overlap": 1, "is_labeled": False})
    loop.call("POST", "/api/dm/views/", json={"project": loop.id, "data": {"title": "Theirs", "type": "list"}})
    rows = [{"task": loop.tasks[10], "result": [], "score": 0.5, "model_version": "theirs"}]
    loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=rows)
    loop.set(show_collab_predictions=False, model_version="theirs")
    hook = {"project": loop.id, "url": "http://127.0.0.1:9/theirs", "send_for_all_actions": False, "actions": []}
    loop.call("POST", "/api/webhooks/", json=hook)
    return loop


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def comparable(dump: dict[str, Any]) -> dict[str, Any]:
    """A dump without the stamps that every save leaves."""
    return {
        **dump,
        "project": without(dump["project"], *STAMPS),
        "tasks": [without(row, *STAMPS) for row in dump["tasks"]],
    }


def label_everything_of(
    loop: ProjectDriver, person: Person, count: int, label: str, work: list[tuple[int, int, str]]
) -> None:
    """The person labels what the button gives, and the work is written down."""
    for _ in range(count):
        task = loop.turn(person, label)
        if task is not None:
            work.append((person.user_id, loop.tasks.index(task), label))


# -- what it must show -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label_studio", "rounds"),
    [
        ("sqlite", 2),
        pytest.param("sqlite", 10, marks=pytest.mark.nightly),
        pytest.param("postgresql", 10, marks=[pytest.mark.postgresql, pytest.mark.nightly]),
    ],
    indirect=["label_studio"],
)
def test_after_some_rounds_and_undo_only_what_people_annotated_differs(
    start: StartProject, people: Annotators, rounds: int
) -> None:
    crowd = people(3)
    loop, twin = team_project(start, people), team_project(start, people)
    before = loop.dump()
    loop.adopt(backend_url=loop.backend)
    work: list[tuple[int, int, str]] = []
    reopened = 0
    for number in range(rounds):
        loop.sync(window=6)
        reopened += len(loop.state.reopened())
        for person in crowd:
            label_everything_of(loop, person, 1, ("Polite", "Impolite")[(number + person.user_id) % 2], work)
    loop.sync(window=6)
    assert len(work) > 2 * rounds
    assert reopened > 0

    done = give_back(loop)
    after = loop.dump()

    settings = ["maximum_annotations", "model_version", "sampling", "show_collab_predictions", "show_overlap_first"]
    assert done["settings"] == settings
    assert after["tabs"] == before["tabs"]
    assert after["predictions"] == before["predictions"]
    assert after["backends"] == before["backends"]
    assert after["webhooks"] == before["webhooks"]
    assert len(before["drafts"]) == 1
    assert after["drafts"] == before["drafts"]
    assert without(after["project"], *STAMPS, *COUNTERS) == without(before["project"], *STAMPS, *COUNTERS)
    touched = {loop.tasks[task] for _, task, _ in work}
    for now, then in zip(after["tasks"], before["tasks"], strict=True):
        assert now["data"] == then["data"]
        made = [row for row in now["annotations"] if row["id"] not in {old["id"] for old in then["annotations"]}]
        assert [row for row in now["annotations"] if row not in made] == then["annotations"]
        assert bool(made) == (now["id"] in touched)
        if not made:
            assert without(now, *STAMPS) == without(then, *STAMPS)
    assert len(after["tasks"]) == len(before["tasks"])

    # The twin never knew us: the same people gave the same answers, and Label Studio did the rest.
    by_id = {person.user_id: person for person in crowd}
    for person, task, label in work:
        twin.label(by_id[person], twin.tasks[task], label)
    assert loop.flags(*loop.tasks) == twin.flags(*twin.tasks)
    counted = {name: after["project"][name] for name in COUNTERS}
    assert counted == {name: twin.project()[name] for name in COUNTERS}


@pytest.mark.parametrize(
    ("kinds", "moments"),
    [
        (("close", "update_project", "delete_version"), ("after",)),
        pytest.param(WRITES, ("before", "after"), marks=pytest.mark.nightly),
    ],
    ids=["some", "every"],
)
def test_undo_may_be_killed_at_any_write_and_repeated(
    start: StartProject, people: Annotators, kinds: Sequence[str], moments: Sequence[str]
) -> None:
    first, other = people(2)

    def under_our_queue() -> ProjectDriver:
        loop = team_project(start, people, 12)
        loop.adopt(backend_url=loop.backend)
        loop.publish(second(loop.tasks[0], loop.tasks[2]) + new(*loop.tasks[5:11]))
        loop.turn(first)
        loop.turn(other)
        return loop

    whole, torn = under_our_queue(), under_our_queue()
    give_back(whole)

    def killer(kind: str) -> Callable[[str, Any], None]:
        def kill(name: str, about: Any) -> None:
            if name == kind:
                raise Killed

        return kill

    for kind in kinds:
        for moment in moments:
            with pytest.raises(Killed):
                give_back(torn, Watched(torn, **{moment: killer(kind)}))
    give_back(torn)
    assert shape(torn) == shape(whole)
    assert give_back(torn)["already"]


def shape(loop: ProjectDriver) -> dict[str, Any]:
    """What of a project can be compared with another's that was made and treated the same."""
    dump = loop.dump()
    project = dump["project"]
    return {
        "settings": {name: project[name] for name in (*COUNTERS, "sampling", "maximum_annotations", "model_version")},
        "flags": loop.flags(*loop.tasks),
        "annotations": [
            [(row["completed_by"], row["result"] != [], row["was_cancelled"]) for row in task["annotations"]]
            for task in dump["tasks"]
        ],
        "predictions": [(loop.tasks.index(row["task"]), row["model_version"]) for row in dump["predictions"]],
        "tabs": [tab["data"].get("title") for tab in dump["tabs"]],
        "backends": len(dump["backends"]),
        "webhooks": [hook["url"] for hook in dump["webhooks"]],
    }


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_did_and_can_be_given_twice(start: StartProject, people: Annotators) -> None:
    loop = team_project(start, people, 12)
    before = comparable(loop.dump())
    loop.adopt()
    loop.publish(second(loop.tasks[2]) + new(*loop.tasks[5:9]))
    told = connector(loop, "undo", "--project", str(loop.id))
    assert told.returncode == 0, told.stderr
    assert "restored maximum_annotations, model_version, sampling, show_collab_predictions, show_overlap_first" in (
        told.stdout
    )
    assert "It closed 1 second opinion and removed" in told.stdout
    assert "All annotations are kept." in told.stdout
    assert comparable(loop.dump()) == before

    again = connector(loop, "undo", "--project", str(loop.id), "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["already"] is True
    assert comparable(loop.dump()) == before
    refused = connector(loop, "sync", "--project", str(loop.id))
    assert refused.returncode == 2
    assert f"connector init --project {loop.id}" in refused.stderr
    assert comparable(loop.dump()) == before


def test_after_an_interrupted_undo_no_sync_takes_the_project_over_until_init(
    start: StartProject, people: Annotators
) -> None:
    loop = team_project(start, people, 12)
    loop.adopt()
    loop.sync(window=6)
    project = ("--project", str(loop.id))

    def kill(name: str, about: Any) -> None:
        if name == "delete_version":
            raise Killed

    with pytest.raises(Killed):
        give_back(loop, Watched(loop, after=kill))
    before = loop.dump()
    sentence = (
        f"An undo was interrupted: run connector undo --project {loop.id} again. Or go on using the project: "
        f"connector init --project {loop.id}."
    )
    assert f"  {sentence}" in connector(loop, "status", *project).stdout.splitlines()
    told = connector(loop, "doctor", *project)
    assert told.returncode == 2
    assert "An undo was interrupted. The project is neither as init found it nor as init set it up. Run connector " in (
        told.stdout
    )
    assert "connector sync" not in told.stdout
    for arguments in (project, ("--all",)):
        refused = connector(loop, "sync", *arguments)
        assert (refused.returncode, sentence in refused.stderr) == (2, True)
    assert loop.dump() == before
    assert (loop.state.record().last_sync or {})["result"] == "published"

    assert connector(loop, "init", *project, "--yes").returncode == 0
    assert "An undo was interrupted" not in connector(loop, "status", *project).stdout
    loop.sync(window=6)
    loop.assert_published()
    give_back(loop)
    assert give_back(loop)["already"]


@pytest.mark.nightly
def test_a_command_killed_in_the_middle_is_made_good_by_the_next(
    start: StartProject, people: Annotators, proxy: Proxy
) -> None:
    loop = team_project(start, people, 12, through=proxy.url)
    before = comparable(loop.dump())
    loop.adopt()
    loop.publish(second(loop.tasks[2]) + new(*loop.tasks[5:9]))
    proxy.hold("PATCH", f"/api/projects/{loop.id}/")
    process = start_connector(loop, "undo", "--project", str(loop.id))
    assert proxy.wait_until_reached(process)
    process.kill()
    process.communicate()
    proxy.release()
    told = connector(loop, "undo", "--project", str(loop.id))
    assert told.returncode == 0, told.stderr
    assert comparable(loop.dump()) == before


def test_tasks_imported_since_are_not_taken_for_deleted_ones(start: StartProject) -> None:
    loop = start(texts(6), adopted=False)
    for task in loop.tasks:
        loop.call("PATCH", f"/api/tasks/{task}", json={"overlap": 2})
    loop.adopt()
    loop.sync(window=4)
    for task in loop.tasks:
        loop.call("DELETE", f"/api/tasks/{task}")
    # Label Studio on SQLite gives them the same numbers.
    others = [{"data": {"text": f"Another request, number {number}"}} for number in range(6)]
    loop.call("POST", f"/api/projects/{loop.id}/import", json=others)
    loop.sync(window=4)
    done = give_back(loop)
    assert (done["tasks"], done["still_open"]) == (0, 0)
    assert [task["overlap"] for task in loop.dump()["tasks"]] == [1] * 6


@pytest.mark.nightly
def test_a_project_taken_over_again_after_undo_works_as_before(start: StartProject, people: Annotators) -> None:
    loop = start(texts(14), maximum_annotations=2)
    loop.sync(window=4)
    give_back(loop)
    assert loop.project()["maximum_annotations"] == 2
    assert loop.adopt()["already"] is False
    loop.sync(window=4)
    loop.assert_published()
    person = people(1)[0]
    assert loop.turn(person) == loop.window[0]


# -- what people and time do -------------------------------------------------------------------------------------------


def test_who_labels_while_undo_works_is_counted_as_label_studio_would(start: StartProject, people: Annotators) -> None:
    third = people(3)[2]
    loop = team_project(start, people, 12)
    loop.adopt()
    loop.publish(new(*loop.tasks[5:9]))
    late = loop.tasks[7]  # overlap 1: one more label completes it

    def label_late(name: str, about: Any) -> None:
        if name in ("open", "close") and about == late and third.user_id not in labelled_by(loop, late):
            loop.label(third, late)

    give_back(loop, Watched(loop, before=label_late))
    assert labelled_by(loop, late) == {third.user_id}
    assert loop.flags(late) == [(1, True)]


def labelled_by(loop: ProjectDriver, task: int) -> set[int]:
    rows = loop.call("GET", f"/api/tasks/{task}")["annotations"]
    return {row["completed_by"]["id"] for row in rows}


def test_tasks_imported_since_are_asked_for_as_often_as_all_others(start: StartProject, people: Annotators) -> None:
    person = people(1)[0]
    loop = start(texts(6), maximum_annotations=3)
    loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"text": "Imported since."}, {"text": "So was this."}])
    fresh = sorted(row["id"] for row in loop.rows())[-2:]
    loop.label(person, fresh[0])
    loop.call("DELETE", f"/api/tasks/{loop.tasks[0]}/")
    give_back(loop)
    assert loop.flags(*loop.tasks[1:], *fresh) == [(3, False)] * 7


@pytest.mark.nightly
def test_a_share_of_tasks_with_several_annotations_is_the_same_one_again(start: StartProject) -> None:
    loop = start(texts(10), adopted=False, maximum_annotations=2)
    loop.set(overlap_cohort_percentage=40)
    before = loop.flags(*loop.tasks)
    assert sorted(before) == [(1, False)] * 6 + [(2, False)] * 4
    loop.adopt()
    assert set(loop.flags(*loop.tasks)) == {(1, False)}
    give_back(loop)
    assert loop.flags(*loop.tasks) == before
    assert loop.project()["overlap_cohort_percentage"] == 40


@pytest.mark.nightly
def test_a_model_version_whose_predictions_are_gone_is_left_empty(start: StartProject, people: Annotators) -> None:
    loop = team_project(start, people, 12)
    loop.adopt()
    loop.publish(new(*loop.tasks[5:9]))
    loop.call("DELETE", f"/api/projects/{loop.id}/model-versions/", json={"model_version": "theirs"})
    give_back(loop)
    assert not loop.project()["model_version"]
    assert loop.versions() == {}


def test_tasks_say_again_how_many_predictions_they_have(start: StartProject, people: Annotators) -> None:
    loop = team_project(start, people, 12)
    before = comparable(loop.dump())
    loop.adopt()
    loop.publish(new(*loop.tasks[5:11]))
    # What a Label Studio leaves that no longer counts down (it does, once a project was deleted at a bad moment).
    for task in (loop.tasks[6], loop.tasks[10]):
        loop.call("PATCH", f"/api/tasks/{task}", json={"total_predictions": 8})
    give_back(loop)
    after = comparable(loop.dump())
    assert [row["total_predictions"] for row in after["tasks"]] == [0] * 10 + [1, 0]
    assert after == before


def test_a_backend_and_a_tab_that_were_there_before_stay(start: StartProject) -> None:
    loop = start(texts(4), adopted=False)
    loop.call("POST", "/api/ml/", json={"project": loop.id, "url": loop.backend, "title": "ActiveLab"})
    loop.call("POST", "/api/dm/views/", json={"project": loop.id, "data": {"title": "ActiveLab queue"}})
    before = loop.dump()
    loop.adopt(backend_url=loop.backend)
    give_back(loop)
    after = loop.dump()
    assert (after["backends"], after["tabs"]) == (before["backends"], before["tabs"])
    assert [hook["id"] for hook in after["webhooks"]] == [hook["id"] for hook in before["webhooks"]]
    assert after["project"]["model_version"] == before["project"]["model_version"]


def test_undo_gives_up_when_tasks_change_as_fast_as_it_restores_them(start: StartProject) -> None:
    loop = start(texts(4), adopted=False)
    loop.adopt()

    def change(name: str, about: Any) -> None:
        if name in ("open", "close"):
            loop.call("PATCH", f"/api/tasks/{about}", json={"overlap": 5})

    loop.call("PATCH", f"/api/tasks/{loop.tasks[0]}", json={"overlap": 5})
    with pytest.raises(TryAgainLater, match="run undo again when fewer people label"):
        give_back(loop, Watched(loop, after=change))
    give_back(loop)
    assert loop.flags(*loop.tasks) == [(1, False)] * 4


# -- many second opinions, and predictions on request ------------------------------------------------------------------


def labelled(count: int) -> list[dict[str, Any]]:
    """Tasks that come with a label each, which is no ground truth."""
    region = {"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": ["Polite"]}}
    annotation = {"result": [region], "ground_truth": False}
    return [{"data": {"text": text}, "annotations": [annotation]} for text in texts(count)]


@pytest.mark.parametrize(
    "settings",
    [{}, pytest.param({"maximum_annotations": 3}, marks=pytest.mark.nightly)],
    ids=["one label a task", "three labels a task"],
)
def test_many_second_opinions_are_closed_in_few_calls(
    start: StartProject, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = start(labelled(ONE_BY_ONE + 4), adopted=False, **settings)
    loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"text": text} for text in texts(3)])
    # Reopened by hand before init: the one task that Label Studio's own rule would close.
    loop.call("PATCH", f"/api/tasks/{loop.tasks[0]}", json={"overlap": 1, "is_labeled": False})
    before = comparable(loop.dump())
    loop.adopt()
    loop.publish(second(*loop.tasks[1:]))
    assert len(loop.state.reopened()) == ONE_BY_ONE + 3
    # A Label Studio that has deleted a project since it was started counts no deleted predictions: a call for each.
    recounted: list[int] = []
    recount = loop.gateway.set_prediction_count
    monkeypatch.setattr(
        loop.gateway, "set_prediction_count", lambda task, number: (recounted.append(task), recount(task, number))
    )
    calls = loop.gateway.calls
    done = give_back(loop)
    assert (done["second_opinions"], done["tasks"]) == (ONE_BY_ONE + 3, 1)
    assert loop.gateway.calls - calls - len(recounted) < 20
    assert comparable(loop.dump()) == before


@pytest.mark.parametrize("asked", [1, 3])
def test_an_answered_second_opinion_costs_no_call_for_every_other_task(
    start: StartProject, people: Annotators, asked: int
) -> None:
    loop = start(labelled(ONE_BY_ONE + 4), adopted=False, maximum_annotations=asked)
    before = comparable(loop.dump())
    loop.adopt()
    second_opinions = loop.tasks[: ONE_BY_ONE + 2] if asked == 1 else loop.tasks[:1]
    loop.publish(second(*second_opinions))
    for task in second_opinions:
        loop.label(people(1)[0], task)
    calls = loop.gateway.calls
    done = give_back(loop)
    assert done["tasks"] == 0
    assert loop.gateway.calls - calls < 30
    after = comparable(loop.dump())
    assert [task["overlap"] for task in after["tasks"]] == [task["overlap"] for task in before["tasks"]]
    assert loop.flags(*loop.tasks) == [(asked, asked == 1) for _ in loop.tasks]


def test_a_window_of_another_connector_that_undo_removes_is_named(
    commands: Commands, start: StartProject, tmp_path: Path
) -> None:
    loop = start(texts(8), adopted=False)
    assert commands.run(loop, "init").code == 0
    assert commands.run(loop, "sync", "--window", "4").code == 0
    theirs = loop.project()["model_version"]
    other = {"CONNECTOR_STATE": f"sqlite:///{tmp_path / 'other.sqlite'}"}
    assert commands.run(loop, "init", **other).code == 0
    undone = commands.run(loop, "undo", **other)
    assert undone.code == 0, undone.said
    assert f"The window '{theirs}' of the other connector is removed, too" in undone.out
    assert "Undo restored no setting" in undone.out
    assert not loop.project()["model_version"]


def test_what_label_studio_retrieved_from_our_backend_goes_and_what_others_predicted_is_named(
    start: StartProject,
) -> None:
    loop = start(labelled(8), adopted=False)
    row = {"task": loop.tasks[0], "result": [], "score": 0.5}
    predictions = f"/api/projects/{loop.id}/import/predictions"
    loop.call("POST", predictions, json=[{**row, "model_version": "before"}])
    before = loop.dump()["predictions"]
    loop.adopt(backend_url=loop.backend)
    for task in loop.tasks[:4]:
        loop.call("PATCH", f"/api/tasks/{task}", json={"data": {"text": f"Fix this now, you broke it: {task}!"}})
        annotation = loop.call("GET", f"/api/tasks/{task}")["annotations"][0]
        rude = [{**annotation["result"][0], "value": {"choices": ["Impolite"]}}]
        loop.call("PATCH", f"/api/annotations/{annotation['id']}/", json={"result": rude})
    model = loop.sync()["model_version"]
    action = {"id": "retrieve_tasks_predictions", "project": loop.id}
    loop.call("POST", "/api/dm/actions", params=action, json={"selectedItems": {"all": True, "excluded": []}})
    loop.call("POST", predictions, json=[{**row, "model_version": "theirs"}])
    assert loop.versions()[model] == 8
    # Label Studio asked for them when it was asked for a task, and the backend had no model yet.
    unversioned = loop.versions().get("", 0)
    assert unversioned > 0

    told = connector(loop, "undo", "--project", str(loop.id)).stdout
    assert (
        f"and removed {8 + unversioned} predictions that the ML backend made on request, the Data Manager's tabs, "
        in told
    )
    assert (
        "Predictions that are not the connector's and were made since init stay: theirs (1). To delete them, use "
        "Settings, Predictions in Label Studio." in told
    )
    assert loop.versions() == {"before": 1, "theirs": 1}
    assert [one for one in loop.dump()["predictions"] if one["model_version"] == "before"] == before
