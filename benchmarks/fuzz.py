"""The ML backend under requests that no client should send: mutated payloads of Label Studio.

    python benchmarks/fuzz.py [--requests 10000] [--seed 0]

It starts a server and trains a model of the project of the recorded payloads (tests/ml_backend/webhooks). Then it sends
them with seeded changes: values of other types and sizes, missing and foreign keys, broken JSON and broken HTTP. The
exit code is 1 if an answer has a status of 500 or above, contains a traceback or a path of the server, or has not the
length of the batch. It is also 1 if the server's memory grows by more than `GROWTH_MB`.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import click
import requests
from prometheus_client.parser import text_string_to_metric_families

from connector.annotations.records import digest
from connector.backend import Backend
from connector.simulation.local_backend import start_ml_backend, stop_ml_backend

RECORDED = Path(__file__).parents[1] / "tests" / "ml_backend" / "webhooks"
PROJECT = "1"  # of the payloads
CLASSES = ("Polite", "Impolite")

# Requests after which the server has loaded all it loads, and its caches and its threads' heaps are as large as they
# get under these payloads. What the same ones take beyond that is a leak: 10,000 requests that each left 10 kB, less
# than any of these bodies, would come to 100 MB.
WARM_UP = 1_500
GROWTH_MB = 50.0

# What no answer may hold: none of it is in a payload.
FORBIDDEN = ("Traceback", 'File "', "site-packages", "ml_backend/", "pool.sqlite", "Errno")

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, -(2**63) - 1, 10**4000, 0.0, 1e308, -0.0, 1.5,
    "", " ", "0", "1", "1.1795401090", "a", "\0", "\ud800", "\udfff\ud83d", "\U0001f600", "../../etc/passwd", "..", "/",
    "https://example.com/a.txt", "s3://bucket/a", "x" * 20_000, "$text", "<View/>", "<View>", "&a;", "NaN", "null",
    "START_TRAINING", "ANNOTATION_CREATED", "2026-11-23T02:31:31Z", "9999-99-99", "Polite", "Impolite", "text",
    [], [None], [[]], [[[[[[[[]]]]]]]], [1, 2, 3], ["Polite", "Impolite"], [{}], {}, {"id": 1}, {"": {"": {}}},
    {"text": "please"}, {"text": ["a"]}, {"choices": ["Polite"]}, {"\ud800": 1},
)  # fmt: skip


class Payload(NamedTuple):
    """One recorded request's body, and where it goes."""

    name: str
    path: str
    body: dict[str, Any]


class Request(NamedTuple):
    """What is sent."""

    path: str
    body: bytes
    headers: dict[str, str]
    tasks: int | None  # how many entries an answer with success has


