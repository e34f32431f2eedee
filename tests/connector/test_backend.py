"""The client of the ML backend against a small server that plays it."""

import hashlib
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from support.flaky_server import Time

from connector.backend import TEXTS_A_CALL, Backend
from connector.errors import ConnectorError, TryAgainLater, UsageError

NPZ = "application/x-npz"
Answer = tuple[int, Any]


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(body: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(body)) as arrays:
        return dict(arrays)


def job(state: str, **changes: Any) -> dict[str, Any]:
    return {
        "job": "j1",
        "state": state,
        "stage": "fitting",
        "fold": None,
        "step": 0,
        "steps": 0,
        "progress": 0.5,
        "seconds_left": None,
        "model_version": None,
        "error": None,
        "retriable": False,
    } | changes


class Server:
    """Answers from a list for each call; the last answer of a list is given for ever. Bytes go as .npz, str as HTML."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.calls: list[tuple[str, bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                call = f"{self.command} {self.path}"
                server.calls.append((call, body))
                planned = server.answers.get(call, [(404, {"detail": "Not Found"})])
                status, answer = planned.pop(0) if len(planned) > 1 else planned[0]
                if status == 0:  # hangs up without an answer
                    self.close_connection = True
                    return
                if isinstance(answer, bytes):
                    content, kind = answer, NPZ
                elif isinstance(answer, str):
                    content, kind = answer.encode(), "text/html"
                else:
                    content, kind = json.dumps(answer).encode(), "application/json"
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_DELETE = do_PUT = do_POST = _answer

            def log_message(self, *args: Any) -> None:
                """Keeps quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def on(self, call: str, *answers: Answer) -> None:
        self.answers[call] = list(answers)

    def bodies(self, call: str) -> list[Any]:
        return [
            body if body.startswith(b"PK") else json.loads(body or b"null") for name, body in self.calls if name == call
        ]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def backend(server: Server) -> Iterator[Backend]:
    client = Backend(server.url, retries=Time().retries(), poll_seconds=0.01)
    yield client
    client.close()


def digests(texts: list[str]) -> list[str]:
    return [hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in texts]


# -- items and texts -------------------------------------------------------------------------------------------------


