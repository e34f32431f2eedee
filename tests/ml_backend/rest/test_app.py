"""Every route over HTTP, with a server in a thread."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import requests
from support.backend_server import serving_in_thread
from support.in_process_worker import InProcessWorker

from ml_backend.features.encoder import Encoder
from ml_backend.service import Service
from ml_backend.settings import Settings

Sentences = Callable[..., tuple[list[str], list[int]]]
NPZ = {"Content-Type": "application/x-npz"}


def tasks(texts: list[Any]) -> list[dict[str, Any]]:
    return [{"id": number, "data": {"text": text}} for number, text in enumerate(texts)]


# Of the session, like its server: a process that comes back to this module would train a second version.
@pytest.fixture(scope="session")
def trained(server: Any, make_sentences: Sentences) -> Any:
    """A project with 30 labelled items and 10 others."""
    client = server.client("trained")
    texts, labels = make_sentences(30)
    others, _ = make_sentences(10, seed=1)
    client.send(range(40), texts + others)
    client.job = client.train(range(30), labels)
    assert client.job["state"] == "done", client.job
    return client


def test_health_names_the_model_class_and_the_protocol(server: Any) -> None:
    health = requests.get(f"{server.url}/health", timeout=5).json()
    assert requests.get(server.url, timeout=5).json() == health
    assert health.keys() == {"status", "model_class", "version", "protocol", "classifiers"}
    assert (health["status"], health["model_class"], health["protocol"]) == ("UP", "LogisticClassifier", 9)


@pytest.mark.parametrize(
    "body",
    [b'{"action": "START_TRAINING", "project": {"id": 1}}', b'{"action": "ANNOTATION_CREATED"}', b"[", b"", b"\xff"],
)
def test_the_webhook_takes_anything(server: Any, body: bytes) -> None:
    assert requests.post(f"{server.url}/webhook", data=body, timeout=5).status_code == 200


def test_setup_answers_with_the_projects_version(server: Any, trained: Any) -> None:
    def setup(**body: Any) -> Any:
        return requests.post(f"{server.url}/setup", json=body, timeout=3).json()

    version = trained.job["model_version"]
    assert setup(project="trained.1700000000", schema="<View/>", hostname="", access_token="") == {
        "model_version": version
    }
    for project in ("unknown.17", 12, "../etc", "", None):
        assert setup(project=project) == {"model_version": ""}


def test_every_task_gets_an_entry(trained: Any, label_config: str, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(4)
    batch = [*tasks(texts), *tasks(["", " \n", None, {"a": 7}]), {"data": {}}, {"data": None}, {}, "task", None]
    answer = trained.predict(batch, label_config)
    version = trained.job["model_version"]
    assert answer["model_version"] == version
    assert len(answer["results"]) == len(batch)
    for entry, label in zip(answer["results"], labels, strict=False):
        assert entry["model_version"] == version
        assert 0.5 <= entry["score"] <= 1
        assert entry["result"] == [
            {
                "from_name": "politeness",
                "to_name": "text",
                "type": "choices",
                "value": {"choices": [["Polite", "Impolite"][label]]},
            }
        ]
    empty = {"result": [], "score": 0.0, "model_version": version}
    assert answer["results"][len(texts) :] == [empty] * (len(batch) - len(texts))
    assert trained.predict([], label_config)["results"] == []


def test_numbers_and_lists_are_texts_as_in_the_form(trained: Any, label_config: str) -> None:
    shown, stored = tasks(["7", "a,b"]), tasks([7, ["a", "b"]])
    assert trained.predict(stored, label_config)["results"] == trained.predict(shown, label_config)["results"]


def test_one_task_needs_no_list(server: Any, trained: Any, label_config: str) -> None:
    (task,) = tasks(["please look"])
    assert trained.predict(task, label_config) == trained.predict([task], label_config)
    assert len(trained.predict({"id": 1}, label_config)["results"]) == 1
    for neither in ("task", 1, None):
        refused = requests.post(f"{server.url}/predict", json={"tasks": neither}, timeout=5)
        assert (refused.status_code, "at tasks" in refused.json()["detail"]) == (422, True)


def test_half_a_character_is_no_error(trained: Any, label_config: str) -> None:
    assert trained.predict(tasks(["please \ud800 look"]), label_config)["results"][0]["result"]


@pytest.mark.parametrize("config", ["", "<View", "<View/>", None])
def test_without_a_servable_control_entries_are_empty(trained: Any, config: str | None) -> None:
    entries = trained.predict(tasks(["please"]), config)["results"]
    assert entries == [{"result": [], "score": 0.0, "model_version": trained.job["model_version"]}]


def test_without_a_model_entries_are_empty(server: Any, label_config: str) -> None:
    for project in ("nobody", "../../etc", "a" * 65):
        answer = server.client(project).predict(tasks(["a", "b"]), label_config)
        empty = {"result": [], "score": 0.0, "model_version": ""}
        assert answer == {"results": [empty] * 2, "model_version": "", "message": ""}


def test_only_missing_texts_are_asked_for(server: Any) -> None:
    client = server.client("missing")
    assert client.put_items([5, 6, 7], ["a", "b", "a"]) == [0, 1, 2]
    assert client.post("texts", texts=["a", "b"]).json() == {"stored": 2}
    assert client.put_items([5, 6, 7], ["a", "b", "a"]) == []
    assert client.put_items([7, 5, 8], ["a", "changed", "b"]) == [1]
    assert client.put_items([7], ["a"]) == []
    assert client.put_items([7, 8], ["a", "b"]) == [1]  # what no item has is forgotten
    assert client.put_items([], []) == []


def test_probabilities_are_out_of_sample_or_the_mean(trained: Any) -> None:
    arrays = trained.probabilities()
    assert {name: (array.shape, array.dtype.kind) for name, array in arrays.items()} == {
        "ids": ((40,), "i"),
        "pred_probs": ((40, 2), "f"),
        "fold": ((40,), "i"),
        "classes": ((2,), "U"),
        "multilabel": ((), "b"),
        "model_version": ((), "U"),
        "control": ((), "U"),
        "fields": ((0,), "U"),
    }
    assert (arrays["ids"].dtype, arrays["pred_probs"].dtype, arrays["fold"].dtype) == (np.int64, np.float32, np.int8)
    assert arrays["classes"].tolist() == ["Polite", "Impolite"]
    assert str(arrays["model_version"]) == trained.job["model_version"]
    assert arrays["ids"].tolist() == list(range(40))
    assert set(arrays["fold"][:30]) == {0, 1, 2}
    assert set(arrays["fold"][30:]) == {-1}
    np.testing.assert_allclose(arrays["pred_probs"].sum(axis=1), 1, atol=1e-6)


def test_new_items_are_scored_and_items_without_text_left_out(server: Any, make_sentences: Sentences) -> None:
    client = server.client("later")
    texts, labels = make_sentences(10)
    client.send(range(10), texts)
    client.train(range(10), labels)
    client.send(range(11), [*texts[:9], "changed", "new"])
    client.put_items(range(12), [*texts[:9], "changed", "new", "never sent"])
    arrays = client.probabilities()
    assert arrays["ids"].tolist() == list(range(11))
    assert (arrays["fold"] >= 0).tolist() == [True] * 9 + [False] * 2


def test_the_model_is_described(server: Any, trained: Any) -> None:
    described = trained.get("model").json()
    assert described["model_version"] == trained.job["model_version"]
    assert described["classes"] == ["Polite", "Impolite"]
    assert described["labels"] == 30
    assert described["trained_at"]
    assert described["accuracy"] > 0.5
    assert described["versions"] == [described["model_version"]]
    assert (described["embedding"], described["in_training"]) == ("frozen", False)
    assert described["since"] == described["trained_at"]
    nothing = {"model_version": None, "classes": [], "multilabel": False, "labels": 0, "versions": []}
    nothing |= {"trained_at": None, "accuracy": None, "embedding": None, "since": None, "in_training": False}
    assert server.client("nobody").get("model").json() == nothing


def test_spread_covers_what_is_there(server: Any) -> None:
    client = server.client("spread")
    texts = [*(f"please look at page {number}" for number in range(10)), "you idiot", "der Tee ist kalt"]
    client.send(range(12), texts)
    answer = client.post("spread", ids=[*range(12), 99, 3], count=3).json()["ids"]
    assert len(answer) == 3
    assert {10, 11} < set(answer)
    assert client.post("spread", ids=list(range(12)), count=3).json()["ids"] == answer
    assert sorted(client.post("spread", ids=list(range(12)), count=50).json()["ids"]) == list(range(12))
    assert client.post("spread", ids=[], count=3).json() == {"ids": []}


def test_of_equal_texts_the_first_item_is_chosen(server: Any) -> None:
    client = server.client("distinct")
    client.send(range(5), ["one", "two", "one", "three", "two"])
    answers = [
        client.post("distinct", ids=ids, count=count).json()["ids"]
        for ids, count in (([4, 99, 1, 4], 9), ([2, 0], 9), ([1, 0], 1), ([], 3))
    ]
    assert answers == [[4], [2], [1], []]
    assert server.client("nobody").post("distinct", ids=[1], count=1).status_code == 404


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": [0]}, "one label per id"),
        ({"labels": [0, 2]}, "Count from 0"),
        ({"labels": [0, -1]}, "Count from 0"),
        ({"labels": [1, 1]}, "at least two classes"),
        ({"ids": [0, 99]}, "at least two classes"),
        ({"ids": [0, 0]}, "each id once"),
        ({"classes": ["A", "A"]}, "Name each class once"),
        ({"classes": ["A"]}, "classes"),
        ({"classes": ["A", ""]}, "classes.1"),
        ({"weights": [1.0]}, "one weight per id"),
        ({"weights": [1.0, 0.0]}, "weights.1"),
        ({"weights": [1.0, -2.0]}, "weights.1"),
        ({"classifier": "oracle"}, "classifier: Input should be 'auto'"),
        ({"folds": 1}, "folds"),
        ({"folds": 21}, "folds"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_training_that_cannot_be_is_refused(trained: Any, change: dict[str, Any], sentence: str) -> None:
    answer = trained.post("train", **{"classes": ["A", "B"], "ids": [0, 1], "labels": [0, 1], **change})
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]
    assert trained.get("model").json()["model_version"] == trained.job["model_version"]


def test_what_is_not_there_is_not_found(server: Any, trained: Any) -> None:
    unknown = server.client("nobody")
    for answer in (
        unknown.post("texts", texts=["a"]),
        unknown.post("train", classes=["A", "B"], ids=[0, 1], labels=[0, 1]),
        unknown.post("spread", ids=[1], count=1),
        unknown.get("probabilities"),
        unknown.get("jobs/1"),
        trained.get("jobs/1"),
    ):
        assert answer.status_code == 404
        assert answer.json().keys() == {"detail"}
    untrained = server.client("untrained")
    untrained.put_items([1], ["a"])
    answer = untrained.get("probabilities")
    assert (answer.status_code, answer.json()) == (404, {"detail": "The project has no model yet. Train one first."})


@pytest.mark.parametrize("project", ["a" * 65, "a.b", "a b", "%2e%2e", "é"])
def test_other_names_are_no_projects(server: Any, project: str) -> None:
    assert server.client(project).get("model").status_code in (404, 422)


def packed(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        packed(ids=np.arange(2), hashes=np.zeros((2, 16), dtype=np.uint8))[:-30],
        packed(ids=np.array([object()], dtype=object), hashes=np.zeros((1, 16), dtype=np.uint8)),
        packed(ids=np.arange(2), hashes=np.zeros((3, 16), dtype=np.uint8)),
        packed(ids=np.arange(2), hashes=np.zeros((2, 15), dtype=np.uint8)),
        packed(ids=np.arange(2).reshape(2, 1), hashes=np.zeros((2, 16), dtype=np.uint8)),
        packed(ids=np.array([1, 1]), hashes=np.zeros((2, 16), dtype=np.uint8)),
    ],
    ids=["empty", "truncated", "pickled", "lengths", "digest size", "2-d ids", "ids twice"],
)
def test_bad_items_are_refused_and_change_nothing(trained: Any, body: bytes) -> None:
    answer = requests.put(f"{trained.base}/items", data=body, headers=NPZ, timeout=10)
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith((".", "once."))
    assert len(trained.probabilities()["ids"]) == 40


def test_bad_json_is_refused_in_a_sentence(trained: Any) -> None:
    for path, body in (("texts", b"{"), ("texts", b'{"texts": [1]}'), ("train", b"[]"), ("spread", b"{}")):
        headers = {"Content-Type": "application/json"}
        answer = requests.post(f"{trained.base}/{path}", data=body, headers=headers, timeout=10)
        assert answer.status_code == 422
        assert isinstance(answer.json()["detail"], str)
    assert trained.post("texts", texts=["a"] * 5001).status_code == 422


def test_predictions_go_on_without_a_gap_while_models_are_swapped(
    server: Any, label_config: str, make_sentences: Sentences
) -> None:
    client = server.client("swap")
    texts, labels = make_sentences(60)
    client.send(range(60), texts)
    versions = [client.train(range(60), labels)["model_version"]]
    ended = Event()

    def predict() -> list[dict[str, Any]]:
        answers = []
        while not ended.is_set():
            answers.append(client.predict(tasks(texts[:3]), label_config))
        return answers

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(predict) for _ in range(3)]
        try:
            versions += [client.train(range(60), labels, seed=seed)["model_version"] for seed in range(1, 6)]
        finally:
            ended.set()
        answers = [answer for future in running for answer in future.result()]
    assert len(set(versions)) == 6
    assert {answer["model_version"] for answer in answers} <= set(versions)
    assert len({answer["model_version"] for answer in answers}) > 1
    for answer in answers:
        assert [bool(entry["result"]) for entry in answer["results"]] == [True] * 3
        assert {entry["model_version"] for entry in answer["results"]} == {answer["model_version"]}


def test_the_environment_sets_the_encoder_and_the_largest_body(
    tmp_path: Path, make_sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_BACKEND_ENCODER", str(tmp_path))
    monkeypatch.setenv("ML_BACKEND_MAX_BODY_MB", "1")
    texts, labels = make_sentences(10)
    settings = Settings(model_dir=tmp_path / "models")
    service = Service(settings, make_worker=partial(InProcessWorker, encoder=Encoder(settings.encoder)))
    with serving_in_thread(settings, service) as server:
        client = server.client("p")
        client.send(range(10), texts)
        job = client.train(range(10), labels)
        assert job["state"] == "failed"
        assert "ML_BACKEND_ENCODER" in job["error"]
        answer = client.post("texts", texts=["a" * (1 << 20)])
        assert (answer.status_code, "1 MiB" in answer.json()["detail"]) == (413, True)
        answer = requests.put(f"{client.base}/items", data=iter([b"a" * 600_000] * 2), timeout=10)
        assert answer.status_code == 413
