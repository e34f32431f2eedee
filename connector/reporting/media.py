"""The images and recordings of tasks, in the rows of an export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from connector._compat import batched
from connector.media import Fetcher
from connector.media.kinds import KINDS
from connector.state.snapshot import ProjectSnapshot
from connector.sync.media import media_parts, sources

ROWS_AT_ONCE = 50  # their media are in memory together


class MediaColumns:
    """A column for each kind of media that models read, named after the kind: the bytes of small copies.

    Attributes:
        kinds: The names of the columns.
        missing: How many media could not be fetched.
    """

    def __init__(self, pulled: ProjectSnapshot, fetcher: Fetcher) -> None:
        """`fetcher`: what fetches the media. The caller closes it."""
        parts = media_parts(pulled)
        self._parts = {kind: part for part in reversed(parts) if (kind := part.control.kind)}  # the first of each
        self._fetcher = fetcher
        self.kinds = tuple(kind for kind in KINDS if kind in self._parts)
        self.missing = 0

    def added_to(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows with these columns. A task without a medium, or one that cannot be fetched, has None."""
        for some in batched(rows, ROWS_AT_ONCE):
            tasks = [row["task_id"] for row in some]
            found = {kind: self._copies(kind, tasks) for kind in self.kinds}
            for row in some:
                yield {**row, **{kind: copies.get(row["task_id"]) for kind, copies in found.items()}}

    def _copies(self, kind: str, tasks: list[int]) -> dict[int, bytes]:
        """{task: its small copy}."""
        wanted = sources(self._parts[kind], tasks)
        copies = {task: copy for task, copy in self._fetcher.fetch(wanted, KINDS[kind]) if isinstance(copy, bytes)}
        self.missing += len(wanted) - len(copies)
        return copies
