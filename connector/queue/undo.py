"""`connector undo`: restores a project as `init` found it. All annotations stay."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.annotations.records import annotator_of, moment
from connector.errors import StaleTasks, TryAgainLater
from connector.formatting import count
from connector.label_studio import LabelStudio
from connector.progress import Reporter, Stage
from connector.queue.settings import REQUIRED_SETTINGS
from connector.queue.versions import PUBLISHED_CONSENSUS, our_versions
from connector.queue.views import OwnTabs, delete_tabs
from connector.state.lock import KEEP_SECONDS
from connector.state.project_state import Original, ProjectState
from connector.state.rows import Found

PASSES = 3


@dataclass(frozen=True)
class Flags:
    """What decides whether Label Studio serves a task."""

    overlap: int
    is_labeled: bool


def undo(project_id: int, gateway: LabelStudio, state: ProjectState, reporter: Reporter) -> dict[str, Any]:
    """Restores settings and every task's overlap, removes what we made, and returns what was done.

    Every step may be done twice, and what init found is forgotten last: after an interruption, undo can be run again.
    Raises TryAgainLater if a sync holds the project, or if its tasks change faster than they are restored.
    """
    with state.lock_for_writes(gateway):
        record = state.record()
        original = record.original_settings
        done: dict[str, Any] = {"project": project_id, "already": original is None}
        if original is None:
            state.forget_adoption()  # an init was killed before it had recorded everything
            return {**done, "settings": [], "second_opinions": 0, "tasks": 0, "predictions": 0, "removed": []}
        with reporter.stage("second_opinions", "Closing second opinions") as stage:
            project = gateway.get_project(project_id)
            done["second_opinions"] = _close_second_opinions(project, gateway, state, stage)
        # If no overlap is above 1, Label Studio restores every task's overlap within this one call.
        done["settings"], project = _restore_settings(project_id, gateway, original)
        with reporter.stage("tasks", "Restoring the overlap of tasks") as stage:
            done["tasks"] = _restore_tasks(project, gateway, state, stage)
        with reporter.stage("remove", "Removing predictions, tabs and backend"):
            done["predictions"] = _delete_windows(project_id, gateway)
            _recount_predictions(project_id, gateway, state)
            done["removed"] = _delete_what_init_made(project_id, gateway, record.found or {})
        # Deleting a version or a backend may empty model_version.
        _restore_settings(project_id, gateway, original)
        state.renew_lock()
        state.forget_adoption()
    return done


def format_undo(done: Mapping[str, Any]) -> str:
    """What undo did, as sentences."""
    if done["already"]:
        return f"Project {done['project']} is not set up in this state database: there is nothing to undo."
    settings = ", ".join(done["settings"]) or "no setting"
    removed = ", ".join(("the window's predictions", *done["removed"]) if done["predictions"] else done["removed"])
    one_by_one = f" and the overlap of {done['tasks']} tasks" if done["tasks"] else ""
    return (
        f"Project {done['project']} is as init found it. Undo restored {settings}{one_by_one}. It closed "
        f"{count(done['second_opinions'], 'second opinion')} and removed {removed or 'nothing'}. All annotations are "
        "kept. If cron runs connector sync for the project, remove that line."
    )


def _close_second_opinions(project: Mapping[str, Any], gateway: LabelStudio, state: ProjectState, stage: Stage) -> int:
    """Closes the tasks that were reopened. Their overlaps would keep Label Studio from restoring all others at once."""
    reopened = state.reopened()
    present = {raw["id"]: raw for raw in gateway.tasks_by_id(project["id"], sorted(reopened))}
    for number, (task, overlap) in enumerate(sorted(reopened.items()), start=1):
        state.renew_lock(at_most_every=KEEP_SECONDS)
        if task in present:
            complete = _is_complete(present[task]["annotations"], overlap, project["skip_queue"])
            with contextlib.suppress(StaleTasks):  # deleted since
                gateway.update_task(task, overlap=overlap, is_labeled=complete)
        state.close_task(task)
        stage.count(number, len(reopened))
    return len(reopened)


def _restore_settings(
    project_id: int, gateway: LabelStudio, original: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """Restores the settings that init changed in one PATCH. Returns the names that differed and the project."""
    project = gateway.get_project(project_id)
    wanted = {name: original[name] for name in REQUIRED_SETTINGS}
    wanted["model_version"] = _known_version(project_id, gateway, original["model_version"] or "")
    wrong = {name: value for name, value in wanted.items() if (project[name] or "") != (value or "")}
    if wrong:
        # A PATCH of show_collab_predictions without model_version empties it.
        project = gateway.update_project(project_id, **{**wrong, "model_version": wanted["model_version"]})
    return sorted(wrong), project


def _known_version(project_id: int, gateway: LabelStudio, version: str) -> str:
    """The version, or "" if its predictions or its ML backend are gone, because Label Studio would refuse it."""
    if not version or version in gateway.model_versions(project_id):
        return version
    return version if any(backend["title"] == version for backend in gateway.backends(project_id)) else ""


def _restore_tasks(project: Mapping[str, Any], gateway: LabelStudio, state: ProjectState, stage: Stage) -> int:
    """Sets every task to the overlap and is_labeled that it would have without us. Returns how many had others.

    Reads until nothing differs any more: annotators go on labelling, and a Label Studio with a job queue recounts after
    its answer.
    """
    originals, since = state.originals(), state.record().adopted_at
    restored: set[int] = set()
    for _ in range(PASSES):
        wrong: dict[int, tuple[Flags, dict[str, Any]]] = {}
        for page in gateway.tasks(project["id"]):
            for raw in page:
                wanted = _wanted(raw, originals.get(raw["id"]), since, project)
                if wanted != Flags(raw["overlap"], raw["is_labeled"]):
                    wrong[raw["id"]] = (wanted, raw)
            state.renew_lock(at_most_every=KEEP_SECONDS)
        if not wrong:
            return len(restored)
        for number, (task, (wanted, raw)) in enumerate(wrong.items(), start=1):
            with contextlib.suppress(StaleTasks):  # deleted since
                answer = gateway.update_task(task, overlap=wanted.overlap, is_labeled=wanted.is_labeled)
                now = _wanted({**raw, "annotations": answer["annotations"]}, originals.get(task), since, project)
                if now != wanted:  # it was annotated since it was read
                    gateway.update_task(task, overlap=now.overlap, is_labeled=now.is_labeled)
            restored.add(task)
            stage.count(number, len(wrong))
    raise TryAgainLater(
        f"Tasks of project {project['id']} change as fast as they are restored: run undo again when fewer people label."
    )


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


def _updated(annotations: list[dict[str, Any]], since: str | None) -> bool:
    return since is not None and any(moment(row["updated_at"]) > moment(since) for row in annotations)


def _is_complete(annotations: list[dict[str, Any]], overlap: int, skip_queue: str) -> bool:
    """Label Studio's own rule: as many annotators as the overlap. A skip counts only under IGNORE_SKIPPED."""
    people = {annotator_of(row) for row in annotations if not row["was_cancelled"] or skip_queue == "IGNORE_SKIPPED"}
    return len(people) >= overlap


