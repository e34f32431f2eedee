"""Doctor's check of images and recordings: can the connector fetch them, and if not, why."""

from __future__ import annotations

import random
from collections.abc import Mapping

from connector.annotations.left_out import with_causes
from connector.diagnostics.finding import Finding, ok, warning
from connector.formatting import count
from connector.media import Failure, Fetcher, Source
from connector.media.kinds import KINDS
from connector.state.media import MediaFailure
from connector.state.snapshot import ProjectSnapshot
from connector.sync.media import media_parts, sources
from connector.sync.scoring import task_digests

_SAMPLE = 20  # media that are tried, half of them failed before
# What to do about each cause. Those of the server that has the medium need no word.
_REMEDIES = {
    "401": "Label Studio, or the server that has the file, wants other credentials: open the task in Label Studio.",
    "403": "The server that has the file forbids it. The connector sends credentials to Label Studio only.",
    "404": "Correct the address in the task's data, or import the file again.",
    "500": "Open the address in a browser. Label Studio answers 500 for an upload that is not there any more.",
    "too large": "Import a smaller copy.",
    "unreadable": "Import an image as PNG, JPEG, WebP, GIF or BMP, and a recording as WAV, FLAC, MP3 or OGG.",
    "timed out": "See whether the server is up, and whether this machine reaches it.",
    "unreachable": "See whether the server is up, and whether this machine reaches it.",
    "private address": "If you trust that host, name it with --media-host, or in CONNECTOR_MEDIA_HOSTS.",
}


def media(pulled: ProjectSnapshot, failures: Mapping[str, MediaFailure], fetcher: Fetcher, seed: int = 0) -> Finding:
    """Can the media of a project be fetched? Tries some.

    Args:
        pulled: the project.
        failures: {digest of an address: why it could not be fetched at the last sync}.
        fetcher: fetches them.
        seed: chooses which to try.
    """
    parts = media_parts(pulled)
    nouns = {KINDS[part.control.kind].noun for part in parts}
    noun = nouns.pop() if len(nouns) == 1 else "file"
    causes: dict[int, str] = {}
    tried = 0
    reasons: set[str] = set()
    for part in parts:
        for task, found in fetcher.fetch(_sample(part, failures, seed), KINDS[part.control.kind]):
            tried += 1
            if isinstance(found, Failure):
                causes[task] = found.problem
                reasons.add(found.cause)
    known = {
        task: failures[key].problem
        for part in parts
        for task, key in task_digests(part).items()
        if key in failures and task not in causes
    }
    if not causes and not known:
        return ok("media", f"{count(tried, noun)} of {len(pulled.tasks):,} tasks tried: all can be fetched.")
    sentences = []
    if causes:
        of_tried = f"{len(causes)} of {count(tried, noun)} that were tried now"
        sentences.append(f"{of_tried} failed: {with_causes(causes)}.")
    if known:
        reasons |= {failure.cause for failure in failures.values()}
        sentences.append(f"{count(len(known), 'task')} failed at the last sync: {with_causes(known)}.")
    remedies = list(dict.fromkeys(_REMEDIES[reason] for reason in sorted(reasons) if reason in _REMEDIES))
    return warning(
        "media",
        " ".join(sentences),
        " ".join([*remedies, "The next syncs try again: an hour after the first attempt, then less and less often."]),
    )


def _sample(part: ProjectSnapshot, failures: Mapping[str, MediaFailure], seed: int) -> dict[int, Source]:
    """{task: its medium} of some tasks, those first that failed before."""
    choose = random.Random(seed)
    digests = task_digests(part)
    failed = sorted(task for task, key in digests.items() if key in failures)
    others = sorted(digests.keys() - set(failed))
    chosen = choose.sample(failed, min(len(failed), _SAMPLE // 2))
    chosen += choose.sample(others, min(len(others), _SAMPLE - len(chosen)))
    return sources(part, chosen)
