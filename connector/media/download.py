"""Reads what one address holds, over HTTP and within limits."""

from __future__ import annotations

import io
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import anyio
import httpcore
import httpx

from connector import __version__
from connector.formatting import one_line
from connector.media.addresses import Origin, Site, data_of, is_data, too_large
from connector.media.failures import (
    CUT_OFF,
    NOT_ALLOWED,
    REDIRECTS,
    TIMED_OUT,
    UNREACHABLE,
    UNREADABLE,
    Unusable,
)
from connector.media.limits import Limits
from connector.retry import retry_after

# Of Label Studio itself, so many times as many media may fail in a row. Behind it are storages of several kinds.
PATIENCE = 5

_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (429, 502, 503, 504)
_ABOUT_THE_HOST = (TIMED_OUT, UNREACHABLE, *map(str, _PASSING))
_HEADERS = (
    (b"User-Agent", f"label-studio-activelab/{__version__}".encode()),
    (b"Accept", b"*/*"),
    (b"Accept-Encoding", b"identity"),
)


class Streaks:
    """Counts, per host, the media in a row that failed in a way that the next one would as well.

    After `most`, the host is not asked any more: one that is away costs a run seconds, not hours.
    """

    def __init__(self, most: int, patient: Origin) -> None:
        self._most = most
        self._patient = patient
        self._failures: dict[Origin, tuple[int, str]] = {}  # how many in a row, and the cause of the last one

    def check(self, origin: Origin) -> None:
        """Raises Unusable, with the cause of the last failure, if the host is not to be asked any more."""
        number, cause = self._failures.get(origin, (0, ""))
        if cause and number >= self._most * (PATIENCE if origin == self._patient else 1):
            raise Unusable(cause, f"was not tried, because {origin.host} failed {number} times in a row")

    def note(self, origin: Origin, failure: Unusable | None) -> None:
        """A medium of the host is read, or has failed."""
        if failure is not None and failure.cause in _ABOUT_THE_HOST:
            number, _ = self._failures.get(origin, (0, ""))
            self._failures[origin] = (number + 1, failure.cause)
        else:
            self._failures.pop(origin, None)


@dataclass
class _Trip:
    """Where a download is: at `url`, after so many redirects. It asks nothing before `asks` is true."""

    url: httpx.URL
    redirects: int = 0
    asks: bool = False


