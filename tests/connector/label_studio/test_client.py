"""The gateway against a transport that plays Label Studio: what is sent, and what a refusal becomes."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
from support.flaky_server import Time

from connector.errors import ConnectorError, ProjectGone, StaleTasks, TryAgainLater, UsageError
from connector.label_studio.client import PAGE_SIZE, LabelStudio
from connector.retry import Retries, UnknownOutcome

URL = "http://studio:8080"
TOKEN = "b5a2c9d8e7f60123456789abcdef0123456789ab"
PROJECT = {"id": 7, "label_config": "<View/>"}
Answer = httpx.Response | Exception


class Server:
    """Gives its answers in turn, the last one for ever, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def connect(time: Time) -> Iterator[Callable[..., LabelStudio]]:
    opened: list[LabelStudio] = []

    def make(server: Callable[[httpx.Request], httpx.Response], url: str = URL, token: str = TOKEN) -> LabelStudio:
        opened.append(LabelStudio(url, token, retries=time.retries(), transport=httpx.MockTransport(server)))
        return opened[-1]

    yield make
    for gateway in opened:
        gateway.close()


Connect = Callable[..., LabelStudio]


def ok(body: Any = None, **more: Any) -> httpx.Response:
    return httpx.Response(200, json={} if body is None else body, **more)


def refused(status: int, detail: str = "No.", **more: Any) -> httpx.Response:
    """An error in the form Label Studio gives it, with a traceback that nobody should be shown."""
    body = {"id": "9f", "status_code": status, "version": "1.23.2", "detail": detail, "exc_info": "Traceback …", **more}
    return httpx.Response(status, json=body)


PAGE = httpx.Response(200, html="<html><title>Label Studio: Sign in</title></html>")


# -- what is sent ----------------------------------------------------------------------------------------------------


def test_a_legacy_token_goes_as_it_is(connect: Connect) -> None:
    server = Server(ok(PROJECT))
    assert connect(server).get_project(7) == PROJECT
    assert server.requests[0].headers["Authorization"] == f"Token {TOKEN}"
    assert str(server.requests[0].url) == f"{URL}/api/projects/7/"


def test_a_label_studio_under_a_path_is_reached_there(connect: Connect) -> None:
    server = Server(ok(PROJECT))
    connect(server, "https://host/label-studio").get_project(7)
    assert str(server.requests[0].url) == "https://host/label-studio/api/projects/7/"


def test_the_clock_of_the_server_is_kept(connect: Connect) -> None:
    gateway = connect(Server(ok(PROJECT, headers={"Date": "Sun, 01 Mar 2026 10:00:00 GMT"}), ok(PROJECT)))
    assert gateway.server_time is None
    gateway.get_project(7)
    gateway.get_project(7)
    assert gateway.server_time == datetime(2026, 3, 1, 10, tzinfo=timezone.utc)


