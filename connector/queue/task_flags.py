"""Restores the overlap and the is_labeled of all tasks: what they would be if the connector had never run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from connector.annotations.records import annotator_of, moment
from connector.errors import StaleTasks, TryAgainLater
from connector.label_studio import LabelStudio
from connector.progress import Stage
from connector.state.lock import KEEP_SECONDS
from connector.state.project_state import Original, ProjectState

PASSES = 3
# Up to so many tasks take a call each. For more, Label Studio is made to set the overlap of all tasks at once, which
# takes it as long as a few calls, and longer in a large project.
ONE_BY_ONE = 10


@dataclass(frozen=True)
class Flags:
    """What decides whether Label Studio serves a task."""

    overlap: int
    is_labeled: bool


@dataclass(frozen=True)
class RestoredTasks:
    """The tasks after they were restored.

    `one_by_one`: how many took a call of their own. `open`: labelled tasks that ask for more labels than the project
    asks of all tasks, because init found them so.
    """

    one_by_one: int
    open: int


def close_second_opinions(project: Mapping[str, Any], gateway: LabelStudio, state: ProjectState, stage: Stage) -> int:
    """Closes the tasks that were reopened. Their overlaps would keep Label Studio from restoring all others at once."""
    reopened = state.reopened()
    if len(reopened) > ONE_BY_ONE and _all_have_one_overlap(project, state):
        _set_at_once(1, project, gateway)
        state.close_tasks(reopened)
        return len(reopened)
    present = {raw["id"]: raw for raw in gateway.tasks_by_id(project["id"], sorted(reopened))}
    for number, (task, overlap) in enumerate(sorted(reopened.items()), start=1):
        state.renew_lock(at_most_every=KEEP_SECONDS)
        if task in present:
            complete = _is_complete(present[task]["annotations"], overlap, project["skip_queue"])
            with contextlib.suppress(StaleTasks):  # deleted since
                gateway.update_task(task, overlap=overlap, is_labeled=complete)
        state.close_tasks([task])
        stage.count(number, len(reopened))
    return len(reopened)


def restore_tasks(project: Mapping[str, Any], gateway: LabelStudio, state: ProjectState, stage: Stage) -> RestoredTasks:
    """Sets every task to the overlap and is_labeled that it would have without us.

    Reads until nothing differs any more: annotators go on labelling, and a Label Studio with a job queue recounts after
    its answer. Raises TryAgainLater if tasks change faster than they are restored.
    """
    originals, since = _Originals(state), state.record().adopted_at
    restored: set[int] = set()
    differing = partial(_differing, project, gateway, state, originals, since)
    found = differing()
    most = project["maximum_annotations"]
    of_their_own = sum(wanted.overlap != most for wanted in found.wanted.values())
    if len(found.wrong) - of_their_own > ONE_BY_ONE:
        _set_at_once(most, project, gateway)
        found = differing()
    for _ in range(PASSES):
        if not found.wrong:
            return RestoredTasks(len(restored), found.open)
        for number, (task, raw) in enumerate(found.wrong.items(), start=1):
            wanted = found.wanted[task]
            with contextlib.suppress(StaleTasks):  # deleted since
                answer = gateway.update_task(task, overlap=wanted.overlap, is_labeled=wanted.is_labeled)
                now = _wanted({**raw, "annotations": answer["annotations"]}, originals.of(raw), since, project)
                if now != wanted:  # it was annotated since it was read
                    gateway.update_task(task, overlap=now.overlap, is_labeled=now.is_labeled)
            restored.add(task)
            stage.count(number, len(found.wrong))
        found = differing()
    if not found.wrong:
        return RestoredTasks(len(restored), found.open)
    raise TryAgainLater(
        f"Tasks of project {project['id']} change as fast as they are restored: run undo again when fewer people label."
    )


class _Originals:
    """The tasks as init found them."""

    def __init__(self, state: ProjectState) -> None:
        self._by_id, recorded_at = state.originals(), (state.record().found or {}).get("recorded_at")
        # Label Studio tells its time in whole seconds.
        self._latest = None if recorded_at is None else moment(recorded_at) + timedelta(seconds=1)

    def of(self, raw: Mapping[str, Any]) -> Original | None:
        """A task as init found it. None if it was imported since, perhaps with the number of a deleted one."""
        later = self._latest is not None and moment(raw["created_at"]) >= self._latest
        return None if later else self._by_id.get(raw["id"])


class _Found(NamedTuple):
    """All tasks as they should be, those that are not, as Label Studio has them, and how many are open for more."""

    wanted: dict[int, Flags]
    wrong: dict[int, dict[str, Any]]
    open: int


def _differing(
    project: Mapping[str, Any],
    gateway: LabelStudio,
    state: ProjectState,
    originals: _Originals,
    since: str | None,
) -> _Found:
    """Reads all tasks. `originals`: as init found them, which was at `since`."""
    wanted: dict[int, Flags] = {}
    wrong: dict[int, dict[str, Any]] = {}
    still_open = 0
    for page in gateway.tasks(project["id"]):
        for raw in page:
            flags = wanted[raw["id"]] = _wanted(raw, originals.of(raw), since, project)
            if flags != Flags(raw["overlap"], raw["is_labeled"]):
                wrong[raw["id"]] = raw
            still_open += _asks_for_more(raw, flags, project)
        state.renew_lock(at_most_every=KEEP_SECONDS)
    return _Found(wanted, wrong, still_open)


def _all_have_one_overlap(project: Mapping[str, Any], state: ProjectState) -> bool:
    """Whether every task has overlap 1 once second opinions are closed: then Label Studio can set all of them."""
    original = state.record().original_settings or {}
    if project["maximum_annotations"] != 1:
        return False
    return original["maximum_annotations"] > 1 or all(task.overlap == 1 for task in state.originals().values())


def _set_at_once(overlap: int, project: Mapping[str, Any], gateway: LabelStudio) -> None:
    """Sets the overlap of all tasks, and is_labeled by it, in two calls. `overlap`: that of the project now.

    If maximum_annotations changes, Label Studio sets the tasks with an overlap above 1, or all if there are none. So a
    change to 1 leaves every task at 1, and one from 1 to more sets every task.
    """
    keep = {"model_version": project["model_version"]} if project["model_version"] else {}
    for number in (2, 1) if overlap == 1 else (1, overlap):
        gateway.update_project(project["id"], maximum_annotations=number, **keep)


def _wanted(raw: Mapping[str, Any], original: Original | None, since: str | None, project: Mapping[str, Any]) -> Flags:
    """The flags that the task had, or would have by now under the settings that init found (`project`).

    A task imported since gets the overlap of all others. If only a share of them has more than one
    (overlap_cohort_percentage), it keeps what Label Studio chose.
    """
    rows = raw["annotations"]
    if original is not None and original.answers == len(rows) and not _updated(rows, since):
        return Flags(original.overlap, original.is_labeled)
    if original is not None:
        overlap = original.overlap
    elif project["overlap_cohort_percentage"] == 100:
        overlap = project["maximum_annotations"]
    else:
        overlap = raw["overlap"]
    return Flags(overlap, _is_complete(rows, overlap, project["skip_queue"]))


def _asks_for_more(raw: Mapping[str, Any], flags: Flags, project: Mapping[str, Any]) -> bool:
    """Whether a labelled task with these flags is open for more labels than the project asks of all tasks.

    It asks for another label even at the overlap of all tasks, if it has as many annotators already: Label Studio does
    not count a ground truth against the overlap.
    """
    rows, most = raw["annotations"], project["maximum_annotations"]
    labelled = any(not row["was_cancelled"] for row in rows)
    more = flags.overlap > most or _is_complete(rows, most, project["skip_queue"])
    return labelled and not flags.is_labeled and more


def _updated(annotations: list[dict[str, Any]], since: str | None) -> bool:
    return since is not None and any(moment(row["updated_at"]) > moment(since) for row in annotations)


def _is_complete(annotations: list[dict[str, Any]], overlap: int, skip_queue: str) -> bool:
    """Label Studio's own rule: as many annotators as the overlap. A skip counts only under IGNORE_SKIPPED."""
    people = {annotator_of(row) for row in annotations if not row["was_cancelled"] or skip_queue == "IGNORE_SKIPPED"}
    return len(people) >= overlap
