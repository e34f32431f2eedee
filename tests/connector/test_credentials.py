"""What the connector brings to the ML backend, and what it says when that is not what the backend wants."""

import base64
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connector.backend import Backend, RefusedCredentials
from connector.diagnostics import server_checks
from connector.errors import ConnectorError, UsageError
from connector.queue.init import _connect
from connector.retry import Retries
from connector.settings import Credentials, load_settings
from connector.state.project_state import ProjectState

TOKEN = Credentials(token=SecretStr("t0ken"))
PAIR = Credentials(username="label-studio", password=SecretStr("p\u00e4ss"))
BASIC = "Basic " + base64.b64encode("label-studio:p\u00e4ss".encode()).decode()
NAMES = ("ML_BACKEND_TOKEN", "ML_BACKEND_USERNAME", "ML_BACKEND_PASSWORD")
URL = "http://model:9090"


@pytest.fixture
def guarded() -> Iterator[tuple[str, list[str | None]]]:
    """The address of a backend that takes "Bearer t0ken" alone, and the Authorization headers that it was sent."""
    brought: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            brought.append(self.headers["Authorization"])
            passed = self.path == "/health" or brought[-1] == "Bearer t0ken"
            content = b'{"protocol": 9, "model_version": null}' if passed else b'{"detail": "Who are you?"}'
            self.send_response(200 if passed else 401)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *values: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", brought
    server.shutdown()
    server.server_close()
    thread.join()


def ask(url: str, credentials: Credentials) -> None:
    backend = Backend(url, credentials=credentials, retries=Retries(0))
    try:
        backend.model("7")
    finally:
        backend.close()


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials(token=SecretStr("wrong")), "refuses ML_BACKEND_TOKEN: set"),
        (PAIR, "refuses ML_BACKEND_USERNAME and ML_BACKEND_PASSWORD: set"),
        (Credentials(), "requires credentials: set ML_BACKEND_TOKEN, or"),
    ],
)
def test_a_refusal_names_what_to_set_and_no_secret(
    guarded: tuple[str, list[str | None]], credentials: Credentials, words: str
) -> None:
    url, brought = guarded
    with pytest.raises(RefusedCredentials, match=words) as refused:
        ask(url, credentials)
    assert refused.value.exit_code == 2
    assert brought == [credentials.header]
    assert not any(secret in str(refused.value) for secret in ("wrong", "p\u00e4ss", "\n"))


def test_the_token_comes_before_the_user_name_and_whatever_a_netrc_says(
    guarded: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    url, brought = guarded
    ask(url, Credentials(TOKEN.token, PAIR.username, PAIR.password))
    assert brought == ["Bearer t0ken"]
    assert PAIR.header == BASIC


def test_doctor_says_that_the_credentials_are_wrong(guarded: tuple[str, list[str | None]]) -> None:
    url, _ = guarded
    finding = server_checks.backend(7, lambda: Backend(url, credentials=PAIR, retries=Retries(0)), None, {})
    assert (finding.level, finding.unavailable) == ("problem", False)
    assert "refuses ML_BACKEND_USERNAME" in finding.cause
    assert finding.remedy == "Set them in the environment or in .env of the connector."


def test_doctor_says_that_label_studio_brings_others() -> None:
    said = "401 Client Error: Unauthorized for url: http://model:9090/setup"
    broken = {"url": URL, "state": "ER", "readable_state": "Error", "error_message": said}
    finding = server_checks.backend_address([broken], URL)
    assert finding.level == "warning"
    assert "init --connect-backend with ML_BACKEND_USERNAME" in (finding.remedy or "")


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://studio:8080")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a" * 40)
    monkeypatch.chdir(tmp_path)


def test_they_come_from_the_environment_and_env_files_and_stay_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().credentials == Credentials()
    Path(".env").write_text("ML_BACKEND_USERNAME=label-studio\nML_BACKEND_PASSWORD=p\u00e4ss\n")
    monkeypatch.setenv("ML_BACKEND_TOKEN", "t0ken\n")
    settings = load_settings()
    assert settings.credentials == Credentials(TOKEN.token, PAIR.username, PAIR.password)
    for shown in (repr(settings), settings.model_dump_json(), repr(settings.credentials)):
        assert "t0ken" not in shown
        assert "p\u00e4ss" not in shown


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"USERNAME": "a"}, "ML_BACKEND_PASSWORD and ML_BACKEND_USERNAME go together: set both, or neither"),
        ({"PASSWORD": "secret"}, "ML_BACKEND_PASSWORD and ML_BACKEND_USERNAME go together: set both, or neither"),
        ({"USERNAME": "a:b", "PASSWORD": "secret"}, "ML_BACKEND_USERNAME contains a colon"),
        ({"USERNAME": "a", "PASSWORD": "secret\u2713"}, "ML_BACKEND_PASSWORD contains characters beyond Latin-1"),
        ({"TOKEN": "sec\u00e4ret"}, "ML_BACKEND_TOKEN contains characters that no token has"),
    ],
)
def test_what_cannot_be_is_a_sentence(values: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"ML_BACKEND_{name}", value)
    with pytest.raises(UsageError) as error:
        load_settings()
    assert str(error.value).startswith(words)
    assert "sec" not in str(error.value)


