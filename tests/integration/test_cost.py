"""`connector sync --cost time` on a real Label Studio: what is worth most per expected second is served first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.connector_commands import connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

# The speed of each annotator. The first of the tasks is an hour's pause.
SPEEDS = (0.5, 1.0, 2.0)
ANSWERED, ALL = 36, "80"
SHORT_S, LONG_S = 4.0, 40.0
FILLER = " I have read all that was written on this page before, and I will read it again on another day." * 5


def run(loop: ProjectDriver, command: str, *options: str) -> str:
    done = connector(loop, command, "--project", str(loop.id), *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def scores(loop: ProjectDriver, folder: Path) -> dict[int, float]:
    out = folder / "labels.jsonl"
    run(loop, "export", "--out", str(out))
    rows: list[dict[str, Any]] = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return {row["task_id"]: row["score"] for row in rows}


def test_long_texts_come_later_although_their_scores_are_lower(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    words = texts(60)
    loop = start([text + FILLER * (number % 4 > 1) for number, text in enumerate(words)])
    long = set(loop.tasks[2::4]) | set(loop.tasks[3::4])
    team = people(3)
    for number, task in enumerate(loop.tasks[:ANSWERED]):
        seconds = 3600.0 if not number else (LONG_S if task in long else SHORT_S) * SPEEDS[number % 3]
        label = "Impolite" if number % 2 else "Polite"
        team[number % 3].submit({"id": task}, "politeness", "text", label, lead_time_s=seconds)

    options = ("--strategy", "activelab", "--window", ALL)
    assert "weighs time" not in run(loop, "sync", *options)
    assert "Order" not in run(loop, "status")
    by_label, before = loop.window, scores(loop, tmp_path)
    new = [task for task in by_label if task not in loop.tasks[:ANSWERED]]
    assert len(new) == 60 - ANSWERED
    assert new == sorted(new, key=lambda task: (before[task], task))

    said = run(loop, "sync", *options, "--cost", "time")
    assert "Published" in said
    assert "The order weighs time: an answer takes 3.9 to 41 s, by the length of the text." in said
    by_time = [task for task in loop.window if task not in loop.tasks[:ANSWERED]]
    assert scores(loop, tmp_path) == before
    assert sorted(by_time) == sorted(new)
    assert [task in long for task in by_time] == sorted(task in long for task in new)
    moved = [(first, other) for first in by_time for other in long if before[other] < before[first]]
    assert any(by_time.index(first) < by_time.index(other) for first, other in moved if other in by_time)
    loop.assert_published()
    assert loop.give(team[0]) == next(task for task in loop.window if task not in loop.tasks[:ANSWERED:3])

    status = json.loads(run(loop, "status", "--json"))
    assert (status["cost"]["ignored"], status["cost"]["answers"]) == ("", ANSWERED)
    assert "  Order       weighs time: an answer takes 3.9 to 41 s, by the length of the text\n" in run(loop, "status")
    idle = run(loop, "sync", *options, "--cost", "time")
    assert "nothing new" in idle
    assert "The order weighs time" in idle

    random = run(loop, "sync", "--strategy", "random-new", "--cost", "time")
    assert "The order does not weigh time: the scores of this strategy do not say what an answer is worth." in random
    run(loop, "sync", *options)
    assert loop.window == by_label
    assert json.loads(run(loop, "status", "--json"))["cost"] is None