class Downloads:
    """Reads addresses.

    Args:
        pool: Opens connections, only to hosts that may be connected to.
        site: Label Studio.
        authorization: Gives the Authorization header for Label Studio. What it raises is raised.
        limits: What one medium may cost.
    """

    def __init__(
        self,
        pool: httpcore.AsyncConnectionPool,
        site: Site,
        authorization: Callable[[], Awaitable[str]],
        limits: Limits,
    ) -> None:
        self._pool = pool
        self._site = site
        self._authorization = authorization
        self._limits = limits
        self._streaks = Streaks(limits.failures_in_a_row, site.origin)

    async def read(self, address: str, task: int, seconds: float) -> bytes:
        """What an address in the data of a task holds. Raises Unusable if it cannot be had within `seconds`."""
        address = address.strip()
        if is_data(address):
            return data_of(address, self._limits.bytes)
        trip = _Trip(self._site.url_of(address, task))
        try:
            with anyio.fail_after(seconds):
                return await self._attempts(trip)
        except TimeoutError:
            failure = Unusable(TIMED_OUT, f"did not arrive within {self._limits.seconds:g} s")
        except Unusable as error:
            failure = error
        if trip.asks:
            self._streaks.note(Origin.of(trip.url), failure)
        if trip.redirects and failure.cause != REDIRECTS:
            raise Unusable(
                failure.cause, f"redirects to an address on {trip.url.host}, which {failure.problem}"
            ) from failure
        raise failure

    async def _attempts(self, trip: _Trip) -> bytes:
        """Follows the trip from its start, and again if it fails in a way that may pass."""
        start = trip.url
        for wait in (*self._limits.waits, None):
            try:
                trip.url, trip.redirects = start, 0
                return await self._follow(trip)
            except Unusable as failure:
                if not failure.may_pass or wait is None:
                    raise
                pause = max(wait, failure.retry_after or 0.0)
                if anyio.current_time() + pause >= anyio.current_effective_deadline():
                    raise
            await anyio.sleep(pause)
        raise AssertionError("the last attempt has returned or raised")

    async def _follow(self, trip: _Trip) -> bytes:
        while True:
            trip.asks = False
            self._streaks.check(Origin.of(trip.url))
            trip.asks = True
            found = await self._ask(trip.url)
            self._streaks.note(Origin.of(trip.url), None)
            if isinstance(found, bytes):
                return found
            if trip.redirects == self._limits.redirects:
                raise Unusable(REDIRECTS, f"redirects more than {self._limits.redirects} times")
            self._site.check(found)
            trip.url, trip.redirects = found, trip.redirects + 1

    async def _ask(self, url: httpx.URL) -> bytes | httpx.URL:
        """The body of one answer, or where it redirects to."""
        headers = [(b"Host", url.netloc), *_HEADERS]
        if self._site.owns(url):
            headers.append((b"Authorization", (await self._authorization()).encode("ascii")))
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        extensions = {"timeout": {"connect": self._limits.connect_seconds}}
        try:
            async with self._pool.stream("GET", target, headers=headers, extensions=extensions) as response:
                return await self._answer(url, response)
        except httpcore.TimeoutException as error:
            seconds = f"{self._limits.connect_seconds:g} s"
            raise Unusable(TIMED_OUT, f"is on a host that did not connect within {seconds}", may_pass=True) from error
        except httpcore.LocalProtocolError as error:
            raise Unusable(NOT_ALLOWED, "has an address that is not valid") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:
            raise _unreachable(error) from error

    async def _answer(self, url: httpx.URL, response: httpcore.Response) -> bytes | httpx.URL:
        headers = httpx.Headers(response.headers)
        if 200 <= response.status < 300:
            return await self._body(response, headers)
        if headers.get("Content-Length") == "0":
            await response.aread()  # so that the connection can be used again
        if response.status in _REDIRECTS and "Location" in headers:
            try:
                return url.join(headers["Location"])
            except (httpx.InvalidURL, ValueError) as error:
                raise Unusable(NOT_ALLOWED, "redirects to an address that is not valid") from error
        raise _refused(response.status, headers)

    async def _body(self, response: httpcore.Response, headers: httpx.Headers) -> bytes:
        """The whole body, and never more than the limit of it."""
        encoding = headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise Unusable(UNREADABLE, f"comes compressed ({one_line(encoding)[:20]}), although that was not asked for")
        if headers.get("Content-Length", "").isdecimal() and int(headers["Content-Length"]) > self._limits.bytes:
            raise too_large(self._limits.bytes)
        body = io.BytesIO()
        try:
            async for part in response.aiter_stream():
                if body.tell() + len(part) > self._limits.bytes:
                    raise too_large(self._limits.bytes)
                body.write(part)
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:
            raise Unusable(CUT_OFF, f"was cut off after {body.tell():,} bytes", may_pass=True) from error
        return body.getvalue()


def _refused(status: int, headers: httpx.Headers) -> Unusable:
    try:
        phrase = f" ({HTTPStatus(status).phrase.lower()})"
    except ValueError:
        phrase = ""
    passing = status in _PASSING
    return Unusable(f"{status}", f"answers {status}{phrase}", may_pass=passing, retry_after=retry_after(headers))


def _unreachable(error: Exception) -> Unusable:
    """What failed before an answer was there."""
    cause = error if isinstance(error, ssl.SSLError) else next(iter(error.args), None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unusable(UNREACHABLE, f"is on a host whose certificate is not valid ({cause.verify_message})")
    if isinstance(cause, ssl.SSLError):
        return Unusable(UNREACHABLE, "is on a host that does not speak TLS as it should")
    if isinstance(error, httpcore.RemoteProtocolError) and "without sending a response" not in str(error):
        return Unusable(UNREACHABLE, "is on a host that does not answer in HTTP")
    return Unusable(UNREACHABLE, "is on a host that does not answer", may_pass=True)
