"""Fetches texts from the addresses that tasks have, and remembers them, and those that cannot be fetched."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from connector.annotations.objects.linked import Link
from connector.label_studio.client import LabelStudio
from connector.media import Failure, Fetcher, Source
from connector.media.failures import UNREADABLE
from connector.media.texts import LIMITS, TEXTS
from connector.progress import Reporter
from connector.state.lock import KEEP_SECONDS
from connector.state.media import MediaFailure
from connector.state.snapshot import ProjectSnapshot

_STORED = 100  # texts that are stored at once


class Memory(Protocol):
    """What is remembered of texts (connector.state.project_state.ProjectState)."""

    def media_failures(self) -> dict[str, MediaFailure]: ...

    def store_media(self, failed: Mapping[str, MediaFailure], fetched: Sequence[str]) -> None: ...

    def linked(self) -> dict[str, str]: ...

    def store_linked(self, texts: Mapping[str, str]) -> None: ...

    def drop_linked(self, keys: Collection[str]) -> None: ...

    def renew_lock(self, *, at_most_every: float = 0.0) -> None: ...


class Found(NamedTuple):
    """What is behind a link: a text, or why there is none."""

    text: str
    failure: Failure | None


def open_fetcher(gateway: LabelStudio, hosts: Collection[str]) -> Fetcher:
    """What fetches the texts of a Label Studio. `hosts`: those that may be private. The caller closes it."""
    return Fetcher(gateway.url, gateway.authorization, hosts=hosts, limits=LIMITS)


def bring_texts(
    snapshot: ProjectSnapshot, fetcher: Fetcher, state: Memory, reporter: Reporter, *, remember: bool = True
) -> dict[str, str]:
    """Fetches the texts that the state lacks. `snapshot`: as the tasks describe the project.

    What was fetched is not fetched again, so a sync that is killed goes on where it was. A text that could not be
    fetched is tried again after an hour, and then less and less often. Texts that no task has any more are deleted.
    Without `remember`, as in a dry run, the state does not learn what failed.

    Returns {digest of a link: why it could not be fetched}.
    """
    links, known, failures, now = snapshot.links(), state.linked(), state.media_failures(), time.time()
    state.drop_linked(known.keys() - links.keys())
    due = {
        key: link
        for key, link in links.items()
        if key not in known and (key not in failures or failures[key].is_due(now))
    }
    texts: dict[str, str] = {}
    failed: dict[str, MediaFailure] = {}
    with reporter.stage("linked", "Fetching new texts") as stage:
        for done, (key, found) in enumerate(fetch_texts(due, fetcher), start=1):
            if found.failure is None:
                texts[key] = found.text
            else:
                attempts = failures[key].attempts + 1 if key in failures else 1
                failed[key] = MediaFailure(found.failure.cause, found.failure.problem, attempts, time.time())
            if len(texts) + len(failed) == _STORED or done == len(due):
                state.store_linked(texts)
                if remember:
                    state.store_media(failed, [key for key in texts if key in failures])
                for key in texts:
                    failures.pop(key, None)
                failures |= failed
                texts, failed = {}, {}
            stage.count(done, len(due))
            state.renew_lock(at_most_every=KEEP_SECONDS)
    return {key: failure.problem for key, failure in failures.items()}


def fetch_texts(links: Mapping[str, tuple[str, int]], fetcher: Fetcher) -> Iterator[tuple[str, Found]]:
    """What is behind links, in the order in which they are ready.

    `links`: {a key for each: the link as contents have it, and a task with it}.
    """
    read = {key: Link.of(marked) for key, (marked, _) in links.items()}
    sources = {key: Source(task, (read[key].address,)) for key, (_, task) in links.items()}
    for key, file in fetcher.fetch(sources, TEXTS):
        if isinstance(file, Failure):
            yield key, Found("", file)
            continue
        text, problem = read[key].read(file)
        yield key, Found(text or "", None if text else Failure(UNREADABLE, f"its text {problem}"))
