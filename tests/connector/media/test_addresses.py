"""What addresses of tasks mean, and that none leads to another place of Label Studio than its media."""

import base64
import posixpath
import re
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import UsageError
from connector.media.addresses import Site, data_of, shown
from connector.media.failures import NOT_ALLOWED, TOO_LARGE, UNREADABLE, Unusable

ROOT = "https://studio.example"
SITE = Site(f"{ROOT}/label/")


def signed(uri: str) -> str:
    return f"{ROOT}/label/tasks/7/resolve/?fileuri={base64.urlsafe_b64encode(uri.encode()).decode()}"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("/data/upload/1/a.jpg", f"{ROOT}/label/data/upload/1/a.jpg"),
        ("/label/data/upload/1/a.jpg", f"{ROOT}/label/data/upload/1/a.jpg"),
        ("upload/1/a.jpg", f"{ROOT}/label/data/upload/1/a.jpg"),
        ("//studio.example/label/data/upload/1/a.jpg", f"{ROOT}/label/data/upload/1/a.jpg"),
        (f"{ROOT}/label/data/upload/1/a.jpg", f"{ROOT}/label/data/upload/1/a.jpg"),
        (f"{ROOT}:443/label/data/upload/1/a.jpg", f"{ROOT}/label/data/upload/1/a.jpg"),
        ("/data/upload/1/100%25 ä.jpg", f"{ROOT}/label/data/upload/1/100%25%20%C3%A4.jpg"),
        ("/data/upload/1/9.41\u202fAM.png", f"{ROOT}/label/data/upload/1/9.41%E2%80%AFAM.png"),
        ("/data/upload/1/..a..jpg", f"{ROOT}/label/data/upload/1/..a..jpg"),
        ("/data/local-files/?d=my photos/a.jpg", f"{ROOT}/label/data/local-files/?d=my%20photos/a.jpg"),
        ("/data/local-files/?d=../../etc/passwd", f"{ROOT}/label/data/local-files/?d=../../etc/passwd"),
        ("/tasks/3/resolve/?fileuri=czM6", f"{ROOT}/label/tasks/3/resolve/?fileuri=czM6"),
        ("/projects/3/presign/?fileuri=czM6", f"{ROOT}/label/projects/3/presign/?fileuri=czM6"),
        ("/storage-data/uploaded/?filepath=upload/1/a", f"{ROOT}/label/storage-data/uploaded/?filepath=upload/1/a"),
        *((uri, signed(uri)) for uri in ("s3://bucket/ä b/a.jpg", "s3s://bucket/a", "gs://bucket/a?b#c")),
        *((uri, signed(uri)) for uri in ("azure-blob://box/a", "azure_spi://box/a", "dbx://volume/a", "S3://bucket/a")),
        ("http://pictures.example/a.jpg", "http://pictures.example/a.jpg"),
        (" HTTP://Pictures.Example/ä.jpg?b\n", "http://pictures.example/%C3%A4.jpg?b"),
        ("https://münchen.example/a.jpg", "https://xn--mnchen-3ya.example/a.jpg"),
        ("http://[2606:2800:21f::1]:8080/a", "http://[2606:2800:21f::1]:8080/a"),
    ],
)
def test_an_address_means_a_url(address: str, url: str) -> None:
    assert str(SITE.url_of(address, 7)) == url


def test_label_studio_may_be_at_the_root_of_its_host() -> None:
    site = Site("http://127.0.0.1:8080")
    assert str(site.url_of("/data/upload/1/a.jpg", 7)) == "http://127.0.0.1:8080/data/upload/1/a.jpg"
    assert str(site.url_of("//127.0.0.1:8080/data/upload/1/a", 7)) == "http://127.0.0.1:8080/data/upload/1/a"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a.jpg",
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "ftp://pictures.example/a.jpg",
        "gopher://pictures.example/_GET",
        "javascript:alert(1)",
        "unix:/run/docker.sock",
        "redis://pictures.example/a",
        "C:\\pictures\\a.jpg",
        "\\\\pictures\\a.jpg",
        "http:",
        "http://",
        "http:///a.jpg",
        "http://:80/a.jpg",
        "http:pictures.example/a.jpg",
        "http://pictures.example:0/a.jpg",
        "http://pictures.example:65536/a.jpg",
        "http://pictures.example:-1/a.jpg",
        "http://pictures.example:http/a.jpg",
        "http://user@pictures.example/a.jpg",
        "http://user:word@pictures.example/a.jpg",
        f"http://user@{ROOT[8:]}/label/data/upload/1/a.jpg",
        "http://0177.0.0.1/a.jpg",
        "http://999.1.1.1/a.jpg",
        "http://[::1/a.jpg",
        "http://[::zz]/a.jpg",
        "http://[fe80::1%25eth0]/a.jpg",
        "http://a b.example/a.jpg",
        "http://a%2eb.example/a.jpg",
        "http://pictures.example\\@studio.example/a.jpg",
        "http://\uff41.example/a.jpg",
        "http://xn--\u2488.example/a.jpg",
        "http://\ud800.example/a.jpg",
        "http://pictures.example/\ud800.jpg",
        "http://pictures.example/a.jpg\r\nHost: studio.example",
        "http://pictures.example\r\n/a.jpg",
        "/data/upload/1/a.jpg HTTP/1.1\r\nX: y",
        "s3://bucket/\ud800.jpg",
        "http://pictures.example/" + "a" * 9_000,
        "s3://bucket/" + "a" * 100_000,
    ],
)
def test_all_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(Unusable) as refused:
        SITE.url_of(address, 7)
    assert refused.value.cause == NOT_ALLOWED


