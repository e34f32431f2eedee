"""The model class in the shape that label-studio-ml 2.x calls it, beside what `ml-backend serve` answers."""

import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from support.backend_server import serving_in_thread
from support.label_studio_ml_2 import Server, modules
from support.model_class import CLASSES, CONFIG, OTHER_CONFIG, Labelled, annotated, asked, button, imported, labels_of

from ml_backend.errors import EncoderUnavailable
from ml_backend.service import Service
from ml_backend.settings import Settings

RECORDED = json.loads((Path(__file__).parent / "label_studio_ml" / "recorded.json").read_text())
TASK = {"id": 1, "data": {"text": "please look at section 3"}}


@pytest.fixture(scope="module")
def labelled(make_sentences: Callable[..., tuple[list[str], list[int]]]) -> Labelled:
    texts, positions = make_sentences(20)
    return [(text, CLASSES[position]) for text, position in zip(texts, positions, strict=True)]


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, make_service: Callable[[Settings], Service]
) -> Iterator[ModuleType]:
    """ml_backend.model on the stand-in of 2.x."""
    with imported(modules(), tmp_path_factory.mktemp("2.x"), make_service) as module:
        yield module


@pytest.fixture(scope="module")
def server(model: ModuleType) -> Server:
    return Server(model.TextClassifier)


@pytest.fixture(scope="module")
def standalone(model: ModuleType) -> Iterator[str]:
    """The address of a server as `ml-backend serve` is one, on the same service."""
    with serving_in_thread(Settings(), model._opened()) as running:
        yield running.url


@pytest.fixture(scope="module")
def version(model: ModuleType, server: Server, labelled: Labelled) -> str:
    """The model version of project 5."""
    for number, (text, label) in enumerate(labelled):
        assert server.post("webhook", annotated(5, number, text, label)) == (201, {"result": {}, "status": "ok"})
    status, answer = server.post("webhook", button(5))
    assert status == 201
    service: Service = model._opened()
    deadline = time.monotonic() + 120
    while service.job("5", answer["result"]["job"]).active:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    trained = service.job("5", answer["result"]["job"]).model_version
    assert trained
    return trained


def test_the_calls_train_and_answer(server: Server, version: str, labelled: Labelled, model: ModuleType) -> None:
    assert server.post("setup", {"project": "5.17", "schema": CONFIG}) == (200, {"model_version": version})
    status, answer = server.post("predict", asked(5, labelled))
    assert (status, labels_of(answer["results"])) == (200, [label for _, label in labelled])
    assert {entry["model_version"] for entry in answer["results"]} == {version}
    # Another project has no model, and no answer.
    empty = {"result": [], "score": 0.0, "model_version": ""}
    assert server.post("predict", asked(6, labelled[:2])) == (200, {"results": [empty, empty]})
    assert server.post("setup", {"project": "6.17", "schema": CONFIG}) == (200, {"model_version": ""})
    assert server.post("webhook", {"action": "TASKS_DELETED"}) == (200, {"status": "Unknown event"})
    assert model._opened()._settings.model_dir.name == "ml_backend_data"  # within label-studio-ml's own MODEL_DIR


# -- beside other requests -------------------------------------------------------------------------------------------


def test_before_the_first_training_no_request_shows_another_its_first_version(
    model: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, seen = model.TextClassifier("7", CONFIG), []
    base = model.label_studio_ml.LabelStudioMLBase
    monkeypatch.setattr(base, "at_first_version", lambda _: seen.append(setup.get("model_version")))
    predict = model.TextClassifier("7", CONFIG)
    assert seen == [""]
    assert predict.get("model_version") == ""


def test_a_request_is_answered_under_its_own_config(model: ModuleType, version: str) -> None:
    first, second, without = (model.TextClassifier("5", config) for config in (CONFIG, OTHER_CONFIG, None))
    assert first.predict([TASK])[0]["result"][0]["from_name"] == "politeness"
    assert second.predict([TASK])[0]["result"][0]["from_name"] == "tone"
    assert without.predict([TASK]) == [{"result": [], "score": 0.0, "model_version": version}]


# -- as `ml-backend serve` ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("project", ["5.1700000000", "6", "../5", ""])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"tasks": []},
        {"tasks": TASK},
        {"tasks": {}},
        {"tasks": [TASK, None, "text", {"data": {"text": ["a"]}}]},
        {"tasks": None},
        {"tasks": 5},
        {"tasks": "text"},
        {"label_config": ""},
        {"label_config": "<View"},
        {"label_config": "no XML"},
        {"label_config": "<View/>"},
        {"label_config": None},
        {"label_config": 5},
    ],
    ids=repr,
)
def test_a_prediction_is_what_ml_backend_serve_answers(
    server: Server, standalone: str, version: str, project: str, change: dict[str, Any]
) -> None:
    body = {"tasks": [TASK], "project": project, "label_config": CONFIG, "params": {"context": {}}, **change}
    body = {name: value for name, value in body.items() if value is not None}
    expected = requests.post(f"{standalone}/predict", json=body, timeout=30)
    status, answer = server.post("predict", deepcopy(body))
    assert status == expected.status_code
    if status == 200:
        assert answer == {"results": expected.json()["results"]}
        assert change != {"tasks": TASK} or len(answer["results"]) == 1
    else:
        assert (status, answer["detail"]) == (422, expected.json()["detail"])
        assert answer["result"] == {"traceback": ""}, "the sentence says it all"


@pytest.mark.parametrize(
    "change",
    [{}, {"extra_params": {"a": [1]}}, {"schema": ""}, {"schema": "<View"}, {"schema": None}, {"schema": 5}],
    ids=repr,
)
def test_setup_answers_with_the_version_whatever_else_comes(
    server: Server, standalone: str, version: str, change: dict[str, Any]
) -> None:
    body = {"project": "5.1700000000", "schema": CONFIG, "hostname": "", "access_token": "", **change}
    assert requests.post(f"{standalone}/setup", json=body, timeout=30).json() == {"model_version": version}
    assert server.post("setup", deepcopy(body)) == (200, {"model_version": version})


def test_a_failure_has_its_status_and_its_sentence(
    server: Server, model: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise EncoderUnavailable("Install the weights.")

    monkeypatch.setattr(model._opened(), "predict", fail)
    status, answer = server.post("predict", asked(5, [("a", "Polite")]))
    assert (status, answer["detail"]) == (503, "Install the weights.")


# -- the stand-in ------------------------------------------------------------------------------------------------------


def comparable(answer: Any) -> Any:
    """An answer without what differs from one training to the next, or from one traceback to the next."""
    if isinstance(answer, list):
        return [comparable(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    hidden = ("score", "model_version", "job", "traceback")
    return {name: bool(value) if name in hidden else comparable(value) for name, value in answer.items()}


@pytest.mark.parametrize("recorded", RECORDED, ids=[exchange["what"] for exchange in RECORDED])
def test_the_stand_in_answers_as_2_x_did(server: Server, version: str, recorded: dict[str, Any]) -> None:
    status, answer = server.post(recorded["path"], deepcopy(recorded["body"]))
    assert (status, comparable(answer)) == (recorded["status"], comparable(recorded["answer"]))