@dataclass
class Report:
    """What was answered: how often each status, what must not be, and the server's memory on the way, in MB."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)  # from the warm-up to the end, at eleven moments

    @property
    def growth_mb(self) -> float:
        """How much more memory the server takes at the end than when it was warm."""
        return self.memory_mb[-1] - self.memory_mb[0]


def recorded() -> list[Payload]:
    """What Label Studio was seen to send."""
    found = []
    for path in sorted(RECORDED.glob("*.json")):
        name = path.stem
        to = "/predict" if name.startswith("predict") else "/setup" if name == "setup" else "/webhook"
        found.append(Payload(name, to, json.loads(path.read_text())))
    return found


def prepare(url: str) -> None:
    """Has the server train a model of the project that the payloads are of."""
    texts = {number: f"{'please' if number % 2 else 'nonsense'}, text {number}" for number in range(1, 31)}
    backend = Backend(url)
    backend.put_items(PROJECT, list(texts), [digest(text) for text in texts.values()], lambda ids: texts)
    backend.train(PROJECT, CLASSES, {number: 1 - number % 2 for number in texts})
    backend.close()


def fuzz(url: str, count: int, seed: int) -> Report:
    """Sends `count` mutated payloads one at a time and checks each answer, and measures memory after the warm-up."""
    warm = min(WARM_UP, count // 2)
    looks = {warm + (count - warm) * tenth // 10 for tenth in range(11)}
    report = Report()
    chance = random.Random(seed)
    payloads = recorded()
    with requests.Session() as session:
        session.trust_env = False
        for number in range(count):
            request = mutated(payloads, chance)
            _send(session, url, request, number, report)
            if number + 1 in looks:
                report.memory_mb.append(memory_mb(url))
    return report


def _send(session: requests.Session, url: str, request: Request, number: int, report: Report) -> None:
    try:
        answer = session.post(url + request.path, data=request.body, headers=request.headers, timeout=60)
    except requests.RequestException as error:
        report.wrong.append(f"{number}: {request.path} is not answered: {error}")
        return
    report.statuses[answer.status_code] += 1
    wrong = [f"holds {word!r}" for word in FORBIDDEN if word in answer.text]
    if answer.status_code >= 500:
        wrong.append("fails")
    try:
        body = answer.json()
    except ValueError:
        wrong.append("is no JSON")
    else:
        if not answer.ok and not (isinstance(body, dict) and isinstance(body.get("detail"), str)):
            wrong.append("has no sentence")
        if answer.ok and request.tasks is not None and len(body["results"]) != request.tasks:
            wrong.append(f"has {len(body['results'])} entries for {request.tasks} tasks")
        if request.path == "/webhook" and not answer.ok:
            wrong.append("refuses an event")
    for words in wrong:
        reply = f"{answer.status_code} {answer.text[:200]!r} to {request.body[:300]!r}"
        report.wrong.append(f"{number}: {request.path} {words}: {reply}")


def memory_mb(url: str) -> float:
    """The resident memory of the server process, as it says itself."""
    text = requests.get(f"{url}/metrics", timeout=60).text
    for family in text_string_to_metric_families(text):
        if family.name == "process_resident_memory_bytes":
            return float(family.samples[0].value) / 1e6
    raise click.ClickException("The server cannot tell its memory: this needs Linux.")


# -- mutations ---------------------------------------------------------------------------------------------------------


def mutated(payloads: Sequence[Payload], chance: random.Random) -> Request:
    """One of the payloads, changed in one to four places, and now and then broken as text or as HTTP."""
    path = chance.choices(("/predict", "/webhook", "/setup"), (4, 5, 1))[0]
    payload = chance.choice([payload for payload in payloads if payload.path == path])
    body: Any = copy.deepcopy(payload.body)
    for _ in range(chance.randint(0, 4)):
        body = chance.choice(_IN_THE_TREE)(body, chance)
    headers = {"Content-Type": "application/json"}
    raw = json.dumps(body).encode()
    tasks = body.get("tasks") if isinstance(body, dict) and payload.path == "/predict" else None
    if chance.random() < 0.2:
        raw, tasks = chance.choice(_IN_THE_TEXT)(raw, chance), None
    if chance.random() < 0.05:
        headers, raw = chance.choice(_IN_THE_HEAD)(raw)
        tasks = None
    return Request(payload.path, raw, headers, len(tasks) if isinstance(tasks, list) else None)


def _places(body: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) in `body`."""
    keys: Sequence[Any] = list(body) if isinstance(body, dict) else range(len(body)) if isinstance(body, list) else ()
    for key in keys:
        yield body, key
        yield from _places(body[key])


def _place(body: Any, chance: random.Random) -> tuple[Any, Any] | None:
    found = list(_places(body))
    return chance.choice(found) if found else None


def _replace(body: Any, chance: random.Random) -> Any:
    place = _place(body, chance)
    if place is None or chance.random() < 0.01:
        return copy.deepcopy(chance.choice(VALUES))
    place[0][place[1]] = copy.deepcopy(chance.choice(VALUES))
    return body


def _remove(body: Any, chance: random.Random) -> Any:
    place = _place(body, chance)
    if place is not None:
        del place[0][place[1]]
    return body


def _rename(body: Any, chance: random.Random) -> Any:
    place = _place(body, chance)
    if place is not None and isinstance(place[0], dict):
        place[0][chance.choice(("", "id", "text", "tasks", "project", "\ud800", "x" * 1000))] = place[0].pop(place[1])
    return body


def _move(body: Any, chance: random.Random) -> Any:
    one, other = _place(body, chance), _place(body, chance)
    if one is not None and other is not None:
        one[0][one[1]] = copy.deepcopy(other[0][other[1]])
    return body


def _retype(body: Any, chance: random.Random) -> Any:
    place = _place(body, chance)
    if place is not None:
        value = place[0][place[1]]
        place[0][place[1]] = chance.choice((lambda: str(value), lambda: [value], lambda: {"value": value}))()
    return body


def _multiply(body: Any, chance: random.Random) -> Any:
    lists = [box[key] for box, key in _places(body) if isinstance(box[key], list)]
    if lists:
        chosen = chance.choice(lists)
        chosen.extend(copy.deepcopy(chosen[:2]) * chance.choice((1, 5, 100)))
    return body


