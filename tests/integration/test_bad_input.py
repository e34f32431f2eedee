"""Wrong tokens, addresses, projects, rights and ML backends: every command says what to do and changes nothing."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import jwt
import pytest
import requests
from support.command_runner import ASK_THE_BACKEND, COMMANDS, Answer, Commands, assert_all_fail, kept
from support.project_driver import ProjectDriver, StartProject, texts
from support.proxy import Proxy

from connector.demo.people import Person
from connector.errors import UsageError
from connector.label_studio.client import LabelStudio as Gateway
from connector.state.project_state import State

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio


# The SDK reads the exchange of a personal access token in a way that pydantic deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")

NOWHERE = "http://127.0.0.1:9"
PAGE = "<html><title>Welcome</title></html>"


def synced(start: StartProject) -> ProjectDriver:
    """A project with a window and a label that the next sync is to read."""
    loop = start(texts(12))
    loop.sync()
    loop.call("POST", f"/api/tasks/{loop.window[0]}/annotations", json={"result": []})
    return loop


# -- tokens ------------------------------------------------------------------------------------------------------------


def send(person: Person, method: str, path: str, **request: Any) -> requests.Response:
    """A call in the person's browser."""
    headers = {"X-CSRFToken": person.session.cookies["csrftoken"], "Referer": person.url}
    answer = person.session.request(method, person.url + path, headers=headers, timeout=30, **request)
    assert answer.ok, answer.text
    return answer


@pytest.fixture
def person(label_studio: LabelStudio) -> Iterator[Person]:
    """A user who has just signed up."""
    signed_up = Person.sign_up(label_studio.url, f"{uuid.uuid4().hex}@example.com")
    yield signed_up
    signed_up.close()


def personal_access_token(person: Person) -> str:
    token: str = send(person, "POST", "/api/token/").json()["token"]
    return token


def legacy_token(person: Person) -> str:
    token: str = send(person, "GET", "/api/current-user/token").json()["token"]
    return token


def test_a_wrong_token_is_refused(commands: Commands, start: StartProject) -> None:
    loop = synced(start)
    assert_all_fail(
        commands,
        loop,
        2,
        f"Label Studio at {loop.server.url} refuses the token in LABEL_STUDIO_API_KEY (Invalid token): make a new one",
        LABEL_STUDIO_API_KEY="f" * 40,
    )


@pytest.mark.nightly
def test_a_personal_access_token_that_was_revoked_is_refused(
    commands: Commands, start: StartProject, person: Person
) -> None:
    loop = synced(start)
    token = personal_access_token(person)
    assert commands.run(loop, "status", LABEL_STUDIO_API_KEY=token).code == 0
    send(person, "POST", "/api/token/blacklist/", json={"refresh": token})
    assert_all_fail(
        commands, loop, 2, "refuses the token in LABEL_STUDIO_API_KEY (wrong or expired)", LABEL_STUDIO_API_KEY=token
    )


@pytest.fixture
def sign(label_studio: LabelStudio) -> Callable[[timedelta], str]:
    """`sign(lifetime)`: a personal access token of the administrator, signed with the server's own key."""

    # Label Studio cannot read back a key that begins with "$", which one in 50 does. Its next start then adds another.
    *_, key = re.findall(r"SECRET_KEY=(.+)", (label_studio.data / ".env").read_text())

    def token(lifetime: timedelta) -> str:
        now = datetime.now(timezone.utc)
        claims = {"token_type": "refresh", "exp": now + lifetime, "iat": now, "jti": uuid.uuid4().hex, "user_id": "1"}
        return jwt.encode(claims, key, algorithm="HS256")

    return token


@pytest.mark.nightly
def test_a_personal_access_token_whose_time_is_over_is_refused(
    commands: Commands, start: StartProject, sign: Callable[[timedelta], str]
) -> None:
    loop = synced(start)
    assert commands.run(loop, "status", LABEL_STUDIO_API_KEY=sign(timedelta(hours=1))).code == 0
    assert_all_fail(
        commands,
        loop,
        2,
        "refuses the token in LABEL_STUDIO_API_KEY (wrong or expired): make a new one",
        LABEL_STUDIO_API_KEY=sign(timedelta(seconds=-1)),
    )


def test_a_personal_access_token_whose_time_ends_while_we_work_is_refused(
    start: StartProject, sign: Callable[[timedelta], str]
) -> None:
    loop = start(texts(2))
    gateway = Gateway(loop.server.url, sign(timedelta(seconds=2)))
    loop.gateways.append(gateway)
    time.sleep(3)
    with pytest.raises(UsageError, match="refuses the token in LABEL_STUDIO_API_KEY"):
        gateway.get_project(loop.id)


