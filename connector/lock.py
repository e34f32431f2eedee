"""One sync per project at a time: a lock in the project's row of the state database."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterator

import sqlalchemy as sa

from connector import schema
from connector.errors import TryAgainLater

LOCK_SECONDS = 900
KEEP_SECONDS = 10  # how often a loop says that it is alive


class ProjectLock:
    """The lock of the project whose row has `key`."""

    def __init__(self, engine: sa.Engine, key: int) -> None:
        self._engine = engine
        self._key = key
        self._holder: str | None = None
        self._kept = float("-inf")

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the project for one process. Raises TryAgainLater when another holds it.

        The lock of a dead process of this machine is taken over at once, any other after LOCK_SECONDS without
        `keep`.
        """
        holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        with self._engine.connect() as db:
            mine = schema.projects.c.key == self._key
            current = db.execute(sa.select(schema.projects.c.lock_holder).where(mine)).scalar_one()
        free = (schema.projects.c.lock_holder.is_(None)) | (schema.projects.c.lock_until < time.time())
        if current is not None and _is_dead(current):
            free = free | (schema.projects.c.lock_holder == current)
        with self._engine.begin() as db:
            taken = db.execute(
                schema.projects.update()
                .where((schema.projects.c.key == self._key) & free)
                .values(lock_holder=holder, lock_until=time.time() + LOCK_SECONDS)
            )
        if taken.rowcount != 1:
            raise TryAgainLater("Another sync holds this project; try again when it has ended.")
        self._holder = holder
        try:
            yield
        finally:
            with self._engine.begin() as db:
                db.execute(
                    schema.projects.update().where(schema.projects.c.lock_holder == holder).values(lock_holder=None)
                )

    def keep(self, *, at_most_every: float = 0.0) -> None:
        """Says that the holder is alive; nothing is done within `at_most_every` seconds of the last time.

        Raises TryAgainLater when the lock was lost to another process.
        """
        if time.monotonic() - self._kept < at_most_every:
            return
        with self._engine.begin() as db:
            kept = db.execute(
                schema.projects.update()
                .where((schema.projects.c.key == self._key) & (schema.projects.c.lock_holder == self._holder))
                .values(lock_until=time.time() + LOCK_SECONDS)
            )
        if kept.rowcount != 1:
            raise TryAgainLater("Another sync took this project over; nothing more was written.")
        self._kept = time.monotonic()


def is_held(holder: str | None, until: float | None, at: float) -> bool:
    """Whether the lock of a project's row is held at the time `at`, by a process that may still be alive."""
    return holder is not None and until is not None and until >= at and not _is_dead(holder)


def _is_dead(holder: str) -> bool:
    """Whether the holder ran on this machine and is gone."""
    host, pid, _ = holder.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
