"""A proxy before a server: it counts the calls, fails them, or holds one back."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from connector.demo.servers import local_session


class Cut(Exception):
    """The connection is to end without an answer."""


class Proxy:
    """Stands between the connector and Label Studio: counts the calls, fails them, or holds one back."""

    def __init__(self, target: str) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fail_with: int | None = None
        self._reached = threading.Event()
        self._released = threading.Event()
        self._hold: tuple[str, str] | None = None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.calls.append((self.command, self.path.split("?")[0]))
                try:
                    status, headers, content = proxy._answer(target, self.command, self.path, dict(self.headers), body)
                except Cut:
                    self.close_connection = True
                    return
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

            def log_message(self, *values: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *values: Any) -> None:
                pass  # whoever asked is gone

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def hold(self, method: str, path: str) -> None:
        """Holds back the answer to the next call whose path matches `path`, after Label Studio has given it."""
        self._reached.clear()
        self._released.clear()
        self._hold = (method, path)

    def wait_until_reached(self, process: subprocess.Popen[str]) -> bool:
        """Whether `process` waits for the answer that is held back; false when it ended without, or takes too long."""
        deadline = time.monotonic() + 60
        while not self._reached.wait(0.1):
            if process.poll() is not None or time.monotonic() > deadline:
                return False
        return True

    def release(self) -> None:
        """Lets the answer go."""
        self._released.set()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def _answer(
        self, target: str, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if self.fail_with is not None:
            return self.fail_with, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>"
        headers = {name: value for name, value in headers.items() if name.lower() not in ("host", "connection")}
        with local_session() as session:
            answer = session.request(method, target + path, headers=headers, data=body, timeout=60)
        kept = {name: answer.headers[name] for name in ("Content-Type", "Date") if name in answer.headers}
        if self._hold is not None and method == self._hold[0] and re.fullmatch(self._hold[1], path.split("?")[0]):
            self._hold = None
            self._reached.set()
            self._released.wait(60)
        return answer.status_code, kept, answer.content