def beyond_id(task: int) -> dict[str, Any]:
    """The filter for tasks with a greater id."""
    return {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": task}


def test_pages_are_read_until_all_tasks_have_come(connect: Connect) -> None:
    pages = [[{"id": 1}, {"id": 2}], [{"id": 3}, {"id": 4}], [{"id": 5}]]
    beyond = [5, 3, 1]  # tasks with a greater id than the last one read
    server = Server(*(ok({"tasks": page, "total": total}) for page, total in zip(pages, beyond, strict=True)))
    told: list[tuple[int, int]] = []
    gateway = connect(server)
    assert list(gateway.tasks(7, progress=lambda done, total: told.append((done, total)))) == pages
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert gateway.calls == 3
    sent = server.requests[0].url.params
    assert (sent["project"], sent["fields"], sent["page_size"]) == ("7", "all", str(PAGE_SIZE))
    queries = [json.loads(request.url.params["query"]) for request in server.requests]
    assert [query["filters"]["items"] for query in queries] == [[beyond_id(0)], [beyond_id(2)], [beyond_id(4)]]
    assert [query["ordering"] for query in queries] == [["tasks:id"]] * 3


def test_a_server_that_sends_the_same_page_again_is_refused(connect: Connect) -> None:
    page = ok({"tasks": [{"id": 1}], "total": 5})
    with pytest.raises(ConnectorError, match="same tasks again"):
        list(connect(Server(page, page)).tasks(7))


@pytest.mark.parametrize("total", [0, 4], ids=["nothing to read", "tasks deleted while reading"])
def test_an_empty_page_ends_the_reading(connect: Connect, total: int) -> None:
    server = Server(ok({"tasks": [], "total": total}))
    assert list(connect(server).tasks(7)) == []
    assert len(server.requests) == 1


class Studio:
    """Tasks, of which Label Studio cannot show some keys: a page with one of them fails, and so do `flaky` calls."""

    def __init__(self, tasks: int, unshown: dict[int, set[str]], flaky: int = 0) -> None:
        self._tasks, self._unshown, self._flaky = tasks, unshown, flaky

    def __call__(self, request: httpx.Request) -> httpx.Response:
        fields = set((request.url.params.get("include") or "id,data,result").split(",")) & {"id", "data", "result"}
        query = json.loads(request.url.params["query"])
        chosen = query.get("selectedItems", {}).get("included") or range(1, self._tasks + 1)
        if self._flaky and fields != {"id"}:
            self._flaky -= 1
            return refused(500)
        if any(self._unshown.get(task, set()) & fields for task in chosen):
            return refused(500)
        return ok({"tasks": [{"id": task, **dict.fromkeys(fields - {"id"}, "there")} for task in chosen], "total": 0})


@pytest.mark.parametrize("fields", ["id,data,result", None])
def test_what_cannot_be_shown_of_a_task_is_left_out_and_all_else_is_read(connect: Connect, fields: str | None) -> None:
    server = Studio(700, {1: {"data"}, 350: {"result"}, 351: {"data", "result"}})
    (page,) = connect(server).tasks(7, fields=fields)
    rows = {row["id"]: row.keys() - {"id"} for row in page}
    assert list(rows) == list(range(1, 701))
    assert {task: keys for task, keys in rows.items() if keys != {"data", "result"}} == {
        1: {"result"},
        350: {"data"},
        351: set(),
    }


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_server_that_fails_in_passing_costs_no_task_its_data(connect: Connect, failures: int) -> None:
    (page,) = connect(Studio(1, {}, failures)).tasks(7)
    assert page == [{"id": 1, "data": "there", "result": "there"}]


def test_a_server_that_goes_on_failing_is_for_later(connect: Connect) -> None:
    with pytest.raises(TryAgainLater, match="failed with 500"):
        list(connect(Server(refused(500))).tasks(7))


def test_since_asks_for_tasks_updated_later(connect: Connect) -> None:
    server = Server(ok({"tasks": [], "total": 0}))
    list(connect(server).tasks(7, "2026-03-01T10:00:00.000000Z"))
    assert json.loads(server.requests[0].url.params["query"])["filters"]["items"] == [
        beyond_id(0),
        {
            "filter": "filter:tasks:updated_at",
            "operator": "greater",
            "type": "Datetime",
            "value": "2026-03-01T10:00:00.000000Z",
        },
    ]


def test_a_task_is_opened_by_overlap_and_flag_and_the_answer_is_given(connect: Connect) -> None:
    server = Server(ok({"id": 3, "annotations": []}))
    assert connect(server).update_task(3, overlap=2, is_labeled=False) == {"id": 3, "annotations": []}
    assert (server.requests[0].method, server.requests[0].url.path) == ("PATCH", "/api/tasks/3")
    assert server.bodies() == [{"overlap": 2, "is_labeled": False}]


def test_settings_are_sent_as_they_are_given_empty_ones_too(connect: Connect) -> None:
    server = Server(ok(PROJECT))
    connect(server).update_project(7, model_version="", maximum_annotations=1, show_overlap_first=False)
    assert server.bodies() == [{"model_version": "", "maximum_annotations": 1, "show_overlap_first": False}]


def test_a_window_is_imported_in_one_call_and_counted_by_the_server(connect: Connect) -> None:
    rows = [{"task": 1, "result": [], "score": 0.5, "model_version": "activelab-1"}]
    server = Server(httpx.Response(201, json={"created": 1}))
    assert connect(server).import_predictions(7, rows) == 1
    assert server.bodies() == [rows]


def test_answers_that_the_import_refuses_are_sent_alone(connect: Connect) -> None:
    rows = [{"task": 1, "result": []}, {"task": 2, "result": [{"value": {"choices": [["A", "B"]]}}]}]
    server = Server(httpx.Response(201, json={"created": 1}), httpx.Response(201, json={"id": 5}))
    assert connect(server).import_predictions(7, rows, singly=True) == 2
    assert server.bodies() == [rows[:1], rows[1]]


def test_a_version_is_deleted_by_name_and_an_empty_answer_is_fine(connect: Connect) -> None:
    server = Server(httpx.Response(204))
    connect(server).delete_version(7, "activelab-1")
    assert (server.requests[0].method, server.bodies()) == ("DELETE", [{"model_version": "activelab-1"}])


def test_many_tasks_are_imported_in_parts(connect: Connect) -> None:
    server = Server(httpx.Response(201, json={}))
    connect(server).import_tasks(7, [{"text": str(number)} for number in range(5001)])
    assert [len(body) for body in server.bodies()] == [2500, 2500, 1]


# -- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, UsageError, "refuses the token in LABEL_STUDIO_API_KEY (The server's words): make a new one"),
        (403, UsageError, "has no right to do this in Label Studio: The server's words."),
        (404, ProjectGone, "has no project 7, or none that the token's user may see: The server's words."),
        (400, ConnectorError, "Label Studio refused: The server's words."),
        (405, ConnectorError, "Label Studio answered 405: The server's words."),
        (409, TryAgainLater, "failed with 409: The server's words."),
        (429, TryAgainLater, "failed with 429: The server's words."),
        (500, TryAgainLater, "failed with 500: The server's words."),
        (503, TryAgainLater, "failed with 503: The server's words."),
    ],
)
def test_a_status_becomes_an_error_with_the_servers_words(
    connect: Connect, status: int, kind: type[ConnectorError], words: str
) -> None:
    with pytest.raises(ConnectorError) as error:
        connect(Server(refused(status, "The server's words."))).get_project(7)
    assert type(error.value) is kind
    assert words in str(error.value)
    assert "Traceback" not in str(error.value)
    assert TOKEN not in str(error.value)