def test_legacy_tokens_that_were_disabled_are_refused_with_that_reason(
    commands: Commands, start: StartProject, person: Person
) -> None:
    loop = synced(start)
    before, known = loop.dump(), kept(loop.state)
    send(person, "POST", "/api/jwt/settings", json={"legacy_api_tokens_enabled": False})
    try:
        for name in COMMANDS:
            done = commands.fail(loop, name)
            assert done.code == 2, done.said
            assert "legacy token authentication has been disabled for this organization): make a new one" in done.said
    finally:
        send(person, "POST", "/api/jwt/settings", json={"legacy_api_tokens_enabled": True})
    assert (loop.dump(), kept(loop.state)) == (before, known)


# -- rights and projects -----------------------------------------------------------------------------------------------


def test_a_user_who_was_removed_may_not_see_the_project(
    commands: Commands, start: StartProject, person: Person
) -> None:
    loop = synced(start)
    token = legacy_token(person)
    assert commands.run(loop, "status", LABEL_STUDIO_API_KEY=token).code == 0
    loop.call("DELETE", f"/api/organizations/1/memberships/{person.user_id}/")
    words = f"has no project {loop.id}, or none that the token's user may see: No Project matches the given query."
    assert_all_fail(commands, loop, 2, words, LABEL_STUDIO_API_KEY=token)


def test_what_label_studio_forbids_is_told(start: StartProject, person: Person) -> None:
    loop = synced(start)
    gateway = Gateway(loop.server.url, legacy_token(person))
    loop.gateways.append(gateway)
    loop.call("DELETE", f"/api/organizations/1/memberships/{person.user_id}/")
    with pytest.raises(
        UsageError, match="user of LABEL_STUDIO_API_KEY has no right to do this in Label Studio: You do"
    ):
        list(gateway.tasks(loop.id))


@pytest.mark.nightly
def test_the_personal_access_token_of_a_removed_user_makes_label_studio_fail(
    commands: Commands, start: StartProject, person: Person
) -> None:
    loop = synced(start)
    token = personal_access_token(person)
    loop.call("DELETE", f"/api/organizations/1/memberships/{person.user_id}/")
    assert_all_fail(commands, loop, 3, "failed with 500", LABEL_STUDIO_API_KEY=token)


def test_a_project_that_was_deleted_is_told(commands: Commands, start: StartProject) -> None:
    loop = synced(start)
    loop.call("DELETE", f"/api/projects/{loop.id}/")
    for name in COMMANDS:
        done = commands.fail(loop, name)
        assert (done.code, f"has no project {loop.id}, or none" in done.said) == (2, True), done.said


def test_a_project_that_there_never_was_is_told(commands: Commands, start: StartProject) -> None:
    loop = start([], adopted=False)
    loop.id = 999_999
    for name in ("init", "doctor"):
        done = commands.fail(loop, name)
        assert (done.code, "has no project 999999, or none" in done.said) == (2, True), done.said
    for name in ("sync", "status", "export", "report"):
        done = commands.fail(loop, name)
        assert done.code == 2
        assert f"Project 999999 of {loop.server.url} is not set up yet: run connector init" in done.err
    assert "nothing to undo" in commands.run(loop, "undo").out


# -- addresses ---------------------------------------------------------------------------------------------------------


