"""A sync that has every kind of call to make, a fault at any of them, and what the next sync has to leave.

Every case begins with Label Studio and the state database as one history left them, and is compared with a run from
there without a fault.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.backend import Backend
from connector.demo.people import Person
from connector.errors import TryAgainLater
from connector.label_studio.client import LabelStudio as Gateway
from connector.queue.versions import KEEP_WINDOWS, VERSION_PREFIX, expired, our_versions
from connector.retry import Retries
from support.connector_commands import start_connector
from support.fault_proxy import (
    KILL_AFTER,
    KILL_BEFORE,
    FaultyProxy,
    Snapshot,
    call_to_backend,
    call_to_label_studio,
)
from support.project_driver import ProjectDriver, new, personal_access_token, projects_under_our_queue, second, texts

if TYPE_CHECKING:
    from support.label_studio_server import Annotators, LabelStudio, MakeProject


# The SDK's own, when it exchanges a personal access token.
sdk_warning = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")

WINDOW = 6
OPTIONS: dict[str, Any] = {"window": WINDOW, "train": "never"}  # the model stays as it is from case to case

# Each kind of call, and how many of them the sync makes.
READS = {"exchange token": 1, "read project": 4, "read versions": 1, "read tasks": 2, "count tasks": 1, "read tabs": 1}
WRITES = {
    "restore settings": 1,
    "import window": 1,
    "open task": 3,
    "flip": 1,
    "close task": 3,
    "delete version": 3,
    "change tab": 1,
}
# What no sync fails for.
DISPENSABLE = {"read tabs", "change tab"}
CALLS = READS | WRITES


def by_day(chosen: bool) -> tuple[pytest.MarkDecorator, ...]:
    """The marks of a case: what `make test` has not `chosen` is in the whole matrix of faults only."""
    return () if chosen else (pytest.mark.faults_full,)


def places(count: int) -> dict[str, int]:
    """The first, a middle and the last of so many calls, where they differ."""
    if count < 2:
        return {"only": 1} if count else {}
    return {"first": 1, "last": 2} if count == 2 else {"first": 1, "middle": (count + 1) // 2, "last": count}


@dataclass
class Probes:
    """People who press the button, in turn, and hold what they are given."""

    loop: ProjectDriver
    people: list[Person]
    asked: int = 0
    held: set[int] = field(default_factory=set)
    unserved: list[str] = field(default_factory=list)

    def ask(self, moment: str) -> None:
        person = self.people[self.asked % len(self.people)]
        self.asked += 1
        try:
            task = self.loop.give(person)
        except Exception as error:  # in the proxy's thread nobody would hear of it
            self.unserved.append(f"{moment}: {error!r}")
            return
        if task is None:
            self.unserved.append(moment)
        else:
            self.held.add(task)


@dataclass
class Stage:
    """A project and its history, whose sync is to fail, and what that sync leaves when it does not."""

    loop: ProjectDriver
    options: dict[str, Any]
    label_studio: FaultyProxy
    backend: FaultyProxy
    snapshot: Snapshot
    people: list[Person]
    fresh: list[Person]
    wanted: dict[str, Any] = field(default_factory=dict)

    def begin(self, *, probed: bool = False) -> Probes:
        """Brings the history back; people ask when a fault hits a call, then when each kind of write has begun.

        Where it is `probed`, they ask at every call.
        """
        self.snapshot.restore()
        probes = Probes(self.loop, self.people)
        asked: set[str] = set()

        def around(kind: str, hit: bool) -> None:
            if probed or hit or (probes.asked and kind in WRITES and kind not in asked):
                asked.add(kind)
                probes.ask(kind)

        for proxy in (self.label_studio, self.backend):
            proxy.mend()
            proxy.around = around
        return probes

    def sync(self, *, patient: bool = True, **options: Any) -> dict[str, Any]:
        """One sync by clients of its own, so the token is exchanged anew; not `patient`: without a second attempt."""
        retries = Retries(sleep=lambda seconds: None) if patient else Retries(0)
        gateway = Gateway(self.label_studio.url, self.loop.server.token, retries=retries)
        backend = Backend(self.backend.url, retries=retries)
        try:
            return self.loop.sync(gateway, backend, **{**self.options, **options})
        finally:
            gateway.close()
            backend.close()

    def fail(self, proxy: FaultyProxy, kind: str, number: int, fault: str) -> None:
        """A sync that the fault ends at that call; a kill is done to the real command."""
        proxy.fault({(kind, number): fault}, outage=True)
        if fault in (KILL_BEFORE, KILL_AFTER):
            killed = self._start(proxy)
            try:
                _, errors = killed.communicate(timeout=120)
            finally:
                killed.kill()
            assert killed.returncode == -signal.SIGKILL, errors
        else:
            with pytest.raises(TryAgainLater):
                self.sync(patient=False)
        assert proxy.hit[0] == (kind, number)
        proxy.mend()

    def _start(self, proxy: FaultyProxy) -> subprocess.Popen[str]:
        """Starts the real command, which `proxy` may kill."""
        options = [f"--{name}={value}" for name, value in self.options.items()]
        process = start_connector(self.loop, "sync", "--project", str(self.loop.id), *options)

        def kill() -> None:
            process.kill()
            process.wait(30)

        proxy.kill = kill
        return process

    def outcome(self) -> dict[str, Any]:
        """What must not depend on a fault."""
        project, rows, state = self.loop.project(), self.loop.rows(), self.loop.state
        known = state.record()
        assert project["model_version"] == known.queue_version
        served = [row for task in rows for row in task["predictions"] if row["model_version"] == known.queue_version]
        return {
            "order": sorted((row["score"], row["task"], str(row["result"])) for row in served),
            "complete": len(served) == known.queue_size,
            "flags": {task["id"]: (task["overlap"], task["is_labeled"]) for task in rows},
            "annotations": {row["id"]: row for task in rows for row in task["annotations"]},
            "settings": {name: value for name, value in project.items() if name not in CHANGES_WITH_EVERY_SYNC},
            "window": state.window(),
            "reopened": state.reopened(),
            "trained on": state.trained(),
            "known annotations": {task.id: task.annotations for task in state.tasks().values()},
            "lock": known.lock_holder,
            "rounds": (known.round, len(state.rounds())),
        }

    def check(self, probes: Probes) -> None:
        """All is as without a fault: to be called after a clean sync."""
        assert self.outcome() == self.wanted
        assert probes.asked > 0
        assert probes.unserved == []
        self.check_versions()
        # People who come now are given the best places that nobody holds.
        free = [task for task in self.loop.window if task not in probes.held]
        assert [self.loop.give(person) for person in self.fresh] == free[: len(self.fresh)]

    def check_versions(self) -> None:
        """One window is served and it is whole; the others of ours are older and go by their day."""
        versions, served = self.loop.versions(), self.loop.state.record().queue_version
        ours = our_versions(versions)
        assert max(ours) == served
        assert versions[served] == self.loop.state.record().queue_size
        in_a_day = datetime.now(timezone.utc) + KEEP_WINDOWS + timedelta(seconds=1)
        assert set(expired(versions, served, in_a_day)) == ours - {served}


# Who saved last and when, and how many predictions there are, old windows' too.
CHANGES_WITH_EVERY_SYNC = {"model_version", "updated_at", "updated_by", "total_predictions_number"}


@dataclass(frozen=True)
class Stages:
    """A project that has everything to sync, one that nobody has labelled in, and one of more tasks."""

    warm: Stage
    cold: Stage
    wide: Stage


@pytest.fixture(scope="module")
def stages(
    label_studio: LabelStudio,
    make_project: MakeProject,
    backend: str,
    people: Annotators,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stages]:
    """All three projects, in one snapshot."""
    crowd = people(8)
    with contextlib.ExitStack() as after:
        proxies = FaultyProxy(label_studio.url, call_to_label_studio), FaultyProxy(backend, call_to_backend)
        for proxy in proxies:
            after.callback(proxy.close)
        directory = tmp_path_factory.mktemp("faults")
        start = after.enter_context(projects_under_our_queue(label_studio, make_project, proxies[1].url, directory))
        warm = start(texts(20), through=proxies[0].url, adopted=False)
        cold, wide = (start(texts(count), through=proxies[0].url) for count in (16, 60))
        history(warm, crowd[0], crowd[1])
        login = dataclasses.replace(label_studio.login, token=personal_access_token(warm.server))
        loops = (warm, cold, wide)
        for loop in loops:
            loop.server = dataclasses.replace(label_studio, login=login)
        states = [Path(loop.state_url.removeprefix("sqlite:///")) for loop in loops]
        snapshot = Snapshot(label_studio.data / "label_studio.sqlite3", *states)
        after.callback(snapshot.close)
        made = [Stage(loop, OPTIONS, *proxies, snapshot, crowd[2:6], crowd[6:]) for loop in loops]
        for stage in made[:2]:
            stage.begin()
            annotations = stage.loop.annotations()
            stage.sync()
            stage.wanted = stage.outcome()
            assert stage.wanted["annotations"] == annotations
        yield Stages(*made)


def history(loop: ProjectDriver, first: Person, other: Person) -> None:
    """What happens before the sync: afterwards it has every kind of call to make."""
    t = loop.tasks
    loop.adopt(min_annotations_per_task=2)
    for index in range(4):
        loop.label(first, t[index], "Impolite" if index % 2 else "Polite")
    for index in range(3):
        loop.label(other, t[index], "Impolite" if index % 2 else "Polite")
    assert loop.sync(window=WINDOW)["trained"]
    loop.publish([*second(*t[:3]), *new(*t[4:-1])])  # which both have labelled: the next sync closes them
    assert [loop.turn(first), loop.turn(other, "Impolite")] == t[4:6]
    loop.call("DELETE", f"/api/tasks/{t[-1]}")  # the counters tell, and everything is read again
    loop.set(sampling="Sequential sampling")
    long_ago = [f"{VERSION_PREFIX}20260101-00000{number}-000000" for number in range(3)]
    ours = loop.tabs()[0]
    loop.call("PATCH", f"/api/dm/views/{ours['id']}/", json={"data": {**ours["data"], "ordering": ["tasks:id"]}})
    rows = [{"task": t[6], "result": [], "score": 0.5, "model_version": version} for version in long_ago]
    loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=rows)
