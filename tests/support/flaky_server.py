"""Time that passes when somebody sleeps, and a web server that does what a test has planned, for both clients."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from connector.retry import Retries


class Time:
    """A clock that only waits move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now

    def retries(self, total_seconds: float = 60.0) -> Retries:
        return Retries(total_seconds, sleep=self.sleep, clock=self.clock)


@dataclass(frozen=True)
class Answer:
    """What the server does with one request. `how`: "whole", or it hangs up "before" or "within" its answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    how: str = "whole"


HANGS_UP = Answer(how="before")
CUT = Answer(how="within")
SILENT = Answer(how="silent")


class Misbehaving:
    """Gives its answers in turn, the last one for ever; `requests` are (method, path)."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.requests.append((self.command, self.path.split("?")[0]))
                answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                if answer.how == "silent":
                    server.closing.wait(30)
                if answer.how in ("before", "silent"):
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body) + (answer.how == "within")))
                self.end_headers()
                self.wfile.write(answer.body)
                self.close_connection = answer.how == "within"

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer

            def log_message(self, *values: Any) -> None:
                """Keeps quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
