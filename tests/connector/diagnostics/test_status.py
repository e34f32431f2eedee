"""`connector status` from a server played in memory and a state of its own: every number, every next step, no trace."""

import copy
import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from support.simulated_label_studio import CONFIG, NOW, VERSION, Server

from connector.active_learning.stopping import forecast, sentence
from connector.active_learning.window import Slot
from connector.annotations.label_config import find_control
from connector.diagnostics.project_status import ProjectStatus
from connector.diagnostics.status import status
from connector.diagnostics.status_text import format_status, format_status_line
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.state import schema
from connector.state.lock import new_holder
from connector.state.project_state import ProjectState, State
from connector.state.pull import pull, read_project


@pytest.fixture
def studio() -> Server:
    return Server()


@pytest.fixture
def database() -> Iterator[State]:
    opened = State("sqlite://")
    yield opened
    opened.close()


@pytest.fixture
def state(database: State) -> ProjectState:
    project = database.project("http://studio", 7)
    project.put(adopted_at="2026-03-01", control=find_control(CONFIG).to_json(), label_config=CONFIG)
    return project


def ask(studio: Server, state: ProjectState, now: datetime = NOW) -> ProjectStatus:
    return status(7, studio, state, lambda: now)  # type: ignore[arg-type]


def synced(studio: Server, state: ProjectState, *window: Slot, **summary: Any) -> None:
    """What a sync leaves that read everything and published `window` an hour before NOW."""
    pull(read_project(7, studio), studio, state)  # type: ignore[arg-type]
    state.store_window(VERSION, len(window), window, {"window": 4})
    state.store_round(1, {"round": 1, **summary})
    at = (NOW - timedelta(hours=1)).isoformat()
    state.put(last_sync={"at": at, "result": "published", "error": None})
    studio.versions[VERSION] = len(window)
    studio.settings["model_version"] = VERSION


def rows(database: State) -> dict[str, list[Any]]:
    """Every row of every table."""
    with database.engine.connect() as db:
        return {
            table.name: [tuple(row) for row in db.execute(sa.select(table))]
            for table in schema.metadata.tables.values()
        }


NEW = tuple(Slot(task, relabel=False) for task in (3, 1, 5, 2))


# -- the numbers -----------------------------------------------------------------------------------------------------


def test_a_project_that_was_never_synced_has_its_tasks_and_nothing_else(studio: Server, state: ProjectState) -> None:
    found = ask(studio, state)
    assert (found.project, found.title, found.label_studio) == (7, "Requests", "http://studio")
    assert found.at == "2026-03-02T09:30:00+00:00"
    assert (found.error, found.last_sync, found.last_round, found.queue, found.model) == (None,) * 5
    assert found.to_json()["tasks"] == {"total": 6, "labelled": 0, "unlabelled": 6, "without_text": 0}
    assert found.next_tasks == []
    assert found.next_step == "There is no window yet: run connector sync --project 7"
    assert "Last sync   never" in format_status(found)


def test_a_window_that_a_copy_of_the_state_from_before_the_first_sync_does_not_know(
    studio: Server, state: ProjectState
) -> None:
    studio.settings["model_version"] = "activelab-20260301-090000-000000"
    studio.versions["activelab-20260301-090000-000000"] = 4
    words = "Label Studio serves a window that the state database does not know: run connector sync --project 7"
    assert ask(studio, state).next_step == words


def test_the_places_of_the_window_are_served_once_their_task_has_one_more_answer(
    studio: Server, state: ProjectState
) -> None:
    studio.annotate(2, 1)
    studio.annotate(4, 1)
    synced(studio, state, Slot(4, relabel=True), Slot(3, relabel=False), Slot(2, relabel=True), *NEW[1:3])
    studio.annotate(3, 2)
    studio.annotate(2, 2, None)  # a skip uses the place up, too
    studio.annotate(6, 2)  # not of the window
    found = ask(studio, state)
    assert found.to_json()["queue"] == {
        "version": VERSION,
        "size": 5,
        "spare": 1,
        "served": 2,
        "left": 3,
        "second_opinions_open": 1,
        "in_charge": True,
    }
    assert [(task.rank, task.task, task.second_opinion) for task in found.next_tasks] == [
        (1, 4, True),
        (4, 1, False),
        (5, 5, False),
    ]
    assert found.new_annotations == 3
    spare = "1 of them spare, so that annotators do not run out"
    assert f"5 tasks ({spare}): 2 answered, 3 left, 1 of them for a second opinion" in format_status(found)
    assert "1. task 4 (second opinion): Text 4\n" in format_status(found)
    assert "4. task 1 (new): Text 1\n" in format_status(found)


