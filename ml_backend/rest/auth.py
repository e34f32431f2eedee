"""Authentication: HTTP basic as Label Studio sends it, a bearer token for the connector, or none."""

import base64
import binascii
import contextlib
import hashlib
import ipaddress
import logging
import secrets
from collections.abc import Sequence

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_backend.settings import Settings

OPEN_PATH = "/health"  # for liveness probes, and for Label Studio's check of a backend
OPEN_PATHS = (OPEN_PATH, "/")  # people and probes ask the second one, too

log = logging.getLogger(__name__)


class Authentication:
    """Middleware that refuses requests without valid credentials before their body is read.

    It covers all paths except GET /health and GET /, also paths that do not exist. Without credentials in the settings,
    it passes every request.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Guard `app`."""
        self._app = app
        self._digests = [_digest(value) for value in accepted(settings)]
        schemes = []
        if settings.username is not None:
            schemes.append('Basic realm="ml-backend", charset="UTF-8"')
        if settings.token is not None:
            schemes.append('Bearer realm="ml-backend"')
        self._challenge = ", ".join(schemes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        if scope["type"] == "http" and self._digests and not self._may_pass(scope):
            detail = "The ML backend needs its user name and password, or its token, and these are missing or wrong."
            refusal = JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": self._challenge})
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if scope["method"] == "GET" and scope["path"] in OPEN_PATHS:
            return True
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        values = [value for name, value in headers if name == b"authorization"]
        if len(values) != 1:
            return False
        digest = _digest(_credentials(values[0]))
        # All are compared, so that the time does not show which one fits.
        return sum(secrets.compare_digest(digest, accepted_digest) for accepted_digest in self._digests) > 0


def accepted(settings: Settings) -> set[bytes]:
    """The credentials that are accepted, as `_credentials` returns them. Empty if none are needed."""
    credentials = set()
    if settings.token is not None:
        credentials.add(b"bearer " + _bytes(settings.token.get_secret_value()))
    if settings.username is not None and settings.password is not None:
        pair = f"{settings.username}:{settings.password.get_secret_value()}"
        credentials.add(b"basic " + _bytes(pair))
        with contextlib.suppress(UnicodeEncodeError):
            # As Label Studio's HTTP client writes it: RFC 7617 leaves the encoding open.
            credentials.add(b"basic " + pair.encode("latin-1"))
    return credentials


def warn_if_open(settings: Settings) -> None:
    """Log a warning if other machines may call without credentials."""
    if not accepted(settings) and not _is_loopback(settings.host):
        log.warning(
            "Everyone who reaches %s may read, train and forget models. Set ML_BACKEND_USERNAME and "
            "ML_BACKEND_PASSWORD, and ML_BACKEND_TOKEN, or listen on 127.0.0.1.",
            settings.host or "this machine",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(header: bytes) -> bytes:
    """The scheme in lower case, a space, and the token, or the user name and password with a colon in between."""
    scheme, _, value = header.partition(b" ")
    scheme, value = scheme.lower(), value.strip()
    if scheme == b"basic":
        try:
            value = base64.b64decode(value, validate=True)
        except binascii.Error:
            return b""
    return scheme + b" " + value


def _bytes(value: str) -> bytes:
    return value.encode(errors="surrogateescape")  # the same bytes as in the environment, even if they are no UTF-8


def _digest(value: bytes) -> bytes:
    # All digests have the same length.
    return hashlib.sha256(value).digest()
