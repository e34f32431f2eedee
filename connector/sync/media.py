"""Brings the ML backend small copies of the media that it lacks, and remembers those that cannot be fetched."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from connector.annotations.objects.content import NOUNS
from connector.annotations.objects.medium import PAGE_SEPARATOR
from connector.backend import Backend
from connector.label_studio.client import LabelStudio
from connector.media import Failure, Fetcher, Source
from connector.media.failures import UNREADABLE
from connector.media.kinds import KINDS
from connector.progress import Reporter
from connector.state.lock import KEEP_SECONDS
from connector.state.media import MediaFailure
from connector.state.snapshot import ProjectSnapshot
from connector.sync.scoring import task_digests

_SOURCES = 1_000  # addresses that are in memory at a time
_COPIES, _BYTES = 200, 8 << 20  # that are sent in one call


class Memory(Protocol):
    """What is remembered of media (connector.state.project_state.ProjectState)."""

    def media_failures(self) -> dict[str, MediaFailure]: ...

    def store_media(self, failed: Mapping[str, MediaFailure], fetched: Sequence[str]) -> None: ...

    def renew_lock(self, *, at_most_every: float = 0.0) -> None: ...


def bring_media(
    pulled: ProjectSnapshot,
    backend: Backend,
    fetcher: Fetcher,
    state: Memory,
    reporter: Reporter,
    *,
    remember: bool = True,
) -> dict[str, str]:
    """Fetches the images or recordings of one question that the ML backend lacks, and sends it small copies.

    What was sent is not fetched again, so a sync that is killed goes on where it was. A medium that could not be
    fetched is tried again after an hour, and then less and less often. Without `remember`, as in a dry run, the state
    does not learn what failed or was fetched.

    Returns {digest of an address: why it could not be fetched}.
    """
    return _Delivery(pulled, backend, fetcher, state, reporter, remember).bring()


def open_fetcher(gateway: LabelStudio, hosts: Collection[str]) -> Fetcher:
    """What fetches the media of a Label Studio. `hosts`: those that may be private. The caller closes it."""
    return Fetcher(gateway.url, gateway.authorization, hosts=hosts)


def media_parts(pulled: ProjectSnapshot) -> list[ProjectSnapshot]:
    """The questions on media, with those that could not be fetched before: they may be there now."""
    return [part for part in pulled.complete.by_question() if part.control.kind in KINDS]


def objects_with_media(pulled: ProjectSnapshot) -> list[ProjectSnapshot]:
    """For each object with media, the first question about it, as `media_parts` has it."""
    parts: dict[tuple[str, str], ProjectSnapshot] = {}
    for part in media_parts(pulled):
        parts.setdefault((part.control.kind, part.control.data_key), part)
    return list(parts.values())


def sources(part: ProjectSnapshot, tasks: Iterable[int]) -> dict[int, Source]:
    """{task: its medium} of those of the tasks that have one. `part`: of one question."""
    return {task: Source(task, tuple(text.split(PAGE_SEPARATOR))) for task, text in part.texts(tasks).items()}


class _Delivery:
    def __init__(
        self,
        pulled: ProjectSnapshot,
        backend: Backend,
        fetcher: Fetcher,
        state: Memory,
        reporter: Reporter,
        remember: bool,
    ) -> None:
        self._pulled = pulled
        self._backend = backend
        self._fetcher = fetcher
        self._state = state
        self._reporter = reporter
        self._remember = remember
        self._failures = state.media_failures()
        self._copies: dict[str, bytes] = {}
        self._failed: dict[str, MediaFailure] = {}

    def bring(self) -> dict[str, str]:
        pulled, kind = self._pulled, self._pulled.control.kind
        digests = task_digests(pulled)
        with self._reporter.stage("media", f"Bringing new {NOUNS[kind]}s to the ML backend") as stage:
            self._backend.check()
            tasks = list(digests)
            missing = self._backend.missing_items(pulled.model_key, tasks, list(digests.values()), kind)
            wanted: dict[str, int] = {}  # a task for each address
            for place in missing:
                wanted.setdefault(digests[tasks[place]], tasks[place])
            now = time.time()
            due = [key for key in wanted if key not in self._failures or self._failures[key].is_due(now)]
            for start in range(0, len(due), _SOURCES):
                part = {key: wanted[key] for key in due[start : start + _SOURCES]}
                self._bring_part(part, start, len(due), stage.count)
        return {key: failure.problem for key, failure in self._failures.items()}

    def _bring_part(self, wanted: Mapping[str, int], done: int, total: int, count: Callable[[int, int], None]) -> None:
        """Fetches and sends some media, {digest of the address: a task that has it}. `done` of `total` are there."""
        by_task = sources(self._pulled, wanted.values())
        by_key = {key: by_task[task] for key, task in wanted.items() if task in by_task}
        for key, found in self._fetcher.fetch(by_key, KINDS[self._pulled.control.kind]):
            if isinstance(found, Failure):
                self._fail(key, found.cause, found.problem)
            else:
                self._copies[key] = found
            if len(self._copies) >= _COPIES or sum(map(len, self._copies.values())) >= _BYTES:
                self._send()
            done += 1
            count(done, total)
            self._state.renew_lock(at_most_every=KEEP_SECONDS)
        self._send()

    def _send(self) -> None:
        """Sends what was fetched, and records what was not."""
        if self._copies:
            noun = NOUNS[self._pulled.control.kind]
            for key in self._backend.send_media(self._pulled.model_key, self._copies):
                self._fail(key, UNREADABLE, f"its {noun} cannot be read by the ML backend")
        fetched = [key for key in self._copies if key not in self._failed]
        if self._remember:
            self._state.store_media(self._failed, [key for key in fetched if key in self._failures])
        for key in fetched:
            self._failures.pop(key, None)
        self._failures.update(self._failed)
        self._copies, self._failed = {}, {}

    def _fail(self, key: str, cause: str, problem: str) -> None:
        before = self._failures.get(key)
        self._failed[key] = MediaFailure(cause, problem, before.attempts + 1 if before else 1, time.time())
