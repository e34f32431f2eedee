"""Texts in files, on a real Label Studio: from init to undo, and every way in which a text cannot be read."""

from __future__ import annotations

import csv
import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from support.command_runner import Commands
from support.doctor_helpers import not_fine
from support.media_server import MediaServer, Reply
from support.project_driver import ProjectDriver, StartProject

from connector.annotations.label_config import find_control

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


def test_a_project_of_uploaded_files_from_init_to_undo(commands: Commands, start: StartProject) -> None:
    loop = start([], config=CONFIG, adopted=False)
    addresses = upload(loop, list(range(COUNT)))
    print(addresses[:3])
    loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"file": address} for address in addresses])
    before = loop.dump()
    assert commands.run(loop, "init").code == 0
    first = commands.run(loop, "sync", "--window", "10")
    assert first.code == 0, first.said
    print(first.out)
    rows = loop.rows()
    number_of = {row["id"]: addresses.index(row["data"]["file"]) for row in rows}
    for person in loop.server.annotators(2):
        for row in rows[:LABELLED]:
            person.submit(row, "topic", "t", TOPICS[number_of[row["id"]] % 2])
    synced = commands.run(loop, "sync", "--train", "always", "--prelabel", "new")
    assert synced.code == 0, synced.said
    print(synced.out)
    assert "Left out" not in synced.out
    assert not_fine(loop) == {}
    shown = [row for row in loop.served() if row["result"]]
    right = [CONTROL.read(row["result"]).label == TOPICS[number_of[row["task"]] % 2] for row in shown]
    assert len(right) == COUNT - LABELLED
    assert sum(right) > 0.8 * len(right)
