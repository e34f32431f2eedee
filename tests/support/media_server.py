"""A web server for media that does what a test has planned, the worst included, and remembers who asked for what."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any, Literal, NamedTuple

How = Literal[
    "whole",
    "cut",  # ends in the middle of the body, as its Content-Length shows
    "cut chunks",  # the same, of a body in chunks
    "endless",  # never ends, without a Content-Length
    "drips headers",  # a header now and then, for ever
    "drips body",
    "slow",  # takes a moment
    "silent",  # never answers
    "hangs up",
    "not http",
]


@dataclass(frozen=True)
class Reply:
    """The answer to one request."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    how: How = "whole"
    delay: float = 0.02  # seconds, if slow


def redirect(location: str, status: int = 302) -> Reply:
    return Reply(status=status, headers={"Location": location})


class Request(NamedTuple):
    """A request that has arrived. The names of headers are in small letters."""

    path: str
    headers: dict[str, str]


class MediaServer:
    """Answers from `replies`, by path without query, or with `anything`. A list is used up but for its last reply."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.replies: dict[str, Reply | list[Reply]] = {}
        self.anything = Reply(b"Not Found", 404)
        self.requests: list[Request] = []
        self.connections = 0
        self.most_at_once = 0  # requests
        self._now = 0
        self.silent = 0  # requests that wait for their answer in vain
        self._lock = threading.Lock()
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.requests.append(
                    Request(self.path, {name.lower(): value for name, value in self.headers.items()})
                )
                with server.counting():
                    reply = server.reply_to(self.path.partition("?")[0])
                    if reply.how == "slow":
                        server.closing.wait(reply.delay)
                self.close_connection = server.answer(self, reply)

            def do_HEAD(self) -> None:
                self.send_response_only(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *values: Any) -> None:
                """Keeps quiet."""

        class Server(ThreadingHTTPServer):
            def get_request(self) -> tuple[socket, Any]:
                connection, address = super().get_request()
                server.connections += 1
                return connection, address

            def finish_request(self, request: Any, address: Any) -> None:
                if tls is not None:
                    request = tls.wrap_socket(request, server_side=True)
                super().finish_request(request, address)
                if tls is not None:
                    request.close()

            def handle_error(self, *values: Any) -> None:
                """Keeps quiet: who asked has hung up."""

        self._http = Server(("127.0.0.1", 0), Handler)
        self.port = self._http.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True, name="test-server").start()

    @property
    def paths(self) -> list[str]:
        """What was asked for."""
        return [request.path for request in self.requests]

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Counts the requests that are answered at once."""
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        yield
        with self._lock:
            self._now -= 1

    def reply_to(self, path: str) -> Reply:
        planned = self.replies.get(path, self.anything)
        if isinstance(planned, Reply):
            return planned
        return planned.pop(0) if len(planned) > 1 else planned[0]

    def answer(self, handler: BaseHTTPRequestHandler, reply: Reply) -> bool:
        """Sends a reply. Whether the connection is to be closed then."""
        if reply.how == "hangs up":
            return True
        if reply.how == "silent":
            with self._lock:
                self.silent += 1
            self.closing.wait(60)
            with self._lock:
                self.silent -= 1
            return True
        if reply.how == "not http":
            handler.wfile.write(b"220 mail.example ESMTP\r\n" * 10)
            return True
        handler.send_response_only(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if reply.how == "drips headers":
            self._drip(handler, lambda: handler.send_header("X-More", "more"))
            return True
        if reply.how == "cut chunks":
            handler.send_header("Transfer-Encoding", "chunked")
        elif reply.how not in ("endless", "drips body"):
            handler.send_header("Content-Length", str(len(reply.body) + (reply.how == "cut")))
        handler.end_headers()
        if reply.how == "endless":
            with contextlib.suppress(OSError):
                while not self.closing.is_set():
                    handler.wfile.write(b"\0" * 65_536)
        elif reply.how == "drips body":
            self._drip(handler, lambda: handler.wfile.write(b"\0"))
        elif reply.how == "cut chunks":
            handler.wfile.write(b"%x\r\n%b" % (len(reply.body) + 1, reply.body))
        else:
            handler.wfile.write(reply.body)
        return reply.how not in ("whole", "slow") or reply.headers.get("Connection") == "close"

    def _drip(self, handler: BaseHTTPRequestHandler, drop: Any) -> None:
        with contextlib.suppress(OSError):
            while not self.closing.wait(0.02):
                drop()
                handler.flush_headers()

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
