"""Recordings in a project on a real Label Studio: from init to undo, with some that cannot be used."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import requests
from support.command_runner import Commands
from support.doctor_helpers import not_fine
from support.drawn_images import KINDS as SHAPES
from support.drawn_images import png
from support.made_recordings import KINDS, as_bytes, make
from support.project_driver import ProjectDriver, StartProject

from connector.annotations.label_config import find_control, find_questions

pytestmark = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")
# A form as people have it: regions of speech, and a question about the whole recording.
CONFIG = (
    '<View><Labels name="parts" toName="a"><Label value="Speech"/><Label value="Music"/></Labels>'
    '<Audio name="a" value="$audio"/><Choices name="kind" toName="a">'
    '<Choice value="tone"/><Choice value="noise"/><Choice value="chirp"/></Choices></View>'
)
CONTROL = find_control(CONFIG)
COUNT, LABELLED = 42, 24
FORMS = {"wav": "WAV", "flac": "FLAC", "mp3": "MP3", "ogg": "OGG"}


def ending(number: int) -> str:
    return list(FORMS)[number % len(FORMS)]


def recording(number: int) -> bytes:
    return as_bytes(make(number, rate=22_050), FORMS[ending(number)], rate=22_050)


def upload(loop: ProjectDriver, files: dict[str, bytes]) -> None:
    """Uploads files as a person does. Each becomes a task."""
    parts = [(name, (name, content, "application/octet-stream")) for name, content in files.items()]
    headers = {"Authorization": f"Token {loop.server.token}"}
    answer = requests.post(f"{loop.server.url}/api/projects/{loop.id}/import", files=parts, headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text


def number_of(row: dict[str, Any]) -> int:
    """The number of the recording of a task."""
    return int(Path(row["data"]["audio"]).stem.rpartition("-")[2])


def label(loop: ProjectDriver, rows: list[dict[str, Any]]) -> None:
    """Two people label tasks: one right, the other mostly."""
    for place, person in enumerate(loop.server.annotators(2)):
        for row in rows:
            wrong = place and number_of(row) % 11 == 3
            person.submit(row, "kind", "a", KINDS[(number_of(row) + wrong) % 3])


def test_a_project_of_uploaded_recordings_from_init_to_undo(commands: Commands, start: StartProject) -> None:
    loop = start([], config=CONFIG, adopted=False)
    upload(loop, {f"{number}.{ending(number)}": recording(number) for number in range(COUNT)})
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
    doctor = commands.run(loop, "doctor")
    assert f"20 recordings of {COUNT} tasks tried: all can be fetched." in doctor.out
    shown = [row for row in loop.served() if row["result"]]
    by_id = {row["id"]: number_of(row) for row in rows}
    right = [CONTROL.read(row["result"]).label == KINDS[by_id[row["task"]] % 3] for row in shown]
    assert len(right) == COUNT - LABELLED
    assert sum(right) > 0.7 * len(right)
    inside = "data:audio/wav;base64," + base64.b64encode(as_bytes(make(100))).decode()
    tasks = [{"id": row["id"], "data": row["data"]} for row in rows[-3:]] + [{"id": 0, "data": {"audio": inside}}]
    body = {"tasks": tasks, "project": f"{loop.id}.17", "label_config": CONFIG}
    answers = requests.post(f"{loop.backend}/predict", json=body, timeout=30).json()["results"]
    assert all(entry["result"] for entry in answers)

    nothing = commands.run(loop, "sync", "--prelabel", "new")
    assert nothing.code == 0
    assert "nothing new since round 2" in nothing.out
    assert commands.run(loop, "status").code == 0
    assert commands.run(loop, "report").code == 0
    (page,) = commands.folder.glob("*.html")
    html = page.read_text(encoding="utf-8")
    assert html.count('<img class="thumbnail" src="data:image/svg+xml;base64,') >= COUNT - LABELLED
    assert "Waveform of task" in html
    out = commands.folder / "out.jsonl"
    assert commands.run(loop, "export", "--out", str(out)).code == 0
    exported = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in exported] == [row["data"]["audio"] for row in rows]
    folder = commands.folder / "dataset"
    written = commands.run(loop, "export", "--out", str(folder), "--format", "datasets", "--media")
    assert written.code == 0, written.said
    table = datasets.load_from_disk(str(folder))
    assert table.features["audio"] == datasets.Audio(sampling_rate=16_000, decode=False)
    assert table["text"] == [row["data"]["audio"] for row in rows]
    assert all(entry["bytes"].startswith(b"fLaC") for entry in table["audio"])
    refused = commands.run(loop, "export", "--out", str(out), "--media")
    assert refused.code == 2
    assert "--media needs --format datasets. jsonl has the addresses" in refused.err
    assert commands.run(loop, "undo").code == 0
    assert loop.dump()["project"]["model_version"] == before["project"]["model_version"]
    assert loop.predictions() == []


def test_recordings_that_cannot_be_used_are_left_out_with_their_causes(commands: Commands, start: StartProject) -> None:
    loop = start([], config=CONFIG, adopted=False)
    film = b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(500)
    upload(loop, {"0.wav": recording(0), "page.wav": b"<html>Sign in</html>", "film.m4a": film, "1.mp3": png(1)})
    inside = "data:audio/mpeg;base64," + base64.b64encode(as_bytes(make(1), "MP3")).decode()
    addresses = [inside, "/data/upload/1/gone.wav", "http://127.0.0.1:1/a.wav", "not an address"]
    loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"data": {"audio": one}} for one in addresses])
    assert commands.run(loop, "init").code == 0
    synced = commands.run(loop, "sync")
    assert synced.code == 0, synced.said
    assert "Left out: 6 tasks without a recording:" in synced.out
    assert "its recording is no recording that can be read: it is an HTML page" in synced.out
    causes = sorted(failure.cause for failure in loop.state.media_failures().values())
    assert causes == ["500", "not allowed", "private address", "unreadable", "unreadable", "unreadable"]
    assert len(loop.window) == 2
    doctor = commands.run(loop, "doctor")
    assert "6 of 8 recordings that were tried now failed" in doctor.out
    assert "Import recordings as WAV, FLAC, MP3 or OGG" in doctor.out


BOTH = (
    '<View><Image name="i" value="$image"/><Audio name="a" value="$audio"/>'
    '<Choices name="shape" toName="i"><Choice value="circle"/><Choice value="square"/></Choices>'
    '<Choices name="kind" toName="a"><Choice value="tone"/><Choice value="noise"/></Choices></View>'
)


def inside(content: bytes, kind: str) -> str:
    """An address that holds a file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_a_form_may_ask_about_an_image_and_a_recording(commands: Commands, start: StartProject) -> None:
    questions, made = find_questions(BOTH), []
    for number in range(12):
        labels = {"shape": SHAPES[number % 2], "kind": KINDS[number % 2]}
        sound = as_bytes(make(number, labels["kind"]))
        data = {"image": inside(png(number), "image/png"), "audio": inside(sound, "audio/wav")}
        result = questions.result(questions.joint(labels))
        made.append({"data": data, "annotations": [{"result": result, "ground_truth": False}] if number < 10 else []})
    made[-1]["data"]["audio"] = inside(b"<html>", "audio/wav")
    made[-2]["data"]["image"] = inside(b"<html>", "image/png")
    loop = start(made, config=BOTH, adopted=False)
    assert commands.run(loop, "init").code == 0
    synced = commands.run(loop, "sync", "--train", "always", "--prelabel", "new")
    assert synced.code == 0, synced.said
    failed = sorted(failure.problem for failure in loop.state.media_failures().values())
    assert [problem.split()[1] for problem in failed] == ["image", "recording"]
    assert "Left out: a part of 2 tasks: " in synced.out
    body = {"tasks": [{"id": 0, "data": made[0]["data"]}], "project": f"{loop.id}.17", "label_config": BOTH}
    (answer,) = requests.post(f"{loop.backend}/predict", json=body, timeout=30).json()["results"]
    assert [region["from_name"] for region in answer["result"]] == ["shape", "kind"]
    folder = commands.folder / "both"
    written = commands.run(loop, "export", "--out", str(folder), "--format", "datasets", "--media")
    assert written.code == 0, written.said
    assert "2 media could not be fetched." in written.out
    table = datasets.load_from_disk(str(folder))
    assert [entry is None for entry in table["audio"]] == [False] * 11 + [True]
    assert [entry is None for entry in table["image"]] == [False] * 10 + [True, False]