def _delete_windows(project_id: int, gateway: LabelStudio) -> int:
    """Deletes all our predictions, published consensus labels too. Returns how many there were."""
    versions = gateway.model_versions(project_id)
    ours = our_versions(versions) | ({PUBLISHED_CONSENSUS} & versions.keys())
    for version in sorted(ours):
        gateway.delete_version(project_id, version)
    return sum(versions[version] for version in ours)


def _recount_predictions(project_id: int, gateway: LabelStudio, state: ProjectState) -> None:
    """Corrects how many predictions tasks say they have.

    A Label Studio that has deleted a project since it was started may no longer count down when predictions are
    deleted: Django caches that the signal has no receivers, which is true only while a project is being deleted.
    """
    for page in gateway.tasks_with_predictions(project_id):
        for raw in page:
            if raw["total_predictions"] != len(raw["predictions"]):
                with contextlib.suppress(StaleTasks):  # deleted since
                    gateway.set_prediction_count(raw["id"], len(raw["predictions"]))
            state.renew_lock(at_most_every=KEEP_SECONDS)


def _delete_what_init_made(project_id: int, gateway: LabelStudio, found: Found) -> list[str]:
    """Removes our tabs, and the ML backend with its webhook if init connected it. Returns their names."""
    removed = []
    if delete_tabs(project_id, gateway, OwnTabs.of(found)):
        removed.append("the Data Manager's tabs")
    connected = found.get("connected", [])
    if not connected:
        return removed
    # Label Studio makes a webhook for each backend and leaves it behind, even if the backend is removed by hand.
    for webhook in gateway.webhooks(project_id):
        if webhook["id"] not in found["webhooks"] and webhook["url"] in [f"{url}/webhook" for url in connected]:
            gateway.delete_webhook(webhook["id"])
            removed.append("the ML backend's webhook")
    for backend in gateway.backends(project_id):
        if backend["id"] not in found["backends"] and backend["url"].rstrip("/") in connected:
            gateway.delete_backend(backend["id"])
            removed.append("the ML backend")
    return removed