# -- init --------------------------------------------------------------------------------------------------------------


class LabelStudio:
    """A project with the backends and webhooks that it is given; `writes` is what was changed."""

    def __init__(self, backends: list[dict[str, Any]], webhooks: list[dict[str, Any]]) -> None:
        self._backends, self._webhooks = backends, webhooks
        self.refusal: ConnectorError | None = None
        self.writes: list[Any] = []
        self.server_time = datetime(2026, 3, 1, tzinfo=timezone.utc)

    def get_project(self, project: int) -> dict[str, Any]:
        return {"id": project, "model_version": ""}

    def backends(self, project: int) -> list[dict[str, Any]]:
        return self._backends

    def webhooks(self, project: int) -> list[dict[str, Any]]:
        return self._webhooks

    def connect_backend(self, project: int, url: str, title: str, **authentication: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self._webhooks.append(hook(f"{url}/webhook"))
        self.writes.append(("connect", url, authentication))

    def update_backend(self, backend: int, project: int, url: str, **authentication: str) -> None:
        self.writes.append(("update", backend, url, authentication))

    def update_webhook(self, webhook: dict[str, Any], headers: dict[str, str]) -> None:
        self.writes.append(("webhook", webhook["url"], headers))


def hook(url: str, **headers: str) -> dict[str, Any]:
    return {"id": 1, "url": url, "headers": headers, "actions": []}


SENT = {"auth_method": "BASIC_AUTH", "basic_auth_user": "label-studio", "basic_auth_pass": "p\u00e4ss"}


def connect(gateway: LabelStudio, state: ProjectState, credentials: Credentials) -> list[Any]:
    _connect(7, gateway, URL, credentials, state)  # type: ignore[arg-type]
    return gateway.writes


def test_label_studio_is_told_the_pair_and_its_webhook_too(state: ProjectState) -> None:
    gateway = LabelStudio([], [hook("http://elsewhere/webhook")])
    both = Credentials(TOKEN.token, PAIR.username, PAIR.password)
    assert connect(gateway, state, both) == [
        ("connect", URL, SENT),
        ("webhook", f"{URL}/webhook", {"Authorization": BASIC}),
    ]


def test_without_a_pair_nothing_is_told(state: ProjectState) -> None:
    assert connect(LabelStudio([], []), state, TOKEN) == [("connect", URL, {})]


def test_init_again_tells_what_it_connected_the_credentials_of_now(state: ProjectState) -> None:
    gateway = LabelStudio([{"id": 3, "url": f"{URL}/"}], [hook(f"{URL}/webhook", Other="1")])
    assert connect(gateway, state, PAIR) == [], "somebody else connected it"
    state.put(found={"connected": [URL]})
    assert connect(gateway, state, Credentials()) == []
    assert connect(gateway, state, PAIR) == [
        ("update", 3, f"{URL}/", SENT),
        ("webhook", f"{URL}/webhook", {"Other": "1", "Authorization": BASIC}),
    ]


def test_a_backend_that_refuses_label_studio_is_told_apart_from_one_that_is_away(state: ProjectState) -> None:
    gateway = LabelStudio([], [])
    for said, words in (
        ("401 Client Error: Unauthorized for url", "Set ML_BACKEND_USERNAME and ML_BACKEND_PASSWORD to"),
        ("Connection refused", "Label Studio itself must reach that address"),
    ):
        gateway.refusal = ConnectorError(said)
        with pytest.raises(UsageError, match=words):
            connect(gateway, state, TOKEN)
