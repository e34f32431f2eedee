"""What goes wrong, as an answer over HTTP: a status and one sentence, never a traceback or a path."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ml_backend import errors

STATUSES: dict[type[errors.BackendError], HTTPStatus] = {
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.EncoderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ClusterUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.CorruptModel: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# For the OpenAPI document.
STATUS_DESCRIPTIONS: Mapping[int, str] = {
    401: "No credentials, or wrong ones",
    404: "Something must be sent or trained first",
    409: "The state of the project is against it",
    413: "The body is too large",
    422: "The request cannot be carried out as it stands",
    503: "The sentence encoder cannot be loaded, or the Ray cluster not be reached",
}


class Refusal(BaseModel):
    """Any answer with an error status."""

    detail: str


def add_handlers(app: FastAPI) -> None:
    """Have `app` answer all that is raised in it."""
    for error, status in STATUSES.items():
        app.add_exception_handler(error, _answer(status))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _unexpected)


def _answer(status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(_: Request, error: Exception) -> Response:
        return _sentence(str(error), status)

    return handler


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: Mapping[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        return _sentence(f"The body is no JSON from character {first['loc'][-1]} on; send JSON.", 422)
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    return _sentence(f"The request is invalid at {where}: {first['msg']}.", 422)


async def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # FastAPI's answer where the parser of JSON fails otherwise than by a syntax error.
        words = "The body cannot be read; send JSON in UTF-8, with less nesting and shorter numbers."
        return _sentence(words, HTTPStatus.UNPROCESSABLE_ENTITY)
    return await http_exception_handler(request, error)


async def _unexpected(_: Request, error: Exception) -> Response:
    # The server logs the traceback; the client gets none.
    return _sentence("The backend failed unexpectedly; its log says why.", 500)


def _sentence(words: str, status: int) -> Response:
    # Halves of characters, which JSON can bring, cannot be sent back.
    return JSONResponse({"detail": words.encode(errors="replace").decode()}, status)