@pytest.mark.parametrize("root", ["", f"{ROOT}", f"{ROOT}/label", "/label"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/users/",
        "/api/current-user/token",
        "/user/logout",
        "/data/upload",
        "/data/upload/",
        "/data/upload//api/users/",
        "/data/avatars/a.jpg",
        "/data/uploads/a.jpg",
        "/data/local-files/a/?d=b",
        "/tasks/a/resolve/",
        "/tasks/7/resolve/b",
        "/static/a.jpg",
        "/data/../api/users/",
        "/data/upload/../../api/users/",
        "/data/upload/1/../../../api/users/",
        "/data/upload/%2e%2e/%2E%2E/api/users/",
        "/data/upload/.%2e/%2e./api/users/",
        "/data/upload/..%2f..%2fapi/users/",
        "/data/upload/%252e%252e/%252e%252e/api/users/",
        "/data/upload/%25252e%25252e%25252fapi/",
        "/data/upload/..;/..;/api/users/",
        "/data/upload/..\\..\\api\\users\\",
        "/data/upload/..%5c..%5capi/users/",
        "/data/upload/1/a.jpg%00.png",
        "/data/upload/1/a%0d%0aX:%20y",
        "/data/upload/./a.jpg%2f..",
        "/tasks/7/resolve/../../../api/users/",
        "/x/data/upload/1/a.jpg",
        "/other/data/upload/1/a.jpg",
        "/%64ata/upload/1/a.jpg",
    ],
)
def test_of_label_studio_only_media_are_asked_for(root: str, path: str) -> None:
    with pytest.raises(Unusable) as refused:
        SITE.url_of(root + path, 7)
    assert refused.value.cause == NOT_ALLOWED


@pytest.mark.parametrize("url", ["https://studio.example/label/api/users/", f"{ROOT}/label/data/upload/%2e%2e/api"])
def test_nor_does_a_redirect_lead_elsewhere_in_label_studio(url: str) -> None:
    with pytest.raises(Unusable):
        SITE.check(httpx.URL(url))


PARTS = [
    "/",
    "//",
    "..",
    ".",
    "%2e",
    "%2E%2e",
    "%252e",
    "%2f",
    "%252f",
    "\\",
    "%5c",
    ";",
    "%00",
    "?",
    "#",
    "@",
    ":",
    "a",
]
PARTS += ["data", "upload", "local-files", "tasks", "7", "resolve", "api", "users", "label", "studio.example", "https:"]
STARTS = ["/", "/data/upload/", "/data/upload/1/a", "/tasks/7/resolve/", "https://studio.example/"]


@given(st.sampled_from(STARTS), st.lists(st.sampled_from(PARTS), max_size=12))
def test_no_mixture_of_parts_leads_out_of_the_media(start: str, parts: list[str]) -> None:
    try:
        url = SITE.url_of(start + "".join(parts), 7)
    except Unusable:
        return
    path = url.raw_path.decode().partition("?")[0]
    for _ in range(4):  # as servers and proxies may read it
        read = posixpath.normpath(path.replace("\\", "/"))
        assert not SITE.owns(url) or re.match(r"/label/(data/upload/.|data/local-files$|tasks/7+/resolve$)", read)
        path = unquote(path)


@pytest.mark.parametrize("url", ["", "studio.example", "ftp://studio.example", "http://", "http://studio.example:0"])
def test_label_studio_must_have_a_web_address(url: str) -> None:
    with pytest.raises(UsageError, match="LABEL_STUDIO_URL is not a web address"):
        Site(url)


# -- data: addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "content"),
    [
        ("data:image/png;base64,AAEC", b"\0\1\2"),
        ("data:image/png;charset=x;BASE64,AAE", b"\0\1"),
        ("data:;base64,AA%45%43", b"\0\1\2"),
        ("DATA:image/png;base64, AA\n EC ", b"\0\1\2"),
        ("data:,a%00b", b"a\0b"),
        ("data:text/plain,ä", "ä".encode()),
    ],
)
def test_a_data_address_holds_bytes(address: str, content: bytes) -> None:
    assert data_of(address, 100) == content


@pytest.mark.parametrize("address", ["data:", "data:image/png;base64", "data:;base64,A", "data:;base64,!!!!"])
def test_a_damaged_data_address_is_no_image(address: str) -> None:
    with pytest.raises(Unusable) as refused:
        data_of(address, 100)
    assert refused.value.cause == UNREADABLE


@pytest.mark.parametrize(
    "address",
    ["data:," + "a" * 101, "data:," + "%41" * 101, "data:;base64," + "AAEC" * 34, "data:;base64," + "!" * 400],
)
def test_a_large_data_address_is_refused(address: str) -> None:
    with pytest.raises(Unusable) as refused:
        data_of(address, 100)
    assert refused.value.cause == TOO_LARGE


# -- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://a.example/b.jpg?X-Amz-Signature=secret#c", "https://a.example/b.jpg"),
        ("https://me:word@a.example/b.jpg", "https://a.example/b.jpg"),
        ("//me:w@rd@a.example/b.jpg", "//a.example/b.jpg"),
        ("/data/local-files/?d=a.jpg", "/data/local-files/"),
        ("s3://bucket/a@b.jpg", "s3://bucket/a@b.jpg"),
        ("a\n\x1b[31mb\u202e", "a [31mb"),
        ("data:image/png;base64,AAEC", "in a data: address"),
    ],
)
def test_a_message_shows_an_address_without_secrets(address: str, words: str) -> None:
    assert shown(address) == words


def test_a_message_shows_both_ends_of_a_long_address() -> None:
    words = shown("http://pictures.example/" + "a" * 100_000 + ".jpg")
    assert words.startswith("http://pictures.example/a")
    assert len(words) == 101


def test_the_end_of_a_long_address_is_shown() -> None:
    assert shown("http://pictures.example/" + "a" * 1_000 + ".jpg").endswith("a.jpg")
