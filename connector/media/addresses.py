"""What an address in a task means, and what may be asked of Label Studio. No I/O.

Whoever can write a task chooses its addresses, and the connector holds the token of a lead. So an address on Label
Studio's own origin is asked only where Label Studio serves media, never anywhere else of its API, and Label Studio's
token goes to this origin only.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes

import httpx

from connector.errors import UsageError
from connector.formatting import one_line
from connector.media.failures import NOT_ALLOWED, TOO_LARGE, UNREADABLE, Unusable

LONGEST = 8_192  # characters of an address that is to be asked
SHOWN = 100  # characters of an address in a message

# Storages that Label Studio reads itself, or signs an address for.
_STORAGES = ("s3", "s3s", "gs", "azure-blob", "azure_spi", "dbx")
_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"([a-z][a-z0-9+._-]*):", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9._-]+|[0-9A-Fa-f:.]+")
# Where Label Studio 1.23 serves media. In order: uploaded files, files of local storages, files of cloud storages, and
# uploaded files if it keeps them in a cloud.
_MEDIA = re.compile(
    r"/data/upload/[^/].*"
    r"|/data/local-files/?"
    r"|/(?:tasks|projects)/[0-9]+/(?:resolve|presign)/?"
    r"|/storage-data/uploaded/?"
)


class Origin(NamedTuple):
    """Where a request goes to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Origin:
        """The origin of an http or https URL."""
        return cls(url.scheme, url.raw_host.decode("ascii"), _PORTS[url.scheme] if url.port is None else url.port)


class Site:
    """The Label Studio at `url`, which may be below a path. Raises UsageError if that is not a web address."""

    def __init__(self, url: str) -> None:
        try:
            parsed = httpx.URL(url)
            check_web_address(parsed)
        except (httpx.InvalidURL, ValueError, Unusable) as error:
            raise UsageError(f"LABEL_STUDIO_URL is not a web address: {url}.") from error
        self.origin = Origin.of(parsed)
        self._root = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
        self._path = _path(parsed).rstrip("/")

    def owns(self, url: httpx.URL) -> bool:
        """Whether a URL is on Label Studio's own origin."""
        return Origin.of(url) == self.origin

    def url_of(self, address: str, task: int) -> httpx.URL:
        """The URL behind an address in the data of a task. Raises Unusable if it is of no kind that is read."""
        address = address.strip()
        if len(address) > LONGEST:
            raise Unusable(NOT_ALLOWED, f"has an address of more than {LONGEST:,} characters")
        scheme = _SCHEME.match(address)
        if scheme is None and not address.startswith(("/", "upload/")):
            raise Unusable(NOT_ALLOWED, "has an address that is neither a web address nor one of Label Studio")
        if scheme is not None and scheme[1].lower() not in (*_STORAGES, *_PORTS):
            raise _unread(scheme[1])
        try:
            url = httpx.URL(self._absolute(address, scheme[1].lower() if scheme else None, task))
        except (httpx.InvalidURL, ValueError) as error:
            raise Unusable(NOT_ALLOWED, "has an address that is not valid") from error
        self.check(url)
        return url

    def check(self, url: httpx.URL) -> None:
        """Raises Unusable if a URL may not be asked for, whether it is an address or what one redirects to."""
        check_web_address(url)
        if self.owns(url) and not self._is_media(url):
            raise Unusable(NOT_ALLOWED, "has an address of Label Studio where no media are")

    def _absolute(self, address: str, scheme: str | None, task: int) -> str:
        if scheme in _STORAGES:
            uri = base64.urlsafe_b64encode(address.encode()).decode()
            return f"{self._root}{self._path}/tasks/{task}/resolve/?fileuri={uri}"
        if scheme is not None:
            return address
        if address.startswith("//"):
            return f"{self.origin.scheme}:{address}"
        path = address if address.startswith("/") else f"/data/{address}"
        below = path.startswith(f"{self._path}/")
        return f"{self._root}{path}" if below else f"{self._root}{self._path}{path}"

    def _is_media(self, url: httpx.URL) -> bool:
        """Whether Label Studio serves media at a URL, however it or a proxy before it decodes the path."""
        path = _path(url)
        if not path.startswith(f"{self._path}/"):
            return False
        path = path[len(self._path) :]
        for _ in range(5):
            if not _MEDIA.fullmatch(path) or _climbs(path):
                return False
            decoded = unquote(path)
            if decoded == path:
                return True
            path = decoded
        return False


def check_web_address(url: httpx.URL) -> None:
    """Raises Unusable unless a URL is one of http or https, with a host, a port, and no credentials."""
    if url.scheme not in _PORTS:
        raise _unread(url.scheme)
    if url.userinfo:
        raise Unusable(NOT_ALLOWED, "has an address with a user name or a password in it")
    if not _HOST.fullmatch(url.raw_host.decode("ascii")) or (url.port is not None and not 1 <= url.port <= 65_535):
        raise Unusable(NOT_ALLOWED, "has an address whose host or port is not valid")


def shown(address: str) -> str:
    """An address as a message shows it: in one line, without credentials and without a query, which may be secret."""
    address = address.strip()[:LONGEST]
    if is_data(address):
        return "in a data: address"
    address = re.sub(r"^([\w+.-]+:)?//[^/?#]*@", r"\1//", one_line(re.split("[?#]", address)[0]))
    return address if len(address) <= SHOWN else f"{address[: SHOWN // 2]}…{address[-SHOWN // 2 :]}"


def is_data(address: str) -> bool:
    """Whether an address holds the bytes itself."""
    return address[:5].lower() == "data:"


def data_of(address: str, most: int) -> bytes:
    """The bytes of a data: address, at most `most` (RFC 2397). Raises Unusable."""
    head, comma, content = address[5:].partition(",")
    is_base64 = head.strip().lower().endswith(";base64")
    if len(content) > 3 * most:  # no byte takes more than three characters
        raise too_large(most)
    decoded = unquote_to_bytes(content)
    if is_base64:
        decoded = b"".join(decoded.split())
        if len(decoded) > most * 4 // 3 + 4:
            raise too_large(most)
        try:
            decoded = base64.b64decode(decoded.rstrip(b"=") + b"=" * (-len(decoded.rstrip(b"=")) % 4), validate=True)
        except binascii.Error as error:
            raise Unusable(UNREADABLE, "cannot be decoded") from error
    if not comma:
        raise Unusable(UNREADABLE, "cannot be decoded")
    if len(decoded) > most:
        raise too_large(most)
    return decoded


def too_large(most: int) -> Unusable:
    """The failure of a medium that has more than `most` bytes."""
    return Unusable(TOO_LARGE, f"is larger than {most / 1_000_000:g} MB")


def _climbs(path: str) -> bool:
    """Whether a server could take a path for one outside the folder that it begins with."""
    names = [segment.partition(";")[0] for segment in path.split("/")]
    return any(name in (".", "..") for name in names) or re.search(r"[\x00-\x1f\x7f\\]", path) is not None


def _path(url: httpx.URL) -> str:
    """The path as it is sent, without the query."""
    return url.raw_path.decode("ascii").partition("?")[0]


def _unread(scheme: str) -> Unusable:
    return Unusable(NOT_ALLOWED, f"has an address that begins with {scheme[:20].lower()}:, which is not read")
