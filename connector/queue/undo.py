"""`connector undo`: restores a project as `init` found it. All annotations stay."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from connector.errors import ProjectGone, UsageError
from connector.formatting import count, verb
from connector.label_studio import LabelStudio
from connector.progress import Reporter
from connector.queue.own_predictions import delete_predictions
from connector.queue.settings import REQUIRED_SETTINGS
from connector.queue.task_flags import close_second_opinions, restore_tasks
from connector.queue.versions import is_ours
from connector.queue.views import OwnTabs, delete_tabs
from connector.state.project_state import ProjectState, now
from connector.state.recognition import explain_deleted
from connector.state.rows import Found


@dataclass(frozen=True)
class UndoResult:
    """What undo did, and what it found at the end. Its fields are the keys of `--json`.

    Attributes:
        project: the project's id.
        already: there was nothing to undo.
        forgotten: the project is gone from Label Studio, and the state database has forgotten it.
        settings: the names of the settings that were restored.
        second_opinions: how many were closed.
        tasks: how many tasks were restored one by one.
        predictions: how many predictions of windows and published labels were deleted.
        retrieved_predictions: how many were deleted that our ML backend made at Label Studio's request.
        removed: what else was removed.
        other_predictions: {model version: number} of predictions that were made since init and stay.
        still_open: how many labelled tasks are open for more labels than the project asks for, because init found
            them so.
        taken_over: another state database ran the project before init.
        different: the settings that are not as init found them.
        version_gone: the model version that init found, if its predictions are gone.
        replaced: how many predictions that init found were deleted by a sync, because they had the name of published
            labels.
    """

    project: int
    already: bool = False
    forgotten: bool = False
    settings: list[str] = field(default_factory=list)
    second_opinions: int = 0
    tasks: int = 0
    predictions: int = 0
    retrieved_predictions: int = 0
    removed: list[str] = field(default_factory=list)
    other_predictions: dict[str, int] = field(default_factory=dict)
    still_open: int = 0
    taken_over: bool = False
    different: list[str] = field(default_factory=list)
    version_gone: str | None = None
    replaced: int = 0

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return asdict(self)


def undo(project_id: int, gateway: LabelStudio, state: ProjectState, reporter: Reporter) -> UndoResult:
    """Restores settings and every task's overlap, removes what we made, and returns what was done.

    Every step may be done twice, and what init found is forgotten last: after an interruption, undo can be run again.
    That it has begun is recorded first, so that no sync takes the project over again in between.
    Raises TryAgainLater if a sync holds the project, or if its tasks change faster than they are restored.
    """
    with state.lock_for_writes(gateway), explain_deleted(project_id, gateway):
        record = state.record()
        original = record.original_settings
        found: Found = record.found or {}
        if original is None:
            state.forget_adoption()  # an init was killed before it had recorded everything
            return UndoResult(project_id, already=True)
        project = gateway.get_project(project_id)
        state.require_same(project)
        found = {**found, "undo_began": now()}
        state.put(found=found)
        with reporter.stage("second_opinions", "Closing second opinions") as stage:
            closed = close_second_opinions(project, gateway, state, stage)
        # If no overlap is above 1, Label Studio restores every task's overlap within this one call.
        settings, project = _restore_settings(project_id, gateway, original)
        with reporter.stage("tasks", "Restoring the overlap of tasks") as stage:
            tasks = restore_tasks(project, gateway, state, stage)
        with reporter.stage("remove", "Removing predictions, tabs and backend"):
            deleted = delete_predictions(project_id, gateway, state, found)
            removed = _delete_what_init_made(project_id, gateway, found)
        # Deleting a version or a backend may empty model_version.
        _, project = _restore_settings(project_id, gateway, original)
        version = _known_version(project_id, gateway, original["model_version"] or "")
        state.renew_lock()
        state.forget_adoption()
    return UndoResult(
        project_id,
        settings=[name for name in settings if name != "model_version" or version == (original["model_version"] or "")],
        second_opinions=closed,
        tasks=tasks.one_by_one,
        predictions=deleted.windows,
        retrieved_predictions=deleted.retrieved,
        removed=removed,
        other_predictions=deleted.others,
        still_open=tasks.open,
        taken_over=found.get("taken_over", False),
        different=sorted(_different(project, {**original, "model_version": version})),
        version_gone=original["model_version"] if original["model_version"] and not version else None,
        replaced=found.get("replaced", 0),
    )


def forget(project_id: int, gateway: LabelStudio, state: ProjectState) -> UndoResult:
    """Forgets a project that Label Studio no longer has. Raises UsageError if it has the project."""
    with state.lock():
        record = state.record()
        if record.original_settings is None and record.adopted_at is None:
            return UndoResult(project_id, already=True)
        with contextlib.suppress(ProjectGone):
            if not record.difference(gateway.get_project(project_id)):
                raise UsageError(
                    f"Nothing was changed: Label Studio has project {project_id}. To restore it as init found it, run "
                    f"connector undo --project {project_id} without --forget."
                )
        state.forget_adoption()
    return UndoResult(project_id, forgotten=True)


def format_undo(done: UndoResult) -> str:
    """What undo did, as sentences."""
    if done.already:
        return f"Project {done.project} is not set up in this state database: there is nothing to undo."
    cron = "If cron runs connector sync for the project, remove that line."
    if done.forgotten:
        return f"The state database has forgotten project {done.project}. Label Studio was not changed. {cron}"
    made_by_backend = f"{count(done.retrieved_predictions, 'prediction')} that the ML backend made on request"
    gone = [
        *["the window's predictions"] * bool(done.predictions),
        *[made_by_backend] * bool(done.retrieved_predictions),
        *done.removed,
    ]
    one_by_one = f" and the overlap of {count(done.tasks, 'task')}" if done.tasks else ""
    sentences = [
        _claim(done),
        f"Undo restored {', '.join(done.settings) or 'no setting'}{one_by_one}.",
        f"It closed {count(done.second_opinions, 'second opinion')} and removed {', '.join(gone) or 'nothing'}.",
        "All annotations are kept.",
        *_what_is_left(done),
        cron,
    ]
    return " ".join(sentences)


def _claim(done: UndoResult) -> str:
    """How far the project is what it was, as far as undo has looked."""
    if done.different:
        return f"Project {done.project} is restored, but Label Studio still has another {', '.join(done.different)}."
    if done.taken_over:
        return (
            f"Project {done.project} is as this init found it. Another state database ran it before, and only that one "
            "knows the settings before its own init."
        )
    if done.replaced:
        predictions = (
            f"{count(done.replaced, 'prediction')} with the name of the connector's labels, which a sync deleted"
        )
        return f"Project {done.project} is as init found it, but for {predictions}."
    return f"Project {done.project} is as init found it."


def _what_is_left(done: UndoResult) -> list[str]:
    """What a person may not expect to find."""
    left = []
    if done.still_open:
        tasks = (
            f"{count(done.still_open, 'labelled task is', 'labelled tasks are')} open for more labels than the project"
        )
        why = ", because another connector had asked for second opinions" if done.taken_over else ""
        left.append(f"{tasks} asks for. {verb(done.still_open, 'It was', 'They were')} so at init{why}.")
    if done.version_gone and is_ours(done.version_gone):
        if done.taken_over:
            left.append(
                f"The window '{done.version_gone}' of the other connector is removed, too, and with it the project's "
                "model version."
            )
    elif done.version_gone:
        left.append(f"The model version '{done.version_gone}' is gone from Label Studio, so the project has none.")
    if done.other_predictions:
        numbers = sorted(done.other_predictions.items())
        versions = ", ".join(f"{name or 'without a version'} ({number:,})" for name, number in numbers)
        left.append(
            f"Predictions that are not the connector's and were made since init stay: {versions}. To delete them, use "
            "Settings, Predictions in Label Studio."
        )
    return left


def _restore_settings(
    project_id: int, gateway: LabelStudio, original: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """Restores the settings that init changed in one PATCH. Returns the names that differed and the project."""
    project = gateway.get_project(project_id)
    version = _known_version(project_id, gateway, original["model_version"] or "")
    wrong = _different(project, {**original, "model_version": version})
    if wrong:
        # A PATCH of show_collab_predictions without model_version empties it.
        project = gateway.update_project(project_id, **{**wrong, "model_version": version})
    return sorted(wrong), project


def _different(project: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that init changed and that are not as it found them, with the values that they had."""
    names = (*REQUIRED_SETTINGS, "model_version")
    return {name: original[name] for name in names if (project[name] or "") != (original[name] or "")}


def _known_version(project_id: int, gateway: LabelStudio, version: str) -> str:
    """The version, or "" if its predictions or its ML backend are gone, because Label Studio would refuse it."""
    if not version or version in gateway.model_versions(project_id):
        return version
    return version if any(backend["title"] == version for backend in gateway.backends(project_id)) else ""


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
