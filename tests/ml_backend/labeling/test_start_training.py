"""Start Training and predictions, with models that are trained in this process."""

import json
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from support.webhook_events import ANNOTATED, BUTTON, CLASSES, TOPICS, question

from ml_backend.jobs.records import Job
from ml_backend.schemas import TrainRequest
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.storage.dataset import digest

# -- with models -----------------------------------------------------------------------------------------------------


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
        (choices_of("A", "B"), [], "no control for one choice has a class of the model any more"),
        (choices_of("Polite", "Impolite", multiple=True), [], "no control for one choice has a class"),
        ("<View", [], "cannot be read"),
        ("<View/>", [], "cannot be read or has no control"),
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
    assert (single.results[0].result, "no control for several choices" in single.message) == ([], True)


def test_the_button_after_a_changed_config_trains_the_configs_classes(service: Service) -> None:
    tell(service, 200, 200, "Rude", "Get lost, all of you, at once.")
    tell(service, 201, 201, "Rude", "Nobody asked you, get lost.")
    config = choices_of("Polite", "Rude")
    press(service, config)
    after = service.model("1")
    assert after.classes == ["Polite", "Rude"]
    assert after.labels == list(snapshot(service).values()).count(0) + 2
    assert service.predict("1", config, [{"data": {"text": "Get lost."}}]).message == ""
