"""Who may train a project or change which model serves: one at a time, over all processes on its directory."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from ml_backend.errors import Conflict

Work = Literal["training", "finetuning"]

_LOOK_SECONDS = 0.5


@contextmanager
def hold(directory: Path, work: Work, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a kind of work on the project in `directory`; the system frees it when the process ends, however it ends.

    `waiting` is called now and then until it is free, and what it raises ends the waiting.
    """
    lock = _lock(directory, work)
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            waiting()
            time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def require_idle(directory: Path, what: str) -> Iterator[None]:
    """Keep all work off the project; raises Conflict, saying what has to wait, where some is going on."""
    with ExitStack() as locks:
        for work in ("training", "finetuning"):
            try:
                locks.enter_context(_lock(directory, work).acquire(timeout=0))
            except Timeout:
                raise Conflict(f"A training of this project runs; {what} when it has ended.") from None
        yield


def _lock(directory: Path, work: Work) -> FileLock:
    return FileLock(directory / f"{work}.lock", thread_local=False)
