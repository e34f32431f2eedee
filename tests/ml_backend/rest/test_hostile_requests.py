"""What nobody should send: hostile requests one by one, mutated payloads, and all that the OpenAPI document allows.

ML_BACKEND_FUZZ_REQUESTS: how many mutated payloads are sent at night (300, some 20 s), of which a fifth by day.
`benchmarks/fuzz.py` sends 10,000.
"""

import contextlib
import gzip
import io
import json
import os
import socket
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from ml_backend.labeling.label_config import cached_controls
from ml_backend.settings import Settings

REQUESTS = int(os.environ.get("ML_BACKEND_FUZZ_REQUESTS", "300"))
TOKEN = "a-token"
JSON = {"Content-Type": "application/json"}
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
ANYTHING = list(HealthCheck)  # the strategies are not ours
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    ignored_auth,
    unsupported_method,
]


@pytest.fixture(scope="module")
def fuzzing(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("fuzz")


@pytest.mark.parametrize("requests", [REQUESTS // 5, pytest.param(REQUESTS, marks=pytest.mark.nightly)])
def test_mutated_payloads_get_answers_and_leave_nothing_behind(server: Any, fuzzing: ModuleType, requests: int) -> None:
    fuzzing.prepare(server.url)
    report = fuzzing.fuzz(server.url, requests, seed=20)
    assert report.wrong == []
    assert sum(report.statuses.values()) == requests
    assert report.statuses[200] > requests / 2
    assert report.statuses[422] > 0
    # Of fewer requests the server's threads and caches, which fill up at first, are most of the growth.
    assert requests < 5_000 or report.growth_mb < fuzzing.GROWTH_MB


def test_mutations_are_as_many_as_are_asked_for_and_the_same_under_a_seed(fuzzing: ModuleType) -> None:
    payloads = fuzzing.recorded()
    assert {one.path for one in payloads} == {"/predict", "/setup", "/webhook"}
    drawn = [
        [fuzzing.mutated(payloads, chance) for _ in range(300)] for chance in map(fuzzing.random.Random, (3, 3, 4))
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({one.body for one in drawn[0]}) > 200


# -- by hand -----------------------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    return b'{"tasks": [' + b"[" * depth + b"]" * depth + b'], "project": "1"}'


HOSTILE = {
    "nested": nested(100_000),
    "nested as deep as Python reads": nested(900),
    "a number of 5,000 digits": b'{"tasks": [], "project": ' + b"9" * 5000 + b"}",
    "NaN for tasks": b'{"tasks": NaN}',
    "infinite project": b'{"tasks": [], "project": -Infinity}',
    "no UTF-8": b'{"tasks": ["\xff\xfe"]}',
    "UTF-16": '{"tasks": []}'.encode("utf-16"),
    "nothing": b"",
    "null": b"null",
    "text": b'"tasks"',
    "cut": b'{"tasks": [',
    "half a character as a key": b'{"\\ud800": 1}',
    "half a character for a list": b'{"tasks": "\\ud800"}',
    "gzip": gzip.compress(b'{"tasks": []}'),
    "a bomb": zlib.compress(bytes(10_000_000)),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook", "/api/projects/1/train"])
def test_a_body_that_cannot_be_is_refused_in_a_sentence(server: Any, path: str, body: bytes) -> None:
    for headers in (JSON, {**JSON, "Content-Encoding": "gzip"}, {"Content-Type": "image/png"}, {}):
        answer = requests.post(server.url + path, data=body, headers=headers, timeout=30)
        if answer.status_code != 200:
            assert answer.status_code == 422
            assert answer.json().keys() == {"detail"}
            assert answer.json()["detail"].endswith(".")
            assert "Traceback" not in answer.text
        else:
            assert path == "/webhook" or headers.get("Content-Type") == "application/json"


@pytest.mark.parametrize(
    "body",
    [
        b'{"tasks": [], "tasks": [1, 2]}',
        b'{"tasks": [1e999, NaN]}',
        b'{"tasks": [{"data": {"text": "\\ud800"}}, {"data": {"text": "a\\u0000b"}}]}',
        nested(900).replace(b'"tasks": [', b'"tasks": [1, '),
    ],
    ids=["twice", "infinite", "halves of characters", "nested"],
)
def test_what_can_be_read_keeps_its_length(server: Any, body: bytes, label_config: str) -> None:
    body = body[:-1] + b', "project": "1", "label_config": ' + json.dumps(label_config).encode() + b"}"
    answer = requests.post(f"{server.url}/predict", data=body, headers=JSON, timeout=30)
    assert len(answer.json()["results"]) == 2


JOB, CANCEL = ("GET", "jobs/x"), ("DELETE", "jobs/x")


@pytest.mark.parametrize(
    "name", ["..", ".", "%2e%2e", "%00", "a%2fb", "..%2f..%2fetc", "%ff", "%ed%a0%80", "a" * 65, "+"]
)
def test_no_name_reaches_a_path(server: Any, name: str) -> None:
    for method, path in (
        ("GET", "model"),
        ("PUT", "items"),
        ("GET", "probabilities"),
        ("POST", "rollback"),
        JOB,
        CANCEL,
    ):
        request = requests.Request(method, f"{server.url}/api/projects/x/{path}", json={}).prepare()
        request.url = f"{server.url}/api/projects/{name}/{path}"  # as it stands: requests would tidy it up
        with requests.Session() as session:
            answer = session.send(request, timeout=10)
        assert answer.status_code in (404, 422)
        assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize("version", ["..", "../../pool.sqlite", "", "\0", "/etc/passwd", "a" * 100_000])
def test_no_version_reaches_a_path(server: Any, version: str) -> None:
    client = server.client("versions")
    client.put_items([1], ["a"])
    answer = client.post("rollback", model_version=version)
    assert answer.status_code in (404, 409, 422)
    assert not any(word in answer.text for word in ("passwd", "dataset", "models"))


def raw(server: Any, *parts: bytes, stay: bool = True) -> bytes:
    """What is answered to these bytes until the server closes the connection; nothing to one who does not `stay`."""
    at = urlsplit(server.url)
    with socket.create_connection((at.hostname, at.port), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        # A server that closes with bytes of ours unread resets the connection, behind its answer.
        with contextlib.suppress(ConnectionResetError):
            while stay and (got := connection.recv(65536)):
                answer += got
    return answer


def test_a_client_that_goes_away_or_lies_about_its_length_breaks_nothing(server: Any) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
    raw(server, head + b"Content-Length: 1000\r\n\r\n", b'{"tasks": [', stay=False)
    raw(server, head + b"Transfer-Encoding: chunked\r\n\r\n", b'5\r\n{"tas\r\n', stay=False)
    too_long = raw(server, head + b"Content-Length: 13\r\n\r\n", b'{"tasks": []}' + b"x" * 1000)
    assert too_long.startswith(b"HTTP/1.1 200 ")
    for length in (b"-1", b"1e3", b"9" * 30, b"0x10"):
        answer = raw(server, head + b"Content-Length: " + length + b"\r\n\r\n", b'{"tasks": []}')
        assert answer.split()[1] in (b"400", b"413")
    assert requests.get(f"{server.url}/health", timeout=5).status_code == 200


@pytest.fixture(scope="module")
def limited(serve_in_thread: Callable[[Settings], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that wants a token and takes three tasks and 1 MiB at most."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (("MAX_TASKS", "3"), ("MAX_BODY_MB", "1"), ("TOKEN", TOKEN)):
            patched.setenv(f"ML_BACKEND_{name}", value)
        settings = Settings(model_dir=tmp_path_factory.mktemp("limited") / "models")
    with serve_in_thread(settings) as running:
        yield running


def test_too_many_tasks_are_refused(limited: Any) -> None:
    def predict(tasks: int) -> requests.Response:
        return requests.post(f"{limited.url}/predict", json={"tasks": [None] * tasks}, headers=AUTHORIZED, timeout=10)

    assert len(predict(3).json()["results"]) == 3
    refused = predict(4)
    assert (refused.status_code, refused.json()["detail"]) == (422, "These are 4 tasks. Send at most 3 at a time.")


def test_a_body_that_is_too_long_is_refused_when_it_is_announced_or_found_out(limited: Any) -> None:
    head = f"POST /webhook HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n".encode()
    assert raw(limited, head + b"Content-Length: 2000000\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    chunks = iter([bytes(600_000)] * 2)
    answer = requests.post(f"{limited.url}/webhook", data=chunks, headers=AUTHORIZED, timeout=10)
    assert answer.status_code == 413
    assert answer.json() == {"detail": "The body is larger than 1 MiB. Send less at a time."}


@schemathesis.serializer("application/x-npz")
def npz(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """The bytes as they are or, where their number is even, as the ids and digests of so many items."""
    drawn = value if isinstance(value, bytes) else json.dumps(value, default=repr).encode()
    if len(drawn) % 2:
        return drawn
    ids = np.frombuffer(drawn, np.uint8).astype(np.int64)
    buffer = io.BytesIO()
    np.savez(buffer, ids=ids, hashes=np.zeros((len(ids), 16), np.uint8))
    return buffer.getvalue()


@pytest.mark.parametrize("examples", [4, pytest.param(25, marks=pytest.mark.nightly)])
def test_every_operation_answers_as_the_openapi_document_says(limited: Any, examples: int) -> None:
    document = schemathesis.openapi.from_url(f"{limited.url}/openapi.json", headers=AUTHORIZED)
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= 16
    for operation in operations:
        allowed, other = (operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)

        @hypothesis_settings(
            max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=ANYTHING
        )
        @given(case=allowed | other)
        def call(case: schemathesis.Case) -> None:
            response = case.call(headers=AUTHORIZED, timeout=30)
            assert "Traceback" not in response.text
            case.validate_response(response, checks=CHECKS, headers=AUTHORIZED)

        call()


def test_endless_labelling_configs_are_not_remembered() -> None:
    controls = cached_controls()
    choices = '<View><Text name="t" value="$text"/><Choices name="c" toName="t">{}</Choices></View>'
    some = choices.format('<Choice value="A"/><Choice value="B"/>')
    assert controls(some) is controls(some)
    long = choices.format("".join(f'<Choice value="{number:03}"/>' for number in range(2_500)))
    assert len(controls(long)[0].classes) == 2_500
    assert controls(long) is not controls(long)
    assert controls(some + " " * 1_000_000) == ()
