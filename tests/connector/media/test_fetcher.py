"""Fetching media of every kind of address, many at once, with failures that pass and hosts that are away."""

from __future__ import annotations

import base64
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from support import ROOT
from support.media_fetching import PATIENT, TOKEN, Make, One, media_threads
from support.media_server import MediaServer, Reply, redirect
from support.pictures import BLUE, GREEN, nearest, opened, picture
from support.small_internet import SmallInternet
from support.waiting import until

from connector.errors import TryAgainLater, UsageError
from connector.media import Failure, Fetcher, Source
from connector.media.failures import NOT_ALLOWED, TIMED_OUT, TOO_LARGE, UNREACHABLE, UNREADABLE
from connector.media.limits import Limits

GOOD = Reply(picture(colour=GREEN))
INLINE = "data:image/png;base64," + base64.b64encode(picture()).decode()


def colour(found: bytes | Failure) -> str:
    assert isinstance(found, bytes), found
    return nearest(opened(found).convert("RGB").getpixel((2, 2)))


def problem(found: bytes | Failure) -> str:
    assert isinstance(found, Failure)
    return found.problem


# -- kinds of addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "/label"])
@pytest.mark.parametrize(
    "path", ["/data/upload/1/a.jpg", "/data/local-files/?d=a.jpg", "/storage-data/uploaded/?filepath=upload/1/a.jpg"]
)
def test_label_studios_own_media_are_asked_for_with_the_token(
    one: One, studio: MediaServer, below: str, path: str
) -> None:
    studio.replies[below + path.partition("?")[0]] = GOOD
    assert colour(one(path, url=studio.url + below)) == "green"
    (request,) = studio.requests
    assert request.path == below + path
    assert request.headers["authorization"] == TOKEN
    assert request.headers["host"] == f"127.0.0.1:{studio.port}"


def test_label_studio_reads_a_storage_or_redirects_to_it(one: One, studio: MediaServer, pictures: MediaServer) -> None:
    studio.replies["/tasks/12/resolve/"] = [GOOD, redirect("http://pictures.example/a.jpg?signature=1", 303)]
    pictures.replies["/a.jpg"] = Reply(picture(colour=BLUE))
    assert colour(one("s3://bucket/a.jpg", task=12)) == "green"
    assert colour(one("gs://bucket/a.jpg", task=12)) == "blue"
    asked = [base64.urlsafe_b64decode(path.partition("fileuri=")[2]) for path in studio.paths]
    assert asked == [b"s3://bucket/a.jpg", b"gs://bucket/a.jpg"]
    assert pictures.paths == ["/a.jpg?signature=1"]


def test_connections_are_used_again(make: Make, studio: MediaServer, pictures: MediaServer) -> None:
    studio.replies["/tasks/7/resolve/"] = redirect("http://pictures.example/a.jpg", 303)
    pictures.replies["/a.jpg"] = GOOD
    fetcher = make(parallel=2)
    for _ in range(5):
        list(fetcher.fetch({1: Source(7, ("s3://bucket/a.jpg",))}))
    assert (studio.connections, pictures.connections) == (1, 1)


