"""Images in a project on a real Label Studio: from init to undo, and every address that a task may name."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from typing import Any

import pytest
import requests
from pydantic import SecretStr
from support.command_runner import Commands
from support.doctor_helpers import not_fine
from support.drawn_images import KINDS, png
from support.media_server import MediaServer, Reply, redirect
from support.project_driver import ProjectDriver, StartProject, personal_access_token
from support.uploaded_images import number_of, upload

from connector.annotations.label_config import find_control
from connector.backend import Backend
from connector.errors import TryAgainLater
from ml_backend.features.images import check_image
from ml_backend.media import TaskMedia
from ml_backend.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")
CONFIG = (
    '<View><Image name="i" value="$image"/><Choices name="shape" toName="i">'
    '<Choice value="circle"/><Choice value="square"/></Choices></View>'
)
CONTROL = find_control(CONFIG)
COUNT, LABELLED = 40, 24


def label(loop: ProjectDriver, rows: list[dict[str, Any]]) -> None:
    """Two people label tasks: one right, the other mostly."""
    for person in loop.server.annotators(2):
        for row in rows:
            number = number_of(row["data"]["image"])
            kind = KINDS[(number + (person is not None and number % 11 == 3)) % 2]
            person.submit(row, "shape", "i", kind)


def test_a_project_of_uploaded_images_from_init_to_undo(commands: Commands, start: StartProject) -> None:
    loop = start([], config=CONFIG, adopted=False)
    upload(loop, list(range(COUNT)))
    before = loop.dump()
    assert commands.run(loop, "init").code == 0
    first = commands.run(loop, "sync", "--window", "10")
    assert first.code == 0, first.said
    assert len(loop.window) >= 10
    rows = loop.rows()
    label(loop, rows[:LABELLED])

    synced = commands.run(loop, "sync", "--train", "always", "--prelabel", "new")
    assert synced.code == 0, synced.said
    assert "Left out" not in synced.out
    assert not_fine(loop) == {}
    shown = [row for row in loop.served() if row["result"]]
    by_id = {row["id"]: number_of(row["data"]["image"]) for row in rows}
    right = [CONTROL.read(row["result"]).label == KINDS[by_id[row["task"]] % 2] for row in shown]
    assert len(right) == COUNT - LABELLED
    assert sum(right) > 0.8 * len(right)
    tasks = [{"id": row["id"], "data": row["data"]} for row in rows[-3:]]
    body = {"tasks": tasks, "project": f"{loop.id}.17", "label_config": CONFIG}
    answers = requests.post(f"{loop.backend}/predict", json=body, timeout=30).json()["results"]
    assert all(entry["result"] for entry in answers)

    nothing = commands.run(loop, "sync", "--prelabel", "new")
    assert nothing.code == 0
    assert "nothing new since round 2" in nothing.out
    assert commands.run(loop, "report").code == 0
    (page,) = commands.folder.glob("*.html")
    html = page.read_text(encoding="utf-8")
    assert html.count('<img class="thumbnail" src="data:image/') >= COUNT - LABELLED
    out = commands.folder / "out.jsonl"
    assert commands.run(loop, "export", "--out", str(out)).code == 0
    exported = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in exported] == [row["data"]["image"] for row in rows]
    assert commands.run(loop, "undo").code == 0
    assert loop.dump()["project"]["model_version"] == before["project"]["model_version"]
    assert loop.predictions() == []


def test_every_address_that_is_not_in_a_storage_is_fetched(commands: Commands, start: StartProject) -> None:
    loop = start([], config=CONFIG, adopted=False)
    upload(loop, [0])
    (uploaded,) = [row["data"]["image"] for row in loop.rows()]
    inside = "data:image/png;base64," + base64.b64encode(png(1)).decode()
    with closing(MediaServer()) as media_server:
        media_server.replies["/2.png"] = Reply(png(2))
        elsewhere = f"http://127.0.0.1:{media_server.port}/2.png"
        addresses = [inside, f"{loop.server.url}{uploaded}", elsewhere, "/data/upload/1/gone.png"]
        loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"data": {"image": one}} for one in addresses])
        assert commands.run(loop, "init").code == 0
        dry = commands.run(loop, "sync", "--dry-run")
        assert "Left out: 2 tasks without an image:" in dry.out
        assert loop.state.media_failures() == {}  # a dry run leaves no trace
        refused = commands.run(loop, "sync")
        assert refused.code == 0, refused.said
        assert "Left out: 2 tasks without an image:" in refused.out
        assert media_server.requests == []
        doctor = commands.run(loop, "doctor")
        assert "private address" in doctor.out
        assert "name it with --media-host" in doctor.out
        causes = {failure.cause for failure in loop.state.media_failures().values()}
        assert causes == {"private address", "500"}  # Label Studio has no better answer to a lost upload
        allowed = commands.run(loop, "sync", "--media-host", "127.0.0.1")
        assert "Left out: 1 task without an image:" in allowed.out
        assert media_server.paths == ["/2.png"]
        assert "authorization" not in media_server.requests[0].headers
        tried = commands.run(loop, "doctor", "--media-host", "127.0.0.1")
        assert "1 of 5 images that were tried now failed" in tried.out


@pytest.mark.parametrize("kind", ["legacy", "personal"])
def test_both_kinds_of_tokens_fetch(commands: Commands, start: StartProject, kind: str) -> None:
    loop = start([], config=CONFIG, adopted=False)
    upload(loop, [0, 1])
    token = loop.server.token if kind == "legacy" else personal_access_token(loop.server)
    assert commands.run(loop, "init", LABEL_STUDIO_API_KEY=token).code == 0
    synced = commands.run(loop, "sync", LABEL_STUDIO_API_KEY=token)
    assert synced.code == 0, synced.said
    assert "Left out" not in synced.out

    upload(loop, [2])
    (new,) = [row for row in loop.rows() if number_of(row["data"]["image"]) == 2]
    settings = Settings(label_studio_url=loop.server.url, label_studio_api_key=SecretStr(token))
    copies = TaskMedia(settings)(
        "image", {5: (new["id"], [new["data"]["image"]]), 6: (new["id"], ["/data/upload/0/gone.png"])}
    )
    assert list(copies) == [5]
    assert check_image(copies[5]) == ""


def bomb() -> bytes:
    """A PNG of a few kB that says it has 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def everything(loop: ProjectDriver) -> dict[str, Any]:
    """The query for all tasks of a large project."""
    return {"project": loop.id, "fields": "all", "page_size": 2 * MANY, "resolve_uri": "false"}