def test_a_task_of_the_window_that_was_deleted_is_neither_served_nor_left(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    del studio.rows[1]
    studio.annotate(3, 1)
    found = ask(studio, state).queue
    assert (found.size, found.served, found.left) == (4, 1, 2)


def test_labels_are_those_of_people_by_the_day_they_were_made(studio: Server, state: ProjectState) -> None:
    studio.clock = NOW - timedelta(days=9)
    studio.annotate(1, 1)
    studio.clock = NOW - timedelta(days=6, hours=23)
    studio.annotate(2, 2)
    studio.clock = NOW - timedelta(hours=1)
    for person in (1, 3):
        studio.annotate(3, person)
    studio.annotate(4, 3, None)
    studio.annotate(5, 9, "No class")
    studio.annotate(6, 8)
    studio.rows[6]["annotations"][0]["ground_truth"] = True
    studio.rows[2]["annotations"][0]["updated_at"] = studio.rows[6]["updated_at"]  # changed today, made last week
    found = ask(studio, state)
    assert found.to_json()["labels"] == {
        "total": 4,
        "annotators": 3,
        "today": 2,
        "mean_of_7_days": 0.4,
        "days": 7,
        "per_day": 0.4,
        "ground_truth": 1,
        "skipped": 1,
        "unknown_choices": 1,
        "unreadable_annotations": 0,
    }
    assert found.to_json()["tasks"] == {"total": 6, "labelled": 4, "unlabelled": 2, "without_text": 0}
    assert (
        "Labels      4 by 3 annotators, 2 today, 0.4 per day over the last 7 days, 1 marked as ground truth, "
        "1 skipped, 1 with an answer that the config no longer has\n"
    ) in format_status(found)


@pytest.mark.parametrize(
    ("hours", "days", "per_day", "told"),
    [
        (0, 0, None, "Labels      3 by 1 annotator, 3 today\n"),
        (23, 0, None, "Labels      3 by 1 annotator, 2 today\n"),
        (25, 1, 2.0, "2 today, 2 per day over the last day\n"),
        (49, 2, 1.0, "2 today, 1 per day over the last 2 days\n"),
        (24 * 40, 7, 0.3, "2 today, 0.3 per day over the last 7 days\n"),
    ],
)
def test_a_rate_is_of_whole_days_since_the_first_label(
    studio: Server, state: ProjectState, hours: int, days: int, per_day: float | None, told: str
) -> None:
    studio.clock = NOW - timedelta(hours=hours)
    studio.annotate(1, 1)
    studio.clock = NOW - timedelta(hours=1)
    for task in (2, 3):
        studio.annotate(task, 1)
    found = ask(studio, state)
    assert (found.labels.days, found.labels.per_day) == (days, per_day)
    assert told in format_status(found)


def test_without_a_label_there_is_no_rate(studio: Server, state: ProjectState) -> None:
    assert "Labels      none yet\n" in format_status(ask(studio, state))


def test_a_third_opinion_is_not_called_a_second(studio: Server, state: ProjectState) -> None:
    for person in (1, 2):
        studio.annotate(4, person)
    synced(studio, state, Slot(4, relabel=True), Slot(3, relabel=False))
    found = ask(studio, state)
    assert [task.labels for task in found.next_tasks] == [2, 0]
    assert "1. task 4 (third opinion): Text 4\n" in format_status(found)


def test_a_day_begins_where_the_clock_says(studio: Server, state: ProjectState) -> None:
    studio.clock = datetime(2026, 3, 1, 23, 30, tzinfo=timezone.utc)
    studio.annotate(1, 1)
    early = datetime(2026, 3, 2, 0, 10, tzinfo=timezone.utc)
    assert ask(studio, state, early).labels.today == 0
    assert ask(studio, state, early.astimezone(timezone(timedelta(hours=1)))).labels.today == 1


def test_tasks_without_a_text_are_counted(studio: Server, state: ProjectState) -> None:
    for task, text in ((1, ""), (2, None), (3, {"a": 5}), (4, "  \n")):
        studio.rows[task]["data"] = {"text": text}
    studio.rows[5]["data"] = {}
    found = ask(studio, state)
    assert found.to_json()["tasks"] == {"total": 6, "labelled": 0, "unlabelled": 1, "without_text": 5}
    assert "6: 0 labelled, 1 unlabelled, 5 without content" in format_status(found)


@pytest.mark.parametrize(
    ("agreement", "told"),
    [(0.8333, "v3, out of sample it agrees with 83 % of the consensus labels"), (None, "v3\n")],
)
def test_the_model_comes_with_what_the_last_round_found(
    studio: Server, state: ProjectState, agreement: float | None, told: str
) -> None:
    synced(studio, state, *NEW, model_agreement=agreement)
    state.put(model_version="v3")
    found = ask(studio, state)
    assert found.to_json()["model"] == {
        "version": "v3",
        "agreement": agreement,
        "ground_truth_tasks": 0,
        "ground_truth_accuracy": None,
        "embedding": None,
        "embedding_since": None,
        "in_training": False,
    }
    assert f"Model       {told}" in format_status(found)


@pytest.mark.parametrize(
    ("embedding", "in_training", "told"),
    [
        ("fine-tuned", False, "v3, fine-tuned embeddings since 2026-02-10, out of sample it agrees with 80 %"),
        ("transformer", False, "v3, a fine-tuned transformer since 2026-02-10, out of sample"),
        ("frozen", True, "goes on fine-tuning: the next connector sync takes the result\n"),
    ],
)
def test_the_status_says_which_embedding_serves_and_since_when(
    studio: Server, state: ProjectState, embedding: str, in_training: bool, told: str
) -> None:
    since = "2026-02-10T12:00:00+00:00"
    model = {"model_embedding": embedding, "model_embedding_since": since, "model_in_training": in_training}
    synced(studio, state, *NEW, model_agreement=0.8, **model)
    state.put(model_version="v3")
    found = ask(studio, state)
    assert (found.model.embedding, found.model.embedding_since, found.model.in_training) == (
        embedding,
        since,
        in_training,
    )
    assert told in format_status(found)


@pytest.mark.parametrize(
    ("agreement", "told"),
    [
        (None, "v3, it is right on 75 % of 40 tasks with a ground truth\n"),
        (0.8, "v3, out of sample it agrees with 80 % of the consensus labels, it is right on 75 % of 40 tasks with a"),
    ],
)
def test_the_accuracy_on_a_test_set_is_told(
    studio: Server, state: ProjectState, agreement: float | None, told: str
) -> None:
    synced(studio, state, *NEW, model_agreement=agreement, ground_truth_tasks=40, ground_truth_accuracy=0.75)
    state.put(model_version="v3")
    found = ask(studio, state)
    assert (found.model.ground_truth_tasks, found.model.ground_truth_accuracy) == (40, 0.75)
    assert f"Model       {told}" in format_status(found)


@pytest.mark.parametrize("agreement", [0.9, 0.5])
def test_the_last_rounds_forecast_is_told(studio: Server, state: ProjectState, agreement: float) -> None:
    said = forecast(agreement, 500)
    synced(studio, state, *NEW, forecast=said)
    found = ask(studio, state)
    assert found.to_json()["forecast"] == {**said, "words": sentence(said)}
    assert f"Forecast    {sentence(said)}\n" in format_status(found)


def test_classes_that_the_best_annotators_confuse_are_named_if_there_are_some(
    studio: Server, state: ProjectState
) -> None:
    synced(studio, state, *NEW)
    assert "Codebook" not in format_status(ask(studio, state))
    pair = {"control": "politeness", "classes": ["Polite", "Im\npolite"], "tasks": 11, "of": 92}
    other = {"control": "politeness", "classes": ["Rude", "Polite"], "tasks": 6, "of": 80}
    state.store_round(2, {"round": 2, "ambiguous": 30, "codebook": [pair, other]})
    found = ask(studio, state)
    assert (found.ambiguous, found.to_json()["codebook"][1]["classes"]) == (30, ("Rude", "Polite"))
    assert (
        "  Codebook    likely a problem: the best annotators confuse 'Polite' and 'Im polite' on 11 of 92 tasks, and "
        "1 more pair of classes (connector report --project 7 shows them)\n"
    ) in format_status(found)


def test_what_the_order_weighs_is_told_if_it_may_weigh_time(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    assert "Order" not in format_status(ask(studio, state))
    weighed = {"ignored": "", "answers": 90, "low": 8.0, "high": 40.3}
    state.store_round(2, {"round": 2, "cost": weighed})
    found = ask(studio, state)
    assert found.to_json()["cost"] == weighed
    told = "  Order       weighs time: an answer takes 8 to 40 s, by the length of the text\n"
    assert told in format_status(found)
    state.store_round(3, {"round": 3, "cost": {"ignored": "times", "answers": 1, "low": None, "high": None}})
    assert "  Order       does not weigh time: only 1 answer has a time\n" in format_status(ask(studio, state))


def test_without_a_forecast_it_is_too_early_to_say(studio: Server, state: ProjectState) -> None:
    never = ask(studio, state)
    synced(studio, state, *NEW)  # as a round of an older connector
    for found in (never, ask(studio, state)):
        assert (found.forecast.gain, found.forecast.likely_to_pay) == (None, None)
        assert "Forecast    Too early to say" in format_status(found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Two\n lines\tand  blanks", "Two lines and blanks"),
        ("\x1b[2J\x07Gone", "[2JGone"),
        ("x" * 61, "x" * 59 + "…"),
        ("é" * 60, "é" * 60),
    ],
    ids=["blanks", "a terminal's commands", "one long word", "just short enough"],
)
def test_a_text_is_shown_short_and_in_one_line(studio: Server, state: ProjectState, text: str, shown: str) -> None:
    studio.rows[3]["data"] = {"text": text}
    synced(studio, state, *NEW)
    assert ask(studio, state).next_tasks[0].text == shown


def test_only_the_first_tasks_of_the_window_are_named(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *(Slot(task, relabel=False) for task in range(1, 7)))
    assert [task.task for task in ask(studio, state).next_tasks] == [1, 2, 3, 4, 5]


def test_the_keys_of_the_object_stay(studio: Server, state: ProjectState) -> None:
    studio.annotate(6, 1)
    synced(studio, state, *NEW, model_agreement=0.9)
    state.put(model_version="v3")
    studio.failure = UsageError("Refused.")
    keys = {
        "project": None,
        "title": None,
        "label_studio": None,
        "at": None,
        "error": ["message", "exit_code"],
        "last_sync": ["at", "result", "error", "seconds_ago"],
        "last_round": ["number", "at", "seconds_ago"],
        "sync_running": None,
        "queue": ["version", "size", "spare", "served", "left", "second_opinions_open", "in_charge"],
        "labels": [
            *("total", "annotators", "today", "mean_of_7_days", "days", "per_day"),
            *("ground_truth", "skipped", "unknown_choices", "unreadable_annotations"),
        ],
        "tasks": ["total", "labelled", "unlabelled", "without_text"],
        "rule": ["min_annotations_per_task", "tasks_below"],
        "model": [
            *("version", "agreement", "ground_truth_tasks", "ground_truth_accuracy"),
            *("embedding", "embedding_since", "in_training"),
        ],
        "audit": None,
        "forecast": ["labels", "gain", "likely_to_pay", "words"],
        "new_annotations": None,
        "next_tasks": ["rank", "task", "text", "second_opinion", "labels"],
        "next_step": None,
        "ambiguous": None,
        "codebook": None,
        "annotators": None,
        "machines": None,
        "prelabelled": None,
        "excluded": None,
        "accepted": None,
        "cost": None,
    }
    printed = json.loads(json.dumps(ask(studio, state).to_json()))
    assert list(printed) == list(keys)
    assert isinstance(printed["next_tasks"], list)
    printed["next_tasks"] = printed["next_tasks"][0]
    assert {key: list(part) if isinstance(part, dict) else None for key, part in printed.items()} == keys


def test_a_rule_of_several_labels_is_shown_and_how_many_tasks_it_wants_more_of(
    studio: Server, state: ProjectState
) -> None:
    studio.annotate(1, 1)
    studio.annotate(2, 1)
    studio.annotate(2, 2)
    studio.annotate(3, 1, None)
    assert ask(studio, state).to_json()["rule"] == {"min_annotations_per_task": 1, "tasks_below": 0}
    assert "Rule" not in format_status(ask(studio, state))
    state.put(min_annotations_per_task=2)
    found = ask(studio, state)
    assert found.to_json()["rule"] == {"min_annotations_per_task": 2, "tasks_below": 1}
    assert "  Rule        every labelled task is to have at least 2 labels (1 task has fewer)\n" in format_status(found)


# -- the lock --------------------------------------------------------------------------------------------------------


def test_a_sync_that_runs_is_told(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    with state.lock():
        # Until the lock of this very moment ends, whatever the clock of the other tests says.
        found = ask(studio, state, datetime.now(timezone.utc))
    assert found.sync_running
    assert found.next_step == "A sync is running."
    assert ", a sync is running\n" in format_status(found)
    assert not ask(studio, state).sync_running


@pytest.mark.parametrize(
    ("holder", "seconds", "running"),
    [
        (f"elsewhere:{os.getpid()}:abcdef01", 1, True),
        (f"elsewhere:{os.getpid()}:abcdef01", -1, False),
        (new_holder(), 1, True),
        (new_holder().replace(f":{os.getpid()}:", ":4194305:"), 1, False),  # beyond the largest process number
    ],
    ids=["elsewhere", "elsewhere and over", "here", "here and dead"],
)
def test_a_lock_holds_while_it_lasts_and_its_process_lives(
    studio: Server, state: ProjectState, holder: str, seconds: int, running: bool
) -> None:
    state.put(lock_holder=holder, lock_until=NOW.timestamp() + seconds)
    assert ask(studio, state).sync_running is running


# -- what comes next -------------------------------------------------------------------------------------------------


def test_nothing_new(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    assert ask(studio, state).next_step.startswith("Nothing new: annotators continue with this window")


def test_after_a_sync_that_was_not_to_train_the_next_one_does(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    state.put(window_options={**(state.record().window_options or {}), "train": "never"})
    assert ask(studio, state).next_step == (
        "The last window was chosen with --train never: the next sync without it chooses a new window."
    )


def test_another_labelling_config_is_a_change(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    config = studio.settings["label_config"].replace("</Choices>", '<Choice value="Rude"/></Choices>')
    studio.settings["label_config"] = config
    assert ask(studio, state).next_step == "The project has changed: the next connector sync chooses a new window."


@pytest.mark.parametrize(("count", "told"), [(1, "1 new annotation:"), (3, "3 new annotations:")])
def test_new_annotations_ask_for_a_new_window(studio: Server, state: ProjectState, count: int, told: str) -> None:
    synced(studio, state, *NEW)
    for person in range(count):
        studio.annotate(6, person + 1)
    assert ask(studio, state).next_step == f"{told} the next connector sync chooses a new window."


def test_another_change_asks_for_a_new_window_too(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    studio.add_task()
    assert ask(studio, state).next_step.startswith("The project has changed: the next connector sync chooses")


def test_a_window_that_is_used_up_asks_for_a_sync(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW[:2])
    for slot in NEW[:2]:
        studio.annotate(slot.task, 1)
    found = ask(studio, state)
    assert (found.queue.left, found.next_tasks) == (0, [])
    assert found.next_step == (
        "The window is used up. Remaining tasks are served in random order until you run connector sync --project 7"
    )
    for task in range(1, 7):
        studio.annotate(task, 2)
    assert ask(studio, state).next_step == (
        "The window is used up, and no task without a label is left: run connector sync --project 7 for second opinions"
    )


def test_a_project_without_tasks_says_so(studio: Server, state: ProjectState) -> None:
    studio.rows.clear()
    expected = "The project has no tasks: import some in Label Studio, then run connector sync --project 7"
    assert ask(studio, state).next_step == expected
    synced(studio, state)
    assert ask(studio, state).next_step == expected


def test_an_empty_window_says_that_nothing_is_left(studio: Server, state: ProjectState) -> None:
    synced(studio, state)
    state.put(queue_version="")
    studio.settings["model_version"] = ""
    studio.versions.clear()
    found = ask(studio, state)
    assert (found.queue.size, found.queue.in_charge) == (0, True)
    assert found.next_step == (
        "No task is left to ask for: those without a label were skipped, have no content, or their answers give no "
        "label."
    )
    told = format_status(found)
    assert "Last sync   1 hour ago, found no task to ask for\n" in told
    assert "Queue       empty, no task is left to ask for\n" in told
    assert "no task left to ask for" in format_status_line(found)


def test_a_failed_sync_is_told_with_its_error_and_the_doctor(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    at = (NOW - timedelta(minutes=3)).isoformat()
    state.put(last_sync={"at": at, "result": "failed", "error": "The ML backend does not answer."})
    found = ask(studio, state)
    assert found.to_json()["last_sync"] == {
        "at": at,
        "result": "failed",
        "error": "The ML backend does not answer.",
        "seconds_ago": 180,
    }
    assert found.next_step == (
        "The last sync failed: The ML backend does not answer. To find out more, run connector doctor --project 7"
    )
    assert "Last sync   3 minutes ago, failed: The ML backend does not answer.\n" in format_status(found)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sampling": "Sequential sampling"}, "sampling"),
        ({"maximum_annotations": 3, "model_version": "another"}, "maximum_annotations, model_version"),
        ({"model_version": None}, "model_version"),
    ],
)
def test_a_window_that_is_not_served_in_order_is_told(
    studio: Server, state: ProjectState, changed: dict[str, Any], told: str
) -> None:
    synced(studio, state, *NEW)
    studio.settings.update(changed)
    found = ask(studio, state)
    assert not found.queue.in_charge
    assert found.next_step == (
        f"Label Studio does not serve the window in order, because a person changed {told}: "
        "run connector sync --project 7"
    )


def test_a_window_whose_predictions_were_deleted_is_told(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    studio.versions.clear()
    assert "because a person deleted the window's predictions, or their tasks: run" in ask(studio, state).next_step


def test_a_newer_window_of_ours_is_not_this_one(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    newer = "activelab-20260302-090000-000000"
    studio.versions[newer] = 4
    studio.settings["model_version"] = newer
    found = ask(studio, state)
    assert not found.queue.in_charge
    assert found.next_step == (
        "Label Studio serves a newer window, from a sync that was killed or from another connector: "
        "run connector sync --project 7"
    )


def test_tasks_of_the_window_that_were_deleted_are_counted(studio: Server, state: ProjectState) -> None:
    synced(studio, state, *NEW)
    del studio.rows[NEW[0].task]
    assert " 0 answered, 1 deleted, 3 left, " in format_status(ask(studio, state))


@pytest.mark.parametrize("failure", [None, TryAgainLater("Away.")])
def test_an_interrupted_undo_is_named_before_what_it_changed(
    studio: Server, state: ProjectState, failure: ConnectorError | None
) -> None:
    synced(studio, state, *NEW)
    studio.settings.update(sampling="Sequential sampling", model_version="")
    studio.versions.clear()
    state.put(found={"undo_began": NOW.isoformat()})
    studio.failure = failure
    assert ask(studio, state).next_step == (
        "An undo was interrupted: run connector undo --project 7 again. Or go on using the project: connector init "
        "--project 7."
    )
    with state.lock():
        assert ask(studio, state, datetime.now(timezone.utc)).next_step == "An undo is running."


# -- servers that are away, and projects that are not ours -----------------------------------------------------------


@pytest.mark.parametrize(("failure", "code"), [(TryAgainLater("Away."), 3), (UsageError("Refused."), 2)])
def test_what_the_last_sync_knew_is_shown_when_label_studio_does_not_tell(
    studio: Server, state: ProjectState, failure: ConnectorError, code: int
) -> None:
    studio.annotate(6, 1)
    synced(studio, state, *NEW)
    studio.failure = failure
    found = ask(studio, state)
    assert found.to_json()["error"] == {"message": str(failure), "exit_code": code}
    assert (found.title, found.queue.in_charge, found.new_annotations) == (None, None, 0)
    assert (found.queue.left, found.labels.total, found.tasks.total) == (4, 1, 6)
    assert found.next_step == (
        "These are the figures of the last sync. To find out more, run connector doctor --project 7"
    )
    told = format_status(found)
    assert told.startswith(f"Project 7 at http://studio\n  {failure}\n  Last sync   1 hour ago, published a window\n")


def test_a_project_that_is_not_set_up_is_wrong_usage(studio: Server, database: State) -> None:
    with pytest.raises(UsageError, match="run connector init --project 7 first"):
        ask(studio, database.project("http://studio", 7))


# -- times, and no trace ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "less than a minute ago"),  # the clock of this machine was put back since
        (59, "less than a minute ago"),
        (60, "1 minute ago"),
        (3_599, "59 minutes ago"),
        (3_600, "1 hour ago"),
        (86_399, "23 hours ago"),
        (86_400, "1 day ago"),
        (3 * 86_400, "3 days ago"),
    ],
)
def test_times_are_told_in_words(studio: Server, state: ProjectState, seconds: int, told: str) -> None:
    at = (NOW - timedelta(seconds=seconds)).isoformat()
    state.put(last_sync={"at": at, "result": "nothing new", "error": None})
    found = ask(studio, state)
    assert f"Last sync   {told}, found nothing new\n" in format_status(found)
    assert found.last_sync.seconds_ago == max(0, seconds)


def test_asking_leaves_no_trace(studio: Server, state: ProjectState, database: State) -> None:
    synced(studio, state, *NEW)
    studio.annotate(3, 1)
    studio.settings["sampling"] = "Sequential sampling"
    before, settings = rows(database), copy.deepcopy(studio.settings)
    studio.calls.clear()
    assert ask(studio, state) == ask(studio, state)
    assert rows(database) == before
    assert studio.settings == settings
    assert not [call for call in studio.calls if call[0] == "settings"]


def person(annotator: int, **known: Any) -> dict[str, Any]:
    """An annotator as a round remembers them."""
    found = {
        "annotator": annotator,
        "control": "",
        "answers": 80,
        "accuracy": {"value": 0.52, "low": 0.41, "high": 0.63, "n": 80},
        "by_class": {"Polite": None, "Impolite": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 40}},
        "halves": None,
        "on_truth": 0,
        "right_on_truth": 0,
        "seconds": 3.14,
        "pace": 0.4,
        "warnings": [],
    }
    return found | known


def test_annotators_are_those_of_the_last_round_and_who_needs_a_look_comes_first(
    studio: Server, state: ProjectState
) -> None:
    warning = {"kind": "random", "one_in": 5200, "since": None, "label": None}
    halves = [{"value": value, "low": value - 0.05, "high": value + 0.05, "n": 40} for value in (0.9, 0.6)]
    people = [person(1, halves=halves, on_truth=20, right_on_truth=18), person(2, warnings=[warning])]
    synced(studio, state, *NEW, people=people)
    studio.users = {2: "ben@example.com"}
    lines = format_status(ask(studio, state)).splitlines()
    found = [line for line in lines if "@" in line or "user 1" in line]
    figures = "80 labels, 52 % right (41 to 63 %)"
    pace = "3.1 s per label (0.4 times the others' time)"
    sure = "(at most 1 of 5,200 honest annotators ever looks like this)"
    leave_out = "To leave these labels out: connector init --project 7 --exclude ben@example.com"
    halves = "90 % in the first half and 60 % since, 18 of 20 right on ground truth"
    assert found == [
        f"  Annotators  ben@example.com: {figures}, {pace}",
        f"                ben@example.com answers at random {sure}. {leave_out}",
        f"              user 1: {figures}, {halves}, {pace}",
    ]


def test_who_is_left_out_is_shown_and_does_not_count(studio: Server, state: ProjectState) -> None:
    studio.annotate(1, 1)
    studio.annotate(1, 2)
    studio.annotate(2, 2)
    synced(studio, state, *NEW, people=[person(2)])
    state.put(found={"excluded": [2]})
    studio.users = {2: "ben@example.com"}
    found = ask(studio, state)
    assert (found.labels.total, found.labels.annotators, found.tasks.labelled) == (1, 1, 1)
    assert found.annotators == []
    assert found.to_json()["excluded"] == [{"annotator": 2, "email": "ben@example.com", "annotations": 2}]
    back = "connector init --project 7 --include ben@example.com"
    assert f"  Left out    ben@example.com, 2 annotations. To count them again: {back}\n" in format_status(found)
    studio.failure = TryAgainLater("Away.")
    away = ask(studio, state)
    assert (away.labels.total, away.excluded[0].name) == (1, "user 2")


def test_annotations_of_a_deleted_account_are_still_theirs(studio: Server, state: ProjectState) -> None:
    for task, annotator in ((1, 1), (1, 2), (2, 2), (2, 3)):
        studio.annotate(task, annotator)
    state.put(found={"excluded": [2, 3]})
    synced(studio, state, *NEW)
    assert state.record().annotations_of_excluded == {2: 2, 3: 2, 4: 3}
    for row in (row for task in (1, 2) for row in studio.rows[task]["annotations"]):
        if row["completed_by"] == 2:
            row["completed_by"] = None
    found = ask(studio, state)
    assert [(one.annotator, one.annotations) for one in found.excluded] == [(2, 2), (3, 1)]
    assert found.labels.total == 1
