"""`connector doctor` when a server is away, another one, or shut off: addresses, tokens, rights, versions, blocks."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from support.connector_commands import connector
from support.doctor_helpers import FINE, findings, follow, not_fine
from support.label_studio_server import SQLITE_FILE, Annotators, MakeProject
from support.project_driver import ProjectDriver, StartProject, texts
from support.proxy import Proxy

from connector.demo import servers
from connector.demo.people import Person
from connector.diagnostics.server_checks import NEEDED_RIGHTS
from connector.label_studio.client import LabelStudio as Gateway
from connector.queue.init import initialize
from connector.state.project_state import State

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio, Project


NOWHERE = "http://127.0.0.1:9"


def spoken(loop: ProjectDriver, **environment: str) -> tuple[int, list[str]]:
    """The exit code of the real command, and the lines that are not fine."""
    done = connector(loop, "doctor", "--project", str(loop.id), **environment)
    assert "Traceback" not in done.stderr
    return done.returncode, [line for line in done.stdout.splitlines()[1:] if not line.startswith("Fine")]


# -- Label Studio: address and token -----------------------------------------------------------------------------------


def test_label_studio_away_or_another_server_is_one_finding(start: StartProject) -> None:
    loop = start(texts(4))
    loop.sync()
    code, lines = spoken(loop, LABEL_STUDIO_URL=NOWHERE)
    assert code == 3
    assert len(lines) == 1
    assert lines[0].startswith("Problem  label_studio")
    assert "does not answer" in lines[0]
    code, lines = spoken(loop, LABEL_STUDIO_URL=loop.backend)
    assert code == 2
    assert len(lines) == 1
    assert "does not speak Label Studio's API" in lines[0]
    code, lines = spoken(loop, LABEL_STUDIO_API_KEY="0" * 40)
    assert code == 2
    assert len(lines) == 1
    assert "refuses the token in LABEL_STUDIO_API_KEY" in lines[0]
    assert spoken(loop) == (0, [])


def personal_access_token(person: Person) -> str:
    """A personal access token of somebody who has none yet."""
    answer = by_session(person, "/api/token/")
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


def by_session(person: Person, path: str, **body: Any) -> requests.Response:
    """What the person's browser would send."""
    headers = {"X-CSRFToken": person.session.cookies["csrftoken"], "Referer": person.url}
    return person.session.post(person.url + path, json=body, headers=headers, timeout=30)


def sign_up(loop: ProjectDriver) -> Person:
    return Person.sign_up(loop.server.url, f"{uuid.uuid4().hex}@example.com")


def test_a_personal_access_token_is_told_with_its_user_and_its_end(start: StartProject) -> None:
    loop = start(texts(4))
    loop.sync()
    person = sign_up(loop)
    key, email = personal_access_token(person), person.email
    person.close()
    done = connector(loop, "doctor", "--project", str(loop.id), "--json", LABEL_STUDIO_API_KEY=key)
    assert done.returncode == 0, done.stderr
    told = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert told["token"]["cause"].startswith(f"A personal access token of {email}, valid until 2")
    assert told["rights"]["cause"] == f"{email} may do all that is needed."
    assert {check["level"] for check in told.values()} == {"ok"}
    assert key.split(".")[2] not in done.stdout + done.stderr


# -- Label Studio: version, edition, rights ----------------------------------------------------------------------------


