"""Doctor's check of media and of texts in files: can the connector fetch them, and if not, why."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from connector.annotations.left_out import with_causes
from connector.diagnostics.finding import Finding, ok, warning
from connector.formatting import count
from connector.media import Failure, Fetcher, Source
from connector.media.kinds import KINDS
from connector.state.media import MediaFailure
from connector.state.snapshot import ProjectSnapshot
from connector.sync.linked import fetch_texts
from connector.sync.media import objects_with_media, sources
from connector.sync.scoring import task_digests

_Item = TypeVar("_Item", int, str)

_SAMPLE = 20  # that are tried, half of them failed before
# What to do about each cause. Those of the server that has the file need no word.
_REMEDIES = {
    "401": "Label Studio, or the server that has the file, wants other credentials: open the task in Label Studio.",
    "403": "The server that has the file forbids it. The connector sends credentials to Label Studio only.",
    "404": "Correct the address in the task's data, or import the file again.",
    "500": "Open the address in a browser. Label Studio answers 500 for an upload that is not there any more.",
    "too large": "Import a smaller copy.",
    "timed out": "See whether the server is up, and whether this machine reaches it.",
    "unreachable": "See whether the server is up, and whether this machine reaches it.",
    "private address": "If you trust that host, name it with --media-host, or in CONNECTOR_MEDIA_HOSTS.",
}

_UNREADABLE = {
    "image": "Import images as PNG, JPEG, WebP, GIF or BMP.",
    "recording": "Import recordings as WAV, FLAC, MP3 or OGG.",
    "text": "Import texts in UTF-8, and what a Paragraphs or a Table shows as JSON of the form that they take.",
}


def media(pulled: ProjectSnapshot, failures: Mapping[str, MediaFailure], fetcher: Fetcher, seed: int = 0) -> Finding:
    """Can the media of a project be fetched? Tries some.

    Args:
        pulled: the project.
        failures: {digest of an address: why it could not be fetched at the last sync}.
        fetcher: fetches them.
        seed: chooses which to try.
    """
    parts = objects_with_media(pulled)
    nouns = {KINDS[part.control.kind].noun for part in parts}
    noun = nouns.pop() if len(nouns) == 1 else "file"
    tried = [
        (task, found if isinstance(found, Failure) else None)
        for part in parts
        for task, found in fetcher.fetch(_sample(part, failures, seed), KINDS[part.control.kind])
    ]
    keys = [(task, key) for part in parts for task, key in task_digests(part).items()]
    return _finding(pulled, failures, noun, tried, keys)


def linked(pulled: ProjectSnapshot, failures: Mapping[str, MediaFailure], fetcher: Fetcher, seed: int = 0) -> Finding:
    """Can the texts of a project that are in files be fetched? Tries some. The arguments are those of `media`."""
    links = pulled.complete.links()
    chosen = _chosen(links, links.keys() & failures.keys(), seed)
    tried = [(links[key][1], found.failure) for key, found in fetch_texts({key: links[key] for key in chosen}, fetcher)]
    return _finding(pulled, failures, "text", tried, [(task, key) for key, (_, task) in links.items()])


def _finding(
    pulled: ProjectSnapshot,
    failures: Mapping[str, MediaFailure],
    noun: str,
    tried: Sequence[tuple[int, Failure | None]],
    keys: Iterable[tuple[int, str]],
) -> Finding:
    """What was found.

    Args:
        pulled: the project.
        failures: {digest of an address or link: why it could not be fetched at the last sync}.
        noun: what was tried.
        tried: tasks, each with why its medium cannot be fetched. None: it can.
        keys: tasks, each with such a digest.
    """
    failed = [(task, failure) for task, failure in tried if failure is not None]
    causes = _by_task((task, failure.problem) for task, failure in failed)
    reasons = {failure.cause for _, failure in failed}
    known = _by_task((task, failures[key].problem) for task, key in keys if key in failures and task not in causes)
    if not causes and not known:
        return ok("media", f"{count(len(tried), noun)} of {len(pulled.tasks):,} tasks tried: all can be fetched.")
    sentences = []
    if causes:
        of_tried = f"{len(failed)} of {count(len(tried), noun)} that were tried now"
        sentences.append(f"{of_tried} failed: {with_causes(causes)}.")
    if known:
        reasons |= {failure.cause for failure in failures.values()}
        sentences.append(f"{count(len(known), 'task')} failed at the last sync: {with_causes(known)}.")
    of_reasons = _REMEDIES | {"unreadable": _UNREADABLE.get(noun, " ".join(_UNREADABLE.values()))}
    remedies = list(dict.fromkeys(of_reasons[reason] for reason in sorted(reasons) if reason in of_reasons))
    return warning(
        "media",
        " ".join(sentences),
        " ".join([*remedies, "The next syncs try again: an hour after the first attempt, then less and less often."]),
    )


def _by_task(problems: Iterable[tuple[int, str]]) -> dict[int, str]:
    """{task: what is wrong with its media}. A task may have several."""
    found: dict[int, list[str]] = {}
    for task, problem in problems:
        found.setdefault(task, []).append(problem)
    return {task: " and ".join(dict.fromkeys(causes)) for task, causes in found.items()}


def _sample(part: ProjectSnapshot, failures: Mapping[str, MediaFailure], seed: int) -> dict[int, Source]:
    """{task: its medium} of some tasks, those first that failed before."""
    digests = task_digests(part)
    return sources(part, _chosen(digests, [task for task, key in digests.items() if key in failures], seed))


def _chosen(items: Iterable[_Item], failed: Collection[_Item], seed: int) -> list[_Item]:
    """Some of the items, at most half of them `failed` before."""
    choose = random.Random(seed)
    others = sorted(set(items).difference(failed))
    chosen = choose.sample(sorted(failed), min(len(failed), _SAMPLE // 2))
    return chosen + choose.sample(others, min(len(others), _SAMPLE - len(chosen)))
