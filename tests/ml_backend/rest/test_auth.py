"""Who may call the backend: a server that wants credentials, and the middleware by itself."""

import asyncio
import base64
import logging
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from click.testing import CliRunner
from pydantic import SecretStr

from ml_backend.cli import main
from ml_backend.rest.auth import Authentication, accepted, warn_if_open
from ml_backend.settings import Settings

USERNAME, PASSWORD, TOKEN = "m\u00fcller", "p\u00e4ss:w\u00f6rt", "t0ken-of-the-connector"


def basic(pair: str | bytes, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(pair if isinstance(pair, bytes) else pair.encode(encoding)).decode()


RIGHT = {
    "token": f"Bearer {TOKEN}",
    "token, scheme in small letters": f"bearer {TOKEN}",
    "UTF-8": basic(f"{USERNAME}:{PASSWORD}"),
    "Latin-1, as Label Studio sends it": basic(f"{USERNAME}:{PASSWORD}", "latin-1"),
}
WRONG = {
    "none": "",
    "scheme alone": "Bearer",
    "empty token": "Bearer ",
    "another token": "Bearer t0ken-of-the-connectos",
    "a beginning": f"Bearer {TOKEN[:-1]}",
    "more": f"Bearer {TOKEN}x",
    "another scheme": f"Token {TOKEN}",
    "no scheme": TOKEN,
    "no base64": "Basic \u00e4\u00f6",
    "no colon": basic(USERNAME + PASSWORD),
    "password alone": basic(f":{PASSWORD}"),
    "user name alone": basic(f"{USERNAME}:"),
    "bytes": basic(b"\xff\x00\xfe:\x80"),
    "token as password": basic(f"{USERNAME}:{TOKEN}"),
    "password as token": f"Bearer {PASSWORD}",
    "pair as token": f"Bearer {USERNAME}:{PASSWORD}",
    "long": "Bearer " + "x" * 30_000,
}
PATHS = (
    "/docs",
    "/openapi.json",
    "/metrics",
    "/versions",
    "/nowhere",
    "/health/",
    "//health",
    "/api/projects/a/model",
)


@pytest.fixture(scope="module")
def guarded(serve_in_thread: Callable[[Settings], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that wants a user name or a token."""
    directory = tmp_path_factory.mktemp("guarded")
    log = logging.FileHandler(directory / "log")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (("USERNAME", USERNAME), ("PASSWORD", PASSWORD), ("TOKEN", TOKEN)):
            patched.setenv(f"ML_BACKEND_{name}", value)
        settings = Settings(model_dir=directory / "models")
    logging.getLogger().addHandler(log)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.INFO)
    with serve_in_thread(settings) as running:
        running.log = directory / "log"
        yield running
    logging.getLogger().removeHandler(log)
    log.close()
    logging.getLogger().setLevel(level)


def get(server: Any, path: str, authorization: str = "", method: str = "GET") -> requests.Response:
    headers = {"Authorization": authorization.encode()} if authorization else {}
    with requests.Session() as session:
        session.trust_env = False  # what a .netrc says is not under test
        return session.request(method, server.url + path, headers=headers, timeout=10)


def assert_refused(answer: requests.Response) -> None:
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="ml-backend", charset="UTF-8", Bearer realm="ml-backend"'
    if answer.request.method != "HEAD":
        assert answer.json().keys() == {"detail"}
        assert answer.json()["detail"].count(".") == 1


@pytest.mark.parametrize("path", PATHS)
def test_every_path_wants_credentials(guarded: Any, path: str) -> None:
    assert_refused(get(guarded, path))
    assert get(guarded, path, RIGHT["token"]).status_code != 401


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook", "/train", "/health", "/"])
def test_so_does_whatever_label_studio_posts(guarded: Any, path: str) -> None:
    assert_refused(get(guarded, path, method="POST"))
    assert get(guarded, path, RIGHT["UTF-8"], method="POST").status_code != 401


def test_looking_whether_it_lives_wants_none(guarded: Any) -> None:
    for path in ("/health", "/"):
        assert get(guarded, path).json()["status"] == "UP"
        assert get(guarded, path, "Bearer wrong").status_code == 200
    for method in ("HEAD", "DELETE", "OPTIONS", "STRANGE"):
        assert_refused(get(guarded, "/health", method=method))
        assert_refused(get(guarded, "/", method=method))


@pytest.mark.parametrize("authorization", RIGHT.values(), ids=RIGHT.keys())
def test_what_is_right_passes(guarded: Any, authorization: str) -> None:
    assert get(guarded, "/versions", authorization).json() == {"versions": []}


@pytest.mark.parametrize("authorization", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_does_not(guarded: Any, authorization: str) -> None:
    assert_refused(get(guarded, "/versions", authorization))


def raw(server: Any, request: bytes) -> bytes:
    """What is answered to these bytes, up to the end of the head."""
    at = urlsplit(server.url)
    with socket.create_connection((at.hostname, at.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (part := connection.recv(4096)):
            answer += part
    return answer


def test_two_of_them_are_none(guarded: Any) -> None:
    one = f"Authorization: Bearer {TOKEN}\r\n"
    assert raw(guarded, f"GET /versions HTTP/1.1\r\nHost: a\r\n{one}\r\n".encode()).startswith(b"HTTP/1.1 200 ")
    assert raw(guarded, f"GET /versions HTTP/1.1\r\nHost: a\r\n{one}{one}\r\n".encode()).startswith(b"HTTP/1.1 401 ")


def test_a_refusal_waits_for_no_body(guarded: Any) -> None:
    head = b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    for length in (b"Content-Length: 200000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
        assert raw(guarded, head + length).startswith(b"HTTP/1.1 401 ")
    # And whoever sends it all the same reads the answer.
    with requests.Session() as session:
        session.trust_env = False
        assert_refused(session.put(f"{guarded.url}/api/projects/a/items", data=bytes(30_000_000), timeout=30))


def test_secrets_are_in_no_log_and_no_document(guarded: Any) -> None:
    seen = guarded.log.read_text() + get(guarded, "/openapi.json", RIGHT["token"]).text
    assert "securitySchemes" in seen
    assert not any(secret in seen for secret in (PASSWORD, TOKEN, RIGHT["UTF-8"].split()[1]))


# -- settings ----------------------------------------------------------------------------------------------------------


def test_without_credentials_everybody_may_call_and_other_machines_are_worth_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        warn_if_open(Settings(host=host))
    warn_if_open(Settings(host="0.0.0.0", token=SecretStr(TOKEN)))
    assert caplog.messages == []
    for host in ("0.0.0.0", "::", "192.168.1.1", "model.example.com", ""):
        with caplog.at_level(logging.WARNING):
            warn_if_open(Settings(host=host))
    assert len(caplog.messages) == 5
    assert all(message.startswith("Everyone who reaches ") for message in caplog.messages)


def test_a_password_beyond_latin_1_is_known_in_utf_8_alone() -> None:
    assert accepted(Settings(username="a", password=SecretStr("\u2713"))) == {b"basic a:\xe2\x9c\x93"}
    assert accepted(Settings(username="a", password=SecretStr("b"))) == {b"basic a:b"}
    assert accepted(Settings(username="a", password=SecretStr("\udcff"))) == {b"basic a:\xff"}, "no UTF-8 in the shell"


def test_each_way_is_challenged_for_by_itself() -> None:
    async def challenge(**values: Any) -> str:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": []}
        await Authentication(unreachable, Settings(**values))(scope, unreachable, send)
        return str(dict(sent[0]["headers"])[b"www-authenticate"], "ascii")

    async def unreachable(*_: Any) -> Any:
        raise AssertionError

    with ThreadPoolExecutor(1) as thread:  # an event loop may run in this one
        bearer = thread.submit(asyncio.run, challenge(token="t")).result()
        basic = thread.submit(asyncio.run, challenge(username="a", password="b")).result()
    assert bearer == 'Bearer realm="ml-backend"'
    assert basic == 'Basic realm="ml-backend", charset="UTF-8"'


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"USERNAME": "a"}, "ML_BACKEND_USERNAME and ML_BACKEND_PASSWORD go together"),
        ({"PASSWORD": "secret"}, "ML_BACKEND_USERNAME and ML_BACKEND_PASSWORD go together"),
        ({"USERNAME": "a", "PASSWORD": ""}, "the setting password (ML_BACKEND_PASSWORD) is wrong: it is empty"),
        ({"USERNAME": "", "PASSWORD": "secret"}, "needs a name without a colon"),
        ({"USERNAME": "a:secret", "PASSWORD": "secret"}, "needs a name without a colon"),
        ({"TOKEN": ""}, "the setting token (ML_BACKEND_TOKEN) is wrong: a token is one or more"),
        ({"TOKEN": "a secret"}, "the setting token (ML_BACKEND_TOKEN) is wrong: a token is one or more"),
    ],
)
def test_half_a_protection_is_no_start(values: dict[str, str], words: str, tmp_path: Path) -> None:
    environment = {f"ML_BACKEND_{name}": value for name, value in values.items()}
    command = ["serve", "--port", "0", "--model-dir", str(tmp_path / "models")]
    done = CliRunner().invoke(main, command, env=environment)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr
