"""The limit on the size of a request body."""

from http import HTTPStatus

from fastapi import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Middleware that refuses request bodies above a limit before they are in memory, announced or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """Wrap `app`."""
        self._app = app
        self._max_bytes = max_bytes
        self._detail = f"The body is larger than {max_bytes >> 20} MiB. Send less at a time."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count its body. A body that is announced as too large is not read."""
        if scope["type"] == "http" and _announced(scope) > self._max_bytes:
            await JSONResponse({"detail": self._detail}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail)
            return message

        await self._app(scope, counted, send)


def _announced(scope: Scope) -> int:
    """The Content-Length. 0 for a chunked body, and for anything but a number, which the server refuses itself."""
    values = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(value) for value in values if value.isdigit() and len(value) < 20), default=0)
