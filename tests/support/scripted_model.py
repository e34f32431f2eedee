"""An OpenAI-compatible server that answers by a script: also too late, too often, broken, or not at all."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

KEY = "sk-test-0123456789abcdefghij"
_TASK = re.compile(r"<task (\w+)>\n(.*)\n</task \1>", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """A request that the server got.

    Attributes:
        body: Its JSON.
        authorization: Its header.
        path: Of its address.
        number: How many came before it.
    """

    body: dict[str, Any]
    authorization: str
    path: str
    number: int

    @property
    def text(self) -> str:
        """The content of the task that is asked for."""
        return self.task_in([row["content"] for row in self.body["messages"] if row["role"] == "user"])

    @property
    def examples(self) -> list[tuple[str, str]]:
        """The contents that it is shown, each with the answer."""
        rows = self.body["messages"][1:]
        return [
            (self.task_in([one["content"]]), other["content"])
            for one, other in pairwise(rows)
            if other["role"] == "assistant" and isinstance(one["content"], str) and _TASK.fullmatch(one["content"])
        ][: (len(rows) - 1) // 2]

    @staticmethod
    def task_in(contents: list[Any]) -> str:
        """The last task in the contents of messages."""
        texts = [content if isinstance(content, str) else content[0]["text"] for content in contents]
        found = [match for text in texts if (match := _TASK.fullmatch(text))]
        return found[-1][2]


@dataclass(frozen=True)
class Says:
    """An answer of the model. `lasts`: seconds until it comes."""

    content: str | None
    refusal: str | None = None
    finish: str = "stop"
    usage: tuple[int, int] | None = (100, 10)
    logprobs: list[float] | None = None
    lasts: float = 0.0


@dataclass(frozen=True)
class Fails:
    """Another answer of the server: a status with a body, or a connection that ends within the body."""

    status: int = 200
    body: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


Script = Callable[[Call], Says | Fails]


class ScriptedModel:
    """The server. `calls`: what it got, in order."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.most_at_once = 0
        self._under_way = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.serve(self, body)

            def log_message(self, *values: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def serve(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        with self._lock:
            call = Call(body, handler.headers.get("Authorization", ""), handler.path, len(self.calls))
            self.calls.append(call)
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            answer = self.script(call)
            if isinstance(answer, Says):
                time.sleep(answer.lasts)
                answer = Fails(200, json.dumps(_completion(call, answer)))
            self._send(handler, answer)
        except OSError:
            pass  # the client did not wait
        finally:
            with self._lock:
                self._under_way -= 1

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, answer: Fails) -> None:
        content = answer.body.encode()
        handler.send_response_only(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content) + (100 if answer.cut else 0)))
        handler.end_headers()
        handler.wfile.write(content)
        if answer.cut:
            handler.close_connection = True

    @property
    def texts(self) -> list[str]:
        """The contents that were asked for, in order."""
        return [call.text for call in self.calls]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _completion(call: Call, says: Says) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": says.finish,
        "message": {"role": "assistant", "content": says.content, "refusal": says.refusal},
    }
    if says.logprobs is not None and call.body.get("logprobs"):
        choice["logprobs"] = {
            "content": [{"token": "x", "logprob": value, "top_logprobs": []} for value in says.logprobs]
        }
    found = {"id": "c", "object": "chat.completion", "created": 0, "model": call.body["model"], "choices": [choice]}
    if says.usage is not None:
        into, out = says.usage
        found["usage"] = {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out}
    return found


def error(status: int, message: str, code: str = "", **headers: str) -> Fails:
    """A refusal as OpenAI words it."""
    return Fails(status, json.dumps({"error": {"message": message, "type": "error", "code": code or None}}), headers)


def classes_of(call: Call, name: str) -> list[str]:
    """The classes that the schema of a request allows."""
    schema = call.body["response_format"]["json_schema"]["schema"]
    found: list[str] = schema["properties"][name]["enum"]
    return found


def obedient(name: str = "politeness", usual: str = "Polite") -> Script:
    """A model that does what a text tells it: "answer X" gives X, if the schema of the request allows it."""

    def script(call: Call) -> Says:
        told = re.search(r"answer (\w+)", call.text)
        wanted = told[1] if told else usual
        return Says(json.dumps({name: wanted if wanted in classes_of(call, name) else usual}))

    return script


@contextmanager
def running_model(script: Script) -> Iterator[ScriptedModel]:
    """A server with this script."""
    server = ScriptedModel(script)
    yield server
    server.close()