def test_the_whole_project_is_stated_and_only_missing_texts_travel(server: Server, backend: Backend) -> None:
    texts = ["one", "two", "three", "caf\u00e9"]
    server.on("PUT /api/projects/7/items", (200, npz(missing=np.array([1, 3]))))
    server.on("POST /api/projects/7/texts", (200, {"stored": 2}))
    backend.put_items("7", [10, 20, 30, 40], digests(texts), lambda ids: {item: texts[item // 10 - 1] for item in ids})
    sent = unpack(server.bodies("PUT /api/projects/7/items")[0])
    assert sent["ids"].tolist() == [10, 20, 30, 40]
    assert sent["ids"].dtype == np.int64
    assert [bytes(row).hex() for row in sent["hashes"]] == digests(texts)
    assert server.bodies("POST /api/projects/7/texts") == [{"texts": ["two", "caf\u00e9"]}]


def test_no_text_travels_when_none_is_missing(server: Server, backend: Backend) -> None:
    server.on("PUT /api/projects/7/items", (200, npz(missing=np.array([], np.int64))))
    backend.put_items("7", [1], digests(["one"]), lambda ids: {1: "one"})
    assert [name for name, _ in server.calls] == ["PUT /api/projects/7/items"]


def test_a_project_without_texts_is_stated_too(server: Server, backend: Backend) -> None:
    server.on("PUT /api/projects/7/items", (200, npz(missing=np.array([], np.int64))))
    backend.put_items("7", [], [], lambda ids: {})
    sent = unpack(server.bodies("PUT /api/projects/7/items")[0])
    assert (sent["ids"].shape, sent["hashes"].shape) == ((0,), (0, 16))


def test_many_texts_travel_in_parts_and_progress_is_told(server: Server, backend: Backend) -> None:
    count = 2 * TEXTS_A_CALL + 5
    texts = [f"text {number}" for number in range(count)]
    server.on("PUT /api/projects/7/items", (200, npz(missing=np.arange(count))))
    server.on("POST /api/projects/7/texts", (200, {"stored": 1}))
    told: list[tuple[int, int]] = []
    asked: list[int] = []

    def found(ids: Sequence[int]) -> dict[int, str]:
        asked.append(len(ids))
        return {item: texts[item] for item in ids}

    backend.put_items("7", range(count), digests(texts), found, lambda done, total: told.append((done, total)))
    assert asked == [TEXTS_A_CALL, TEXTS_A_CALL, 5]
    parts = [body["texts"] for body in server.bodies("POST /api/projects/7/texts")]
    assert [text for part in parts for text in part] == texts
    assert told == [(TEXTS_A_CALL, count), (2 * TEXTS_A_CALL, count), (count, count)]


# -- training --------------------------------------------------------------------------------------------------------

TRAIN, JOB = "POST /api/projects/7/train", "GET /api/projects/7/jobs/j1"


def test_training_waits_for_the_job_and_tells_how_far_it_is(server: Server, backend: Backend) -> None:
    server.on(TRAIN, (202, job("queued")))
    server.on(
        JOB,
        (200, job("queued", stage="waiting", progress=0.0)),
        (200, job("running", progress=0.4)),
        (200, job("running", progress=0.5, fold=1, step=1200, steps=3000, seconds_left=29.6)),
        (200, job("running", progress=0.6, step=2000, steps=3000, seconds_left=300.0)),
        (200, job("done", stage="done", progress=1.0, model_version="v3")),
    )
    told: list[tuple[str, float]] = []
    version = backend.train("7", ("a", "b"), {5: 0, 9: 1}, progress=lambda stage, share: told.append((stage, share)))
    assert version == "v3"
    assert told == [
        ("waiting", 0.0),
        ("fitting", 0.4),
        ("fitting, fold 2, 1,200 of 3,000, about 30 s left", 0.5),
        ("fitting, 2,000 of 3,000, about 5 min left", 0.6),
        ("done", 1.0),
    ]
    asked = {"classes": ["a", "b"], "multilabel": False, "ids": [5, 9], "labels": [0, 1]}
    assert server.bodies(TRAIN) == [
        {**asked, "weights": None, "pseudo": None, "classifier": None, "control": "", "fields": []}
    ]


def test_weights_travel_in_the_order_of_the_labels(server: Server, backend: Backend) -> None:
    server.on(TRAIN, (202, job("queued")))
    server.on(JOB, (200, job("done", model_version="v1")))
    backend.train("7", ("a", "b"), {9: 1, 5: 0}, weights={5: 0.5, 9: 1.5}, classifier="logistic")
    (body,) = server.bodies(TRAIN)
    assert (body["ids"], body["weights"], body["classifier"]) == ([9, 5], [1.5, 0.5], "logistic")


def test_a_model_is_forgotten(server: Server, backend: Backend) -> None:
    forget = "DELETE /api/projects/7/model"
    server.on(forget, (200, {"model_version": None}))
    backend.forget_model("7")
    assert [name for name, _ in server.calls] == [forget]


def test_predictions_are_asked_for_as_label_studio_does_some_at_a_time(server: Server, backend: Backend) -> None:
    entries = [{"result": [], "score": number} for number in range(TEXTS_A_CALL + 1)]
    server.on("POST /predict", (200, {"results": entries[:-1]}), (200, {"results": entries[-1:]}))
    data = [{"body": f"text {number}"} for number in range(TEXTS_A_CALL + 1)]
    assert backend.predict("7", data, "<View/>") == entries
    first, second = server.bodies("POST /predict")
    assert (first["project"], first["label_config"], len(first["tasks"])) == ("7", "<View/>", TEXTS_A_CALL)
    assert second["tasks"] == [{"data": data[-1]}]


def test_a_failed_training_tells_the_backends_reason(server: Server, backend: Backend) -> None:
    server.on(TRAIN, (202, job("queued")))
    server.on(JOB, (200, job("failed", error="Class b has fewer than two labels.")))
    with pytest.raises(ConnectorError, match=r"The training failed: Class b has fewer than two labels\.") as error:
        backend.train("7", ("a", "b"), {5: 0, 9: 1})
    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    "answer",
    [(404, {"detail": "There is no such job."}), (200, job("failed", error="The server ended.", retriable=True))],
    ids=["forgotten", "stopped"],
)
def test_a_backend_that_restarts_during_a_training_is_for_the_next_sync(
    server: Server, backend: Backend, answer: tuple[int, Any]
) -> None:
    server.on(TRAIN, (202, job("queued")))
    server.on(JOB, (200, job("running")), answer)
    with pytest.raises(TryAgainLater):
        backend.train("7", ("a", "b"), {5: 0, 9: 1})


def test_a_training_is_not_asked_for_twice_when_the_connection_breaks(server: Server, backend: Backend) -> None:
    server.on(TRAIN, (0, None))
    with pytest.raises(TryAgainLater):
        backend.train("7", ("a", "b"), {5: 0, 9: 1})
    assert [name for name, _ in server.calls] == [TRAIN]


# -- probabilities and spread ----------------------------------------------------------------------------------------

PROBABILITIES = "GET /api/projects/7/probabilities"


def test_probabilities_come_as_the_server_has_them(server: Server, backend: Backend) -> None:
    body = npz(
        ids=np.array([4, 2]),
        pred_probs=np.array([[0.25, 0.75], [0.5, 0.5]], np.float32),
        fold=np.array([1, -1], np.int8),
        multilabel=np.array(False),
        control=np.array("politeness"),
        fields=np.array(["title"]),
        classes=np.array(["Polite", "unh\u00f6flich"]),
        model_version=np.array("v3"),
    )
    server.on(PROBABILITIES, (200, body))
    known = backend.probabilities("7")
    assert known is not None
    assert (known.model_version, known.classes) == ("v3", ("Polite", "unh\u00f6flich"))
    assert (known.ids.tolist(), known.fold.tolist(), known.multilabel) == ([4, 2], [1, -1], False)
    assert (known.control, known.fields) == ("politeness", ("title",))
    assert known.pred_probs.dtype == np.float64
    np.testing.assert_array_equal(known.pred_probs, [[0.25, 0.75], [0.5, 0.5]])


def test_before_the_first_training_there_are_no_probabilities(server: Server, backend: Backend) -> None:
    server.on(PROBABILITIES, (404, {"detail": "Project 7 has no model yet."}))
    assert backend.probabilities("7") is None


def test_a_model_of_another_encoder_counts_as_none_so_that_the_next_sync_trains(
    server: Server, backend: Backend
) -> None:
    server.on(PROBABILITIES, (409, {"detail": "The model was trained with another sentence encoder; train again."}))
    assert backend.probabilities("7") is None


def test_spread_gives_ids_in_order(server: Server, backend: Backend) -> None:
    server.on("POST /api/projects/7/spread", (200, {"ids": [9, 3]}))
    assert backend.spread("7", [3, 5, 9], 2, seed=4) == [9, 3]
    assert server.bodies("POST /api/projects/7/spread") == [{"ids": [3, 5, 9], "count": 2, "seed": 4}]


def test_distinct_gives_ids_in_their_order(server: Server, backend: Backend) -> None:
    server.on("POST /api/projects/7/distinct", (200, {"ids": [9, 3]}))
    assert backend.distinct("7", [9, 5, 3], 2) == [9, 3]
    assert server.bodies("POST /api/projects/7/distinct") == [{"ids": [9, 5, 3], "count": 2}]


PLAIN_ARRAY = io.BytesIO()
np.save(PLAIN_ARRAY, np.arange(3))
WHOLE = npz(ids=np.arange(500))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"PK\x03\x04 and then nothing",
        WHOLE[:-40],
        WHOLE[: len(WHOLE) // 2],
        PLAIN_ARRAY.getvalue(),
        "<html></html>",
    ],
    ids=["empty", "only a beginning", "cut at the end", "cut in half", "one plain array", "a page"],
)
def test_arrays_that_cannot_be_read_are_one_sentence(server: Server, backend: Backend, body: bytes) -> None:
    server.on(PROBABILITIES, (200, body))
    with pytest.raises(ConnectorError, match="sent arrays that cannot be read: run the same version of both"):
        backend.probabilities("7")


def test_arrays_that_hold_pickles_are_not_read(server: Server, backend: Backend) -> None:
    server.on(PROBABILITIES, (200, npz(ids=np.array([{"a": 1}], dtype=object))))
    with pytest.raises(ConnectorError, match="cannot be read"):
        backend.probabilities("7")


# -- servers that are away, ill or not ours --------------------------------------------------------------------------


def test_a_backend_of_our_protocol_passes_the_check(server: Server, backend: Backend) -> None:
    server.on("GET /health", (200, {"status": "UP", "model_class": "Classifier", "version": "0.1.0", "protocol": 9}))
    backend.check()
    assert [name for name, _ in server.calls] == ["GET /health"]


@pytest.mark.parametrize(
    ("health", "words"),
    [
        ({"status": "UP", "protocol": 1}, "speaks protocol 1, this connector 9"),
        ({"status": "UP", "model_class": "BertClassifier"}, "speaks protocol unknown"),
        (["UP"], "speaks protocol unknown"),
        ("<html>Welcome</html>", "is not an ML backend of ours: check ML_BACKEND_URL"),
    ],
    ids=["another version", "another kind", "no object", "a page"],
)
def test_a_server_of_another_protocol_is_wrong_usage(server: Server, backend: Backend, health: Any, words: str) -> None:
    server.on("GET /health", (200, health))
    with pytest.raises(UsageError, match=words):
        backend.check()


CALLS: dict[str, Callable[[Backend], object]] = {
    "check": lambda backend: backend.check(),
    "put_items": lambda backend: backend.put_items("7", [1], digests(["a"]), lambda ids: {1: "a"}),
    "train": lambda backend: backend.train("7", ("a", "b"), {1: 0, 2: 1}),
    "spread": lambda backend: backend.spread("7", [1], 1),
    "distinct": lambda backend: backend.distinct("7", [1], 1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_server_without_our_calls_is_wrong_usage(server: Server, backend: Backend, call: Any) -> None:
    with pytest.raises(UsageError, match="check ML_BACKEND_URL"):
        call(backend)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failing_backend_is_for_later_and_its_words_are_told(server: Server, backend: Backend, status: int) -> None:
    server.on(PROBABILITIES, (status, {"detail": "The disk is full."}))
    with pytest.raises(TryAgainLater, match=rf"failed with {status}: The disk is full\.") as error:
        backend.probabilities("7")
    assert error.value.exit_code == 3


def test_a_failing_proxy_without_words_is_for_later(server: Server, backend: Backend) -> None:
    server.on(PROBABILITIES, (502, "<html>Bad gateway</html>"))
    with pytest.raises(TryAgainLater, match="failed with 502: Bad Gateway"):
        backend.probabilities("7")


def test_a_refusal_is_told_in_the_backends_words(server: Server, backend: Backend) -> None:
    server.on(TRAIN, (422, {"detail": "labels and ids differ in length."}))
    with pytest.raises(ConnectorError, match=r"The ML backend refused: labels and ids differ in length\.") as error:
        backend.train("7", ("a", "b"), {1: 0})
    assert error.value.exit_code == 1


def test_a_backend_that_is_away_is_for_later() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(TryAgainLater, match=r"does not answer: start it .* check ML_BACKEND_URL"):
        Backend(url, retries=Time().retries()).check()


@pytest.mark.parametrize(
    ("name", "value", "url"),
    [
        ("REQUESTS_CA_BUNDLE", "/no/such/file", "https://127.0.0.1:9"),
        ("HTTP_PROXY", "socks9://127.0.0.1:9", "http://studio.example"),
    ],
)
@pytest.mark.usefixtures("without_proxies")
def test_an_environment_that_allows_no_connection_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, url: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=rf"No connection can be opened \(.*environment names .*{name}"):
        Backend(url, retries=Time().retries()).check()


def test_a_connection_that_breaks_is_for_later(server: Server, backend: Backend) -> None:
    server.on(PROBABILITIES, (0, None))
    with pytest.raises(TryAgainLater, match="does not answer"):
        backend.probabilities("7")
