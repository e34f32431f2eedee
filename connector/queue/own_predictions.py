"""Deletes the predictions that the connector and its ML backend made, and counts those that tasks have again."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

from connector.errors import StaleTasks
from connector.label_studio import LabelStudio
from connector.queue.versions import PUBLISHED_LABELS, our_versions
from connector.state.lock import KEEP_SECONDS
from connector.state.project_state import ProjectState
from connector.state.rows import Found

# The versions of our ML backend: when a model was made, to the microsecond, and four hexadecimal digits.
_BACKEND_VERSION = re.compile(r"\d{8}T\d{12}-[0-9a-f]{4}")


@dataclass(frozen=True)
class DeletedPredictions:
    """How many predictions were deleted, and {version: number} of those since init that are not the connector's.

    `windows`: of windows and published labels. `retrieved`: by our ML backend, at Label Studio's request.
    """

    windows: int
    retrieved: int
    others: dict[str, int]


def delete_predictions(project_id: int, gateway: LabelStudio, state: ProjectState, found: Found) -> DeletedPredictions:
    """Deletes all our predictions: windows, published labels, and what our ML backend gave Label Studio.

    Label Studio asks the backend for predictions if a person wishes so. They are ours if init connected the backend,
    if they were made since, and if their version has the form of our backend's. All others stay, those under the names
    of our published labels, too, if init found them and no sync has replaced them.
    """
    versions = gateway.model_versions(project_id)
    ours = our_versions(versions) | (set(PUBLISHED_LABELS) & versions.keys() - set(found.get("versions", ())))
    since = versions.keys() - ours - set(found.get("versions", versions))
    retrieved = {version for version in since if is_from_our_backend(version, found)}
    if ours | retrieved:
        for version in sorted((ours | retrieved) - {""}):
            gateway.delete_version(project_id, version)
        if "" in retrieved:
            _delete_unversioned(project_id, gateway, state)
        _recount_predictions(project_id, gateway, state)
    return DeletedPredictions(
        sum(versions[version] for version in ours),
        sum(versions[version] for version in retrieved),
        {version: versions[version] for version in since - retrieved},
    )


def is_from_our_backend(version: str, found: Found) -> bool:
    """Whether the version, which init did not find, is one of the ML backend that init connected.

    Before its first training, our backend has none. Others may have none either, if there are others.
    """
    if not found.get("connected"):
        return False
    return _BACKEND_VERSION.fullmatch(version) is not None or (version == "" and not found.get("backends"))


def _delete_unversioned(project_id: int, gateway: LabelStudio, state: ProjectState) -> None:
    """Deletes the predictions without a version, for which Label Studio has no other call."""
    for page in gateway.tasks_with_predictions(project_id):
        for row in [row for raw in page for row in raw["predictions"] if row["model_version"] == ""]:
            state.renew_lock(at_most_every=KEEP_SECONDS)
            gateway.delete_prediction(row["id"])


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
