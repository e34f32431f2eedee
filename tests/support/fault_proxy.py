"""Faults at chosen calls of a sync: a proxy that knows calls by their kinds, and databases that are brought back."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from support.proxy import Cut, Proxy

# What is done to a call: instead of the server, or after the server has acted.
ANSWER_500 = "answered 500"
ANSWER_502 = "answered 502 after"
CUT_BEFORE = "cut before"
CUT_AFTER = "cut after"
KILL_BEFORE = "killed before"
KILL_AFTER = "killed after"

KindOf = Callable[[str, str, bytes], str]

_OF_LABEL_STUDIO = (
    ("exchange token", "POST", r"/api/token/refresh/?"),
    ("read project", "GET", r"/api/projects/\d+/"),
    ("read versions", "GET", r"/api/projects/\d+/model-versions/"),
    ("read tasks", "GET", r"/api/tasks"),
    ("read tabs", "GET", r"/api/dm/views/"),
    ("change tab", "PATCH", r"/api/dm/views/\d+/"),
    ("import window", "POST", r"/api/projects/\d+/import/predictions"),
    ("delete version", "DELETE", r"/api/projects/\d+/model-versions/"),
)
_OF_BACKEND = (
    ("check health", "GET", r"/health"),
    ("put items", "PUT", r"/api/projects/\d+/items"),
    ("send texts", "POST", r"/api/projects/\d+/texts"),
    ("read probabilities", "GET", r"/api/projects/\d+/probabilities"),
    ("train", "POST", r"/api/projects/\d+/train"),
    ("watch training", "GET", r"/api/projects/\d+/jobs/[^/]+"),
    ("spread", "POST", r"/api/projects/\d+/spread"),
    ("distinct", "POST", r"/api/projects/\d+/distinct"),
)


def call_to_label_studio(method: str, address: str, body: bytes) -> str:
    """What kind of a sync's calls it is; some go to the same path."""
    path, _, query = address.partition("?")
    if method == "PATCH" and re.fullmatch(r"/api/projects/\d+/", path):
        return "flip" if json.loads(body).keys() == {"model_version"} else "restore settings"
    if method == "PATCH" and re.fullmatch(r"/api/tasks/\d+", path):
        return "close task" if json.loads(body)["is_labeled"] else "open task"
    kind = _named(_OF_LABEL_STUDIO, method, path)
    return "count tasks" if kind == "read tasks" and "page_size=1&" in query else kind


def call_to_backend(method: str, path: str, body: bytes) -> str:
    """What kind of a sync's calls it is."""
    return _named(_OF_BACKEND, method, path)


def _named(kinds: Iterable[tuple[str, str, str]], method: str, path: str) -> str:
    for kind, of_method, pattern in kinds:
        if method == of_method and re.fullmatch(pattern, path):
            return kind
    return f"{method} {path}"


class FaultyProxy(Proxy):
    """Does something to the chosen calls before or after the server, and calls `around` when each has been dealt with.

    `around` is told the kind and whether a fault hit the call. Calls are counted by kind; one that was hit is not
    counted, so its repetition has the same number.
    """

    def __init__(self, target: str, kind_of: KindOf) -> None:
        super().__init__(target)
        self.record: list[str] = []  # the kinds of all calls, those that were hit too
        self.hit: list[tuple[str, int]] = []
        self.around: Callable[[str, bool], None] = lambda kind, hit: None
        self.kill: Callable[[], None] = lambda: None
        self._kind_of = kind_of
        self._seen: Counter[str] = Counter()
        self._chosen: dict[tuple[str, int], str] = {}
        self._outage = False
        self._out: str | None = None

    def fault(self, calls: Mapping[tuple[str, int], str], *, outage: bool = False) -> None:
        """From now on does {(kind, which of them, from 1): fault}, to each once; with `outage` to all that follows."""
        self.record, self.hit = [], []
        self._seen.clear()
        self._chosen, self._outage, self._out = dict(calls), outage, None

    def mend(self) -> None:
        """Everything gets through again."""
        self.fault({})

    def _answer(
        self, target: str, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        kind = self._kind_of(method, path, body)
        self.record.append(kind)
        number = self._seen[kind] + 1
        fault = self._out or self._chosen.pop((kind, number), None)
        answer = (500, {"Content-Type": "text/html"}, b"<h1>Server Error (500)</h1>")
        if fault is None or fault.endswith("after"):
            answer = super()._answer(target, method, path, headers, body)
        if fault == ANSWER_502:
            answer = (502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>")
        if fault is None:
            self._seen[kind] += 1
        else:
            self.hit.append((kind, number))
            self._out = fault if self._outage else None
            if fault in (KILL_BEFORE, KILL_AFTER):
                self.kill()
        self.around(kind, fault is not None)
        if fault not in (None, ANSWER_500, ANSWER_502):
            raise Cut
        return answer


class Snapshot:
    """What SQLite databases held when it was taken; their servers may run on."""

    def __init__(self, *files: Path) -> None:
        self._copies = {file: sqlite3.connect(":memory:", check_same_thread=False) for file in files}
        for file, copy in self._copies.items():
            with contextlib.closing(sqlite3.connect(file, timeout=60)) as live:
                live.backup(copy)

    def restore(self) -> None:
        """Brings the databases back."""
        for file, copy in self._copies.items():
            with contextlib.closing(sqlite3.connect(file, timeout=60)) as live:
                copy.backup(live)

    def close(self) -> None:
        """Forgets the copies."""
        for copy in self._copies.values():
            copy.close()
