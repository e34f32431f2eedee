"""The images and recordings of tasks, in the rows of an export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from connector._compat import batched
from connector.media import Fetcher
from connector.media.kinds import KINDS
from connector.state.snapshot import ProjectSnapshot
from connector.sync.media import objects_with_media, sources

ROWS_AT_ONCE = 50  # their media are in memory together


class MediaColumns:
    """A column for each object with media that models read: the bytes of small copies.

    It is named after the kind, "image" or "audio". If there are several objects of a kind, each has the name of the
    first question about it in front: "shape.image".

    Attributes:
        kinds: {column: kind}.
        missing: How many media could not be fetched.
    """

    def __init__(self, pulled: ProjectSnapshot, fetcher: Fetcher) -> None:
        """`fetcher`: what fetches the media. The caller closes it."""
        parts = objects_with_media(pulled)
        of_kind = Counter(part.control.kind for part in parts)
        self._parts = {
            part.control.kind if of_kind[part.control.kind] == 1 else f"{part.control.name}.{part.control.kind}": part
            for part in parts
        }
        self._fetcher = fetcher
        self.kinds = {column: part.control.kind for column, part in self._parts.items()}
        self.missing = 0

    def added_to(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows with these columns. A task without a medium, or one that cannot be fetched, has None."""
        for some in batched(rows, ROWS_AT_ONCE):
            tasks = [row["task_id"] for row in some]
            found = {column: self._copies(part, tasks) for column, part in self._parts.items()}
            for row in some:
                yield {**row, **{column: copies.get(row["task_id"]) for column, copies in found.items()}}

    def _copies(self, part: ProjectSnapshot, tasks: list[int]) -> dict[int, bytes]:
        """{task: its small copy}."""
        wanted, kind = sources(part, tasks), KINDS[part.control.kind]
        copies = {task: copy for task, copy in self._fetcher.fetch(wanted, kind) if isinstance(copy, bytes)}
        self.missing += len(wanted) - len(copies)
        return copies
