"""Fetches what models read from the addresses that tasks have. Free of NumPy if no task has any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.state.project_state import ProjectState
from connector.state.pull import fetched
from connector.state.snapshot import ProjectSnapshot
from connector.sync.options import SyncOptions

if TYPE_CHECKING:
    from connector.backend import Backend


def with_content(
    snapshot: ProjectSnapshot,
    backend: Backend,
    gateway: LabelStudio,
    state: ProjectState,
    options: SyncOptions,
    reporter: Reporter,
) -> ProjectSnapshot:
    """Fetches what models read. Returns the project with it, and without what cannot be fetched."""
    remember, failed = not options.dry_run, dict[str, str]()
    if snapshot.questions.has_links:
        from connector.sync import linked

        with linked.open_fetcher(gateway, options.media_hosts) as fetcher:
            failed |= linked.bring_texts(snapshot.complete, fetcher, state, reporter, remember=remember)
        snapshot = fetched(snapshot.complete, state, failed)
    if not snapshot.questions.has_media:
        return snapshot
    from connector.sync.media import bring_media, media_parts, open_fetcher

    with open_fetcher(gateway, options.media_hosts) as fetcher:
        for part in media_parts(snapshot):
            of_part = reporter.of(part.control.name) if snapshot.questions.several else reporter
            failed |= bring_media(part, backend, fetcher, state, of_part, remember=remember)
    return fetched(snapshot.complete, state, failed)
