"""One sync per project at a time: a lock in the project's row of the state database.

Only the database's clock decides how long a lock lasts: the clocks of two machines may differ.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from connector.errors import TryAgainLater
from connector.state import schema

LOCK_SECONDS = 900
KEEP_SECONDS = 10  # how often a loop says that it is alive
_PROC = Path("/proc")
_UNIX_EPOCH_JULIAN = 2440587.5


class ProjectLock:
    """The lock of the project whose row has `key`."""

    def __init__(self, engine: sa.Engine, key: int) -> None:
        self._engine = engine
        self._mine = schema.projects.c.key == key
        self._clock = _clock(engine.dialect.name)
        self._holder: str | None = None

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the project for one process. Raises TryAgainLater when another holds it.

        The lock of a process that is known to be dead is taken over at once, any other after LOCK_SECONDS without
        `keep`.
        """
        holder = new_holder()
        row = schema.projects.c
        with self._engine.connect() as db:
            current = db.execute(sa.select(row.lock_holder).where(self._mine)).scalar_one()
        free = row.lock_holder.is_(None) | (row.lock_until < self._clock)
        if current is not None and is_dead(current):
            free = free | (row.lock_holder == current)
        if not self._set(free, lock_holder=holder, lock_until=self._clock + LOCK_SECONDS):
            raise TryAgainLater("Another sync holds this project; try again when it has ended.")
        self._holder = holder
        try:
            yield
        finally:
            self._holder = None
            self._set(row.lock_holder == holder, lock_holder=None)

    def keep(self, *, at_most_every: float = 0.0) -> None:
        """Makes sure that the lock is still held, and says that the holder is alive.

        To be called before whatever cannot be taken back: a process may have been suspended since it last looked.
        The look is one reading; the lock is prolonged when that was done `at_most_every` seconds ago or earlier.
        Raises TryAgainLater when the lock was lost to another process.
        """
        row = schema.projects.c
        held = self._mine & (row.lock_holder.is_(None) if self._holder is None else row.lock_holder == self._holder)
        if at_most_every > 0:
            with self._engine.connect() as db:
                left = db.execute(sa.select(row.lock_until - self._clock).where(held)).scalar()
            if left is not None and left > LOCK_SECONDS - at_most_every:
                return
        if not self._set(held, lock_until=self._clock + LOCK_SECONDS):
            raise TryAgainLater("Another sync took this project over; nothing more was written.")

    def _set(self, condition: sa.ColumnElement[bool], **values: object) -> bool:
        """Sets columns of the project's row if the condition holds in the same instant; whether it did."""
        with self._engine.begin() as db:
            changed = db.execute(schema.projects.update().where(self._mine & condition).values(**values))
        return changed.rowcount == 1


def is_held(holder: str | None, until: float | None, at: float) -> bool:
    """Whether the lock of a project's row is held at the time `at`, by a process that may still be alive."""
    return holder is not None and until is not None and until >= at and not is_dead(holder)


def new_holder() -> str:
    """A name for one holding of a lock: host, process, and what tells whether that process is still there.

    `host:pid:boot/namespace/start/random`: the boot of the machine, the namespace that process ids are of (containers
    have one each, and share the boot), and when the process was started; empty where the system does not tell.
    """
    pid = os.getpid()
    own = "/".join((_boot(), _pid_namespace(), _start(pid) or "", uuid.uuid4().hex[:8]))
    return f"{socket.gethostname()[:60]}:{pid}:{own}"


def is_dead(holder: str) -> bool:
    """Whether the holder is a process that this one could see if it were alive, and is gone.

    False in all doubt: for another machine or container, one that was booted since, and where the system tells
    nothing of this (it is Linux that does).
    """
    _, pid, own = holder.rsplit(":", 2)
    boot, namespace, start = (*own.split("/"), "", "", "")[:3]
    if not (pid.isdecimal() and boot and namespace and start) or (boot, namespace) != (_boot(), _pid_namespace()):
        return False
    try:
        os.kill(int(pid), 0)  # unlike /proc, it answers for every user's processes
    except ProcessLookupError:
        return True
    except OSError:
        pass
    there = _start(int(pid))
    return there is not None and there != start  # another process has the number now, or it waits to be reaped


def _boot() -> str:
    """Which boot of which machine this is; empty where the system does not tell."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    """The number of the namespace that process ids are of; empty where the system does not tell."""
    try:
        return str((_PROC / "self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """When a process was started, in ticks since the boot; "ended" for one that is not reaped yet, None if unknown."""
    try:
        # The second field is the program's name in parentheses, whatever it is.
        state, *fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return "ended" if state in ("Z", "X") else fields[18]


def _clock(dialect: str) -> sa.ColumnElement[float]:
    """The database's own time at the moment, in seconds since 1970.

    SQLite's is that of the machine, which is the only one that such a database serves. Of databases that the
    connector is not tested with, it is the holder's clock.
    """
    if dialect == "postgresql":
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float)
    if dialect == "sqlite":
        return (sa.func.julianday("now", type_=sa.Float) - _UNIX_EPOCH_JULIAN) * 86_400.0
    return _holders_clock()


def _holders_clock() -> sa.ColumnElement[float]:
    return sa.bindparam("now", callable_=time.time, type_=sa.Float, unique=True)