def test_each_of_two_images_has_a_column_in_an_export(commands: Commands, start: StartProject) -> None:
    config = (
        '<View><Image name="i" value="$image"/><Image name="j" value="$other"/>'
        '<Choices name="shape" toName="i"><Choice value="C"/><Choice value="D"/></Choices>'
        '<Choices name="size" toName="i"><Choice value="S"/><Choice value="L"/></Choices>'
        '<Choices name="mood" toName="j"><Choice value="A"/><Choice value="B"/></Choices></View>'
    )
    made = [
        {"data": {"image": inside(png(number), "image/png"), "other": inside(png(number + 9), "image/png")}}
        for number in range(3)
    ]
    made[2]["data"]["other"] = inside(b"<html>", "image/png")
    loop = start(made, config=config, adopted=False)
    assert commands.run(loop, "init").code == 0
    assert "Left out: a part of 1 task: " in commands.run(loop, "sync").out
    folder = commands.folder / "two"
    written = commands.run(loop, "export", "--out", str(folder), "--format", "datasets", "--media")
    assert "1 medium could not be fetched." in written.out, written.said
    table = datasets.load_from_disk(str(folder))
    assert [name for name in table.features if name.endswith("image")] == ["shape.image", "mood.image"]
    assert [entry is None for entry in table["mood.image"]] == [False, False, True]
    assert table[0]["shape.image"].tobytes() != table[0]["mood.image"].tobytes()
