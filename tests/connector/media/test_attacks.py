"""What someone who can write tasks, or runs a host, might try. Each test sees what arrived at real servers."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest
from support.media_fetching import HASTY, TOKEN, Make, One
from support.media_server import MediaServer, Reply, redirect
from support.pictures import picture, png
from support.small_internet import PUBLIC, SmallInternet

from connector.media import Failure, Source
from connector.media.failures import (
    CUT_OFF,
    NOT_ALLOWED,
    PRIVATE,
    REDIRECTS,
    TIMED_OUT,
    TOO_LARGE,
    UNREACHABLE,
    UNREADABLE,
)
from connector.media.limits import Limits

GOOD = Reply(picture())


def cause(found: bytes | Failure) -> str:
    assert isinstance(found, Failure), "a picture"
    assert TOKEN not in found.problem
    assert "\n" not in found.problem
    return found.cause


# -- private addresses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "localhost", "0.0.0.0", "0"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]"),
        *("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "[fd00:ec2::254]"),
    ],
)
def test_no_private_address_is_asked(one: One, pictures: MediaServer, host: str) -> None:
    pictures.replies["/a.jpg"] = GOOD
    found = cause(one(f"http://{host}:{pictures.port}/a.jpg", real_network=True))
    assert found == PRIVATE or (found == UNREACHABLE and not host.startswith("[") and host.count(".") < 3)
    assert pictures.connections == 0


def test_octal_numbers_are_no_address(one: One, pictures: MediaServer) -> None:
    assert cause(one(f"http://0177.0.0.1:{pictures.port}/a.jpg", real_network=True)) == NOT_ALLOWED
    assert pictures.connections == 0


@pytest.mark.parametrize("addresses", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["169.254.169.254"]])
def test_no_name_of_a_private_address_is_asked(
    one: One, pictures: MediaServer, internet: SmallInternet, addresses: list[str]
) -> None:
    internet.names["evil.example"] = [addresses]
    assert cause(one(f"http://evil.example:{pictures.port}/a.jpg")) == PRIVATE
    assert internet.connections == []


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/", "http://evil.example:{port}/", "//127.0.0.1:{port}/"])
def test_no_redirect_leads_to_a_private_address(
    one: One, studio: MediaServer, pictures: MediaServer, internet: SmallInternet, target: str
) -> None:
    internet.names["evil.example"] = [["127.0.0.1"]]
    victim = MediaServer()
    pictures.replies["/a.jpg"] = redirect(target.format(port=victim.port))
    found = one("http://pictures.example/a.jpg")
    assert cause(found) == PRIVATE
    assert "its image redirects to an address on " in str(found)
    assert victim.connections == 0
    assert pictures.paths == ["/a.jpg"]
    victim.close()


def test_nor_does_one_of_label_studio_itself(one: One, studio: MediaServer, pictures: MediaServer) -> None:
    studio.replies["/tasks/7/resolve/"] = redirect(f"http://127.0.0.1:{pictures.port}/a.jpg", 303)
    assert cause(one("s3://bucket/a.jpg")) == PRIVATE
    assert pictures.connections == 0


def test_a_name_that_changes_between_two_lookups_leads_to_no_private_address(
    make: Make, pictures: MediaServer, internet: SmallInternet
) -> None:
    victim = MediaServer()
    internet.names["evil.example"] = [[PUBLIC], ["127.0.0.1"]]
    pictures.replies["/a.jpg"] = Reply(picture(), headers={"Connection": "close"})
    victim.replies["/a.jpg"] = GOOD
    fetcher = make()
    address = f"http://evil.example:{victim.port}/a.jpg"
    found = [dict(fetcher.fetch({1: Source(7, (address,))}))[1] for _ in range(2)]
    assert isinstance(found[0], bytes)
    assert cause(found[1]) == PRIVATE
    assert internet.lookups == ["evil.example", "evil.example"]  # one per connection, and none beside it
    assert internet.connections == [(PUBLIC, victim.port)]
    assert victim.connections == 0
    victim.close()


def test_the_next_redirect_looks_up_its_host_again(one: One, pictures: MediaServer, internet: SmallInternet) -> None:
    victim = MediaServer()
    internet.names["evil.example"] = [[PUBLIC], ["127.0.0.1"]]
    reply = redirect(f"http://evil.example:{victim.port}/b.jpg")
    pictures.replies["/a.jpg"] = Reply(status=302, headers={**reply.headers, "Connection": "close"})
    assert cause(one(f"http://evil.example:{victim.port}/a.jpg")) == PRIVATE
    assert victim.connections == 0
    victim.close()


def test_other_ports_of_label_studios_host_are_private(one: One, pictures: MediaServer) -> None:
    assert cause(one(f"http://127.0.0.1:{pictures.port}/data/upload/1/a.jpg")) == PRIVATE
    assert pictures.connections == 0


# -- Label Studio's API and its token ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/users/",
        "/user/logout",
        "/data/../api/users/",
        "/data/upload/../../api/users/",
        "/data/upload/%2e%2e/%2e%2e/api/users/",
        "/data/upload/%252e%252e/api/users/",
        "/data/upload/..%5c..%5capi/users/",
        "/tasks/7/resolve/../../../api/users/",
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_no_address_reaches_label_studios_api(one: One, studio: MediaServer, path: str, absolute: bool) -> None:
    assert cause(one(studio.url + path if absolute else path)) == NOT_ALLOWED
    assert studio.connections == 0


def test_no_redirect_reaches_label_studios_api(one: One, studio: MediaServer, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = redirect(f"{studio.url}/api/users/")
    studio.replies["/data/upload/1/a.jpg"] = redirect("/user/logout")
    assert cause(one("http://pictures.example/a.jpg")) == NOT_ALLOWED
    assert cause(one("/data/upload/1/a.jpg")) == NOT_ALLOWED
    assert studio.paths == ["/data/upload/1/a.jpg"]


def test_climbing_in_local_files_is_for_label_studio_to_refuse(one: One, studio: MediaServer) -> None:
    studio.replies["/data/local-files/"] = Reply(status=404)
    assert cause(one("/data/local-files/?d=../../etc/passwd")) == "404"
    assert studio.paths == ["/data/local-files/?d=../../etc/passwd"]


def authorizations(server: MediaServer) -> list[str | None]:
    return [request.headers.get("authorization") for request in server.requests]


def test_the_token_goes_to_label_studio_and_is_not_taken_along(
    one: One, studio: MediaServer, pictures: MediaServer
) -> None:
    studio.replies["/data/upload/1/a.jpg"] = redirect("http://pictures.example/a.jpg?signature=1")
    pictures.replies["/a.jpg"] = GOOD
    assert isinstance(one("/data/upload/1/a.jpg"), bytes)
    assert authorizations(studio) == [TOKEN]
    assert authorizations(pictures) == [None]


def test_the_token_goes_to_no_other_host(one: One, pictures: MediaServer) -> None:
    pictures.replies["/data/upload/1/a.jpg"] = GOOD
    assert isinstance(one("http://pictures.example/data/upload/1/a.jpg"), bytes)
    assert authorizations(pictures) == [None]


def test_the_token_goes_to_no_other_port(one: One, studio: MediaServer, pictures: MediaServer) -> None:
    pictures.replies["/data/upload/1/a.jpg"] = GOOD
    address = f"http://127.0.0.1:{pictures.port}/data/upload/1/a.jpg"
    assert isinstance(one(address, hosts=["127.0.0.1"]), bytes)
    studio.replies["/data/upload/1/a.jpg"] = redirect(address)
    assert isinstance(one("/data/upload/1/a.jpg", hosts=["127.0.0.1"]), bytes)
    assert authorizations(pictures) == [None, None]


def test_the_token_goes_to_no_other_spelling_of_the_host(one: One, studio: MediaServer) -> None:
    studio.replies["/data/upload/1/a.jpg"] = GOOD
    address = f"http://localhost:{studio.port}/data/upload/1/a.jpg"
    assert isinstance(one(address, hosts=["localhost"], real_network=True), bytes)
    assert authorizations(studio) == [None]


def test_an_address_with_a_user_is_not_asked(one: One, studio: MediaServer) -> None:
    for user in ("me", "me:word", "pictures.example:80"):
        assert cause(one(f"http://{user}@127.0.0.1:{studio.port}/data/upload/1/a.jpg")) == NOT_ALLOWED
    assert studio.connections == 0


@pytest.mark.usefixtures("without_proxies")
def test_neither_proxies_nor_netrc_of_the_environment_are_used(
    one: One, pictures: MediaServer, studio: MediaServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine pictures.example login me password word\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, studio.url)
    pictures.replies["/a.jpg"] = GOOD
    assert isinstance(one("http://pictures.example/a.jpg"), bytes)
    assert authorizations(pictures) == [None]
    assert studio.connections == 0


# -- other schemes and odd addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://pictures.example/a.jpg",
        "a.jpg",
        "http://pictures.example:0/a.jpg",
        "http://pictures.example/a.jpg\r\nHost: 127.0.0.1",
        "http://pictures.example/" + "a" * 100_000,
        "http://xn--\u2488.example/a.jpg",
        "http://pictures.example%00.evil.example/a.jpg",
    ],
)
def test_odd_addresses_are_not_asked(one: One, internet: SmallInternet, address: str) -> None:
    assert cause(one(address)) == NOT_ALLOWED
    assert internet.lookups == []


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://pictures.example/a",
        "data:image/png;base64,AAAA",
        "http://a b/",
        "http://x:0/",
        "s3://b/a",
    ],
)
def test_no_redirect_leads_to_them_either(one: One, pictures: MediaServer, target: str) -> None:
    pictures.replies["/a.jpg"] = redirect(target)
    assert cause(one("http://pictures.example/a.jpg")) == NOT_ALLOWED
    assert pictures.paths == ["/a.jpg"]


def test_a_loop_of_redirects_ends(one: One, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = redirect("/a.jpg")
    assert cause(one("http://pictures.example/a.jpg")) == REDIRECTS
    assert len(pictures.requests) == 6


def test_five_redirects_are_followed(one: One, pictures: MediaServer) -> None:
    for hop in range(5):
        pictures.replies[f"/{hop}"] = redirect(f"{hop + 1}", (301, 302, 303, 307, 308)[hop])
    pictures.replies["/5"] = GOOD
    assert isinstance(one("http://pictures.example/0"), bytes)


# -- answers that cost too much ---------------------------------------------------------------------------------------


def test_an_endless_body_ends_at_the_limit(one: One, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = Reply(how="endless")
    assert cause(one("http://pictures.example/a.jpg", limits=Limits(bytes=1_000_000))) == TOO_LARGE


def test_a_body_that_announces_too_much_is_not_read(one: One, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = Reply(b"x" * 1_001)
    assert cause(one("http://pictures.example/a.jpg", limits=Limits(bytes=1_000))) == TOO_LARGE


@pytest.mark.parametrize("how", ["drips headers", "drips body", "silent"])
def test_a_slow_answer_ends_in_time(one: One, pictures: MediaServer, how: str) -> None:
    pictures.replies["/a.jpg"] = Reply(how=how)  # type: ignore[arg-type]
    assert cause(one("http://pictures.example/a.jpg", limits=HASTY)) == TIMED_OUT
    assert len(pictures.requests) == 1


def test_headers_without_end_are_not_read(one: One, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = Reply(picture(), headers={f"X-{number}": "x" * 1_000 for number in range(1_000)})
    assert cause(one("http://pictures.example/a.jpg")) == UNREACHABLE


def test_what_is_not_http_is_not_read(one: One, pictures: MediaServer) -> None:
    pictures.replies["/a.jpg"] = Reply(how="not http")
    assert cause(one("http://pictures.example/a.jpg")) == UNREACHABLE


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x" * 5_000])
def test_nothing_is_decompressed(one: One, pictures: MediaServer, encoding: str) -> None:
    bodies = (gzip.compress(b"\0" * 10_000_000), picture())
    pictures.replies["/a.jpg"] = [Reply(body, headers={"Content-Encoding": encoding}) for body in bodies]
    for _ in bodies:
        found = one("http://pictures.example/a.jpg")
        assert cause(found) == UNREADABLE
        assert "comes compressed" in str(found)
    assert pictures.requests[0].headers["accept-encoding"] == "identity"


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.png", b"\0" * 10_000_000)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "look"),
    [
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "it is an HTML page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "it is an SVG drawing"),
        (archive(), "it is a ZIP archive"),
        (gzip.compress(b"\0" * 10_000_000), "it is a gzip archive"),
        (b"", "is empty"),
    ],
    ids=["html", "svg", "zip", "gzip", "empty"],
)
def test_content_is_judged_by_its_bytes(one: One, pictures: MediaServer, body: bytes, look: str) -> None:
    pictures.replies["/a.jpg"] = Reply(body, headers={"Content-Type": "image/jpeg"})
    found = one("http://pictures.example/a.jpg")
    assert cause(found) == UNREADABLE
    assert look in str(found)


def test_an_image_of_few_bytes_and_many_pixels_is_not_decoded(one: One, pictures: MediaServer) -> None:
    bomb = png(50_000, 50_000, rows=b"\0" * 2_000_000)
    assert len(bomb) < 3_000
    pictures.replies["/a.png"] = Reply(bomb)
    assert cause(one("http://pictures.example/a.png")) == TOO_LARGE


@pytest.mark.parametrize("how", ["cut", "cut chunks"])
def test_the_beginning_of_a_picture_is_no_picture(one: One, studio: MediaServer, how: str) -> None:
    studio.replies["/tasks/7/resolve/"] = Reply(picture(), how=how)  # type: ignore[arg-type]
    assert cause(one("s3://bucket/a.jpg")) == CUT_OFF
