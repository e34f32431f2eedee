"""Consensus labels as predictions: a version of their own in the Data Manager, whose score is the label's quality.

The version is never the project's, so annotators' forms, the score column and the queue know nothing of it. What is
published is remembered, and written down only when Label Studio has it: after an interruption the next sync finds
either another number of predictions than it knows of, and reads all, or labels to publish that are there already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from connector._compat import batched
from connector.annotations.label_config import Control
from connector.errors import ConnectorError
from connector.label_studio.client import LabelStudio
from connector.queue.versions import PUBLISHED_CONSENSUS
from connector.state.lock import KEEP_SECONDS
from connector.state.project_state import ProjectState

# A quality that moved less is left as it is: with each training all of them move a little, and each costs a call.
QUALITY_STEP = 0.05
# Most qualities that are brought up to date in a sync, those that moved most; labels always are.
MOST_QUALITIES = 200
ROWS_A_CALL = 1000

Progress = Callable[[int, int], None]


class Label(NamedTuple):
    """A consensus label and the probability that it is right."""

    label: str
    quality: float


@dataclass(frozen=True)
class Changes:
    """Tasks whose consensus is new to Label Studio, another than it has, or gone."""

    new: list[int]
    other: list[int]
    gone: list[int]


def is_known(state: ProjectState, versions: Mapping[str, int], tasks: Collection[int]) -> bool:
    """Whether Label Studio has as many of our predictions as are remembered of `tasks`, all that the project has."""
    return versions.get(PUBLISHED_CONSENSUS, 0) == sum(task in tasks for task in state.consensus())


def publish(
    gateway: LabelStudio,
    state: ProjectState,
    project_id: int,
    control: Control,
    wanted: Mapping[int, Label],
    *,
    tasks: Collection[int],
    versions: Mapping[str, int],
    progress: Progress = lambda done, total: None,
) -> int:
    """Brings the published consensus up to `wanted` {task: label}; how many predictions were written or removed.

    `tasks`: all that the project has; `versions`: predictions by version. New ones take a call for ROWS_A_CALL of them,
    all others one each. Raises StaleTasks when a task is gone, ConnectorError when Label Studio keeps fewer
    predictions than it was sent.
    """
    known = {task: Label(*label) for task, label in state.consensus().items() if task in tasks}
    if is_known(state, versions, tasks):
        changes = changed(known, wanted)
        ids = [*changes.other, *changes.gone]
        there = gateway.tasks_by_id(project_id, ids, fields="id,predictions")
        pages: Iterable[list[dict[str, Any]]] = iter([list(there)])
        missing = {*changes.new, *changes.other}
    else:
        state.forget_consensus()
        ids, pages, missing = list(wanted), gateway.tasks_with_predictions(project_id), set(wanted)
    written = 0
    for page in pages:
        done: dict[int, Label | None] = {}
        for task, found in _ours(page):
            written += _bring_up_to_date(gateway, control, found, wanted.get(task))
            done[task] = wanted.get(task)
            progress(len(done), max(len(done), len(ids)))
        missing -= done.keys()
        state.renew_lock(at_most_every=KEEP_SECONDS)
        state.store_consensus(done)
    state.store_consensus({task: None for task in ids if task not in wanted})
    for part in batched(sorted(missing), ROWS_A_CALL):
        kept = gateway.import_predictions(project_id, [_row(task, control, wanted[task]) for task in part])
        if kept != len(part):
            raise ConnectorError(f"Label Studio kept {kept} of {len(part)} consensus labels: run sync again.")
        state.renew_lock(at_most_every=KEEP_SECONDS)
        state.store_consensus({task: wanted[task] for task in part})
    return written + len(missing)


def remove(gateway: LabelStudio, state: ProjectState, project_id: int) -> None:
    """Removes all that was published."""
    gateway.delete_version(project_id, PUBLISHED_CONSENSUS)
    state.renew_lock()
    state.forget_consensus()


def changed(known: Mapping[int, Label], wanted: Mapping[int, Label]) -> Changes:
    """What differs enough to be published."""
    moved = {
        task: abs(known[task].quality - wanted[task].quality)
        for task in known.keys() & wanted.keys()
        if known[task].label == wanted[task].label
    }
    most = sorted((task for task in moved if moved[task] >= QUALITY_STEP), key=lambda task: (-moved[task], task))
    relabelled = (known.keys() & wanted.keys()) - moved.keys()
    return Changes(
        sorted(wanted.keys() - known.keys()),
        sorted(relabelled | set(most[:MOST_QUALITIES])),
        sorted(known.keys() - wanted.keys()),
    )


def _ours(page: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The tasks of a page that have a consensus of ours, each with its predictions of that."""
    for raw in page:
        found = [row for row in raw["predictions"] if row["model_version"] == PUBLISHED_CONSENSUS]
        if found:
            yield raw["id"], found


def _bring_up_to_date(
    gateway: LabelStudio, control: Control, found: Sequence[Mapping[str, Any]], wanted: Label | None
) -> int:
    """Leaves one prediction of those `found` on a task, with what is wanted, or none; how many calls that took."""
    first, *others = found
    calls = 0
    if wanted is None:
        others = [first, *others]
    elif (first["result"], first["score"]) != (said := _said(control, wanted)):
        gateway.update_prediction(first["id"], result=said[0], score=said[1])
        calls += 1
    for row in others:
        gateway.delete_prediction(row["id"])
        calls += 1
    return calls


def _row(task: int, control: Control, wanted: Label) -> dict[str, Any]:
    result, score = _said(control, wanted)
    return {"task": task, "result": result, "score": score, "model_version": PUBLISHED_CONSENSUS}


def _said(control: Control, wanted: Label) -> tuple[list[dict[str, Any]], float]:
    """The label as a prediction has it. Label Studio drops a score outside [0, 1] in silence."""
    return control.result(wanted.label), min(1.0, max(0.0, round(wanted.quality, 4)))
