"""Fetches the media of tasks that the connector has not brought yet, if the server knows Label Studio.

The connector's fetcher does this, because there must be one only that is safe against hostile addresses. This is the
only module that uses the connector.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice

from ml_backend.settings import Settings

AT_ONCE = 2  # requests that fetch at a time
MOST = 16  # media per request
_SHARE = 0.5  # of the time that one medium may take: more than one can be tried

log = logging.getLogger(__name__)


class TaskMedia:
    """The media of tasks, as the connector would bring them. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def __call__(self, kind: str, wanted: Mapping[int, tuple[int, Sequence[str]]]) -> dict[int, bytes]:
        """Small copies of those that can be fetched in time, by their keys. Without a Label Studio there are none.

        Args:
            kind: "image" or "audio".
            wanted: By any key, the id of a task that shows the medium, and the addresses of its parts.
        """
        url, token = self._settings.label_studio_url, self._settings.label_studio_api_key
        if url is None or token is None or not wanted:
            return {}
        until = time.monotonic() + self._settings.media_seconds
        if not self._free.acquire(timeout=self._settings.media_seconds):
            return {}
        try:
            return self._fetch(url, token.get_secret_value(), kind, wanted, until)
        finally:
            self._free.release()

    def _fetch(
        self, url: str, token: str, kind: str, wanted: Mapping[int, tuple[int, Sequence[str]]], until: float
    ) -> dict[int, bytes]:
        from connector.errors import ConnectorError
        from connector.label_studio.transport import Connection
        from connector.media import Failure, Fetcher, Limits, Source
        from connector.media.kinds import KINDS
        from connector.retry import Retries
        from connector.settings import server_address

        limits = replace(Limits(), seconds=_SHARE * self._settings.media_seconds, waits=())
        sources = {key: Source(task, tuple(pages)) for key, (task, pages) in islice(wanted.items(), MOST)}
        copies: dict[int, bytes] = {}
        try:
            with (
                closing(Connection(server_address(url), token.strip(), retries=Retries(0))) as session,
                Fetcher(
                    session.url, session.authorization, hosts=self._settings.allowed_hosts, limits=limits
                ) as fetcher,
            ):
                for key, found in fetcher.fetch(sources, KINDS[kind]):
                    if isinstance(found, Failure):
                        log.info("Task %d gets no prediction: %s.", sources[key].task, found.problem)
                    else:
                        copies[key] = found
                    if time.monotonic() > until:
                        break
        except ConnectorError as error:
            log.warning("Media of tasks cannot be fetched: %s", error)
        return copies
