"""SIGTERM and Ctrl-C for a command that runs until a signal ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

GRACE_SECONDS = 8  # docker stop kills after 10


class Stopped(KeyboardInterrupt):
    """A signal ends the command. It is no error, so that nothing that handles errors takes it for one."""


class StopSignals:
    """Within its context the first signal is remembered, until `check`, `wait` or `sleep` sees it.

    A second signal, or GRACE_SECONDS after the first, raises Stopped wherever the command is: a server may be slow to
    answer. Every step of a sync can be repeated, so it may end anywhere. Locks are freed on the way.
    """

    def __init__(self, grace_seconds: int = GRACE_SECONDS) -> None:
        self._asked = threading.Event()
        self._grace_seconds = grace_seconds
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        with contextlib.suppress(AttributeError):  # Windows has no alarm
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._end)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if signal.SIGALRM in self._before:
            signal.alarm(0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, seconds: float) -> bool:
        """Waits `seconds`, or until a signal comes. Returns whether one has come."""
        return self._asked.wait(seconds)

    def check(self) -> None:
        """Raises Stopped if a signal has come."""
        if self._asked.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Sleeps `seconds`. Raises Stopped if a signal comes meanwhile."""
        if self.wait(seconds):
            raise Stopped

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            raise Stopped
        if signal.SIGALRM in self._before:
            # Before the event: the signal may have come while the main thread held the event's own lock.
            signal.alarm(self._grace_seconds)
        self._asked.set()

    def _end(self, number: int, frame: FrameType | None) -> None:
        raise Stopped