class Changing(Proxy):
    """Passes Label Studio's answers on, some of them changed."""

    def __init__(self, target: str) -> None:
        self.changes: dict[str, Callable[[Any], Any]] = {}
        self.statuses: dict[str, int] = {}
        super().__init__(target)

    def _answer(
        self, target: str, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        status, kept, content = super()._answer(target, method, path, headers, body)
        name = path.split("?")[0]
        if name in self.changes:
            was = json.loads(content) if status < 300 else None
            return 200, {**kept, "Content-Type": "application/json"}, json.dumps(self.changes[name](was)).encode()
        return self.statuses.get(name, status), kept, content


@pytest.fixture
def changing(label_studio: LabelStudio) -> Iterator[Changing]:
    proxy = Changing(label_studio.url)
    yield proxy
    proxy.close()


def test_another_version_of_label_studio_is_named(start: StartProject, changing: Changing) -> None:
    loop = start(texts(4), through=changing.url)
    loop.sync()
    assert not_fine(loop) == FINE
    changing.changes["/api/version/"] = lambda was: {**was, "release": "1.24.0"}
    assert not_fine(loop) == {"version": "warning"}
    assert (
        findings(loop)["version"].cause
        == "This Label Studio is 1.24.0 (Community), which is untested. We tested 1.23.2."
    )


def test_missing_rights_are_named(start: StartProject, changing: Changing) -> None:
    loop = start(texts(4), through=changing.url)
    loop.sync()
    held = findings(loop)["rights"]
    assert held.cause == f"{loop.server.login.email} may do all that is needed."
    whoami = "/api/current-user/whoami"
    left = [name for name in NEEDED_RIGHTS if name != "tasks.change"]
    changing.changes[whoami] = lambda was: {**was, "permissions": left}
    assert not_fine(loop) == {"rights": "problem"}
    assert "lacks tasks.change" in findings(loop)["rights"].cause
    changing.changes[whoami] = lambda was: {name: value for name, value in was.items() if name != "permissions"}
    assert not_fine(loop) == FINE
    # Where the server refuses all the same, that is one finding.
    changing.statuses["/api/tasks"] = 403
    assert not_fine(loop) == {"label_studio": "problem"}
    assert "has no right" in findings(loop)["label_studio"].cause


def test_members_of_a_project_of_the_enterprise_edition_are_named(start: StartProject, changing: Changing) -> None:
    loop = start(texts(4), through=changing.url)
    loop.sync()
    changing.changes["/api/version/"] = lambda was: {**was, "edition": "Enterprise"}
    told = findings(loop)["members"]
    assert (told.level, told.cause.split(". ")[0]) == ("ok", "This Label Studio does not say who is a member")
    people: list[dict[str, Any]] = [{"id": 1, "email": "ann@example.com"}]
    members = f"/api/projects/{loop.id}/members/paginated/"
    changing.changes[members] = lambda was: {"count": len(people), "next": None, "results": people}
    assert not_fine(loop) == FINE
    people.append({"id": 2, "email": "ben@example.com"})
    assert not_fine(loop) == {"members": "problem"}
    assert "2 members (ann@example.com, ben@example.com)" in findings(loop)["members"].cause


# -- the ML backend ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[[], object]]]:
    """A second ML backend with a folder of its own, and what ends it."""
    directory = tmp_path_factory.mktemp("other-ml-backend")
    server = servers.start_ml_backend(directory)
    yield server.url, lambda: servers.stop(directory, servers.ML_BACKEND)
    servers.stop(directory, servers.ML_BACKEND)


def label_both_classes(loop: ProjectDriver, people: Annotators) -> None:
    for index, task in enumerate(loop.tasks[:6]):
        loop.label(people(2)[index // 2 % 2], task, "Impolite" if index % 2 else "Polite")


def test_the_backend_is_judged_by_its_answers(start: StartProject, people: Annotators) -> None:
    loop = start(texts(14))
    loop.sync()
    cause = "It answers. It has no model: a training makes one from labels of two classes, on two tasks that differ."
    assert findings(loop)["backend"].cause == cause
    label_both_classes(loop, people)
    loop.sync()
    assert findings(loop)["backend"].cause.startswith("It answers. Its model is ")

    assert spoken(loop, ML_BACKEND_URL=NOWHERE)[0] == 3
    assert not_fine(loop, ML_BACKEND_URL=NOWHERE) == {"backend": "problem"}
    # Label Studio has a /health of its own, which speaks no protocol.
    assert spoken(loop, ML_BACKEND_URL=loop.server.url)[0] == 2
    assert not_fine(loop, ML_BACKEND_URL=loop.server.url) == {"backend": "problem"}

    config = loop.project()["label_config"]
    loop.set(label_config=config.replace("</Choices>", '<Choice value="Neutral"/></Choices>'))
    assert not_fine(loop) == {"backend": "warning"}
    found = findings(loop)["backend"]
    assert "the labelling config has Polite, Impolite, Neutral" in found.cause
    follow(loop, found.remedy)
    assert not_fine(loop) == FINE


@pytest.mark.nightly
def test_a_backend_that_has_lost_its_model_is_told(
    start: StartProject, people: Annotators, other_backend: tuple[str, Callable[[], object]]
) -> None:
    loop = start(texts(14))
    label_both_classes(loop, people)
    loop.sync()
    lost = dataclasses.replace(loop, backend=other_backend[0])
    assert not_fine(lost) == {"backend": "warning"}
    assert "has lost its model" in findings(lost)["backend"].cause
    follow(lost, findings(lost)["backend"].remedy)
    assert not_fine(lost) == FINE


@pytest.mark.nightly
def test_a_connected_backend_that_went_away_is_told_with_label_studio_s_words(
    start: StartProject, other_backend: tuple[str, Callable[[], object]]
) -> None:
    address, stop = other_backend
    loop = start(texts(4))
    loop.sync()
    assert (
        findings(loop)["backend_address"].cause
        == "No ML backend is connected in Label Studio. The connector needs none there."
    )
    loop.call("POST", "/api/ml/", json={"project": loop.id, "url": address, "title": "ActiveLab"})
    assert findings(loop)["backend_address"].cause == f"Label Studio reaches {address}."
    assert not_fine(loop) == FINE
    stop()
    assert not_fine(loop) == {"backend_address": "warning"}
    assert f"{address} is Disconnected." in findings(loop)["backend_address"].cause
    assert not_fine(loop, ML_BACKEND_URL=address) == {"backend": "problem", "backend_address": "warning"}
    code, lines = spoken(loop, ML_BACKEND_URL=address)
    assert (code, len(lines)) == (3, 2)


# -- a Label Studio that blocks addresses on its own machine -----------------------------------------------------------


BLOCK = {"ML_BLOCK_LOCAL_IP": "true", "SSRF_PROTECTION_ENABLED": "true", "TASK_LOCK_TTL": "2"}


class Blocking:
    """A Label Studio of its own, with the data of the running one, that can be started with and without the block."""

    def __init__(self, directory: Path, running: LabelStudio) -> None:
        self.directory = directory
        self.running = running
        self.port = servers.free_port()
        self._environment: dict[str, str] | None = None

    def start(self, environment: dict[str, str]) -> LabelStudio:
        """Starts it with the variables, unless it runs with them."""
        if environment != self._environment:
            servers.stop(self.directory, servers.LABEL_STUDIO)
            servers.start_label_studio(self.directory, self.running.login, port=self.port, environment=environment)
            self._environment = environment
        return dataclasses.replace(self.running, url=f"http://{servers.HOST}:{self.port}", people=[])


@pytest.fixture(scope="module")
def connected_before(make_project: MakeProject, label_studio: LabelStudio, backend: str) -> Project:
    """A project that the ML backend was connected to while there was no block."""
    project = make_project(texts(4))
    body = {"project": project.id, "url": backend, "title": "ActiveLab"}
    assert label_studio.call("POST", "/api/ml/", json=body)["state"] == "CO"
    return project


@pytest.fixture(scope="module")
def blocking(
    label_studio: LabelStudio, connected_before: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Blocking]:
    """Copied from the running one: to make a database takes most of a minute."""
    directory = tmp_path_factory.mktemp("blocking")
    data = directory / servers.LABEL_STUDIO
    data.mkdir()
    with (
        contextlib.closing(sqlite3.connect(label_studio.data / SQLITE_FILE)) as source,
        contextlib.closing(sqlite3.connect(data / SQLITE_FILE)) as copy,
    ):
        source.backup(copy)
    shutil.copy(label_studio.data / ".env", data / ".env")
    yield Blocking(directory, label_studio)
    servers.stop(directory, servers.LABEL_STUDIO)


@pytest.fixture
def blocked(blocking: Blocking, connected_before: Project, backend: str, tmp_path: Path) -> Iterator[ProjectDriver]:
    """The project that was connected before, on the Label Studio with the block."""
    server = blocking.start(BLOCK)
    url = f"sqlite:///{tmp_path}/state.sqlite"
    database, gateway = State(url), Gateway(server.url, server.token)
    state = database.project(server.url, connected_before.id)
    yield ProjectDriver(server, connected_before.id, connected_before.tasks, gateway, state, url, backend, [gateway])
    gateway.close()
    database.close()


def test_the_block_on_private_addresses_is_named_at_init_and_by_doctor(
    blocked: ProjectDriver, blocking: Blocking
) -> None:
    loop = blocked
    body = {"title": "Test", "label_config": loop.project()["label_config"]}
    fresh = loop.call("POST", "/api/projects", json=body)["id"]
    refused = connector(loop, "init", "--project", str(fresh), "--connect-backend")
    assert refused.returncode == 2
    assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in refused.stderr
    assert "reserved network address" in refused.stderr
    assert connector(loop, "doctor", "--project", str(fresh)).returncode == 2, "init did not end"
    assert connector(loop, "init", "--project", str(fresh)).returncode == 0
    assert connector(loop, "sync", "--project", str(fresh)).returncode == 0
    assert connector(loop, "doctor", "--project", str(fresh)).returncode == 0, "the connector needs no connection"

    initialize(loop.id, loop.gateway, loop.state, confirm=lambda question: True)
    loop.sync()
    assert not_fine(loop) == {"backend_address": "warning"}
    found = findings(loop)["backend_address"]
    assert f"{loop.backend} is Disconnected. The connector reaches it, Label Studio does not." in found.cause
    assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in found.remedy
    blocking.start({"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "false"})
    assert not_fine(loop) == FINE


@pytest.mark.nightly
def test_a_shorter_lock_gives_a_task_back_to_others(blocked: ProjectDriver) -> None:
    loop = blocked
    initialize(loop.id, loop.gateway, loop.state, confirm=lambda question: True)
    loop.sync()
    absent, other = sign_up(loop), sign_up(loop)
    held = loop.give(absent)
    assert loop.give(other) != held
    time.sleep(2.5)
    assert loop.give(other) == held
    absent.close()
    other.close()


@pytest.mark.nightly
def test_legacy_tokens_that_are_switched_off_are_named(blocked: ProjectDriver) -> None:
    loop = blocked
    initialize(loop.id, loop.gateway, loop.state, confirm=lambda question: True)
    loop.sync()
    person = sign_up(loop)
    key = personal_access_token(person)
    assert by_session(person, "/api/jwt/settings", legacy_api_tokens_enabled=False).ok
    code, lines = spoken(loop)
    assert code == 2
    assert [line.split()[1] for line in lines] == ["label_studio"]
    assert "legacy token authentication has been disabled" in lines[0]
    assert [line.split()[1] for line in spoken(loop, LABEL_STUDIO_API_KEY=key)[1]] == ["backend_address"]
    assert by_session(person, "/api/jwt/settings", legacy_api_tokens_enabled=True).ok
    person.close()