def test_what_the_server_found_invalid_is_told(connect: Connect) -> None:
    answer = refused(400, "Validation\n error", validation_errors={"model_version": ["No such version."]})
    with pytest.raises(ConnectorError) as error:
        connect(Server(answer)).update_project(7, model_version="x")
    assert str(error.value) == 'Label Studio refused: Validation error {"model_version": ["No such version."]}.'


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(400, json=["Bad row"]), "['Bad row']."),
        (httpx.Response(400, json={}), "no reason given."),
        (httpx.Response(400, json={"detail": None}), "no reason given."),
        (httpx.Response(400, text="<h1>Oops</h1>"), "Bad Request."),
    ],
    ids=["a list", "nothing", "null", "a page"],
)
def test_a_refusal_in_another_form_is_one_line_still(connect: Connect, answer: httpx.Response, words: str) -> None:
    with pytest.raises(ConnectorError) as error:
        connect(Server(answer)).get_project(7)
    assert str(error.value) == f"Label Studio refused: {words}"


def test_a_page_instead_of_json_is_a_wrong_address(connect: Connect) -> None:
    with pytest.raises(UsageError, match="does not speak Label Studio's API: check LABEL_STUDIO_URL"):
        connect(Server(PAGE)).get_project(7)


@pytest.mark.parametrize(
    "answer",
    [
        ok({"hello": "world"}),
        ok(["hello"]),
        ok({"id": 7, "name": "Seven"}),
        httpx.Response(204),
        httpx.Response(404, html="<h1>Not found</h1>"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(404, json=["Not found"]),
    ],
    ids=["an object", "a list", "another object", "nothing", "a page", "a backend's 404", "a list with 404"],
)
def test_an_answer_that_is_not_label_studios_is_a_wrong_address(connect: Connect, answer: httpx.Response) -> None:
    with pytest.raises(UsageError, match="does not speak Label Studio's API: check LABEL_STUDIO_URL"):
        connect(Server(answer)).get_project(7)
    with pytest.raises(UsageError, match="does not speak Label Studio's API: check LABEL_STUDIO_URL"):
        connect(Server(answer)).create_project("Title", "<View/>")


@pytest.mark.parametrize("status", [301, 302, 308])
def test_a_redirect_is_told_with_the_address_to_give(connect: Connect, status: int) -> None:
    answer = httpx.Response(status, headers={"Location": "https://studio/api/projects/7/"})
    with pytest.raises(UsageError, match="redirects to https://studio/api/projects/7/: give that address"):
        connect(Server(answer)).get_project(7)


def test_a_task_that_is_gone_is_stale(connect: Connect) -> None:
    with pytest.raises(StaleTasks) as error:
        connect(Server(refused(404, "Not found."))).update_task(3, overlap=1, is_labeled=True)
    assert error.value.exit_code == 3


def test_a_window_with_a_task_that_is_gone_is_stale(connect: Connect) -> None:
    with pytest.raises(StaleTasks):
        connect(Server(refused(400, "Task 3 does not exist"))).import_predictions(7, [{"task": 3}])


# -- servers that are away -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_reading_is_tried_again_after_a_passing_failure(connect: Connect, status: int) -> None:
    server = Server(refused(status), refused(status), ok(PROJECT))
    assert connect(server).get_project(7) == PROJECT
    assert len(server.requests) == 3


@pytest.mark.parametrize("failure", [httpx.ConnectTimeout(""), httpx.ReadTimeout(""), httpx.WriteError("Broken pipe")])
def test_reading_is_tried_again_after_a_broken_connection(connect: Connect, failure: Exception) -> None:
    server = Server(failure, failure, ok(PROJECT))
    assert connect(server).get_project(7) == PROJECT
    assert len(server.requests) == 3


def test_the_sdk_repeats_nothing_by_itself(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(sleep=lambda seconds: pytest.fail("it waits"))
    monkeypatch.setattr("label_studio_sdk.core.http_client.time", clock)
    for failure in (refused(503), refused(409), httpx.ConnectError("refused"), httpx.RemoteProtocolError("cut")):
        with pytest.raises(TryAgainLater):
            connect(Server(failure)).get_project(7)


@pytest.mark.parametrize("failure", [refused(502), refused(500), httpx.ReadError("cut"), httpx.ReadTimeout("")])
@pytest.mark.parametrize(
    "call",
    [
        lambda gateway: gateway.import_predictions(7, [{"task": 1}]),
        lambda gateway: gateway.import_tasks(7, [{"text": "a"}]),
        lambda gateway: gateway.create_tab(7, {}),
        lambda gateway: gateway.connect_backend(7, "http://model:9090", "ActiveLab"),
        lambda gateway: gateway.create_project("Title", "<View/>"),
    ],
    ids=["predictions", "tasks", "tab", "backend", "project"],
)
def test_nothing_that_would_stand_twice_is_sent_again(
    connect: Connect, call: Callable[[LabelStudio], object], failure: Answer
) -> None:
    server = Server(failure, httpx.Response(201, json={"created": 1}))
    with pytest.raises(UnknownOutcome):
        call(connect(server))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), "does not answer ([Errno 111] Connection refused)"),
        (httpx.ReadTimeout(""), "does not answer (ReadTimeout)"),
        (httpx.RemoteProtocolError("Server disconnected"), "does not answer (Server disconnected)"),
    ],
)
def test_a_server_that_does_not_answer_is_for_later(connect: Connect, failure: Exception, words: str) -> None:
    with pytest.raises(TryAgainLater) as error:
        connect(Server(failure)).get_project(7)
    said = f"Label Studio at {URL} {words}: start it or check LABEL_STUDIO_URL. Tried "
    assert str(error.value).startswith(said)