# How images can be broken, by the cause that is counted.
BROKEN: dict[str, tuple[str, Reply]] = {
    "401": ("/401.png", Reply(b"", 401)),
    "403": ("/403.png", Reply(b"", 403)),
    "404": ("/404.png", Reply(b"", 404)),
    "503": ("/503.png", Reply(b"", 503)),
    "unreadable": ("/page.jpg", Reply(b"<html>Sign in</html>", headers={"Content-Type": "image/jpeg"})),
    "too large": ("/bomb.png", Reply(bomb())),
    "cut off": ("/cut.png", Reply(png(1)[:300], how="cut")),
    "redirects": ("/loop.png", redirect("/loop.png")),
    "private address": ("http://127.0.0.2:1/a.png", Reply()),
    "not allowed": ("file:///etc/passwd", Reply()),
}
MANY, OF_EACH = 1_000, 5


@pytest.mark.nightly
def test_a_thousand_images_of_which_fifty_are_broken_in_ten_ways(
    commands: Commands, start: StartProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = start([], config=CONFIG, adopted=False)
    with closing(MediaServer()) as server:
        for path, reply in BROKEN.values():
            server.replies[path] = reply
        good = [f"/good/{number}.png" for number in range(MANY - OF_EACH * len(BROKEN))]
        for number, path in enumerate(good):
            server.replies[path] = Reply(png(number % 20))  # embedded once each
        # Apart from each other: after five failures in a row, the other images of a host would not be tried.
        paths, between = iter(good), MANY // (OF_EACH * len(BROKEN)) - 1
        mixed = [
            path for _ in range(OF_EACH) for broken, _ in BROKEN.values() for path in (broken, *islice(paths, between))
        ]
        addresses = [
            f"{server.url}{path}?{number}" if path.startswith("/") else f"{path}#{number}"
            for number, path in enumerate(mixed)
        ]
        loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"data": {"image": one}} for one in addresses])
        assert commands.run(loop, "init").code == 0
        hosts = ("--media-host", f"127.0.0.1:{server.port}")

        sent: list[int] = []
        send = Backend.send_media

        def fail_at_the_third(self: Backend, project: str, media: Mapping[str, bytes]) -> list[str]:
            sent.append(len(media))
            if len(sent) == 3:
                raise TryAgainLater("The ML backend was stopped.")
            return send(self, project, media)

        with monkeypatch.context() as patched:
            patched.setattr(Backend, "send_media", fail_at_the_third)
            assert commands.run(loop, "sync", *hosts).code == 3
        asked_before = len(server.requests)
        again = commands.run(loop, "sync", *hosts)
        assert again.code == 0, again.said
        kept = sum(sent[:2])
        assert kept >= 200
        fetched_again = [path for path, times in Counter(server.paths).items() if "good" in path and times > 1]
        assert len(fetched_again) < asked_before - kept + 1  # what had been brought was not fetched again
        assert f"Left out: {OF_EACH * len(BROKEN)} tasks without an image:" in again.out
        causes = Counter(failure.cause for failure in loop.state.media_failures().values())
        assert causes == dict.fromkeys(BROKEN, OF_EACH)
        assert all("authorization" not in request.headers for request in server.requests)

        nothing = commands.run(loop, "sync", *hosts)
        assert "nothing new" in nothing.out
        found = commands.run(loop, "doctor", "--json", *hosts)
        (media,) = [check for check in json.loads(found.out)["checks"] if check["check"] == "media"]
        assert media["level"] == "warning"
        assert f"{OF_EACH * len(BROKEN)} tasks" in media["cause"] or "failed at the last sync" in media["cause"]
        rows = loop.call("GET", "/api/tasks", params=everything(loop))["tasks"]
        whole = {row["id"] for row in rows if "good" in row["data"]["image"]}
        assert set(loop.window) <= whole