def test_a_web_address_is_asked_for_directly(one: One, studio: MediaServer, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = GOOD
    assert colour(one("http://pictures.example/a.jpg?size=1")) == "green"
    assert colour(one("//pictures.example/a.jpg")) == "green"
    assert pictures.paths == ["/a.jpg?size=1", "/a.jpg"]
    assert pictures.requests[0].headers["user-agent"].startswith("label-studio-activelab/")
    assert studio.connections == 0


def test_a_data_address_is_read_without_a_request(one: One, internet: SmallInternet) -> None:
    assert colour(one(INLINE)) == "red"
    assert internet.lookups == []


def test_an_allowed_host_may_be_private(one: One, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = GOOD
    address = f"http://127.0.0.1:{pictures.port}/a.jpg"
    assert colour(one(address, hosts=[f"127.0.0.1:{pictures.port}"])) == "green"


# -- pages ------------------------------------------------------------------------------------------------------------


def test_several_addresses_are_the_pages_of_one_copy(one: One, pictures: MediaServer) -> None:
    pictures.replies["/b.jpg"] = GOOD
    found = one(INLINE, "http://pictures.example/b.jpg")
    assert isinstance(found, bytes)
    pages = opened(found)
    assert pages.n_frames == 2  # type: ignore[attr-defined]
    pages.seek(1)
    assert nearest(pages.getpixel((2, 2))) == "green"


def test_pages_beyond_the_limit_are_left_out(one: One) -> None:
    found = one(*[INLINE] * 5, "file:///etc/passwd", limits=Limits(pages=5))
    assert isinstance(found, bytes)
    assert opened(found).n_frames == 5  # type: ignore[attr-defined]


def test_if_one_page_fails_so_does_the_medium(one: One, pictures: MediaServer) -> None:
    found = one(INLINE, "http://pictures.example/a.jpg?signature=1", INLINE)
    assert found == Failure("404", "its image answers 404 (not found)", "http://pictures.example/a.jpg")


def test_no_address_is_a_failure(one: One) -> None:
    assert one() == Failure(NOT_ALLOWED, "its image has no address")


# -- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "401 (unauthorized)"),
        (403, "403 (forbidden)"),
        (404, "404 (not found)"),
        (500, "500 (internal server error)"),
    ],
)
def test_a_refusal_is_counted_by_its_status(one: One, studio: MediaServer, status: int, words: str) -> None:
    studio.replies["/data/upload/1/a.jpg"] = Reply(status=status)
    found = one("/data/upload/1/a.jpg")
    assert found == Failure(str(status), f"its image answers {words}", "/data/upload/1/a.jpg")
    assert len(studio.requests) == 1


def test_a_message_names_the_host_that_a_redirect_leads_to(one: One, studio: MediaServer) -> None:
    studio.replies["/tasks/7/resolve/"] = redirect("http://pictures.example/a.jpg?signature=1", 303)
    words = "its image redirects to an address on pictures.example, which answers 404 (not found)"
    assert one("s3://bucket/a.jpg") == Failure("404", words, "s3://bucket/a.jpg")


def test_a_status_that_nobody_knows_is_counted_as_well(one: One, pictures: MediaServer) -> None:
    pictures.replies["/a"] = Reply(status=799)
    assert one("http://pictures.example/a") == Failure("799", "its image answers 799", "http://pictures.example/a")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_failure_that_passes_is_tried_again(one: One, pictures: MediaServer, status: int) -> None:
    pictures.replies["/a.jpg"] = [Reply(status=status), Reply(status=status), GOOD]
    assert colour(one("http://pictures.example/a.jpg")) == "green"


@pytest.mark.parametrize("how", ["hangs up", "cut"])
def test_a_connection_that_breaks_is_tried_again(one: One, pictures: MediaServer, how: str) -> None:
    pictures.replies["/a.jpg"] = [Reply(b"x", how=how), GOOD]  # type: ignore[arg-type]
    assert colour(one("http://pictures.example/a.jpg")) == "green"


