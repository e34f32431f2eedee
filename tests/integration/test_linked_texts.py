"""Texts in files in a project on a real Label Studio: from init to undo, and every way in which one cannot be read."""

from __future__ import annotations

import csv
import json
from contextlib import closing

import pytest
import requests
from support.command_runner import Commands
from support.doctor_helpers import not_fine
from support.media_server import MediaServer, Reply, redirect
from support.project_driver import ProjectDriver, StartProject

from connector.annotations.label_config import find_control
from connector.errors import UsageError
from connector.progress import Reporter
from connector.simulation.project_corpus import read_project as read_corpus

pytestmark = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")
CONFIG = (
    '<View><Text name="t" value="$file" valueType="url"/><Choices name="topic" toName="t">'
    '<Choice value="fish"/><Choice value="bikes"/></Choices></View>'
)
CONTROL = find_control(CONFIG)
TOPICS = ("fish", "bikes")
WORDS = {
    "fish": ["salmon", "river", "fins", "trout", "water", "net"],
    "bikes": ["wheel", "saddle", "pedal", "road", "chain", "brake"],
}
COUNT, LABELLED = 40, 24


def text(number: int) -> str:
    """A text about its topic. No two are alike."""
    words = WORDS[TOPICS[number % 2]]
    chosen = [words[(number * step + step) % len(words)] for step in (1, 2, 3, 5)]
    return f"Nº {number}: the {' and the '.join(chosen)}."


def upload(loop: ProjectDriver, numbers: list[int]) -> list[str]:
    """Uploads .txt files as a person does, and makes a task of each address that Label Studio gives them."""
    addresses = []
    headers = {"Authorization": f"Token {loop.server.token}"}
    for number in numbers:
        file = {"file": (f"{number}.txt", text(number).encode(), "text/plain")}
        url = f"{loop.server.url}/api/projects/{loop.id}/import"
        answer = requests.post(url, files=file, params={"commit_to_project": "false"}, headers=headers, timeout=60)
        assert answer.status_code == 201, answer.text
        (uploaded,) = answer.json()["file_upload_ids"]
        found = requests.get(f"{loop.server.url}/api/import/file-upload/{uploaded}", headers=headers, timeout=60).json()
        addresses.append(f"/data/{found['file']}")
    return addresses


def label(loop: ProjectDriver, tasks: dict[int, int]) -> None:
    """Two people label tasks rightly. `tasks`: {task: number of its text}."""
    rows = {row["id"]: row for row in loop.rows()}
    for person in loop.server.annotators(2):
        for task, number in tasks.items():
            person.submit(rows[task], "topic", "t", TOPICS[number % 2])


