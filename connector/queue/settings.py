"""The settings that a project must have for Label Studio to serve the window in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connector.label_studio import LabelStudio
from connector.queue.versions import unknown_newer
from connector.state import ProjectState
from connector.state.pull import ProjectReading
from connector.state.snapshot import ProjectSnapshot

# show_collab_predictions is on because Label Studio empties model_version whenever its settings are saved while it is
# off. Predictions have no result, so forms stay blank all the same.
REQUIRED_SETTINGS: dict[str, Any] = {
    "sampling": "Uncertainty sampling",
    "maximum_annotations": 1,
    "show_collab_predictions": True,
    "show_overlap_first": False,
}


def wrong_settings(project: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of REQUIRED_SETTINGS that the project does not have, with the values to set."""
    return {name: value for name, value in REQUIRED_SETTINGS.items() if project.get(name) != value}


def restore(reading: ProjectReading, gateway: LabelStudio, state: ProjectState) -> tuple[ProjectReading, list[str]]:
    """Restores the settings that the queue needs and a person has changed, model_version included, in one PATCH.

    Returns the reading with the settings as they are now, and the names of what had been changed: "predictions" if
    the published window itself was deleted.
    """
    project, versions = reading.project, reading.versions
    wrong = wrong_settings(project)
    record = state.record()
    ours = record.queue_version
    version = project["model_version"] or ""
    # Nothing to set here: the round that follows publishes a new window.
    deleted = ["predictions"] if record.queue_size and not versions.get(ours or "") else []
    if deleted and version != ours:
        deleted.insert(0, "model_version")
    # There is a newer window of ours if a sync was killed right after it had switched to it: it is as good as ours.
    if ours and versions.get(ours) and version != ours and version not in unknown_newer(versions, ours):
        wrong["model_version"] = ours
    elif wrong:
        wrong["model_version"] = version  # a PATCH of show_collab_predictions without it may empty it
    if not wrong:
        return reading, deleted
    if "maximum_annotations" in wrong:
        # It rewrites overlaps and flags of all tasks and leaves their updated_at alone: read all, now or next time.
        state.put(bookmark=None, full_read=None)
    answer = gateway.update_project(project["id"], **wrong)
    restored = sorted(name for name, value in wrong.items() if (project.get(name) or "") != (value or ""))
    return replace(reading, project={**project, **{name: answer[name] for name in wrong}}), restored + deleted


def not_served(pulled: ProjectSnapshot, version: str) -> str:
    """Why Label Studio does not serve the window in order, as a clause of a sentence. "": it does."""
    changed = sorted(wrong_settings(pulled.project))
    served = pulled.project["model_version"] or ""
    newer = unknown_newer(pulled.versions, version)
    if served != version and served not in newer:
        changed.append("model_version")
    causes = [f"a person changed {', '.join(changed)}"] * bool(changed)
    if version and not pulled.versions.get(version) and not newer:
        causes.append("a person deleted the window's predictions, or their tasks")
    if causes:
        return f"Label Studio does not serve the window in order, because {' and '.join(causes)}"
    if served != version:
        return "Label Studio serves a newer window, from a sync that was killed or from another connector"
    return ""
