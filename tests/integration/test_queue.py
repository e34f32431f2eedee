"""The queue on a real Label Studio: people press the button's own endpoint, and every way to break it is tried."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.label_studio_server import Annotators
from support.project_driver import OPTIONS, ProjectDriver, StartProject, new, on_both_databases, second, texts
from support.watched_queue import Expected, Watched

from connector.errors import ConnectorError, StaleTasks
from connector.queue.publish import publish
from connector.queue.settings import wrong_settings
from connector.queue.versions import VERSION_PREFIX

pytestmark = on_both_databases


# -- the order -------------------------------------------------------------------------------------------------------


def test_people_in_turn_are_served_the_window_in_rank_order_and_a_fourth_continues_it(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(10))
    team = people(4)
    t = loop.tasks
    loop.label(team[0], t[0])
    loop.label(team[0], t[1])
    loop.label(team[1], t[2])
    loop.publish([*new(t[5]), *second(t[0]), *new(t[7]), *second(t[2]), *new(t[3]), *second(t[1]), *new(t[9], t[4])])
    expected = Expected(loop)

    served, wanted = [], []
    for person in [*team[:3], *team[:2], team[3], team[2], team[3]]:
        task = person.next_task(loop.id)
        assert task is not None
        assert task["queue"] == "Active learning or random queue"
        loop.label(person, task["id"])
        served.append((person.user_id, task["id"]))
        wanted.append((person.user_id, expected.turn(person)))

    assert served == wanted
    assert sorted(task for _, task in served) == sorted(loop.window)
    annotators = {row["id"]: [one["completed_by"] for one in row["annotations"]] for row in loop.rows()}
    for task in (t[0], t[1], t[2]):
        assert loop.flags(task) == [(2, True)]
        assert len(annotators[task]) == len(set(annotators[task])) == 2


def test_after_the_window_people_are_still_given_the_other_new_tasks(start: StartProject, people: Annotators) -> None:
    loop = start(texts(6))
    first, other = people(2)
    loop.label(first, loop.tasks[0])
    loop.publish([*second(loop.tasks[0]), *new(loop.tasks[1])])
    assert loop.turn(first) == loop.tasks[1]
    # What is left of the window is not for the first person: they go on with the tasks outside of it.
    assert loop.turn(first) in loop.tasks[2:]
    assert loop.turn(other) == loop.tasks[0]
    rest = [loop.turn(person) for person in (other, first, other)]
    assert set(rest) < set(loop.tasks[2:])
    assert all(row["is_labeled"] for row in loop.rows())
    assert loop.give(first) is None
    assert loop.give(other) is None


def test_people_who_ask_before_anyone_answers_hold_successive_tasks(start: StartProject, people: Annotators) -> None:
    loop = start(texts(6))
    first, *others = people(4)
    t = loop.tasks
    loop.label(first, t[0])
    loop.publish([*second(t[0]), *new(t[4], t[3], t[2], t[1])])
    assert [loop.give(person) for person in others] == [t[0], t[4], t[3]]
    assert loop.give(first) == t[2]
    assert [loop.give(person) for person in others] == [t[0], t[4], t[3]]
    loop.label(others[0], t[0])
    assert loop.give(others[0]) == t[1]


# -- publishing ------------------------------------------------------------------------------------------------------


def test_publishing_writes_in_proportion_to_what_changes(start: StartProject, people: Annotators) -> None:
    loop = start(texts(16))
    person = people(1)[0]
    t = loop.tasks
    for task in t[:4]:
        loop.label(person, task)
    loop.publish([*second(t[0], t[1]), *new(*t[4:8])])
    old = loop.state.record().queue_version
    flags = {row["id"]: (row["overlap"], row["updated_at"]) for row in loop.rows()}

    with loop.state.lock():
        pulled = loop.read()
        gateway = Watched(loop)
        published = publish(
            gateway,
            loop.state,
            pulled,
            [*new(*t[6:]), *second(t[1], t[2], t[3])],
            options=OPTIONS.window_fingerprint(pulled.project["skip_queue"]),
        )

    assert gateway.writes == [
        ("import_predictions", 13),
        ("open", t[2]),
        ("open", t[3]),
        ("update_project", {"model_version": published.version}),
        ("close", t[0]),
    ]
    assert gateway.calls <= len(gateway.writes) + 1  # and one look whether the flip still stands
    assert loop.flags(t[0]) == [(1, True)]
    assert loop.flags(*t[1:4]) == [(2, False)] * 3
    assert loop.versions() == {published.version: 13, old: 6}  # for the forms that were opened from it
    untouched = {row["id"]: (row["overlap"], row["updated_at"]) for row in loop.rows()}
    assert {task for task in t if flags[task] != untouched[task]} == {t[0], t[2], t[3]}
    loop.assert_published()


def test_predictions_are_ranks_without_an_answer_and_prelabels_never_stand_on_second_opinions(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(4))
    t = loop.tasks
    loop.label(people(1)[0], t[1])
    loop.publish([*new(t[3]), *second(t[1]), *new(t[0])])
    rows = sorted(loop.predictions(), key=lambda row: row["score"])
    assert [row["task"] for row in rows] == [t[3], t[1], t[0]]
    assert all(0 < row["score"] < 1 for row in rows)
    assert len({row["score"] for row in rows}) == 3
    assert [row["result"] for row in rows] == [[], [], []]

    loop.publish([*new(t[3]), *second(t[1]), *new(t[0])], prelabels=dict.fromkeys(t, "Impolite"))
    rows = loop.served()
    shown = [[region["value"]["choices"] for region in row["result"]] for row in rows]
    assert shown == [[["Impolite"]], [], [["Impolite"]]]
    given = people(2)[1].next_task(loop.id)
    assert given is not None
    assert [row["result"][0]["from_name"] for row in given["predictions"]] == ["politeness"]


def test_whoever_asks_in_the_middle_gets_the_old_window_the_new_one_or_what_they_hold(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(24))
    first, *others = people(9)
    t = loop.tasks
    loop.label(first, t[0])
    loop.label(first, t[1])
    old, fresh = t[2:12], t[12:]
    loop.publish([*second(t[0]), *new(*old)])
    assert loop.give(others[0]) == t[0]
    assert loop.give(others[1]) == old.pop(0)

    given: list[tuple[str, int | None]] = []
    waiting = iter(others[2:])

    def ask(name: str, about: Any) -> None:
        person = next(waiting, None)
        if person is not None:
            given.append((name, loop.give(person)))

    gateway = Watched(loop, after=ask)
    loop.publish([*new(*fresh[:2]), *second(t[1]), *new(*fresh[2:])], gateway)

    assert [name for name, _ in gateway.writes] == ["import_predictions", "open", "update_project", "close"]
    assert given == [
        ("import_predictions", old[0]),
        ("open", old[1]),
        ("update_project", fresh[0]),
        ("close", fresh[1]),
    ]
    assert loop.give(next(waiting)) == t[1]
    # A new task that people hold stays theirs although it left the window; a withdrawn second opinion does not.
    assert loop.give(others[1]) == t[2]
    assert loop.give(others[2]) == old[0]
    assert loop.give(others[0]) == fresh[2]
    # An answer to the withdrawn one, from a page that is still open, is accepted all the same.
    loop.label(others[0], t[0])
    assert loop.flags(t[0]) == [(1, True)]


def test_a_settings_page_saved_while_a_sync_publishes_does_not_bring_the_old_window_back(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(6))
    t = loop.tasks
    loop.label(people(1)[0], t[0])
    old = loop.publish([*second(t[0]), *new(*t[1:])]).version

    def save(name: str, about: Any) -> None:
        if name == "close":
            loop.set(show_collab_predictions=True, model_version=old)

    loop.publish(new(*reversed(t[1:])), Watched(loop, before=save))
    loop.assert_published()
    assert [loop.turn(person) for person in people(3)] == [t[5], t[4], t[3]]


def test_an_old_window_that_a_settings_page_brought_back_is_put_right_by_the_next_sync(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(16))
    old = loop.sync()["queue_version"]
    current = loop.publish(new(*loop.tasks[10:])).version
    loop.set(model_version=old)
    assert loop.sync()["restored"] == ["model_version"]
    assert loop.project()["model_version"] == current
    assert loop.turn(people(1)[0]) == loop.tasks[10]


@pytest.mark.parametrize("relabel", [False, True], ids=["new task", "second opinion"])
def test_forms_opened_before_a_sync_can_be_submitted_skipped_and_kept_as_drafts_after_it(
    start: StartProject, people: Annotators, relabel: bool
) -> None:
    loop = start(texts(20))
    author, *others = people(4)
    for task in loop.tasks[:3]:
        loop.label(author, task)
    loop.publish([*(second if relabel else new)(*loop.tasks[: 3 if relabel else 0]), *new(*loop.tasks[3:12])])
    served = [person.next_task(loop.id) for person in others]
    assert all(task is not None and task["predictions"] for task in served)

    loop.publish(new(*reversed(loop.tasks[3:])))

    by_submit, by_skip, by_draft = others
    annotation = by_submit.submit(served[0], "politeness", "text", "Impolite")
    by_skip.skip(served[1])
    by_draft.draft(served[2], "politeness", "text", "Polite")
    assert annotation in loop.annotations()
    loop.publish(new(*loop.tasks[12:]))
    by_draft.submit(served[2], "politeness", "text", "Polite")
    rows = loop.annotations()
    assert sum(row["was_cancelled"] for row in rows.values()) == 1
    assert len(rows) == 6


def windows_ago(loop: ProjectDriver, *hours: float) -> list[str]:
    """Windows of ours as syncs of so many hours ago have left them."""
    versions = []
    for ago in hours:
        at = datetime.now(timezone.utc) - timedelta(hours=ago)
        versions.append(f"{VERSION_PREFIX}{at:%Y%m%d-%H%M%S-%f}")
        rows = [{"task": loop.tasks[0], "result": [], "score": 0.5, "model_version": versions[-1]}]
        loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=rows)
    return versions


def test_windows_that_no_form_can_come_from_any_more_are_deleted(start: StartProject) -> None:
    loop = start(texts(16))
    gone, kept = windows_ago(loop, 25), windows_ago(loop, 23, 1)
    published = loop.publish(new(*loop.tasks))
    assert set(loop.versions()) == {published.version, *kept}
    assert gone[0] not in loop.versions()


def test_a_sync_with_nothing_new_deletes_one_of_them(start: StartProject) -> None:
    loop = start(texts(16))
    loop.sync()
    oldest, older = windows_ago(loop, 50, 30)
    gateway = Watched(loop)
    loop.sync(gateway)
    assert gateway.writes == [("delete_version", oldest)]
    loop.sync(dry_run=True)
    assert older in loop.versions()
    loop.sync()
    assert list(loop.versions()) == [loop.state.record().queue_version]


def test_windows_of_a_machine_whose_clock_is_ahead_are_never_newer_than_the_next(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(16))
    (ahead,) = windows_ago(loop, -5)
    assert loop.publish(new(*loop.tasks)).version > ahead
    loop.assert_published()
    assert loop.turn(people(1)[0]) == loop.tasks[0]


# -- all locked ------------------------------------------------------------------------------------------------------


def test_label_studio_itself_answers_404_when_all_that_is_left_of_a_window_is_locked(
    start: StartProject, people: Annotators
) -> None:
    """Why a window ends in a tail: Label Studio alone, with a window of two tasks."""
    loop = start(texts(6))
    first, other, third = people(3)
    loop.publish(new(*loop.tasks[:2]))
    assert [loop.give(first), loop.give(other)] == loop.tasks[:2]
    assert loop.give(third) is None
    assert sum(not row["is_labeled"] for row in loop.rows()) == 6


def test_small_window_serves_everybody_who_asks_and_does_not_answer(start: StartProject, people: Annotators) -> None:
    loop = start(texts(20))
    team = people(6)
    for person, task in zip(team[:4], loop.tasks, strict=False):
        loop.label(person, task)
    done = loop.sync(window=2)
    assert done["window"] == {"size": 12, "new": 12, "relabel": 0}  # three for each of the four
    expected = Expected(loop)
    given = [loop.give(person) for person in team]
    assert given == [expected.ask(person) for person in team] == loop.window[:6]
    assert [loop.give(person) for person in team] == given


# -- zombie tasks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [True, False], ids=["second opinion", "new task of the window"])
def test_sync_closes_a_task_that_is_open_with_as_many_rows_as_its_overlap(
    start: StartProject, people: Annotators, asked: bool
) -> None:
    loop = start(texts(5))
    first, other = people(2)
    zombie = loop.tasks[0]
    if asked:
        loop.label(first, zombie)
        loop.publish(second(zombie))
    else:
        loop.publish(new(zombie))
        assert loop.turn(first) == zombie
        assert loop.sync()["window"]["size"] == 4
        loop.publish(new(zombie))
    loop.call("PATCH", f"/api/tasks/{zombie}", json={"overlap": 1, "is_labeled": False})
    assert loop.give(other) is None, "a zombie alone in the window makes everybody's next task 404"

    loop.sync()
    assert loop.flags(zombie) == [(1, True)]
    loop.assert_published()
    assert loop.give(other) == loop.window[0] != zombie


def test_second_opinion_is_asked_beside_two_annotations_of_one_person_and_closed_when_it_came(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(5))
    first, other, third = people(3)
    twice = loop.tasks[0]
    loop.label(first, twice)
    loop.label(first, twice, "Impolite")
    loop.publish([*second(twice), *new(*loop.tasks[1:])])
    assert loop.flags(twice) == [(3, False)]
    assert loop.turn(other) == twice
    # Two people, three rows: for Label Studio the task is neither complete nor free.
    assert loop.flags(twice) == [(3, False)]
    assert loop.give(third) == loop.tasks[1]

    loop.sync()
    assert loop.flags(twice)[0][1] is True
    loop.assert_published()


# -- settings saved --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "restored"),
    [
        pytest.param({"sampling": "Sequential sampling"}, ["sampling"], marks=pytest.mark.nightly),
        pytest.param({"maximum_annotations": 3}, ["maximum_annotations"], marks=pytest.mark.nightly),
        pytest.param({"show_overlap_first": True}, ["show_overlap_first"], marks=pytest.mark.nightly),
        ({"show_collab_predictions": False}, ["model_version", "show_collab_predictions"]),
        pytest.param({"model_version": ""}, ["model_version"], marks=pytest.mark.nightly),
        pytest.param({"model_version": "somebody-else"}, ["model_version"], marks=pytest.mark.nightly),
        (
            {"sampling": "Uniform sampling", "maximum_annotations": 2, "model_version": ""},
            ["maximum_annotations", "model_version", "sampling"],
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_sync_restores_settings_that_somebody_saved_and_the_order_holds(
    start: StartProject, people: Annotators, saved: dict[str, Any], restored: list[str]
) -> None:
    loop = start(texts(8))
    first, *others = people(4)
    t = loop.tasks
    loop.label(first, t[0])
    loop.call(
        "POST",
        f"/api/projects/{loop.id}/import/predictions",
        json=[{"task": t[7], "result": [], "score": 0.5, "model_version": "somebody-else"}],
    )
    loop.publish([*new(t[5]), *second(t[0]), *new(t[6], t[4], t[3], t[2], t[1])])
    loop.set(**saved)

    done = loop.sync()
    assert done["restored"] == restored
    loop.assert_published()
    assert wrong_settings(loop.project()) == {}
    assert "somebody-else" in loop.versions()
    expected = Expected(loop)
    if "maximum_annotations" not in saved:  # which rewrites overlaps, so that there is another window
        assert loop.window == [t[5], t[0], t[6], t[4], t[3], t[2], t[1]]
        assert loop.flags(t[0]) == [(2, False)]
    assert [loop.turn(person) for person in others] == [expected.turn(person) for person in others]
    assert loop.sync()["restored"] == []


def test_second_opinions_that_a_saved_rule_closed_are_open_again_after_the_next_sync(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(18))
    first, *others = people(3)
    for index, task in enumerate(loop.tasks[:6]):
        loop.label(first, task, "Impolite" if index % 2 else "Polite")
    loop.label(others[0], loop.tasks[6])
    t = loop.tasks
    loop.publish([*second(*t[:4]), *new(*t[7:])])
    loop.set(maximum_annotations=3)
    loop.set(maximum_annotations=1)
    assert loop.flags(*t[:4]) == [(1, True)] * 4, "Label Studio closes all of them"

    done = loop.sync()
    assert done["trained"]
    assert done["window"]["relabel"] > 0
    loop.assert_published()
    expected = Expected(loop)
    for _ in range(4):
        for person in others:
            assert loop.turn(person) == expected.turn(person)


# -- a version deleted by hand ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["model version", "data manager action"])
def test_sync_publishes_again_when_somebody_deleted_the_predictions(
    start: StartProject, people: Annotators, how: str
) -> None:
    loop = start(texts(8))
    first, *others = people(3)
    loop.label(first, loop.tasks[0])
    version = loop.publish([*second(loop.tasks[0]), *new(*loop.tasks[4:])]).version
    if how == "model version":
        loop.call("DELETE", f"/api/projects/{loop.id}/model-versions/", json={"model_version": version})
    else:
        action = {"id": "delete_tasks_predictions", "project": loop.id}
        everything = {"selectedItems": {"all": True, "excluded": []}, "project": loop.id}
        loop.call("POST", "/api/dm/actions", params=action, json=everything)
    assert loop.predictions() == []

    done = loop.sync()
    assert "predictions" in done["restored"]
    assert done["queue_version"] != version
    assert done["window"]["size"] > 0
    loop.assert_published()
    expected = Expected(loop)
    assert [loop.turn(person) for person in others] == [expected.turn(person) for person in others]


def test_sync_publishes_again_when_part_of_the_window_was_deleted(start: StartProject, people: Annotators) -> None:
    loop = start(texts(8))
    version = loop.publish(new(*loop.tasks)).version
    action = {"id": "delete_tasks_predictions", "project": loop.id}
    some = {"selectedItems": {"all": False, "included": loop.tasks[:3]}, "project": loop.id}
    loop.call("POST", "/api/dm/actions", params=action, json=some)
    assert loop.versions() == {version: 5}
    assert loop.sync()["queue_version"] != version
    loop.assert_published()
    assert loop.give(people(1)[0]) == loop.window[0]


# -- something happens between reading and writing -------------------------------------------------------------------


def test_second_opinion_is_closed_again_when_an_annotation_arrived_since_the_reading(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(6))
    first, other, third = people(3)
    t = loop.tasks
    loop.label(first, t[0])
    loop.label(first, t[1])
    arrived: list[int] = []

    def submit(name: str, about: Any) -> None:
        if (name, about) == ("open", t[0]):
            arrived.append(loop.label(other, t[0], "Impolite"))

    published = loop.publish([*second(t[0], t[1]), *new(*t[2:])], Watched(loop, before=submit))

    assert published.raced == 1
    assert [slot.task for slot in published.window] == t[1:]
    assert loop.window == t[1:]
    assert loop.flags(t[0]) == [(1, True)]
    assert loop.state.reopened() == {t[1]: 1}
    kept = loop.annotations()[arrived[0]]
    assert kept["result"][0]["value"]["choices"] == ["Impolite"]
    assert kept["completed_by"] == other.user_id
    expected = Expected(loop)
    team = [third, other, first, third]
    assert [loop.turn(person) for person in team] == [expected.turn(person) for person in team]


def test_new_task_that_is_labelled_while_a_window_is_published_blocks_nobody(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(5))
    first, other = people(2)
    t = loop.tasks

    def submit(name: str, about: Any) -> None:
        if name == "update_project":
            loop.label(first, t[4])

    loop.publish(new(t[4], t[3], t[2]), Watched(loop, before=submit))
    assert [loop.turn(person) for person in (other, first)] == [t[3], t[2]]
    assert loop.flags(t[4]) == [(1, True)]


class Forgetful(Watched):
    """Label Studio keeps one row fewer than it is sent, `times` times: it drops rows it cannot use without an error."""

    def __init__(self, loop: ProjectDriver, times: int) -> None:
        super().__init__(loop)
        self.times = times

    def import_predictions(self, project: int, rows: Any, *, singly: bool = False) -> int:
        self.times -= 1
        if self.times >= 0:
            rows = [{**rows[0], "score": 7}, *rows[1:]]  # a score above 1 is dropped in silence
        return super().import_predictions(project, rows)


def test_import_that_keeps_fewer_rows_is_repeated_under_a_new_version(start: StartProject, people: Annotators) -> None:
    loop = start(texts(6))
    old = loop.publish(new(*loop.tasks)).version
    gateway = Forgetful(loop, times=1)
    published = loop.publish(new(*reversed(loop.tasks)), gateway)
    assert [name for name, _ in gateway.writes].count("import_predictions") == 2
    (deleted,) = [about for name, about in gateway.writes if name == "delete_version"]
    assert deleted not in (old, published.version)
    assert loop.versions() == {old: 6, published.version: 6}
    assert [loop.turn(person) for person in people(3)] == loop.tasks[:2:-1]


def test_old_window_holds_when_imports_keep_failing(start: StartProject, people: Annotators) -> None:
    loop = start(texts(6))
    old = loop.publish(new(*loop.tasks)).version
    with pytest.raises(ConnectorError, match="kept 5 of 6"):
        loop.publish(new(*reversed(loop.tasks)), Forgetful(loop, times=99))
    assert loop.versions() == {old: 6}
    loop.assert_published()
    assert [loop.turn(person) for person in people(3)] == loop.tasks[:3]


@pytest.mark.parametrize("moment", ["import_predictions", pytest.param("open", marks=pytest.mark.nightly)])
def test_sync_succeeds_when_a_task_of_the_window_is_deleted_while_it_publishes(
    start: StartProject, people: Annotators, moment: str
) -> None:
    loop = start(texts(18))
    first, other = people(2)
    for index, task in enumerate(loop.tasks[:6]):
        loop.label(first, task, "Impolite" if index % 2 else "Polite")
    loop.label(other, loop.tasks[0], "Impolite")
    gone: list[int] = []

    def delete(name: str, about: Any) -> None:
        if name == moment and not gone:
            gone.append(about if moment == "open" else loop.tasks[15])
            loop.call("DELETE", f"/api/tasks/{gone[0]}")

    gateway = Watched(loop, before=delete)
    done = loop.sync(gateway)

    assert len(gone) == 1
    assert [name for name, _ in gateway.writes].count("import_predictions") == 2
    assert done["tasks"] == 17
    assert done["window"]["relabel"] > 0
    assert gone[0] not in loop.window
    assert gone[0] not in loop.state.reopened()
    loop.assert_published()
    expected = Expected(loop)
    assert [loop.turn(person) for person in people(4)] == [expected.turn(person) for person in people(4)]


def test_publishing_a_deleted_task_flips_nothing(start: StartProject, people: Annotators) -> None:
    loop = start(texts(4))
    old = loop.publish(new(*loop.tasks)).version

    def delete(name: str, about: Any) -> None:
        loop.call("DELETE", f"/api/tasks/{loop.tasks[3]}")

    with pytest.raises(StaleTasks):
        loop.publish(new(*reversed(loop.tasks)), Watched(loop, before=delete))
    assert loop.project()["model_version"] == old
    assert loop.give(people(1)[0]) == loop.tasks[0]


# -- ground truth ----------------------------------------------------------------------------------------------------


def imported(text: str, *labels: str, ground_truth: bool | None = None) -> dict[str, Any]:
    """A task to import with its annotations, which Label Studio takes for ground truth unless told otherwise."""
    extra = {} if ground_truth is None else {"ground_truth": ground_truth}
    annotations = [
        {
            "result": [
                {"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
            ],
            **extra,
        }
        for label in labels
    ]
    return {"data": {"text": text}, "annotations": annotations}


def test_task_with_an_imported_ground_truth_is_asked_of_one_person_at_a_time(
    start: StartProject, people: Annotators
) -> None:
    loop = start([imported("Thank you.", "Polite"), *texts(4)])
    first, other = people(2)
    truth = loop.tasks[0]
    assert [row["ground_truth"] for row in loop.annotations().values()] == [True]
    loop.publish([*second(truth), *new(*loop.tasks[1:])])
    assert loop.flags(truth) == [(1, False)]
    assert [loop.give(first), loop.give(other)] == [truth, loop.tasks[1]]
    loop.label(first, truth)
    assert loop.flags(truth) == [(1, True)]
    assert loop.give(first) == loop.tasks[2]


# -- annotations -----------------------------------------------------------------------------------------------------


def test_connector_never_touches_an_annotation(start: StartProject, people: Annotators) -> None:
    tasks = [imported("Thank you.", "Polite"), imported("Go.", "Impolite", ground_truth=False), *texts(16)]
    loop = start(tasks, adopted=False, maximum_annotations=2)
    first, other = people(2)
    t = loop.tasks
    for index, task in enumerate(t[2:10]):
        loop.label(first, task, "Impolite" if index % 2 else "Polite")
    loop.label(other, t[2], "Impolite")
    loop.label(other, t[2])
    other.skip({"id": t[3]})
    other.submit({"id": t[4]}, "politeness", "text", "No such class")
    before = loop.annotations()
    assert len(before) == 14

    loop.adopt()
    loop.sync()
    loop.sync(train="always", prelabel_new=True)
    loop.publish([*second(*t[:4]), *new(*t[12:])])
    loop.set(maximum_annotations=3)
    loop.sync(window=5)
    loop.publish(new(*t[12:]))

    assert loop.annotations() == before
