"""The policy by itself, and both clients against a real web server that misbehaves; no test waits."""

import json
import logging
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import numpy as np
import pytest
from support.flaky_server import CUT, HANGS_UP, SILENT, Answer, Misbehaving, Time

from connector.backend import PROTOCOL, Backend
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.label_studio.client import LabelStudio
from connector.retry import (
    LONGEST_WAIT,
    LOOK_SECONDS,
    SHORTEST_WAIT,
    TOTAL_SECONDS,
    WORK_SECONDS,
    TransientError,
    UnknownOutcome,
    is_transient,
    retry_after,
)
from connector.state.lock import LOCK_SECONDS

TOKEN = "b5a2c9d8e7f60123456789abcdef0123456789ab"
AWAY = TryAgainLater("The server is away.")


class Attempts:
    """Fails as planned, each time after `seconds`, and then returns "done"."""

    def __init__(self, time: Time, *failures: Exception, seconds: float = 0.0) -> None:
        self.time, self.failures, self.seconds = time, list(failures), seconds
        self.begun: list[float] = []

    def __call__(self) -> str:
        self.begun.append(self.time.now)
        self.time.now += self.seconds
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def failure(retry_after: float | None = None, *, unprocessed: bool = False) -> TransientError:
    return TransientError(AWAY, "The server answered 503", unprocessed=unprocessed, retry_after=retry_after)


# -- waits -----------------------------------------------------------------------------------------------------------


def test_what_goes_well_is_done_once() -> None:
    time = Time()
    assert time.retries().call(Attempts(time), repeatable=True) == "done"
    assert time.waits == []


def test_waits_are_drawn_at_random_below_a_bound_that_doubles() -> None:
    drawn: list[list[float]] = []
    for _ in range(200):
        time = Time()
        assert time.retries(1000.0).call(Attempts(time, *(failure() for _ in range(7))), repeatable=True) == "done"
        drawn.append(time.waits)
    bounds = [1.0, 2.0, 4.0, 8.0, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT]
    for waits, bound in zip(np.array(drawn).T, bounds, strict=True):
        assert waits.min() >= SHORTEST_WAIT
        assert waits.max() <= bound
        assert len(set(waits)) > 100
        assert waits.max() - waits.min() > (bound - SHORTEST_WAIT) / 2


def test_the_server_is_left_alone_as_long_as_it_asks_and_a_little_longer() -> None:
    time = Time()
    time.retries().call(Attempts(time, failure(5.0), failure(0.0)), repeatable=True)
    assert 5.0 + SHORTEST_WAIT <= time.waits[0] <= 5.0 + 1.0
    assert SHORTEST_WAIT <= time.waits[1] <= 2.0


def test_no_attempt_begins_after_the_limit_and_the_end_says_how_often() -> None:
    time = Time()
    attempts = Attempts(time, *(failure() for _ in range(1000)), seconds=0.1)
    with pytest.raises(TryAgainLater) as error:
        time.retries().call(attempts, repeatable=True)
    assert type(error.value) is TryAgainLater
    assert attempts.begun[-1] - attempts.begun[0] <= TOTAL_SECONDS
    assert time.now - attempts.begun[0] >= TOTAL_SECONDS - SHORTEST_WAIT
    assert 6 <= len(attempts.begun) <= 60
    said = re.fullmatch(r"The server is away\. Tried (\d+) times in (\d+) s\.", str(error.value))
    assert said
    assert int(said[1]) == len(attempts.begun)
    assert 59 <= int(said[2]) <= 61


def test_a_last_wait_is_cut_to_what_is_left() -> None:
    time = Time()
    time.retries(10.0).call(Attempts(time, failure(9.9)), repeatable=True)
    assert time.waits == [10.0]


def test_a_server_that_asks_for_more_than_is_left_is_left_alone_at_once() -> None:
    time = Time()
    attempts = Attempts(time, failure(), failure(3600.0))
    with pytest.raises(TryAgainLater) as error:
        time.retries().call(attempts, repeatable=True)
    assert len(time.waits) == 1
    assert str(error.value).startswith("The server is away. Tried 2 times in ")
    assert str(error.value).endswith(" It asks to wait 3600 s.")