# -- tokens ----------------------------------------------------------------------------------------------------------


# The SDK reads the answer in a way that pydantic deprecates.
sdk_warning = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")


def personal_token(kind: str = "refresh", days: float = 30) -> str:
    expires = datetime.now(timezone.utc) + timedelta(days=days)
    return jwt.encode({"token_type": kind, "exp": expires, "jti": "1"}, "k" * 32, algorithm="HS256")


@sdk_warning
def test_a_personal_access_token_is_exchanged_once(connect: Connect) -> None:
    access = personal_token("access", 0.1)
    server = Server(ok({"access": access}), ok(PROJECT))
    gateway = connect(server, token=personal_token())
    gateway.get_project(7)
    gateway.get_project(7)
    assert [request.url.path for request in server.requests] == [
        "/api/token/refresh/",
        "/api/projects/7/",
        "/api/projects/7/",
    ]
    assert server.requests[1].headers["Authorization"] == f"Bearer {access}"


@sdk_warning
def test_a_personal_access_token_is_exchanged_under_the_same_path(connect: Connect) -> None:
    server = Server(ok({"access": personal_token("access", 0.1)}), ok(PROJECT))
    connect(server, "https://host/label-studio", personal_token()).get_project(7)
    assert [request.url.path for request in server.requests] == [
        "/label-studio/api/token/refresh/",
        "/label-studio/api/projects/7/",
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (refused(401, "Token is blacklisted"), UsageError, "refuses the token in LABEL_STUDIO_API_KEY"),
        (refused(500, "database is locked"), TryAgainLater, "failed with 500"),
        (httpx.Response(502, html="<html>Bad gateway</html>"), TryAgainLater, "failed with 502"),
        (PAGE, UsageError, "check LABEL_STUDIO_URL"),
        (httpx.ConnectError("refused"), TryAgainLater, "does not answer"),
    ],
    ids=["revoked", "failing", "failing proxy", "a page", "away"],
)
def test_a_failed_exchange_is_told_like_any_other_call(
    connect: Connect, answer: Answer, kind: type[ConnectorError], words: str
) -> None:
    token = personal_token()
    with pytest.raises(ConnectorError) as error:
        connect(Server(answer), token=token).get_project(7)
    assert type(error.value) is kind
    assert words in str(error.value)
    assert token not in str(error.value)


