"""Texts in files: brought as texts, with the digests of the links that tasks show in their place."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from support.training_jobs import trained
from support.webhook_events import ANNOTATED

from ml_backend.errors import InvalidRequest
from ml_backend.labeling.label_config import find_controls
from ml_backend.schemas import TrainRequest
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.storage.dataset import digest

CONFIG = (
    '<View><Text name="t" value="$file" valueType="url"/><Choices name="topic" toName="t">'
    '<Choice value="fish"/><Choice value="bikes"/></Choices></View>'
)
(CONTROL,) = find_controls(CONFIG)
TOPICS = ("fish", "bikes")
COUNT = 16


def text(number: int) -> str:
    return f"{number} {'salmon in the river' if number % 2 == 0 else 'a wheel on the road'} {number}"


def data(number: int) -> dict[str, str]:
    return {"file": f"https://files.example/{number}.txt"}


def hashes(contents: list[str]) -> np.ndarray:
    return np.frombuffer(b"".join(map(digest, contents)), dtype=np.uint8).reshape(-1, 16)


def bring(service: Service, project: str, numbers: list[int]) -> None:
    """Put the items and send what is missing, as the connector does."""
    sources = [CONTROL.shown(data(number)).text or "" for number in numbers]
    texts = [text(number) for number in numbers]
    missing = service.set_items(project, np.array(numbers), hashes(texts), "text", hashes(sources))
    service.add_texts(project, [texts[place] for place in missing])


def answers(service: Service, project: str, tasks: list[Any], config: str = CONFIG) -> list[str | None]:
    results = service.predict(project, config, tasks).results
    return [entry.result[0]["value"]["choices"] if entry.result else None for entry in results]


@pytest.fixture
def service(tmp_path: Path, make_service: Callable[[Settings], Service]) -> Iterator[Service]:
    """A service without projects."""
    running = make_service(Settings(model_dir=tmp_path, classifier="logistic"))
    yield running
    running.close()


@pytest.fixture
def project(service: Service) -> str:
    """A project with a model of texts in files."""
    bring(service, "7", list(range(COUNT)))
    labels = [number % 2 for number in range(12)]
    request = TrainRequest(ids=list(range(12)), labels=labels, classes=list(TOPICS), folds=2, control="topic")
    trained(service, "7", service.train("7", request))
    return "7"


def test_tasks_are_answered_from_their_stored_texts_and_others_with_nothing(service: Service, project: str) -> None:
    tasks = [{"id": number, "data": data(number)} for number in (14, 99, 15)]
    # The id does not matter, only the address does.
    tasks += [{"id": 14, "data": data(98)}, {"data": data(15)}, {"data": {"file": "Hello"}}, {"data": {}}, None]
    assert answers(service, project, tasks) == [["fish"], None, ["bikes"], None, ["bikes"], None, None, None]


def test_a_text_in_the_data_is_read_as_well(service: Service, project: str) -> None:
    config = CONFIG.replace(' valueType="url"', "")
    assert answers(service, project, [{"data": {"file": text(14)}}, {"data": {"file": "wheel road"}}], config) == [
        ["fish"],
        ["bikes"],
    ]


def test_two_files_with_one_text_are_one_content(service: Service) -> None:
    sources = hashes([CONTROL.shown(data(number)).text or "" for number in (1, 2)])
    assert service.set_items("8", np.array([1, 2]), hashes(["Hello"] * 2), "text", sources).tolist() == [0, 1]
    service.add_texts("8", ["Hello"])
    assert service.set_items("8", np.array([1, 2]), hashes(["Hello"] * 2), "text", sources).tolist() == []
    dataset = service._projects.create("8").dataset
    assert dataset.digests_of_sources([row.tobytes() for row in sources]) == [digest("Hello")] * 2
    service.set_items("8", np.array([1]), hashes(["Bye"]), "text", sources[:1])
    assert dataset.digests_of_sources([row.tobytes() for row in sources]) == [digest("Bye"), None]


def test_annotations_that_events_report_train_on_the_texts(service: Service) -> None:
    bring(service, "70", list(range(COUNT)))
    for number in range(8):
        event = json.loads(json.dumps(ANNOTATED))
        result = [{"from_name": "topic", "to_name": "t", "type": "choices", "value": {"choices": [TOPICS[number % 2]]}}]
        event["project"] = {"id": 70, "label_config": CONFIG}
        event["task"] = {"id": number, "data": data(number)}
        event["annotation"] = {**event["annotation"], "id": 100 + number, "task": number, "result": result}
        assert service.webhook(json.dumps(event).encode()) == {}
    dataset = service._projects.create("70").dataset
    assert {row.digest for row in dataset.annotations("file")} == {digest(text(number)) for number in range(8)}
    assert dataset.count_texts() == COUNT  # no link has become a text
    start = {"action": "START_TRAINING", "project": {"id": 70, "label_config": CONFIG}}
    answer = service.webhook(json.dumps(start).encode())
    trained(service, "70", service.job("70", answer["job"]))
    assert service.model("70").labels == 8


def test_sources_that_do_not_fit_are_refused(service: Service) -> None:
    one = hashes(["Hello"])
    for sources, kind in ((hashes(["a", "b"]), "text"), (one[:, :8], "text"), (one, "image")):
        with pytest.raises(InvalidRequest, match="Send 'sources'"):
            service.set_items("9", np.array([1]), one, kind, sources)


def test_sources_are_sent_over_http(server: Any) -> None:
    client = server.client("linked-over-http")

    def put(**arrays: np.ndarray) -> requests.Response:
        buffer = io.BytesIO()
        np.savez(buffer, ids=np.array([1]), hashes=hashes(["Hello"]), **arrays)
        return requests.put(f"{client.base}/items", data=buffer.getvalue(), timeout=5)

    assert np.load(io.BytesIO(put(sources=hashes(["a link"])).content))["missing"].tolist() == [0]
    assert put().status_code == 200
    refused = put(sources=np.zeros((1, 16)))
    assert (refused.status_code, "'sources'" in refused.text) == (422, True)