def test_a_failure_that_stays_is_tried_three_times(one: One, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = Reply(status=503)
    assert isinstance(one("http://pictures.example/a.jpg"), Failure)
    assert len(pictures.requests) == 3


def test_a_host_that_asks_to_wait_too_long_is_not_waited_for(one: One, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = Reply(status=429, headers={"Retry-After": "3600"})
    assert "answers 429 (too many requests)" in problem(one("http://pictures.example/a.jpg"))
    assert len(pictures.requests) == 1


def test_each_attempt_follows_the_redirect_anew(one: One, studio: MediaServer, pictures: MediaServer) -> None:
    studio.replies["/tasks/7/resolve/"] = [redirect(f"http://pictures.example/{number}") for number in (1, 2)]
    pictures.replies |= {"/1": Reply(status=503), "/2": GOOD}
    assert colour(one("s3://bucket/a.jpg")) == "green"


@pytest.mark.parametrize("address", ["http://nowhere.example/a.jpg", "http://away.example/a.jpg"])
def test_a_host_that_is_away_is_unreachable(one: One, internet: SmallInternet, address: str) -> None:
    internet.names["away.example"] = [["93.184.215.99"]]
    found = one(address)
    assert isinstance(found, Failure)
    assert found.cause == UNREACHABLE


def test_label_studio_that_is_away_is_unreachable(one: One, studio: MediaServer) -> None:
    studio.close()
    assert "is on a host that does not answer" in problem(one("/data/upload/1/a.jpg", real_network=True))


def test_the_size_of_a_page_is_limited(one: One, pictures: MediaServer) -> None:
    pictures.replies["/a.png"] = Reply(picture(size=(100, 100)))
    found = one("http://pictures.example/a.png", limits=Limits(pixels=9_999))
    assert found == Failure(
        TOO_LARGE, "its image has 100 x 100 pixels, where 9,999 are allowed", "http://pictures.example/a.png"
    )


def test_the_seconds_are_those_of_all_pages(one: One, pictures: MediaServer) -> None:
    pictures.replies["/slow"] = Reply(picture(), how="slow", delay=0.1)
    assert colour(one("http://pictures.example/slow", limits=Limits(seconds=5.0))) == "red"
    found = one(*["http://pictures.example/slow"] * 10, limits=Limits(seconds=0.5))
    assert isinstance(found, Failure)
    assert found.cause == TIMED_OUT


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for pictures.example that nobody but itself signs, with its key."""
    folder = tmp_path_factory.mktemp("certificate")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=pictures.example",
    ]
    command += ["-addext", "subjectAltName=DNS:pictures.example", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def encrypted(certificate: Path, internet: SmallInternet) -> Iterator[MediaServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    server = MediaServer(tls=context)
    for name, address in (("pictures.example", "93.184.215.30"), ("other.example", "93.184.215.31")):
        internet.add(name, server.port, address)
    server.replies["/a.jpg"] = GOOD
    yield server
    server.close()


def test_certificates_are_checked_by_the_settings_of_httpx(
    one: One, encrypted: MediaServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "whose certificate is not valid (self" in problem(one("https://pictures.example/a.jpg"))
    assert encrypted.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
    assert colour(one("https://pictures.example/a.jpg")) == "green"
    assert "whose certificate is not valid (Hostname mismatch" in problem(one("https://other.example/a.jpg"))
    assert len(encrypted.requests) == 1


def test_a_host_without_tls_is_unreachable(one: One, pictures: MediaServer) -> None:
    assert "is on a host that does not" in problem(one("https://pictures.example/a.jpg"))


def test_a_host_that_begins_no_tls_ends_in_time(one: One, internet: SmallInternet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        internet.add("silent.example", silent.getsockname()[1], "93.184.215.40")
        found = one("https://silent.example/a.jpg", limits=Limits(seconds=0.3))
        assert isinstance(found, Failure)
        assert found.cause == TIMED_OUT
        found = one("https://silent.example/a.jpg", limits=Limits(connect_seconds=0.1, waits=()))
        assert "is on a host that did not connect within 0.1 s" in problem(found)


# -- many -------------------------------------------------------------------------------------------------------------


class Counted(Mapping[int, Source]):
    """Many sources that are made when they are read, and count how many have been."""

    def __init__(self, number: int, address: Callable[[int], str] = lambda number: INLINE) -> None:
        self.number, self.address, self.read = number, address, 0

    def __getitem__(self, number: int) -> Source:
        self.read += 1
        return Source(number, (self.address(number),))

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.number))

    def __len__(self) -> int:
        raise AssertionError("all were counted beforehand")


def test_a_thousand_sources_are_read_as_they_are_needed(make: Make) -> None:
    sources, taken, ahead = Counted(1_000), set(), 0
    for number, found in make(parallel=4).fetch(sources):
        assert isinstance(found, bytes)
        taken.add(number)
        ahead = max(ahead, sources.read - len(taken))
    assert len(taken) == 1_000
    assert ahead <= 2 * 4


def test_only_a_few_originals_are_read_at_once(make: Make, pictures: MediaServer) -> None:
    pictures.replies["/slow"] = Reply(picture(), how="slow")
    found = dict(make(parallel=3).fetch(Counted(20, lambda number: "http://pictures.example/slow")))
    assert all(isinstance(one, bytes) for one in found.values())
    assert len(pictures.requests) == 20
    assert pictures.most_at_once == 3


def test_a_slow_medium_holds_up_no_other(make: Make, pictures: MediaServer) -> None:
    pictures.replies["/slow"] = Reply(how="silent")
    sources = {"slow": Source(1, ("http://pictures.example/slow",)), "fast": Source(2, (INLINE,))}
    found = dict(make(limits=Limits(seconds=0.5)).fetch(sources))
    assert list(found) == ["fast", "slow"]
    assert isinstance(found["fast"], bytes)


def test_a_fetcher_is_used_again_and_again(make: Make, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = GOOD
    fetcher = make()
    for _ in range(3):
        assert len(list(fetcher.fetch({1: Source(1, ("http://pictures.example/a.jpg",))}))) == 1
    assert pictures.connections == 1
    assert list(fetcher.fetch({})) == []


# -- hosts that are away ----------------------------------------------------------------------------------------------


def away(number: int) -> str:
    return f"http://away.example/{number}.jpg?signature=1"


def test_a_host_that_failed_five_times_in_a_row_is_asked_no_more(make: Make, internet: SmallInternet) -> None:
    internet.names["away.example"] = [["93.184.215.99"]]
    found = dict(make(parallel=1, limits=Limits(waits=())).fetch(Counted(100, away)))
    assert len(internet.connections) == 5
    assert {failure.cause for failure in found.values() if isinstance(failure, Failure)} == {UNREACHABLE}
    words = "its image was not tried, because away.example failed 5 times in a row"
    assert problem(found[99]) == words


def test_the_others_fail_with_the_same_cause(make: Make, pictures: MediaServer) -> None:
    pictures.replies["/a"] = Reply(how="silent")
    limits = Limits(seconds=0.2, failures_in_a_row=2)
    fetcher = make(parallel=1, limits=limits)
    found = list(fetcher.fetch(Counted(50, lambda number: "http://pictures.example/a")))
    assert [failure.cause for _, failure in found if isinstance(failure, Failure)] == [TIMED_OUT] * 50
    assert len(pictures.requests) == 2
    again = list(fetcher.fetch(Counted(1, lambda number: "http://pictures.example/b")))  # in the same run
    assert "was not tried" in problem(again[0][1])


def test_only_failures_in_a_row_count(make: Make, pictures: MediaServer) -> None:
    pictures.replies["/a"] = Reply(status=503)
    pictures.replies["/b"] = GOOD
    limits = Limits(waits=(), failures_in_a_row=3)
    sources = Counted(30, lambda number: f"http://pictures.example/{'aab'[number % 3]}")
    found = dict(make(parallel=1, limits=limits).fetch(sources))
    assert len(pictures.requests) == 30
    assert sum(isinstance(one, bytes) for one in found.values()) == 10


def test_refusals_are_no_reason_to_give_up_a_host(make: Make, pictures: MediaServer) -> None:
    list(make(parallel=1).fetch(Counted(30, lambda number: f"http://pictures.example/{number}")))
    assert len(pictures.requests) == 30


def test_a_dead_host_is_no_reason_to_give_up_another(
    make: Make, internet: SmallInternet, pictures: MediaServer
) -> None:
    internet.names["away.example"] = [["93.184.215.99"]]
    pictures.replies["/a.jpg"] = GOOD
    addresses = ("http://away.example/a.jpg", "http://pictures.example/a.jpg")
    found = dict(make(limits=Limits(waits=())).fetch(Counted(60, lambda number: addresses[number % 2])))
    assert sum(isinstance(one, bytes) for one in found.values()) == 30


def test_label_studio_is_given_up_later(make: Make, studio: MediaServer) -> None:
    studio.replies["/data/upload/1"] = Reply(status=503)
    limits = Limits(waits=(), failures_in_a_row=2)
    list(make(parallel=1, limits=limits).fetch(Counted(30, lambda number: "/data/upload/1")))
    assert len(studio.requests) == 10


# -- the token --------------------------------------------------------------------------------------------------------


def test_the_token_is_asked_for_with_each_request(make: Make, studio: MediaServer, internet: SmallInternet) -> None:
    studio.replies["/data/upload/1"] = GOOD
    tokens = iter(f"Bearer {number}" for number in range(100))
    with Fetcher(studio.url, lambda: next(tokens), limits=PATIENT) as fetcher:
        assert len(list(fetcher.fetch(Counted(20, lambda number: "/data/upload/1")))) == 20
    sent = sorted(request.headers["authorization"] for request in studio.requests)
    assert sent == sorted(f"Bearer {number}" for number in range(20))
    assert media_threads() == []


def test_the_token_is_asked_for_once_at_a_time(studio: MediaServer) -> None:
    now, most = 0, 0

    def token() -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        time.sleep(0.005)
        now -= 1
        return TOKEN

    studio.replies["/data/upload/1"] = GOOD
    with Fetcher(studio.url, token, limits=PATIENT) as fetcher:
        list(fetcher.fetch(Counted(20, lambda number: "/data/upload/1")))
    assert most == 1


@pytest.mark.parametrize("token", ["Token a\r\nX: y", "Token ä"])
def test_what_is_no_token_is_refused(studio: MediaServer, token: str) -> None:
    with Fetcher(studio.url, lambda: token) as fetcher, pytest.raises(UsageError, match="is not a Label Studio token"):
        list(fetcher.fetch(Counted(20, lambda number: "/data/upload/1")))
    assert studio.requests == []


def test_an_error_of_the_token_ends_the_fetch(studio: MediaServer) -> None:
    def fail() -> str:
        raise TryAgainLater("Label Studio does not answer.")

    with Fetcher(studio.url, fail, limits=PATIENT) as fetcher, pytest.raises(TryAgainLater, match="does not answer"):
        list(fetcher.fetch(Counted(20, lambda number: "/data/upload/1")))
    assert media_threads() == []


def test_a_token_that_takes_long_is_waited_for(studio: MediaServer) -> None:
    def fail() -> str:
        time.sleep(0.4)
        raise TryAgainLater("Label Studio does not answer.")

    with Fetcher(studio.url, fail, limits=Limits(seconds=0.1)) as fetcher, pytest.raises(TryAgainLater):
        list(fetcher.fetch(Counted(1, lambda number: "/data/upload/1")))


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_fetch_that_is_left_early_ends_what_it_began(make: Make, pictures: MediaServer) -> None:
    pictures.replies["/slow"] = Reply(how="silent")
    addresses = (INLINE, "http://pictures.example/slow")
    fetcher = make()
    for _ in fetcher.fetch(Counted(100, lambda number: addresses[number % 2])):
        break
    until(lambda: pictures.silent > 0)
    fetcher.close()
    assert media_threads() == []
    assert pictures.silent > 0  # nobody waited for it
    fetcher.close()  # once more does no harm


def test_a_fetch_that_is_left_early_makes_room_for_the_next(make: Make, pictures: MediaServer) -> None:
    pictures.replies["/slow"] = Reply(how="silent")
    fetcher = make(parallel=2, limits=Limits(seconds=300.0))
    addresses = (INLINE, *["http://pictures.example/slow"] * 9)
    fetched = fetcher.fetch(Counted(10, lambda number: addresses[number]))
    next(fetched)
    until(lambda: pictures.silent == 2)
    fetched.close()  # type: ignore[attr-defined]
    assert len(list(fetcher.fetch(Counted(10)))) == 10
    assert len(pictures.requests) == 2


def test_an_unused_fetcher_begins_nothing(make: Make) -> None:
    make()
    assert media_threads() == []


# Started from a job in the background, Python would ignore Ctrl-C.
PROGRAM = """
import signal
import sys
from connector.media import Fetcher, Source

signal.signal(signal.SIGINT, signal.default_int_handler)

def begin():
    fetcher = Fetcher(sys.argv[1], lambda: "Token 1")
    sources = {number: Source(number, ("/data/upload/slow",)) for number in range(50)}
    sources[0] = Source(0, (sys.argv[2],))
    return fetcher, fetcher.fetch(sources)

fetcher, fetched = begin()
next(fetched)
print("begun", flush=True)
if sys.argv[3] == "leave":
    sys.stdin.readline()
    sys.exit(5)
with fetcher:
    next(fetched)
"""


@pytest.mark.parametrize(("how", "code"), [("leave", 5), ("interrupt", -signal.SIGINT)])
def test_a_program_ends_at_once_although_media_are_on_their_way(studio: MediaServer, how: str, code: int) -> None:
    studio.replies["/data/upload/slow"] = Reply(how="silent")
    command = [sys.executable, "-c", PROGRAM, studio.url, INLINE, how]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        until(lambda: studio.silent > 0)
        if how == "interrupt":
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate("\n", timeout=25)
    assert process.returncode == code, errors
    assert studio.silent > 0  # nobody waited for it
    if how == "interrupt":
        assert errors.rstrip().endswith("KeyboardInterrupt")


def test_pillow_is_asked_for_before_anything_is_fetched(
    make: Make, studio: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match=r"pip install 'label-studio-activelab\[images\]'"):
        list(make().fetch({1: Source(1, ("/data/upload/1",))}))
    assert studio.connections == 0


def test_no_image_says_what_it_is_instead(one: One) -> None:
    found = one("data:text/html,<html>")
    assert found == Failure(
        UNREADABLE, "its image is no image that can be read: it is an HTML page", "in a data: address"
    )