@sdk_warning
@pytest.mark.parametrize(
    "failure",
    [
        refused(500),
        httpx.Response(502, html="<html>Bad gateway</html>"),
        refused(429),
        httpx.ReadTimeout(""),
        httpx.RemoteProtocolError("cut"),
    ],
    ids=["failing", "failing proxy", "too many", "silent", "cut"],
)
def test_an_exchange_that_fails_in_passing_is_tried_again_whatever_it_was_for(
    connect: Connect, failure: Answer
) -> None:
    access = ok({"access": personal_token("access", 0.1)})
    server = Server(failure, failure, access, httpx.Response(201, json={"created": 1}))
    assert connect(server, token=personal_token()).import_predictions(7, [{"task": 1}]) == 1
    paths = ["/api/token/refresh/"] * 3 + ["/api/projects/7/import/predictions"]
    assert [request.url.path for request in server.requests] == paths


@sdk_warning
def test_what_fails_after_the_exchange_is_not_taken_for_it(connect: Connect) -> None:
    access = ok({"access": personal_token("access", 0.1)})
    server = Server(access, httpx.ReadTimeout(""))
    with pytest.raises(UnknownOutcome):
        connect(server, token=personal_token()).import_predictions(7, [{"task": 1}])
    assert len(server.requests) == 2


@sdk_warning
def test_an_exchange_honours_retry_after(connect: Connect, time: Time) -> None:
    access = ok({"access": personal_token("access", 0.1)})
    busy = httpx.Response(503, json={}, headers={"Retry-After": "30"})
    connect(Server(busy, access, ok(PROJECT)), token=personal_token()).get_project(7)
    assert 30 <= time.waits[0] <= 31


def test_an_expired_personal_access_token_is_refused_before_any_call() -> None:
    with pytest.raises(UsageError, match="token in LABEL_STUDIO_API_KEY"):
        LabelStudio(URL, personal_token(days=-1))


@pytest.mark.parametrize(
    ("name", "value"),
    [("SSL_CERT_FILE", "/no/such/file"), ("HTTPS_PROXY", "ftp://127.0.0.1:9"), ("NO_PROXY", "[::1")],
)
@pytest.mark.usefixtures("without_proxies")
def test_an_environment_that_allows_no_connection_is_not_blamed_on_the_token(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=rf"No connection can be opened \(.*environment names .*{name}"):
        LabelStudio(URL, TOKEN, retries=Retries(0))


def test_a_token_with_a_line_end_is_refused_and_not_repeated() -> None:
    gateway = LabelStudio("http://127.0.0.1:9", f"{TOKEN}\n", retries=Retries(0))
    try:
        with pytest.raises(ConnectorError) as error:
            gateway.get_project(7)
        assert TOKEN not in str(error.value)
    finally:
        gateway.close()


# -- the fence -------------------------------------------------------------------------------------------------------


def test_a_fence_is_looked_at_before_each_attempt_to_write_and_at_no_other_time(connect: Connect) -> None:
    server = Server(refused(503), refused(503), ok(PROJECT))
    gateway, looks = connect(server), []
    with gateway.guard_writes(lambda: looks.append(len(server.requests))):
        gateway.update_project(7, model_version="v")
        assert looks == [0, 1, 2]
        gateway.get_project(7)
    gateway.update_project(7, model_version="v")
    assert (len(looks), len(server.requests)) == (3, 5)


def test_what_the_fence_raises_is_raised_instead_of_writing_again(connect: Connect) -> None:
    server = Server(refused(503), ok(PROJECT))

    def lost() -> None:
        if server.requests:
            raise TryAgainLater("Another sync took this project over. Nothing more was written.")

    gateway = connect(server)
    with pytest.raises(TryAgainLater, match="took this project over"), gateway.guard_writes(lost):
        gateway.update_project(7, model_version="v")
    assert len(server.requests) == 1
    assert gateway.update_project(7, model_version="v") == PROJECT


def test_a_path_that_label_studio_is_not_under_is_named(connect: Connect) -> None:
    server = Server(httpx.Response(404, html="<h1>Not found</h1>"))
    with pytest.raises(UsageError, match=r"check LABEL_STUDIO_URL\. If Label Studio is not served under /foo"):
        connect(server, url="http://studio/foo").get_project(7)
