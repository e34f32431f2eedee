"""What could not be fetched: the images and recordings of a project whose addresses do not give one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from connector._compat import batched
from connector.state import schema
from connector.state.rows import IDS_A_STATEMENT, ProjectRows

_HOUR = 3600.0
_LONGEST_WAIT = 7 * 24 * _HOUR


class MediaFailure(NamedTuple):
    """Why a medium could not be fetched.

    Attributes:
        cause: For counting, such as "404".
        problem: In words.
        attempts: How often it was tried.
        tried_at: When it was tried last, in seconds since 1970.
    """

    cause: str
    problem: str
    attempts: int = 1
    tried_at: float = 0.0

    def is_due(self, now: float) -> bool:
        """Whether to try again: an hour after the first attempt, then after twice the time each, a week at most.

        A private host costs nothing to try, and may be allowed by now.
        """
        from connector.media.failures import PRIVATE  # its room takes a while to load, and few projects have media

        if self.cause == PRIVATE:
            return True
        wait: float = min(_HOUR * 2 ** min(self.attempts - 1, 10), _LONGEST_WAIT)
        return now >= self.tried_at + wait


class MediaRows(ProjectRows):
    """The media of a project that could not be fetched."""

    def media_failures(self) -> dict[str, MediaFailure]:
        """{digest of an address: why it gave no medium}."""
        return {
            row["digest"]: MediaFailure(row["cause"], row["problem"], row["attempts"], row["tried_at"])
            for row in self._all(schema.media)
        }

    def store_media(self, failed: Mapping[str, MediaFailure], fetched: Collection[str]) -> None:
        """Records what failed, and forgets the failures of what was fetched since. By digests."""
        with self._engine.begin() as db:
            for part in batched([*failed, *fetched], IDS_A_STATEMENT):
                db.execute(schema.media.delete().where(self._rows(schema.media) & schema.media.c.digest.in_(part)))
            self._insert(db, schema.media, ({"digest": key, **one._asdict()} for key, one in failed.items()))