def set_up_at(loop: ProjectDriver, url: str) -> None:
    """Makes the state database know the project under another address, as if Label Studio had been there before."""
    known = loop.state.record()
    copied = {name: value for name, value in vars(known).items() if name not in ("key", "url", "project_id")}
    database = State(loop.state_url)
    database.project(url, loop.id).put(**copied)
    database.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (NOWHERE, f"Label Studio at {NOWHERE} does not answer ([Errno "),
        pytest.param(
            "http://no-such-host.invalid",
            "Label Studio at http://no-such-host.invalid does not answer ([Errno ",
            marks=pytest.mark.nightly,
        ),
    ],
    ids=["nothing listens", "no such host"],
)
def test_an_address_where_nothing_answers_is_for_later(
    commands: Commands, start: StartProject, url: str, words: str
) -> None:
    loop = synced(start)
    set_up_at(loop, url)
    assert_all_fail(commands, loop, 3, words, LABEL_STUDIO_URL=url)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (Answer(200, PAGE), 2, "does not speak Label Studio's API: check LABEL_STUDIO_URL"),
        pytest.param(
            Answer(200, {"hello": "world"}),
            2,
            "does not speak Label Studio's API: check LABEL_STUDIO_URL",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            Answer(200, ["hello"]),
            2,
            "does not speak Label Studio's API: check LABEL_STUDIO_URL",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            Answer(404, PAGE), 2, "does not speak Label Studio's API: check LABEL_STUDIO_URL", marks=pytest.mark.nightly
        ),
        pytest.param(
            Answer(404, {"detail": "Not Found"}),
            2,
            "does not speak Label Studio's API: check LABEL_STUDIO_URL",
            marks=pytest.mark.nightly,
        ),
        pytest.param(Answer(500, PAGE), 3, "failed with 500: Internal Server Error.", marks=pytest.mark.nightly),
        pytest.param(
            Answer(301, PAGE, "https://studio.example"),
            2,
            "redirects to https://studio.example: give that address",
            marks=pytest.mark.nightly,
        ),
    ],
    ids=["a page", "an object", "a list", "a page not found", "an object not found", "a failure", "a redirect"],
)
def test_another_web_server_is_not_taken_for_label_studio(
    commands: Commands,
    start: StartProject,
    other_server: Callable[[Answer], str],
    answer: Answer,
    code: int,
    words: str,
) -> None:
    loop = synced(start)
    url = other_server(answer)
    set_up_at(loop, url)
    assert_all_fail(commands, loop, code, words, LABEL_STUDIO_URL=url)


@pytest.mark.nightly
def test_the_ml_backend_is_not_taken_for_label_studio(commands: Commands, start: StartProject) -> None:
    loop = synced(start)
    set_up_at(loop, loop.backend)
    words = f"{loop.backend} does not speak Label Studio's API: check LABEL_STUDIO_URL"
    assert_all_fail(commands, loop, 2, words, LABEL_STUDIO_URL=loop.backend)


def test_another_place_with_the_same_project_is_named_with_what_to_do(
    commands: Commands, start: StartProject, proxy: Proxy
) -> None:
    loop = synced(start)
    words = f"Project {loop.id} was set up at {loop.server.url}, and {proxy.url} has the same project. If that"
    names = ("sync", "status", "export", "report", "doctor", "undo")
    assert_all_fail(commands, loop, 2, words, names=names, LABEL_STUDIO_URL=proxy.url)


# -- the ML backend ----------------------------------------------------------------------------------------------------


def test_a_backend_that_is_down_is_for_later(commands: Commands, start: StartProject) -> None:
    loop = synced(start)
    words = f"The ML backend at {NOWHERE} does not answer"
    assert_all_fail(commands, loop, 3, words, names=ASK_THE_BACKEND, ML_BACKEND_URL=NOWHERE)
    assert loop.sync()["round"] == 2, "and then it ends well"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (Answer(200, {"status": "UP", "protocol": 1}), 2, "speaks protocol 1, this connector 9"),
        pytest.param(
            Answer(200, {"status": "UP"}), 2, "speaks protocol unknown, this connector 9", marks=pytest.mark.nightly
        ),
        pytest.param(Answer(200, ["UP"]), 2, "speaks protocol unknown, this connector 9", marks=pytest.mark.nightly),
        pytest.param(
            Answer(200, PAGE), 2, "is not an ML backend of ours: check ML_BACKEND_URL", marks=pytest.mark.nightly
        ),
        pytest.param(Answer(404, PAGE), 2, "check ML_BACKEND_URL", marks=pytest.mark.nightly),
        pytest.param(Answer(503, PAGE), 3, "failed with 503", marks=pytest.mark.nightly),
    ],
    ids=["another protocol", "no protocol", "a list", "a page", "a page not found", "a failure"],
)
def test_what_is_no_backend_of_ours_is_told(
    commands: Commands,
    start: StartProject,
    other_server: Callable[[Answer], str],
    answer: Answer,
    code: int,
    words: str,
) -> None:
    loop = synced(start)
    assert_all_fail(commands, loop, code, words, names=ASK_THE_BACKEND, ML_BACKEND_URL=other_server(answer))
    assert loop.sync()["round"] == 2, "and then it ends well"


def test_label_studio_is_not_taken_for_the_backend(commands: Commands, start: StartProject) -> None:
    loop = synced(start)
    assert_all_fail(commands, loop, 2, "ML_BACKEND_URL", names=ASK_THE_BACKEND, ML_BACKEND_URL=loop.server.url)
    refused = commands.fail(loop, "init", "--connect-backend", ML_BACKEND_URL=loop.server.url)
    assert refused.code == 2
    assert f"Label Studio could not connect the ML backend at {loop.server.url}" in refused.err
    assert loop.dump()["backends"] == []