def test_an_attempt_that_took_the_limit_is_the_last() -> None:
    time = Time()
    attempts = Attempts(time, failure(), seconds=WORK_SECONDS)
    with pytest.raises(TryAgainLater, match=r"^The server is away\.$"):
        time.retries().call(attempts, repeatable=True)
    assert time.waits == []


def test_a_limit_of_nothing_is_one_attempt() -> None:
    time = Time()
    with pytest.raises(TryAgainLater, match=r"^The server is away\.$"):
        time.retries(0.0).call(Attempts(time, failure()), repeatable=True)
    assert time.waits == []


def test_one_call_ends_before_the_project_s_lock_does() -> None:
    assert TOTAL_SECONDS + WORK_SECONDS < LOCK_SECONDS / 2
    assert LOOK_SECONDS < TOTAL_SECONDS  # or a timeout would never be repeated


# -- what is repeated ------------------------------------------------------------------------------------------------


def test_what_must_not_be_done_twice_is_not_repeated() -> None:
    time = Time()
    lost = failure()
    with pytest.raises(UnknownOutcome, match=r"^The server is away\.$") as error:
        time.retries().call(Attempts(time, lost), repeatable=False)
    assert error.value.failure is lost
    assert time.waits == []


def test_what_the_server_did_not_touch_is_repeated_whatever_it_is() -> None:
    time = Time()
    unprocessed = failure(unprocessed=True)
    assert time.retries().call(Attempts(time, unprocessed, unprocessed), repeatable=False) == "done"
    assert len(time.waits) == 2
    with pytest.raises(UnknownOutcome):
        time.retries().call(Attempts(time, unprocessed, failure()), repeatable=False)


@pytest.mark.parametrize("error", [UsageError("No."), ConnectorError("No."), AWAY, KeyError("x"), KeyboardInterrupt()])
def test_any_other_error_stops_at_once(error: Exception) -> None:
    time = Time()
    with pytest.raises(type(error)) as raised:
        time.retries().call(Attempts(time, error), repeatable=True)
    assert raised.value is error
    assert time.waits == []


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_wait_at_once(signal_number: signal.Signals) -> None:
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from connector.retry import *\n"
        "def attempt():\n"
        "    print('asked', flush=True); raise TransientError(TryAgainLater('Away.'), 'It is away', retry_after=50.0)\n"
        "Retries().call(attempt, repeatable=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "asked\n"
    assert process.stderr.readline().startswith("It is away. Trying again in 5")
    process.send_signal(signal_number)
    process.communicate(timeout=20)  # the wait is 50 s
    assert process.returncode != 0


def test_each_wait_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    with caplog.at_level(logging.WARNING, "connector"):
        time.retries().call(Attempts(time, failure(3.0), failure()), repeatable=True)
    assert [record.getMessage() for record in caplog.records] == [
        f"The server answered 503. Trying again in {wait:.1f} s" for wait in time.waits
    ]


# -- what a server says ----------------------------------------------------------------------------------------------


def test_these_statuses_pass_and_no_others() -> None:
    assert [status for status in range(100, 500) if is_transient(status)] == [408, 429]
    assert all(is_transient(status) for status in range(500, 600))


NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "²"}, None),
        ({"Retry-After": "Sun, 01 Mar 2026 12:00:30 GMT", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, 30.0),
        ({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, 0.0),
        ({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT", "Date": "today"}, 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date_of_the_servers_clock(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


def test_a_date_without_the_servers_clock_is_taken_by_ours() -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=100), usegmt=True)
    assert 90 <= (retry_after({"Retry-After": soon}) or 0) <= 100


# -- both clients ----------------------------------------------------------------------------------------------------

PROJECT = Answer(body=json.dumps({"id": 7, "label_config": "<View/>"}).encode())
HEALTH = Answer(body=json.dumps({"status": "UP", "protocol": PROTOCOL}).encode())
BUSY = Answer(503, b'{"detail": "Busy."}')


def refused(status: int) -> Answer:
    return Answer(status, json.dumps({"status_code": status, "detail": "The server's words."}).encode())


@pytest.fixture
def serve() -> Iterator[Callable[..., Misbehaving]]:
    running: list[Misbehaving] = []

    def start(*answers: Answer) -> Misbehaving:
        running.append(Misbehaving(*answers))
        return running[-1]

    yield start
    for server in running:
        server.close()


Serve = Callable[..., Misbehaving]


def look_at_label_studio(url: str, time: Time) -> None:
    gateway = LabelStudio(url, TOKEN, retries=time.retries())
    try:
        assert gateway.get_project(7)["id"] == 7
    finally:
        gateway.close()


def look_at_the_backend(url: str, time: Time) -> None:
    backend = Backend(url, retries=time.retries())
    try:
        backend.check()
    finally:
        backend.close()


Look = Callable[[str, Time], None]
both = pytest.mark.parametrize(
    ("look", "good"),
    [(look_at_label_studio, PROJECT), (look_at_the_backend, HEALTH)],
    ids=["Label Studio", "the ML backend"],
)
hiccups = pytest.mark.parametrize(
    "hiccup",
    [HANGS_UP, CUT, *(refused(status) for status in (408, 429, 500, 502, 503, 504))],
    ids=["hangs up", "cut", "408", "429", "500", "502", "503", "504"],
)


@both
@hiccups
def test_a_hiccup_is_waited_out(serve: Serve, look: Look, good: Answer, hiccup: Answer) -> None:
    time, server = Time(), serve(hiccup, hiccup, good)
    look(server.url, time)
    assert len(server.requests) == 3
    assert len(time.waits) == 2


@both
def test_a_server_that_is_silent_is_asked_again(
    serve: Serve, look: Look, good: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in ("label_studio.transport", "backend"):
        monkeypatch.setattr(f"connector.{client}.LOOK_SECONDS", 0.1)
    time, server = Time(), serve(SILENT, good)
    look(server.url, time)
    assert len(server.requests) == 2


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 422])
def test_another_refusal_stops_at_once(serve: Serve, look: Look, good: Answer, status: int) -> None:
    time, server = Time(), serve(refused(status), good)
    with pytest.raises(ConnectorError, match=r"The server's words|ML backend at .* requires credentials"):
        look(server.url, time)
    assert len(server.requests) == 1


@both
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(serve: Serve, look: Look, good: Answer, form: str) -> None:
    at = format_datetime(NOON + timedelta(seconds=20), usegmt=True) if form == "date" else "20"
    headers = {"Retry-After": at, "Date": format_datetime(NOON, usegmt=True)}
    time = Time()
    look(serve(Answer(429, b"{}", headers), good).url, time)
    assert 20 + SHORTEST_WAIT <= time.waits[0] <= 21


@both
def test_a_server_that_fails_on_is_given_up(
    serve: Serve, look: Look, good: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    time, server = Time(), serve(BUSY)
    with pytest.raises(TryAgainLater, match=rf"at {server.url} failed with 503: Busy\.") as error:
        look(server.url, time)
    assert error.value.exit_code == 3
    assert f" Tried {len(server.requests)} times in " in str(error.value)
    assert sum(time.waits) == pytest.approx(TOTAL_SECONDS, abs=SHORTEST_WAIT)
    assert re.fullmatch(
        rf"(Label Studio|The ML backend) at {server.url} answered 503\. Trying again in 0\.\d s|.* in 1\.0 s",
        caplog.records[0].getMessage(),
    )


@both
def test_an_hour_is_not_waited(serve: Serve, look: Look, good: Answer) -> None:
    time, server = Time(), serve(Answer(503, b"{}", {"Retry-After": "3600"}), good)
    with pytest.raises(TryAgainLater, match=r"It asks to wait 3600 s\."):
        look(server.url, time)
    assert time.waits == []


@both
def test_a_server_that_starts_late_is_waited_for(look: Look, good: Answer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    time = Time()
    with pytest.raises(TryAgainLater, match="does not answer"):
        look(url, time)
    assert len(time.waits) > 5


# -- calls that make something ---------------------------------------------------------------------------------------


def import_a_window(url: str, time: Time) -> None:
    gateway = LabelStudio(url, TOKEN, retries=time.retries())
    try:
        assert gateway.import_predictions(7, [{"task": 1}]) == 1
    finally:
        gateway.close()


def train(url: str, time: Time) -> None:
    backend = Backend(url, retries=time.retries())
    try:
        assert backend.train("7", ("a", "b"), {1: 0, 2: 1}) == "v1"
    finally:
        backend.close()


CREATED = Answer(201, b'{"created": 1}')
STARTED = Answer(
    202,
    json.dumps(
        {"job": "j", "state": "done", "stage": "", "fold": None, "step": 0, "steps": 0, "progress": 1}
        | {"seconds_left": None, "model_version": "v1", "retriable": False}
    ).encode(),
)
makers = pytest.mark.parametrize(
    ("make", "good"), [(import_a_window, CREATED), (train, STARTED)], ids=["Label Studio", "the ML backend"]
)


@makers
@pytest.mark.parametrize(
    "hiccup",
    [HANGS_UP, CUT, *(refused(status) for status in (408, 500, 502, 503, 504))],
    ids=["hangs up", "cut", "408", "500", "502", "503", "504"],
)
def test_what_may_have_been_done_is_not_done_again(serve: Serve, make: Look, good: Answer, hiccup: Answer) -> None:
    time, server = Time(), serve(hiccup, good)
    with pytest.raises(UnknownOutcome) as error:
        make(server.url, time)
    assert error.value.exit_code == 3
    assert len(server.requests) == 1


@makers
@pytest.mark.parametrize(
    "refusal", [refused(429), Answer(503, b"{}", {"Retry-After": "2"})], ids=["429", "503 with Retry-After"]
)
def test_what_was_refused_unseen_is_asked_again(serve: Serve, make: Look, good: Answer, refusal: Answer) -> None:
    time = Time()
    make(serve(refusal, refusal, good).url, time)
    assert len(time.waits) == 2


@makers
def test_what_found_no_connection_is_asked_again(serve: Serve, make: Look, good: Answer) -> None:
    time, server = Time(), serve(good)
    server.close()
    with pytest.raises(TryAgainLater) as error:
        make(server.url, time)
    assert type(error.value) is TryAgainLater
    assert len(time.waits) > 5


@pytest.mark.parametrize(
    "call",
    [
        lambda gateway: gateway.update_project(7, sampling="Uncertainty sampling"),
        lambda gateway: gateway.update_task(1, overlap=1, is_labeled=True),
        lambda gateway: gateway.delete_version(7, "activelab-1"),
    ],
    ids=["PATCH a project", "PATCH a task", "DELETE a version"],
)
def test_what_leaves_the_same_behind_is_done_again(serve: Serve, call: Callable[[LabelStudio], object]) -> None:
    time, server = Time(), serve(CUT, HANGS_UP, refused(502), Answer())
    gateway = LabelStudio(server.url, TOKEN, retries=time.retries())
    call(gateway)
    gateway.close()
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "delete",
    [
        lambda gateway: gateway.delete_tab(1),
        lambda gateway: gateway.delete_backend(1),
        lambda gateway: gateway.delete_webhook(1),
    ],
)
def test_what_was_deleted_before_the_answer_was_lost_is_done(
    serve: Serve, delete: Callable[[LabelStudio], object]
) -> None:
    server = serve(HANGS_UP, refused(404))
    gateway = LabelStudio(server.url, TOKEN, retries=Time().retries())
    delete(gateway)
    gateway.close()
    assert len(server.requests) == 2


@pytest.mark.parametrize("answer", [CUT, refused(500)])
def test_texts_items_and_questions_may_go_to_the_backend_twice(serve: Serve, answer: Answer) -> None:
    server = serve(answer, Answer(body=b'{"ids": [3]}'))
    backend = Backend(server.url, retries=Time().retries())
    assert backend.spread("7", [3], 1) == [3]
    backend.close()


def test_the_policy_waits_by_the_clock_when_it_is_given_none(serve: Serve) -> None:
    server = serve(refused(500), PROJECT)
    gateway = LabelStudio(server.url, TOKEN)
    began = time.monotonic()
    gateway.get_project(7)
    gateway.close()
    assert time.monotonic() - began >= SHORTEST_WAIT
