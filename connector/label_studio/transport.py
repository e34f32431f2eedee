"""Sends one call to Label Studio through label-studio-sdk's authenticated client, repeats it and reads the response.

The SDK exchanges personal access tokens and keeps the connection. Transient failures are repeated by `retries`. Bodies
are read as plain JSON: the SDK's typed models are generated for the Enterprise edition and lose or rename fields of the
open-source edition.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from label_studio_sdk.base_client import LabelStudioBase
from label_studio_sdk.core.api_error import ApiError

from connector.errors import ConnectorError, TryAgainLater, UsageError, unusable_environment
from connector.label_studio.responses import not_label_studio, read_response, refused_token
from connector.retry import (
    CONNECT_SECONDS,
    LOOK_SECONDS,
    WORK_SECONDS,
    Retries,
    TransientError,
    failed_answer,
    is_transient,
)

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Connection:
    """A connection to the Label Studio at `url` as the user of `api_key`.

    A call raises UsageError on a wrong address, token or project, TryAgainLater if the server does not answer, or
    fails, for longer than `retries` allows, and ConnectorError with the server's message on any other refusal. A POST
    raises UnknownOutcome, a TryAgainLater, if it is not known whether the server acted on it.
    """

    def __init__(
        self, url: str, api_key: str, *, retries: Retries | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url
        self.calls = 0  # requests sent, with repetitions and exchanges of tokens
        self.server_time: datetime | None = None  # of the latest response
        self.retries = retries or Retries()
        self._last: httpx.Response | None = None
        self._exchanging = False
        self._before_write: Callable[[], None] = _nothing
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [self._count], "response": [self._remember]}
        try:
            http = httpx.Client(transport=transport, timeout=_timeout(LOOK_SECONDS), event_hooks=hooks)
        except Exception as error:  # httpx reads proxies and certificates from the environment, and checks them here
            raise unusable_environment(error) from error
        try:
            # Without the slash the SDK exchanges tokens beside the path that Label Studio may be served under.
            client = LabelStudioBase(base_url=url + "/", api_key=api_key, httpx_client=http)
        except ApiError as error:  # a personal access token that is expired by its own date
            raise refused_token(url) from error
        except Exception as error:
            raise UsageError("The token in LABEL_STUDIO_API_KEY is not a Label Studio token.") from error
        self._client, self._http = client, client._client_wrapper.httpx_client

    def close(self) -> None:
        """Closes the connection."""
        self._http.httpx_client.close()

    def authorization(self) -> str:
        """The value of the Authorization header. A personal access token is exchanged if that is due."""

        def attempt() -> str:
            try:
                return str(self._client._client_wrapper.get_headers()["Authorization"])
            except httpx.HTTPError as error:
                away = TryAgainLater(f"{self._name} does not answer: start it or check LABEL_STUDIO_URL.")
                raise TransientError(away, f"{self._name} does not answer", unprocessed=True) from error
            except (ApiError, ValueError) as error:
                raise self._failed_exchange() from error

        return self.retries.call(attempt, repeatable=True)

    @contextlib.contextmanager
    def guard_writes(self, check: Callable[[], None]) -> Iterator[None]:
        """Calls `check` before each attempt to write. If it raises, nothing is sent.

        Each attempt, because a call may be repeated for a minute and a process may be suspended meanwhile.
        """
        self._before_write = check
        try:
            yield
        finally:
            self._before_write = _nothing

    def _call(
        self,
        method: str,
        path: str,
        *,
        what: str = "such thing",
        json: Any = None,
        params: dict[str, Any] | None = None,
        missing: type[ConnectorError] = UsageError,
        refused: type[ConnectorError] = ConnectorError,
        broken: type[ConnectorError] | None = None,
    ) -> Any:
        """One call's JSON. `missing` is raised on 404, `refused` on 400, and `broken`, if given, at the first 500."""
        # The SDK would repeat a POST like any other call, and without a limit: it must not repeat anything.
        options = {"max_retries": 0, "timeout_in_seconds": _timeout(LOOK_SECONDS if method == "GET" else WORK_SECONDS)}

        def attempt() -> Any:
            if method != "GET":
                self._before_write()
            response = self._send(path, method=method, json=json, params=params, request_options=options)
            try:
                return read_response(response, self.url, what, missing, refused)
            except TryAgainLater as error:
                if broken is not None and response.status_code == 500:
                    raise broken(str(error)) from error
                if is_transient(response.status_code):
                    raise failed_answer(self._name, response.status_code, response.headers, error) from error
                raise

        # Any call but a POST has the same effect if it is sent twice.
        return self.retries.call(attempt, repeatable=method != "POST")

    def _send(self, path: str, **request: Any) -> httpx.Response:
        """The response to one attempt, with any status."""
        try:
            response: httpx.Response = self._http.request(path, **request)
        except (ApiError, ValueError) as error:  # the exchange of a personal access token
            raise self._failed_exchange() from error
        except httpx.LocalProtocolError as error:  # its text repeats the header, token and all
            raise UsageError("The token in LABEL_STUDIO_API_KEY is not a Label Studio token.") from error
        except httpx.InvalidURL as error:
            raise UsageError(f"LABEL_STUDIO_URL is not a web address: {self.url}.") from error
        except httpx.HTTPError as error:
            happened = f"{self._name} does not answer ({str(error) or type(error).__name__})"
            away = TryAgainLater(f"{happened}: start it or check LABEL_STUDIO_URL.")
            if not isinstance(error, httpx.TransportError) or isinstance(error, httpx.UnsupportedProtocol):
                raise away from error
            unsent = self._exchanging or isinstance(error, _UNSENT)
            raise TransientError(away, happened, unprocessed=unsent) from error
        return response

    def _object(self, keys: set[str], method: str, path: str, **request: Any) -> dict[str, Any]:
        """One call's JSON, which has these keys if the server is Label Studio."""
        answer = self._call(method, path, **request)
        if not (isinstance(answer, dict) and keys <= answer.keys()):
            raise not_label_studio(self.url)
        return answer

    def _count(self, request: httpx.Request) -> None:
        self.calls += 1
        self._exchanging = request.url.path.endswith("/api/token/refresh/")

    def _remember(self, response: httpx.Response) -> None:
        self._last = response
        if "date" in response.headers:
            self.server_time = parsedate_to_datetime(response.headers["date"])

    def _failed_exchange(self) -> Exception:
        """Why a personal access token was not exchanged. The SDK reads the response as JSON, whatever it is."""
        if self._last is not None and is_transient(self._last.status_code):
            status = self._last.status_code
            failure = failed_answer(
                self._name, status, self._last.headers, TryAgainLater(f"{self._name} failed with {status}.")
            )
            failure.unprocessed = True  # the call that needs the token has not been sent
            return failure
        if self._last is not None and self._last.status_code in (401, 403):
            return refused_token(self.url)
        return not_label_studio(self.url)

    @property
    def _name(self) -> str:
        return f"Label Studio at {self.url}"


def _nothing() -> None:
    pass


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=CONNECT_SECONDS)
