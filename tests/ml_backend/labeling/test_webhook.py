"""What events of Label Studio do, replayed as a real one sent them (webhooks/README.md) and in every odd shape."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from support.webhook_events import ANNOTATED, BUTTON, CLASSES, EVENTS, RECORDED, EventHarness

from ml_backend.storage.dataset import digest


@pytest.fixture
def events(tmp_path: Path) -> EventHarness:
    return EventHarness(tmp_path)


# -- as recorded -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVENTS)
def test_every_recorded_event_is_answered_and_none_but_the_button_starts_anything(
    events: EventHarness, name: str
) -> None:
    answer = events.send(EVENTS[name])
    assert list(answer) == (["detail"] if name == "start_training" else [])
    assert events.started == []


def test_an_annotation_is_remembered_changed_and_forgotten(events: EventHarness) -> None:
    events.send(EVENTS["annotation_created"])
    assert events.known() == [(1, {"politeness": ["Polite"]})]
    text = EVENTS["annotation_created"]["task"]["data"]["text"]
    assert events.dataset.digests_of_items() == {1: digest(text)}
    assert events.dataset.texts([digest(text)]) == {digest(text): text}
    events.send(EVENTS["annotation_updated"])
    assert events.known() == [(1, {"politeness": ["Impolite"]})]
    events.send(EVENTS["annotation_deleted"])
    assert events.known() == []
    assert events.dataset.digests_of_items() == {1: digest(text)}


def test_a_skip_is_remembered_as_no_label(events: EventHarness) -> None:
    events.send(EVENTS["annotation_skipped"])
    assert events.known() == []
    event = deepcopy(EVENTS["annotation_created"])
    event["annotation"] |= {"was_cancelled": True, "updated_at": "2027-01-01T00:00:00Z"}
    events.send(EVENTS["annotation_created"])
    events.send(event)
    assert events.known() == []


def test_many_annotations_come_in_one_event_and_go_in_another(events: EventHarness) -> None:
    events.send(EVENTS["annotations_created_from_predictions"])
    assert events.known() == [(item, {"politeness": ["Polite"]}) for item in (2, 3, 4)]
    ids = [row["id"] for row in EVENTS["annotations_created_from_predictions"]["annotation"]]
    deleted = EVENTS["annotations_deleted_in_the_data_manager"] | {"annotations": [{"id": one} for one in ids[:2]]}
    events.send(deleted)
    assert events.known() == [(4, {"politeness": ["Polite"]})]


def test_deleted_tasks_are_forgotten_with_their_texts(events: EventHarness) -> None:
    for name in ("annotation_created", "annotations_created_from_predictions"):
        events.send(EVENTS[name])
    assert events.dataset.count_texts() == 4
    events.send(EVENTS["task_deleted"])
    assert [item for item, _ in events.known()] == [2, 3, 4]
    events.send(EVENTS["tasks_deleted_in_the_data_manager"])
    assert (events.known(), events.dataset.count_texts(), events.dataset.digests_of_items()) == ([], 0, {})


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_events_and_their_repetition_change_nothing(events: EventHarness, seed: int) -> None:
    names = ["annotation_created", "annotation_updated", "annotation_skipped", "annotation_created_by_an_annotator"]
    names += ["annotations_created_from_predictions"]
    for index in np.random.default_rng(seed).permutation(2 * len(names)):
        events.send(EVENTS[names[index % len(names)]])
    said = {1: "Impolite", 2: "Polite", 3: "Polite", 4: "Polite"}
    both = [(item, answers["politeness"][0]) for item, answers in events.known()]
    assert sorted(both) == sorted([*said.items(), (4, "Impolite")])
    for name in ("annotation_deleted", "annotation_deleted", "annotations_deleted_in_the_data_manager"):
        events.send(EVENTS[name])
    assert sorted((item, answers["politeness"][0]) for item, answers in events.known()) == [
        (item, "Polite") for item in (2, 3, 4)
    ]


def test_what_nobody_told_of_can_be_deleted(events: EventHarness) -> None:
    for name in ("annotation_deleted", "task_deleted"):
        assert events.send(EVENTS[name]) == {}
    assert events.projects.names == []  # nothing was ever to be remembered


def test_a_fraction_of_zero_is_left_out_of_times(events: EventHarness) -> None:
    events.annotate(1, 1, "Polite", updated_at="2026-11-23T02:00:00.500000Z")
    events.annotate(1, 1, "Impolite", updated_at="2026-11-23T02:00:00Z")
    assert events.known() == [(1, {"politeness": ["Polite"]})]
    events.annotate(1, 1, "Impolite", updated_at="2026-11-23T02:00:01Z")
    assert events.known() == [(1, {"politeness": ["Impolite"]})]


# -- odd shapes ------------------------------------------------------------------------------------------------------

ODD: list[Any] = [
    b"",
    b"[",
    b"\xff",
    b"null",
    b"7",
    b'"START_TRAINING"',
    b"[]",
    b"{}",
    b'{"action": NaN}',
    b"[" * 100_000,
    b'{"action": "START_TRAINING", "project": ' + b"9" * 5000 + b"}",
    {"action": None},
    {"action": ["START_TRAINING"]},
    {"action": "PROJECT_DELETED", "project": {"id": 1}},
    {"action": "SOMETHING_NEW", "project": {"id": 1}},
    {"action": "ANNOTATION_CREATED"},
    {"action": "ANNOTATIONS_DELETED", "project": {"id": 1}},
    {"action": "TASKS_DELETED", "project": {"id": 1}, "tasks": [1, 2]},
    *(BUTTON | {"project": project} for project in (None, True, -1, 0.5, 2**63, "../../etc", [], {}, {"id": "1"})),
    *(
        ANNOTATED | {"annotation": annotation}
        for annotation in (None, 7, [None], {}, {"id": 1}, {"id": 1, "task": "x"})
    ),
    *(
        ANNOTATED | {"annotation": ANNOTATED["annotation"] | change}
        for change in (
            {"id": 2**63},
            {"id": -1},
            {"id": 1.5},
            {"updated_at": "yesterday"},
            {"updated_at": "2026-11-23T02:00:00"},
            {"was_cancelled": [True]},
        )
    ),
]


@pytest.mark.parametrize("body", ODD)
def test_what_cannot_be_read_does_nothing(events: EventHarness, body: Any) -> None:
    assert events.send(body) == {}
    assert (events.started, events.projects.names) == ([], [])


@pytest.mark.parametrize(
    "result", [None, [], [None], ["Polite"], "Polite", [{}], [{"from_name": 1}], [{"from_name": "politeness"}]]
)
@pytest.mark.parametrize(
    "value", [None, "Polite", {"choices": 5}, {"choices": True}, {"choices": [1]}, {"text": ["Polite"]}]
)
def test_a_result_of_another_shape_is_no_label(events: EventHarness, result: Any, value: Any) -> None:
    for row in result or []:
        if isinstance(row, dict) and value is not None:
            row["value"] = value
    events.annotate(1, 1, result=result)
    events.annotate(2, 2, "Polite")
    events.annotate(3, 3, "Impolite")
    assert events.trained() == {"text 2": "Polite", "text 3": "Impolite"}


@pytest.mark.parametrize("choices", ["Polite", ["Polite"], [["Polite"]]], ids=["a string", "a list", "a path"])
def test_a_choice_is_read_as_the_form_shows_it(events: EventHarness, choices: Any) -> None:
    events.annotate(1, 1, result=[{"from_name": "politeness", "type": "choices", "value": {"choices": choices}}])
    events.annotate(2, 2, "Impolite")
    assert events.trained() == {"text 1": "Polite", "text 2": "Impolite"}


@pytest.mark.parametrize("data", [None, [], {}, {"text": None}, {"text": "s3://bucket/a.txt"}, "text"])
def test_without_an_inline_text_nothing_is_made_known(events: EventHarness, data: Any) -> None:
    event = deepcopy(ANNOTATED)
    event["task"]["data"] = data
    assert events.send(event) == {}
    del event["task"]
    assert events.send(event) == {}
    assert (events.known(), events.dataset.digests_of_items(), events.dataset.count_texts()) == ([], {}, 0)


@pytest.mark.parametrize("text", ["please \ud800 look", "a\0b"])
def test_a_text_is_known_as_the_connector_states_it(events: EventHarness, text: str) -> None:
    events.annotate(1, 1, "Polite", text=text)
    assert events.dataset.digests_of_items() == {1: digest(text.replace("\ud800", "?").replace("\0", "?"))}


@pytest.mark.parametrize("project", [1, None])
def test_a_project_may_be_its_id_or_missing(events: EventHarness, project: int | None) -> None:
    event = ANNOTATED | {"project": project}
    assert events.send({key: value for key, value in event.items() if value is not None}) == {}
    assert events.known() == []  # without a config nobody can tell which text is meant
    assert events.projects.names == ["1"]
    assert "labelling config" in events.send(BUTTON | {"project": 1})["detail"]


# -- over HTTP -------------------------------------------------------------------------------------------------------


def test_events_come_over_http_without_any_connector(
    server: Any, label_config: str, make_sentences: Callable[..., Any]
) -> None:
    client = server.client("77")

    def send(body: Any) -> Any:
        answer = requests.post(f"{server.url}/webhook", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    button = BUTTON | {"project": {"id": 77, "label_config": label_config}}
    assert "at least two classes" in send(button)["detail"]
    texts, labels = make_sentences(12)
    for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
        event = deepcopy(ANNOTATED)
        event["project"]["id"] = 77
        event["annotation"] |= {"id": number, "task": number}
        event["annotation"]["result"][0]["value"]["choices"] = [CLASSES[label]]
        event["task"] |= {"id": number, "data": {"text": text}}
        assert send(event) == {}
    job = client.wait(client.get(f"jobs/{send(button)['job']}").json())
    assert job["state"] == "done", job
    assert client.get("model").json()["labels"] == 12
    assert len(client.probabilities()["ids"]) == 12

    for name in ("predict", "predict_interactively", "predict_of_links"):
        body = RECORDED[name] | {"project": "77.1700000000", "label_config": label_config}
        answer = requests.post(f"{server.url}/predict", json=body, timeout=30).json()
        shown = [bool(entry["result"]) for entry in answer["results"]]
        # All others are links to files. A web address is a text, as the form shows it.
        inline = [task["data"]["text"][:1].isupper() or "https:" in task["data"]["text"] for task in body["tasks"]]
        assert shown == inline
        assert {entry["model_version"] for entry in answer["results"]} == {job["model_version"]}
    setup = requests.post(f"{server.url}/setup", json=RECORDED["setup"] | {"project": "77.1"}, timeout=30).json()
    assert setup == {"model_version": job["model_version"]}