def _edit_string(body: Any, chance: random.Random) -> Any:
    strings = [(box, key) for box, key in _places(body) if isinstance(box[key], str) and box[key]]
    if strings:
        box, key = chance.choice(strings)
        text = box[key]
        at = chance.randrange(len(text))
        box[key] = (
            text[:at] + chance.choice(("", "\0", "\ud800", "<", ">", '"', "&lol;", "$", "\n", text)) + text[at + 1 :]
        )
    return body


_IN_THE_TREE = (_replace, _replace, _remove, _rename, _move, _retype, _multiply, _edit_string, _edit_string)

_BROKEN = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000, b'"\\ud800"', b"[" * 50_000, b'{"a":' * 50_000)


def _insert(raw: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + chance.choice(_BROKEN) + raw[at:]


def _as_value(raw: bytes, chance: random.Random) -> bytes:
    """A value that Python's JSON knows and JSON does not, or that is too much, in a place where a value may stand."""
    places = [at + 1 for at, letter in enumerate(raw) if letter == ord(":")]
    if not places:
        return chance.choice(_BROKEN)
    at = chance.choice(places)
    end = min((found for found in (raw.find(b",", at), raw.find(b"}", at)) if found >= 0), default=len(raw))
    return raw[:at] + chance.choice(_BROKEN) + raw[end:]


def _nested(raw: bytes, chance: random.Random) -> bytes:
    depth = chance.choice((100, 900, 990, 1000, 5000, 100_000))
    return b'{"tasks":' + b"[" * depth + b"]" * depth + b"," + raw[1:]


def _twice(raw: bytes, chance: random.Random) -> bytes:
    return raw[:-1] + b', "tasks": [], "action": "START_TRAINING", "project": 1}'


def _flip(raw: bytes, chance: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(min(len(changed), chance.randint(1, 20))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _cut(raw: bytes, chance: random.Random) -> bytes:
    return raw[: chance.randrange(len(raw) + 1)]


def _recode(raw: bytes, chance: random.Random) -> bytes:
    return raw.decode(errors="replace").encode(chance.choice(("utf-16", "utf-32", "utf-8-sig")))


_IN_THE_TEXT = (_insert, _as_value, _as_value, _nested, _twice, _flip, _cut, _recode)

_JSON = {"Content-Type": "application/json"}
_IN_THE_HEAD: tuple[Callable[[bytes], tuple[dict[str, str], bytes]], ...] = (
    lambda raw: ({}, raw),
    lambda raw: ({"Content-Type": "text/plain"}, raw),
    lambda raw: ({"Content-Type": "application/x-npz"}, raw),
    lambda raw: ({"Content-Type": "multipart/form-data; boundary=x"}, raw),
    lambda raw: ({"Content-Type": "application/x-www-form-urlencoded"}, raw),
    lambda raw: ({"Content-Type": "application/json; charset=utf-7"}, raw),
    lambda raw: ({"Content-Type": "\u00e4;;=/"}, raw),
    lambda raw: ({**_JSON, "Content-Encoding": "gzip"}, gzip.compress(raw, mtime=0)),
    lambda raw: ({**_JSON, "Content-Encoding": "gzip"}, raw),
    lambda raw: ({**_JSON, "Authorization": "Basic \u00e4"}, raw),
    lambda raw: ({**_JSON, "Expect": "100-continue"}, raw),
)


@click.command()
@click.option("--requests", "count", default=10_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(count: int, seed: int) -> None:
    """Send mutated payloads to a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = start_ml_backend(Path(folder))
        try:
            prepare(server.url)
            started = time.monotonic()
            report = fuzz(server.url, count, seed)
            seconds = time.monotonic() - started
        finally:
            stop_ml_backend(Path(folder))
    answered = ", ".join(f"{status}: {times:,}" for status, times in sorted(report.statuses.items()))
    click.echo(f"{count:,} requests in {seconds:.0f} s, seed {seed}. Answers by status: {answered}.")
    memory = ", ".join(f"{megabytes:.0f}" for megabytes in report.memory_mb)
    click.echo(f"Memory of the server from the warm-up to the end: {memory} MB.")
    for line in report.wrong[:20]:
        click.echo(line)
    click.echo(f"{len(report.wrong)} answers that must not be.")
    sys.exit(1 if report.wrong or report.growth_mb > GROWTH_MB else 0)


if __name__ == "__main__":
    main()