def test_a_project_of_uploaded_files_from_init_to_undo(commands: Commands, start: StartProject) -> None:
    loop = start([], config=CONFIG, adopted=False)
    addresses = upload(loop, list(range(COUNT)))
    loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"file": address} for address in addresses])
    before = loop.dump()
    assert commands.run(loop, "init").code == 0
    assert "without content" not in commands.run(loop, "status").out  # they are only not fetched yet
    tried = commands.run(loop, "sync", "--window", "10", "--dry-run")
    assert tried.code == 0, tried.said
    assert len(loop.state.linked()) == COUNT
    first = commands.run(loop, "sync", "--window", "10")
    assert first.code == 0, first.said
    number_of = {row["id"]: addresses.index(row["data"]["file"]) for row in loop.rows()}
    label(loop, dict(list(number_of.items())[:LABELLED]))

    synced = commands.run(loop, "sync", "--train", "always", "--prelabel", "new")
    assert synced.code == 0, synced.said
    assert "Left out" not in synced.out
    assert not_fine(loop) == {}
    shown = [row for row in loop.served() if row["result"]]
    right = [CONTROL.read(row["result"]).label == TOPICS[number_of[row["task"]] % 2] for row in shown]
    assert len(right) == COUNT - LABELLED
    assert sum(right) > 0.8 * len(right)
    tasks = [{"id": row["id"], "data": row["data"]} for row in loop.rows()[-3:]]
    body = {"tasks": tasks, "project": f"{loop.id}.17", "label_config": CONFIG}
    answers = requests.post(f"{loop.backend}/predict", json=body, timeout=30).json()["results"]
    assert all(entry["result"] for entry in answers)

    nothing = commands.run(loop, "sync", "--prelabel", "new")
    assert "nothing new since round 2" in nothing.out
    assert commands.run(loop, "report").code == 0
    (page,) = commands.folder.glob("*.html")
    assert "the trout and the" in page.read_text(encoding="utf-8")
    assert commands.run(loop, "export", "--out", str(commands.folder / "tasks.csv")).code == 0
    with (commands.folder / "tasks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["address"], row["text"]) for row in rows] == [(a, text(n)) for n, a in enumerate(addresses)]
    with pytest.raises(UsageError, match="has its texts in files"):
        read_corpus(loop.id, loop.gateway, Reporter(), media=commands.folder)
    undone = commands.run(loop, "undo")
    assert undone.code == 0, undone.said
    assert loop.state.linked() == {}
    assert loop.dump()["project"]["model_version"] == before["project"]["model_version"]


# What a task's file is, by the cause that is counted.
BROKEN: dict[str, tuple[str, Reply]] = {
    "404": ("/404.txt", Reply(b"Not here", 404)),
    "unreadable": ("/picture.txt", Reply(b"\x89PNG\0")),
    "too large": ("/long.txt", Reply(b"a" * 5_000_001)),
    "cut off": ("/cut.txt", Reply(b"Hel", how="cut")),
    "redirects": ("/loop.txt", redirect("/loop.txt")),
    "private address": ("http://127.0.0.2:1/a.txt", Reply()),
    "not allowed": ("{studio}/api/current-user/token", Reply()),
    "500": ("/data/upload/1/gone.txt", Reply()),
}


def test_every_file_that_cannot_be_read_is_counted_and_tried_again(commands: Commands, start: StartProject) -> None:
    config = CONFIG.replace(
        "</View>",
        '<Text name="u" value="$note"/><Choices name="mood" toName="u"><Choice value="good"/><Choice value="bad"/>'
        "</Choices></View>",
    )
    loop = start([], config=config, adopted=False)
    with closing(MediaServer()) as server:
        server.replies = {path: reply for path, reply in BROKEN.values() if path.startswith("/")}
        server.replies |= {"/0.txt": Reply(text(0).encode()), "/back.txt": [Reply(b"", 404), Reply(text(1).encode())]}
        paths = [*(path for path, _ in BROKEN.values()), "/0.txt", "/back.txt"]
        addresses = [
            path.format(studio=loop.server.url) if not path.startswith("/") or "upload" in path else server.url + path
            for path in paths
        ]
        rows = [{"file": address, "note": f"Note {number}"} for number, address in enumerate(addresses)]
        loop.call("POST", f"/api/projects/{loop.id}/import", json=rows)
        assert commands.run(loop, "init").code == 0
        refused = commands.run(loop, "sync")
        assert refused.code == 0, refused.said
        assert server.requests == []  # a private host
        allowed = f"127.0.0.1:{server.port}"
        synced = commands.run(loop, "sync", "--media-host", allowed)
        assert synced.code == 0, synced.said
        assert all("authorization" not in request.headers for request in server.requests)
        causes = [failure.cause for failure in loop.state.media_failures().values()]
        assert sorted(causes) == sorted([*BROKEN, "404"])
        assert len(loop.window) == len(rows)  # of each task, the other question can be asked
        doctor = commands.run(loop, "doctor", "--json", "--media-host", allowed)
        (media,) = [check for check in json.loads(doctor.out)["checks"] if check["check"] == "media"]
        assert media["level"] == "warning"
        assert f"{len(BROKEN)} of {len(rows)} texts that were tried now failed" in media["cause"]
        assert "Import texts in UTF-8" in media["remedy"]
        assert "PNG" not in media["remedy"]

        loop.state.store_media({}, list(loop.state.media_failures()))  # as if an hour had passed
        again = commands.run(loop, "sync", "--media-host", allowed, "--train", "always")
        assert again.code == 0, again.said
        assert len(loop.state.media_failures()) == len(BROKEN)
        assert sorted(loop.state.linked_texts(loop.state.linked()).values()) == [text(0), text(1)]
