"""One process per project at a time: a lock in the project's row of the state database.

Only the database's clock decides how long a lock lasts, because the clocks of two machines may differ.
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
KEEP_SECONDS = 10  # how often a loop renews the lock
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
        """Holds the project for one process. Raises TryAgainLater if another process holds it.

        The lock of a process that is known to be dead is taken over at once, any other LOCK_SECONDS after it was last
        renewed.
        """
        holder = new_holder()
        row = schema.projects.c
        with self._engine.connect() as db:
            current = db.execute(sa.select(row.lock_holder).where(self._mine)).scalar_one()
        free = row.lock_holder.is_(None) | (row.lock_until < self._clock)
        if current is not None and is_dead(current):
            free = free | (row.lock_holder == current)
        if not self._set(free, lock_holder=holder, lock_until=self._clock + LOCK_SECONDS):
            raise TryAgainLater("Another sync holds this project. Try again when it has ended.")
        self._holder = holder
        try:
            yield
        finally:
            self._holder = None
            self._set(row.lock_holder == holder, lock_holder=None)

    def renew(self, *, at_most_every: float = 0.0) -> None:
        """Checks that the lock is still held, and prolongs it unless that was done in the last `at_most_every` seconds.

        To be called before anything that cannot be undone: the process may have been suspended since the last check.
        Raises TryAgainLater if another process has taken the lock.
        """
        row = schema.projects.c
        held = self._mine & (row.lock_holder.is_(None) if self._holder is None else row.lock_holder == self._holder)
        if at_most_every > 0:
            with self._engine.connect() as db:
                left = db.execute(sa.select(row.lock_until - self._clock).where(held)).scalar()
            if left is not None and left > LOCK_SECONDS - at_most_every:
                return
        if not self._set(held, lock_until=self._clock + LOCK_SECONDS):
            raise TryAgainLater("Another sync took this project over. Nothing more was written.")

    def _set(self, condition: sa.ColumnElement[bool], **values: object) -> bool:
        """Sets columns of the project's row if the condition holds at that instant. Returns whether it did."""
        with self._engine.begin() as db:
            changed = db.execute(schema.projects.update().where(self._mine & condition).values(**values))
        return changed.rowcount == 1


def is_held(holder: str | None, until: float | None, at: float) -> bool:
    """Whether the lock of a project's row is held at the time `at`, by a process that may still be alive."""
    return holder is not None and until is not None and until >= at and not is_dead(holder)


def new_holder() -> str:
    """A name for one holding of a lock: the host, the process, and by what to recognize the process.

    `host:pid:boot/namespace/start/random`: the boot of the machine, the namespace of its process ids (containers have
    one each, and share the boot), and when the process was started. A part that the system does not know is empty.
    """
    pid = os.getpid()
    own = "/".join((_boot(), _pid_namespace(), _start(pid) or "", uuid.uuid4().hex[:8]))
    return f"{socket.gethostname()[:60]}:{pid}:{own}"


def is_dead(holder: str) -> bool:
    """Whether the holder is a process that this one could see if it were alive, and that has ended.

    False if in doubt: for another machine or container, for a machine that was booted since, and on systems other than
    Linux.
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
    present = _start(int(pid))
    return present is not None and present != start  # another process has the number now, or it waits to be reaped


def _boot() -> str:
    """Which boot of which machine this is. Empty if the system does not know."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    """The number of the namespace of process ids. Empty if the system does not know."""
    try:
        return str((_PROC / "self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """When a process was started, in ticks since the boot. "ended": it is not reaped yet. None: unknown."""
    try:
        # The second field is the program's name in parentheses, whatever it is.
        state, *fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return "ended" if state in ("Z", "X") else fields[18]


def _clock(dialect: str) -> sa.ColumnElement[float]:
    """The database's own time, in seconds since 1970.

    SQLite's is that of the machine, the only one that can use the database. For databases that the connector is not
    tested with, it is the clock of the process.
    """
    if dialect == "postgresql":
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float)
    if dialect == "sqlite":
        return (sa.func.julianday("now", type_=sa.Float) - _UNIX_EPOCH_JULIAN) * 86_400.0
    return _holders_clock()


def _holders_clock() -> sa.ColumnElement[float]:
    return sa.bindparam("now", callable_=time.time, type_=sa.Float, unique=True)
