"""What events of Label Studio do, replayed as a real one sent them (webhooks/README.md) and in every odd shape."""

import json
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from ml_backend.features.encoder import Encoder
from ml_backend.jobs.records import Job
from ml_backend.labeling.label_config import find_controls
from ml_backend.labeling.webhook import WebhookHandler
from ml_backend.project import Projects
from ml_backend.schemas import TrainRequest
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.storage.dataset import ConsensusLabel, digest
from ml_backend.training.request import TrainingRequest

RECORDED = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parents[1] / "webhooks").glob("*.json")}
EVENTS = {name: body for name, body in RECORDED.items() if "action" in body}
TOPICS = """<View><Text name="t" value="$text"/><Choices name="topics" toName="t" choice="multiple" {}>
<Choice value="rain"/><Choice value="price"/><Choice value="noise"/></Choices></View>"""
QUESTION = '<View><Text name="t" value="$text"/><Choices name="politeness" toName="t">{}</Choices></View>'


def question(*classes: str) -> str:
    return QUESTION.format("".join(f'<Choice value="{name}"/>' for name in classes))


class Told:
    """Events handled on an empty model directory; the trainings that they would start are in `started`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        settings = Settings(model_dir=directory)
        self.started: list[tuple[str, TrainingRequest]] = []
        self.projects = Projects(settings, Encoder(settings.encoder))
        self.events = WebhookHandler(settings, self.projects, find_controls, self._start)

    def _start(self, project: str, request: TrainingRequest) -> Job:
        self.started.append((project, request))
        return Job(f"job-{len(self.started)}")

    def send(self, body: Any) -> dict[str, Any]:
        return self.events.handle(body if isinstance(body, bytes) else json.dumps(body).encode())

    def annotate(self, number: int, item: int, *choices: str, text: str = "", config: str = "", **changes: Any) -> None:
        """An event as the recorded one, of another annotation."""
        event = deepcopy(EVENTS["annotation_created"])
        event["project"]["label_config"] = config or question("Polite", "Impolite")
        (name,) = (control.from_name for control in find_controls(event["project"]["label_config"]))
        region = {"from_name": name, "to_name": "t", "type": "choices", "value": {"choices": list(choices)}}
        event["annotation"] |= {"id": number, "task": item, "result": [region] if choices else [], **changes}
        event["task"] |= {"id": item, "data": {"text": text or f"text {item}"}}
        assert self.send(event) == {}

    def train(self, config: str = "") -> TrainingRequest:
        """The button, after which a training is started."""
        event = deepcopy(EVENTS["start_training"])
        event["project"]["label_config"] = config or question("Polite", "Impolite")
        assert self.send(event) == {"job": f"job-{len(self.started)}"}
        return self.started[-1][1]

    def trained(self, config: str = "") -> dict[str, Any]:
        """The button: {text: names} of what would be trained on."""
        request = self.train(config)
        texts = self.dataset.texts(request.digests)
        names = [
            [request.classes[index] for index in label] if isinstance(label, tuple) else request.classes[label]
            for label in request.labels
        ]
        return dict(zip((texts[key] for key in request.digests), names, strict=True))

    @property
    def dataset(self) -> Any:
        return self.projects.create("1").dataset

    def known(self) -> list[tuple[int, dict[str, list[str]]]]:
        """Item and answers of all annotations that are remembered, skips left out."""
        return [(row.item, row.answers) for row in self.dataset.annotations("text")]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


# -- as recorded -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVENTS)
def test_every_recorded_event_is_answered_and_none_but_the_button_starts_anything(told: Told, name: str) -> None:
    answer = told.send(EVENTS[name])
    assert list(answer) == (["detail"] if name == "start_training" else [])
    assert told.started == []


def test_an_annotation_is_remembered_changed_and_forgotten(told: Told) -> None:
    told.send(EVENTS["annotation_created"])
    assert told.known() == [(1, {"politeness": ["Polite"]})]
    text = EVENTS["annotation_created"]["task"]["data"]["text"]
    assert told.dataset.digests_of_items() == {1: digest(text)}
    assert told.dataset.texts([digest(text)]) == {digest(text): text}
    told.send(EVENTS["annotation_updated"])
    assert told.known() == [(1, {"politeness": ["Impolite"]})]
    told.send(EVENTS["annotation_deleted"])
    assert told.known() == []
    assert told.dataset.digests_of_items() == {1: digest(text)}


def test_a_skip_is_remembered_as_no_label(told: Told) -> None:
    told.send(EVENTS["annotation_skipped"])
    assert told.known() == []
    event = deepcopy(EVENTS["annotation_created"])
    event["annotation"] |= {"was_cancelled": True, "updated_at": "2027-01-01T00:00:00Z"}
    told.send(EVENTS["annotation_created"])
    told.send(event)
    assert told.known() == []


def test_many_annotations_come_in_one_event_and_go_in_another(told: Told) -> None:
    told.send(EVENTS["annotations_created_from_predictions"])
    assert told.known() == [(item, {"politeness": ["Polite"]}) for item in (2, 3, 4)]
    ids = [row["id"] for row in EVENTS["annotations_created_from_predictions"]["annotation"]]
    deleted = EVENTS["annotations_deleted_in_the_data_manager"] | {"annotations": [{"id": one} for one in ids[:2]]}
    told.send(deleted)
    assert told.known() == [(4, {"politeness": ["Polite"]})]


def test_deleted_tasks_are_forgotten_with_their_texts(told: Told) -> None:
    for name in ("annotation_created", "annotations_created_from_predictions"):
        told.send(EVENTS[name])
    assert told.dataset.count_texts() == 4
    told.send(EVENTS["task_deleted"])
    assert [item for item, _ in told.known()] == [2, 3, 4]
    told.send(EVENTS["tasks_deleted_in_the_data_manager"])
    assert (told.known(), told.dataset.count_texts(), told.dataset.digests_of_items()) == ([], 0, {})


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_events_and_their_repetition_change_nothing(told: Told, seed: int) -> None:
    names = ["annotation_created", "annotation_updated", "annotation_skipped", "annotation_created_by_an_annotator"]
    names += ["annotations_created_from_predictions"]
    for index in np.random.default_rng(seed).permutation(2 * len(names)):
        told.send(EVENTS[names[index % len(names)]])
    said = {1: "Impolite", 2: "Polite", 3: "Polite", 4: "Polite"}
    both = [(item, answers["politeness"][0]) for item, answers in told.known()]
    assert sorted(both) == sorted([*said.items(), (4, "Impolite")])
    for name in ("annotation_deleted", "annotation_deleted", "annotations_deleted_in_the_data_manager"):
        told.send(EVENTS[name])
    assert sorted((item, answers["politeness"][0]) for item, answers in told.known()) == [
        (item, "Polite") for item in (2, 3, 4)
    ]


def test_what_nobody_told_of_can_be_deleted(told: Told) -> None:
    for name in ("annotation_deleted", "task_deleted"):
        assert told.send(EVENTS[name]) == {}
    assert told.projects.names == []  # nothing was ever to be remembered


def test_a_fraction_of_zero_is_left_out_of_times(told: Told) -> None:
    told.annotate(1, 1, "Polite", updated_at="2026-11-23T02:00:00.500000Z")
    told.annotate(1, 1, "Impolite", updated_at="2026-11-23T02:00:00Z")
    assert told.known() == [(1, {"politeness": ["Polite"]})]
    told.annotate(1, 1, "Impolite", updated_at="2026-11-23T02:00:01Z")
    assert told.known() == [(1, {"politeness": ["Impolite"]})]


# -- odd shapes ------------------------------------------------------------------------------------------------------

ANNOTATED, BUTTON = EVENTS["annotation_created"], EVENTS["start_training"]
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
            {"result": "Polite"},
            {"updated_at": "yesterday"},
            {"updated_at": "2026-11-23T02:00:00"},
            {"was_cancelled": [True]},
        )
    ),
]


@pytest.mark.parametrize("body", ODD)
def test_what_cannot_be_read_does_nothing(told: Told, body: Any) -> None:
    assert told.send(body) == {}
    assert (told.started, told.projects.names) == ([], [])


@pytest.mark.parametrize(
    "result", [None, [], [None], ["Polite"], [{}], [{"from_name": 1}], [{"from_name": "politeness"}]]
)
@pytest.mark.parametrize("value", [None, {"choices": "Polite"}, {"choices": [1]}, {"text": ["Polite"]}])
def test_a_result_of_another_shape_is_no_label(told: Told, result: Any, value: Any) -> None:
    for row in result or []:
        if isinstance(row, dict) and value is not None:
            row["value"] = value
    told.annotate(1, 1, result=result)
    told.annotate(2, 2, "Polite")
    told.annotate(3, 3, "Impolite")
    assert told.trained() == {"text 2": "Polite", "text 3": "Impolite"}


@pytest.mark.parametrize("data", [None, [], {}, {"text": None}, {"text": "https://example.com/a.txt"}, "text"])
def test_without_an_inline_text_nothing_is_made_known(told: Told, data: Any) -> None:
    event = deepcopy(ANNOTATED)
    event["task"]["data"] = data
    assert told.send(event) == {}
    del event["task"]
    assert told.send(event) == {}
    assert (told.known(), told.dataset.digests_of_items(), told.dataset.count_texts()) == ([], {}, 0)


@pytest.mark.parametrize("text", ["please \ud800 look", "a\0b"])
def test_a_text_is_known_as_the_connector_states_it(told: Told, text: str) -> None:
    told.annotate(1, 1, "Polite", text=text)
    assert told.dataset.digests_of_items() == {1: digest(text.replace("\ud800", "?").replace("\0", "?"))}


@pytest.mark.parametrize("project", [1, None])
def test_a_project_may_be_its_id_or_missing(told: Told, project: int | None) -> None:
    event = ANNOTATED | {"project": project}
    assert told.send({key: value for key, value in event.items() if value is not None}) == {}
    assert told.known() == []  # without a config nobody can tell which text is meant
    assert told.projects.names == ["1"]
    assert "labelling config" in told.send(BUTTON | {"project": 1})["detail"]


# -- the button ------------------------------------------------------------------------------------------------------


def test_the_button_trains_on_what_most_annotations_say(told: Told) -> None:
    for number, (item, choice) in enumerate(
        [(1, "Impolite"), (1, "Polite"), (1, "Impolite"), (2, "Impolite"), (2, "Polite"), (3, "Polite")]
    ):
        told.annotate(number, item, choice)
    told.annotate(10, 3, was_cancelled=True)
    told.annotate(11, 4)  # nothing chosen
    told.annotate(12, 5, "Polite", "Impolite")  # two where one can be
    told.annotate(13, 6, "Rude")  # no class
    assert told.trained() == {"text 1": "Impolite", "text 2": "Polite", "text 3": "Polite"}  # level: the config's first
    assert told.trained(question("Impolite", "Polite"))["text 2"] == "Impolite"
    project, request = told.started[0]
    assert (project, request.classes, request.multilabel) == ("1", ("Polite", "Impolite"), False)
    assert request.weights == (1.0, 1.0, 1.0)
    assert (request.folds, request.classifier) == (3, "logistic")


def test_of_a_multiple_choice_each_class_is_voted_on(told: Told) -> None:
    config = TOPICS.format("")
    for number, (item, choices) in enumerate(
        [
            (1, ["rain", "noise"]),
            (1, ["rain"]),
            (1, ["noise", "price"]),
            (2, ["price"]),
            (2, []),
            (3, []),
            (4, ["hail"]),
        ]
    ):
        told.annotate(number, item, *choices, config=config)
    told.annotate(9, 5, "hail", "rain", config=config)
    # Level is no; nothing chosen says that none applies; a class that is gone says nothing.
    said = {"text 1": ["rain", "noise"], "text 2": [], "text 3": [], "text 5": ["rain"]}
    assert told.trained(config) == said
    assert told.started[-1][1].multilabel
    insisting = told.trained(TOPICS.format('required="true"'))
    assert insisting == {"text 1": ["rain", "noise"], "text 2": ["price"], "text 5": ["rain"]}


def test_the_connectors_word_comes_first(told: Told) -> None:
    told.dataset.set_items([1, 2, 3], [digest(f"text {item}") for item in (1, 2, 3)])
    told.dataset.add_texts([f"text {item}" for item in (1, 2, 3)])
    told.dataset.set_consensus(
        [ConsensusLabel(digest("text 1"), "Polite", 0.7), ConsensusLabel(digest("text 2"), "Impolite", 0.9)]
    )
    for number, item in enumerate([1, 1, 2, 2, 3, 4]):
        told.annotate(number, item, "Impolite" if item == 1 else "Polite")
    assert told.trained() == {"text 1": "Polite", "text 2": "Impolite", "text 3": "Polite", "text 4": "Polite"}
    assert told.started[0][1].weights == (0.7, 0.9, 1.0, 1.0)
    told.dataset.set_consensus([ConsensusLabel(digest("text 4"), "Impolite")])
    assert told.trained() == {"text 4": "Impolite", "text 1": "Impolite", "text 2": "Polite", "text 3": "Polite"}


def test_beside_the_connectors_labels_a_ground_truth_may_be_of_a_test_set(told: Told) -> None:
    told.annotate(1, 1, "Polite", ground_truth=True)
    told.annotate(2, 1, "Polite")
    told.annotate(3, 2, "Impolite")
    told.annotate(4, 3, "Polite")
    assert told.trained() == {"text 1": "Polite", "text 2": "Impolite", "text 3": "Polite"}
    told.dataset.set_consensus([ConsensusLabel(digest("text 2"), "Impolite")])
    assert told.trained() == {"text 2": "Impolite", "text 3": "Polite"}


def test_a_statement_of_all_items_ends_what_was_told_of_others(told: Told) -> None:
    told.annotate(1, 1, "Polite")
    told.annotate(2, 2, "Impolite")
    told.annotate(3, 3, "Impolite")
    told.dataset.set_consensus([ConsensusLabel(digest("text 2"), "Polite")])
    assert told.dataset.set_items([1, 3], [digest("text 1"), digest("changed")]) == [1]
    told.dataset.add_texts(["changed"])
    assert [item for item, _ in told.known()] == [1]  # what was said of another text says nothing of this one
    assert told.dataset.consensus() == []
    told.annotate(4, 3, "Impolite", text="changed")
    assert told.trained() == {"text 1": "Polite", "changed": "Impolite"}


def test_an_item_that_the_connector_stated_keeps_its_text(told: Told) -> None:
    told.dataset.set_items([1], [digest("as stated")])
    told.annotate(1, 1, "Polite", text="as told")
    told.dataset.add_texts(["as stated"])
    assert told.dataset.digests_of_items() == {1: digest("as stated")}


def test_labels_of_classes_that_are_gone_are_left_out(told: Told) -> None:
    for item, choice in enumerate(["Polite", "Impolite", "Rude", "Rude"]):
        told.annotate(item, item, choice)
    told.dataset.set_items(range(6), [digest(f"text {item}") for item in range(6)])
    told.dataset.add_texts(["text 4", "text 5"])
    told.dataset.set_consensus(
        [ConsensusLabel(digest("text 4"), "Polite"), ConsensusLabel(digest("text 5"), "Impolite")]
    )
    said = told.trained(question("Rude", "Impolite", "Neutral"))
    assert said == {"text 5": "Impolite", "text 1": "Impolite", "text 2": "Rude", "text 3": "Rude"}
    assert told.started[-1][1].classes == ("Rude", "Impolite", "Neutral")
    refused = told.send(BUTTON | {"project": {"id": 1, "label_config": question("Polite", "Neutral")}})
    assert "at least two classes" in refused["detail"]


def test_one_label_is_not_another_kind_of_label(told: Told) -> None:
    told.annotate(1, 1, "rain", config=TOPICS.format(""))
    told.annotate(2, 2, "price", config=TOPICS.format(""))
    told.dataset.set_consensus(
        [ConsensusLabel(digest("text 1"), "rain"), ConsensusLabel(digest("text 2"), ["rain", "hail"])]
    )
    told.annotate(3, 3, "noise", config=TOPICS.format(""))
    assert told.trained(TOPICS.format("")) == {"text 2": ["rain"], "text 3": ["noise"]}


@pytest.mark.parametrize("config", ["<View", "<View/>", ""])
def test_a_config_that_cannot_be_served_is_told(told: Told, config: str, caplog: pytest.LogCaptureFixture) -> None:
    told.annotate(1, 1, "Polite")
    answer = told.send(BUTTON | {"project": {"id": 1, "label_config": config}})
    assert "labelling config cannot be read" in answer["detail"]
    assert any(answer["detail"] in message for message in caplog.messages)


# -- with models -----------------------------------------------------------------------------------------------------

CLASSES = ["Polite", "Impolite"]


def wait(service: Service, project: str, job: str) -> Job:
    deadline = time.monotonic() + 90
    while (found := service.job(project, job)).active:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    make_service: Callable[[Settings], Service],
    make_sentences: Callable[..., Any],
) -> Any:
    """A service whose project "1" the connector has trained on 20 texts, items 0 to 19."""
    running = make_service(Settings(model_dir=tmp_path_factory.mktemp("events")))
    texts, labels = make_sentences(20)
    hashes = np.frombuffer(b"".join(map(digest, texts)), dtype=np.uint8).reshape(-1, 16)
    running.set_items("1", np.arange(20), hashes)
    running.add_texts("1", texts)
    weights = [0.5 + item / 100 for item in range(20)]
    request = TrainRequest(classes=CLASSES, ids=list(range(20)), labels=labels, weights=weights)
    assert wait(running, "1", running.train("1", request).job).state == "done"
    yield running
    running.close()


def press(service: Service, config: str) -> Job:
    """Start Training; the job when it has ended."""
    answer = service.webhook(json.dumps(BUTTON | {"project": {"id": 1, "label_config": config}}).encode())
    assert list(answer) == ["job"], answer
    job = wait(service, "1", answer["job"])
    assert job.state == "done", job
    return job


def tell(service: Service, number: int, item: int, choice: str, text: str) -> None:
    event = deepcopy(ANNOTATED)
    event["annotation"] |= {"id": number, "task": item}
    event["annotation"]["result"][0]["value"]["choices"] = [choice]
    event["task"] |= {"id": item, "data": {"text": text}}
    assert service.webhook(json.dumps(event).encode()) == {}


def snapshot(service: Service) -> dict[bytes, int]:
    """What the current model was trained on."""
    project = service._projects.get("1")
    assert project is not None
    model = project.model
    assert model is not None
    return dict(zip(map(bytes, model.training_set.digests), model.training_set.labels.tolist(), strict=True))


def test_the_button_trains_on_the_last_labels_and_on_what_was_told_since(
    service: Service, label_config: str, make_sentences: Callable[..., Any]
) -> None:
    before = service.model("1")
    texts, labels = make_sentences(20)
    for number in range(20):  # against the connector's word
        tell(service, number, number, CLASSES[1 - labels[number]], texts[number])
    tell(service, 100, 100, "Impolite", "You are wrong again, as ever.")
    job = press(service, label_config)
    after = service.model("1")
    assert (after.model_version, after.labels) == (job.model_version, 21)
    assert after.model_version != before.model_version
    expected = {digest(text): label for text, label in zip(texts, labels, strict=True)}
    assert snapshot(service) == expected | {digest("You are wrong again, as ever."): 1}
    # What was told changes once more: it is asked again, not taken for the connector's word.
    tell(service, 101, 100, "Polite", "You are wrong again, as ever.")
    tell(service, 102, 100, "Polite", "You are wrong again, as ever.")
    press(service, label_config)
    assert snapshot(service) == expected | {digest("You are wrong again, as ever."): 0}


def choices_of(*classes: str, multiple: bool = False) -> str:
    return question(*classes).replace("<Choices", '<Choices choice="multiple"' if multiple else "<Choices")


@pytest.mark.parametrize(
    ("config", "valid", "says"),
    [
        (choices_of("Impolite", "Polite"), CLASSES, ""),
        (choices_of("Polite", "Impolite", "Rude"), CLASSES, "'Rude' is new. Run connector sync."),
        (choices_of("Polite", "Rude"), ["Polite"], "'Rude' is new and 'Impolite' is gone. Run connector sync."),
        (choices_of("Impolite"), ["Impolite"], "'Polite' is gone. Run connector sync."),
        (choices_of("A", "B"), [], "no Choices for one choice has a class of the model any more"),
        (choices_of("Polite", "Impolite", multiple=True), [], "no Choices for one choice has a class"),
        ("<View", [], "cannot be read"),
        ("<View/>", [], "cannot be read or has no Choices"),
        ("", [], "cannot be read"),
    ],
)
def test_a_changed_config_is_answered_under_the_classes_still_valid(
    service: Service,
    label_config: str,
    make_sentences: Callable[..., Any],
    config: str,
    valid: list[str],
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = [{"id": number, "data": {"text": text}} for number, text in enumerate(make_sentences(6, seed=3)[0])]
    full = service.predict("1.1700000000", label_config, tasks)
    assert full.message == ""
    answers = [service.predict("1.1700000000", config, tasks) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert says in answers[0].message
    assert bool(says) == bool(answers[0].message)
    logged = [
        message for message in caplog.messages if "labelling config" in message and message.startswith("Project 1")
    ]
    assert len(logged) == bool(says)  # once, not at every call
    for entry, whole in zip(answers[0].results, full.results, strict=True):
        assert entry.model_version == whole.model_version
        (best,) = whole.result[0]["value"]["choices"]
        if not valid:
            assert (entry.result, entry.score) == ([], 0.0)
        else:
            (chosen,) = entry.result[0]["value"]["choices"]
            assert chosen == (best if best in valid else valid[0])
            # Its probability among all classes of the model, not among those that are left.
            assert entry.score == pytest.approx(whole.score if chosen == best else 1 - whole.score, abs=1e-6)


def test_of_several_choices_those_still_valid_are_answered(service: Service) -> None:
    said = ["rain all day, wet", "a high price, expensive", "rain at a high price, wet and expensive", "a fine day"]
    texts = [f"{text}, {number}" for number in range(3) for text in said]
    for number, text in enumerate(texts):
        event = deepcopy(ANNOTATED)
        event["project"] |= {"id": 2, "label_config": TOPICS.format("")}
        chosen = [name for name in ("rain", "price") if name in text]
        region = {"from_name": "topics", "to_name": "t", "type": "choices", "value": {"choices": chosen}}
        event["annotation"] |= {"id": number, "task": number, "result": [region] if chosen else []}
        event["task"] |= {"id": number, "data": {"text": text}}
        assert service.webhook(json.dumps(event).encode()) == {}
    button = BUTTON | {"project": {"id": 2, "label_config": TOPICS.format("")}}
    assert wait(service, "2", service.webhook(json.dumps(button).encode())["job"]).state == "done"

    def chosen_under(config: str) -> list[list[str]]:
        entries = service.predict("2", config, [{"data": {"text": text}} for text in said]).results
        assert all(0.5 <= entry.score <= 1 for entry in entries)
        return [entry.result[0]["value"]["choices"] if entry.result else [] for entry in entries]

    assert chosen_under(TOPICS.format("")) == [["rain"], ["price"], ["rain", "price"], []]
    without_rain = TOPICS.format("").replace('<Choice value="rain"/>', '<Choice value="hail"/>')
    assert chosen_under(without_rain) == [[], ["price"], ["price"], []]
    single = service.predict("2", TOPICS.format("").replace("multiple", "single"), [{"data": {"text": said[0]}}])
    assert (single.results[0].result, "no Choices for several choices" in single.message) == ([], True)


def test_the_button_after_a_changed_config_trains_the_configs_classes(service: Service) -> None:
    tell(service, 200, 200, "Rude", "Get lost, all of you, at once.")
    tell(service, 201, 201, "Rude", "Nobody asked you, get lost.")
    config = choices_of("Polite", "Rude")
    press(service, config)
    after = service.model("1")
    assert after.classes == ["Polite", "Rude"]
    assert after.labels == list(snapshot(service).values()).count(0) + 2
    assert service.predict("1", config, [{"data": {"text": "Get lost."}}]).message == ""


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
        inline = [task["data"]["text"][:1].isupper() for task in body["tasks"]]  # all others are links
        assert shown == inline
        assert {entry["model_version"] for entry in answer["results"]} == {job["model_version"]}
    setup = requests.post(f"{server.url}/setup", json=RECORDED["setup"] | {"project": "77.1"}, timeout=30).json()
    assert setup == {"model_version": job["model_version"]}
