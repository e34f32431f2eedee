"""A team that labels without a rest while `connector sync` publishes large windows one after another."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.connector_commands import start_connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

from connector.demo.people import Person
from connector.errors import ConnectorError
from connector.queue.versions import published_at

TEXTS, TIMES = 300, 10  # 3,000 tasks; the ML backend embeds a text once
WINDOW = 1000
SECONDS = 120
PAUSE = 1.0  # the mean of what a person needs for an answer; nobody needs the same time for each, in step with another
BETWEEN_SYNCS = 3.0
ASK_AGAIN = 0.5  # after which a person who was told that there is no task presses the button again


pytestmark = pytest.mark.nightly  # by day test_label_studio_on_postgresql.py has people label while syncs publish


@dataclass
class Window:
    """One that a sync published: its tasks, and the seconds between which it may have begun to be served."""

    tasks: frozenset[int]
    earliest: float
    latest: float


@dataclass
class Record:
    """What happened, told by many threads; times are `time.time()`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    holders: dict[int, set[str]] = field(default_factory=dict)
    served: list[tuple[int, float, float]] = field(default_factory=list)  # task, asked, answered
    labelled: list[int] = field(default_factory=list)  # places in `served`
    errors: list[str] = field(default_factory=list)
    had_labelled: int = 0
    held_by_two: list[tuple[float, str]] = field(default_factory=list)  # when, and by whom
    no_task: list[float] = field(default_factory=list)
    slowest: Counter[str] = field(default_factory=Counter)  # milliseconds

    @contextmanager
    def timed(self, call: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        with self.lock:
            self.slowest[call] = max(self.slowest[call], round(1000 * (time.monotonic() - began)))

    def serve(self, person: str, task: int, asked: float, done: set[int]) -> int:
        with self.lock:
            self.had_labelled += task in done
            holders = self.holders.setdefault(task, set())
            holders.add(person)
            if len(holders) > 1:
                self.held_by_two.append((round(time.time() % 1000, 1), " ".join(sorted(holders))))
            self.served.append((task, asked, time.time()))
            return len(self.served) - 1

    def answer(self, person: str, task: int, place: int) -> None:
        with self.lock:
            self.holders[task].discard(person)
            self.labelled.append(place)


def label_on(loop: ProjectDriver, person: Person, record: Record, over: threading.Event) -> None:
    """One annotator: the button, a second's thought, Submit; wrong one time in ten."""
    chance = random.Random(person.email)
    done: set[int] = set()
    over.wait(PAUSE * chance.random())
    while not over.is_set():
        try:
            asked = time.time()
            with record.timed("next task"):
                task = person.next_task(loop.id)
            if task is None:
                with record.lock:
                    record.no_task.append(asked)
                over.wait(ASK_AGAIN)
                continue
            place = record.serve(person.email, task["id"], asked, done)
            over.wait(PAUSE * chance.uniform(0.5, 1.5))
            rude = "Fix section" in task["data"]["text"]
            label = "Impolite" if rude != (chance.random() < 0.1) else "Polite"
            with record.timed("submit"):
                person.submit(task, "politeness", "text", label, lead_time_s=PAUSE)
            done.add(task["id"])
            record.answer(person.email, task["id"], place)
        except (ConnectorError, OSError) as error:
            with record.lock:
                record.errors.append(str(error))


def sync(loop: ProjectDriver, windows: list[Window]) -> subprocess.CompletedProcess[str]:
    """One run of the real command, as cron starts it.

    In a process of its own: in one of this process's threads its numbers would hold up the annotators' threads.
    """
    process = start_connector(loop, "sync", "--project", str(loop.id), "--window", str(WINDOW), "--json")
    out, errors = process.communicate(timeout=300)
    done = subprocess.CompletedProcess(process.args, process.returncode, out, errors)
    version = loop.state.record().queue_version
    made = published_at(version)
    if made is not None and (not windows or made.timestamp() > windows[-1].earliest):
        windows.append(Window(frozenset(loop.window), made.timestamp(), time.time()))
    return done


def in_a_window(windows: list[Window], task: int, asked: float, answered: float) -> bool:
    """Whether the task was in a window that may have been the current one between the question and the answer."""
    ends = [after.latest for after in windows[1:]] + [float("inf")]
    return any(
        task in window.tasks and window.earliest <= answered and asked <= end
        for window, end in zip(windows, ends, strict=True)
    )


@pytest.mark.parametrize(
    ("label_studio", "annotators", "held_by_two_at_most"),
    # On SQLite, Label Studio by itself gives one task to two people who ask at once: 9 of 198 for 3 people at this pace
    # without any sync (docs/label-studio.md). There it is counted and told: no sync could answer for it.
    [
        ("sqlite", 3, 1.0),
        pytest.param("postgresql", 20, 0.02, marks=pytest.mark.postgresql),
    ],
    indirect=["label_studio"],
    ids=["sqlite", "postgresql"],
)
def test_a_team_labels_while_windows_are_published(
    start: StartProject, people: Annotators, annotators: int, held_by_two_at_most: float
) -> None:
    loop = start(texts(TEXTS) * TIMES)
    team = people(annotators)
    windows: list[Window] = []
    first = sync(loop, windows)
    assert first.returncode == 0, first.stderr
    record, over = Record(), threading.Event()
    syncs: list[subprocess.CompletedProcess[str]] = []
    seconds: list[float] = []
    began = time.monotonic()
    with ThreadPoolExecutor(annotators) as pool:
        working = [pool.submit(label_on, loop, person, record, over) for person in team]
        try:
            while time.monotonic() < began + SECONDS:
                at = time.monotonic()
                syncs.append(sync(loop, windows))
                seconds.append(time.monotonic() - at)
                over.wait(BETWEEN_SYNCS)
        finally:
            over.set()
            for one in working:
                one.result()

    labels = [record.served[place] for place in record.labelled]
    inside = sum(in_a_window(windows, *one) for one in labels)
    summaries = [json.loads(done.stdout) for done in syncs if done.returncode == 0]
    told: dict[str, Any] = {
        "database": loop.server.database,
        "annotators": annotators,
        "labels": len(labels),
        "tasks served": len(record.served),
        "errors": len(record.errors),
        "syncs": len(syncs),
        "windows published": len(windows),
        "trainings": sum(one["trained"] for one in summaries),
        "seconds a sync": [round(min(seconds), 1), round(max(seconds), 1)],
        "seconds to publish": [one["seconds"].get("publish") for one in summaries],
        "second opinions": [one["window"]["relabel"] for one in summaries],
        "waits of syncs": sum(done.stderr.count("trying again") for done in syncs),
        "given a task that they had labelled": record.had_labelled,
        "labels on tasks of a window": f"{inside / len(labels):.1%}",
        "tasks held by two at once": f"{len(record.held_by_two)} ({len(record.held_by_two) / len(record.served):.1%})",
        "when and by whom": record.held_by_two,
        "answers that there is no task": len(record.no_task),
        "slowest calls, ms": dict(record.slowest),
    }
    print(json.dumps(told, indent=2))
    assert record.errors == []
    assert [(done.returncode, done.stderr) for done in syncs if done.returncode] == []
    assert len(windows) > 2  # the window has changed under people's hands
    assert record.had_labelled == 0
    assert inside >= 0.95 * len(labels)
    assert len(record.no_task) < 0.02 * len(record.served)
    assert len(record.held_by_two) < held_by_two_at_most * len(record.served)
    counted = loop.project()
    assert counted["total_annotations_number"] == len(labels)
    assert (
        counted["task_number"] - counted["num_tasks_with_annotations"] > WINDOW
    )  # there was always a task to be given
