"""Shows the progress of a command on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

log = logging.getLogger("connector")


class Reporter:
    """Names the stages of a sync, measures them and shows how far each is.

    `about` is put before every line. `quiet` leaves the stages out of a log. `checkpoint` is called where the work may
    be stopped, and raises an exception to stop it.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        about: str = "",
        quiet: bool = False,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self._console = console or Console(stderr=True)
        self._about = about
        self._quiet = quiet
        self._checkpoint = checkpoint

    def of(self, part: str) -> Reporter:
        """A reporter that names a part of the work before every line, and adds to the same `seconds`."""
        reporter = Reporter(
            self._console, about=f"{self._about}{part}: ", quiet=self._quiet, checkpoint=self._checkpoint
        )
        reporter.seconds = self.seconds
        return reporter

    def say(self, sentence: str) -> None:
        """Shows a sentence between stages."""
        sentence = self._about + sentence
        if self._console.is_terminal:
            self._console.print(sentence, markup=False, highlight=False)
        else:
            log.info(sentence)

    @contextmanager
    def stage(self, name: str, words: str) -> Iterator[Stage]:
        """Runs one stage. `name` is its key in `seconds`, and `words` are shown."""
        self._checkpoint()
        words = self._about + words
        started = time.monotonic()
        try:
            if self._console.is_terminal:
                columns = (
                    TextColumn("{task.description}", markup=False),
                    BarColumn(),
                    TextColumn("{task.fields[note]}", markup=False),
                )
                with Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True) as bar:
                    yield Stage(bar, words, self._checkpoint)
            else:
                if not self._quiet:
                    log.info(words)
                yield Stage(None, words, self._checkpoint)
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 3)


class Stage:
    """A running stage. The code that does the work calls its methods."""

    def __init__(self, bar: Progress | None, words: str, checkpoint: Callable[[], None]) -> None:
        self._bar = bar
        self._checkpoint = checkpoint
        if bar is not None:
            self._task = bar.add_task(words, total=None, note="")

    def count(self, done: int, total: int) -> None:
        """Shows that `done` of `total` items are done."""
        self._checkpoint()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, note=f"{done} of {total}")

    def share(self, note: str, done: float) -> None:
        """Shows that a share between 0 and 1 is done. `note`: the present step."""
        self._checkpoint()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=1.0, note=note)
