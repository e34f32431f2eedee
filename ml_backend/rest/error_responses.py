"""Errors as HTTP responses: a status and a sentence, never a traceback or a path."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ml_backend import errors, schemas

# For the OpenAPI document.
STATUS_DESCRIPTIONS: Mapping[int, str] = {
    401: "No credentials, or wrong ones",
    404: "Something must be sent or trained first",
    409: "The request conflicts with the current state of the project",
    413: "The body is too large",
    422: "The request cannot be carried out in this form",
    503: "The sentence encoder cannot be loaded, or the Ray cluster cannot be reached",
}


class Refusal(BaseModel):
    """Any response with an error status."""

    detail: str


def add_handlers(app: FastAPI) -> None:
    """Make `app` turn every exception into a response."""
    app.add_exception_handler(errors.BackendError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, errors.BackendError)
    return _sentence(str(error), error.status)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: Mapping[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        return _sentence(f"The body is no JSON from character {first['loc'][-1]} on. Send JSON.", 422)
    return _sentence(schemas.describe(first), errors.InvalidRequest.status)


async def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # FastAPI's response if the parser of JSON fails with another error than one of syntax.
        sentence = "The body cannot be read. Send JSON in UTF-8, with less nesting and shorter numbers."
        return _sentence(sentence, HTTPStatus.UNPROCESSABLE_ENTITY)
    return await http_exception_handler(request, error)


async def _unexpected(_: Request, error: Exception) -> Response:
    # The log has the traceback, and the client gets none.
    return _sentence("The backend failed unexpectedly. Its log has the reason.", 500)


def _sentence(sentence: str, status: int) -> Response:
    # JSON may contain lone surrogates, which cannot be sent back.
    return JSONResponse({"detail": sentence.encode(errors="replace").decode()}, status)
