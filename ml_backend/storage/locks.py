"""Locks on a project: one process at a time trains it or changes the model that serves."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from ml_backend.errors import Conflict

Work = Literal["training", "finetuning"]

_RETRY_SECONDS = 0.5


@contextmanager
def hold(directory: Path, work: Work, waiting: Callable[[], None]) -> Iterator[None]:
    """Lock one kind of work on the project in `directory`. The system releases the lock when the process ends.

    Until the lock is free, `waiting` is called repeatedly. An exception that it raises ends the waiting.
    """
    lock = _lock(directory, work)
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            waiting()
            time.sleep(_RETRY_SECONDS)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def require_idle(directory: Path, what: str) -> Iterator[None]:
    """Block all work on the project. If some is running, raise Conflict and name `what` has to wait."""
    with ExitStack() as locks:
        for work in ("training", "finetuning"):
            try:
                locks.enter_context(_lock(directory, work).acquire(timeout=0))
            except Timeout:
                raise Conflict(f"A training of this project runs. When it has ended, {what}.") from None
        yield


def _lock(directory: Path, work: Work) -> FileLock:
    return FileLock(directory / f"{work}.lock", thread_local=False)
