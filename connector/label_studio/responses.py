"""Reads an HTTP response of Label Studio: its JSON, or one of our errors with the server's message."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import httpx

from connector.errors import ConnectorError, TryAgainLater, UsageError


def read_response(
    response: httpx.Response, url: str, what: str, missing: type[ConnectorError], refused: type[ConnectorError]
) -> Any:
    """The response's JSON. Raises `missing` on 404 (there is no `what`), `refused` on 400, else as Connection says."""
    status = response.status_code
    if status < 300:
        if not response.content:
            return {}
        try:
            return response.json()
        except ValueError as error:
            raise not_label_studio(url) from error
    if response.is_redirect:
        raise UsageError(
            f"Label Studio at {url} redirects to {response.headers.get('location')}: give that address in "
            "LABEL_STUDIO_URL."
        )
    message = _message(response)
    if status == 401:
        raise refused_token(url, message.rstrip("."))
    if status == 403:
        raise UsageError(f"The user of LABEL_STUDIO_API_KEY has no right to do this in Label Studio: {message}")
    if status == 404 and not _is_label_studios(response):
        raise not_label_studio(url)
    if status == 404:
        raise missing(f"Label Studio at {url} has no {what}, or none that the token's user may see: {message}")
    if status >= 500 or status in (408, 409, 429):
        raise TryAgainLater(f"Label Studio at {url} failed with {status}: {message}")
    if status == 400:
        raise refused(f"Label Studio refused: {message}")
    raise ConnectorError(f"Label Studio answered {status}: {message}")


def refused_token(url: str, reason: str = "wrong or expired") -> UsageError:
    """The error for a token that Label Studio refuses. `reason`: the server's message."""
    return UsageError(
        f"Label Studio at {url} refuses the token in LABEL_STUDIO_API_KEY ({reason}): make a new one on its "
        "Account & Settings page."
    )


def not_label_studio(url: str) -> UsageError:
    """The error for an address where another server answers."""
    path = urlsplit(url).path
    hint = f" If Label Studio is not served under {path}, leave that out." if path else ""
    return UsageError(f"{url} does not speak Label Studio's API: check LABEL_STUDIO_URL.{hint}")


def _is_label_studios(response: httpx.Response) -> bool:
    """Whether an error response has the form of Label Studio's own."""
    try:
        body = response.json()
    except ValueError:
        return False
    return isinstance(body, dict) and "status_code" in body


def _message(response: httpx.Response) -> str:
    """The server's message in one line."""
    try:
        body = response.json()
    except ValueError:
        return (response.reason_phrase or "no reason given").rstrip(".") + "."
    detail = body.get("detail") or "no reason given" if isinstance(body, dict) else str(body)
    fields = body.get("validation_errors") if isinstance(body, dict) else None
    return " ".join(f"{detail} {json.dumps(fields) if fields else ''}".split()).rstrip(".") + "."
