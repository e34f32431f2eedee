"""The model versions under which windows are published: which are ours, which have expired, and the next one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta, timezone

from connector.label_studio import LabelStudio

VERSION_PREFIX = "activelab-"
# The versions of labels that are published as predictions (label_predictions.py): no windows. Consensus labels, and the
# model's labels that `connector finish` accepted.
PUBLISHED_CONSENSUS = VERSION_PREFIX + "consensus"
ACCEPTED_LABELS = VERSION_PREFIX + "model"
PUBLISHED_LABELS = (PUBLISHED_CONSENSUS, ACCEPTED_LABELS)
_STAMP = "%Y%m%d-%H%M%S-%f"
# How long an old window stays: as long as Label Studio keeps a task for the annotator who opened it.
KEEP_WINDOWS = timedelta(hours=24)
# Most expired windows that one publishing deletes. A project that was left alone for a day has hundreds, and each takes
# most of a second.
DELETED_A_TIME = 10


def our_versions(versions: Collection[str]) -> set[str]:
    """Those of a project's model versions that are windows of ours."""
    return {version for version in versions if is_ours(version)}


def is_ours(version: str | None) -> bool:
    """Whether a model version is a window of ours: the prefix and a time, because others may use the prefix, too."""
    return version is not None and version.startswith(VERSION_PREFIX) and published_at(version) is not None


def published_at(version: str) -> datetime | None:
    """When a window of ours was made, in UTC, as its version says. None if it says nothing."""
    try:
        stamp = datetime.strptime(version.removeprefix(VERSION_PREFIX), _STAMP)
    except ValueError:
        return None
    return stamp.replace(tzinfo=timezone.utc)


def expired(versions: Collection[str], current: str | None, now: datetime | None = None) -> list[str]:
    """Windows of ours, except the `current` one, that no open form can come from any more, oldest first."""
    now = now or datetime.now(timezone.utc)
    made = {version: published_at(version) for version in our_versions(versions) - {current}}
    return sorted(version for version, at in made.items() if at is not None and now - at > KEEP_WINDOWS)


def unknown_newer(versions: Collection[str], current: str | None) -> set[str]:
    """Windows of ours made after the `current` one: a sync was killed before it could record them."""
    return {version for version in our_versions(versions) if current and version > current}


def new_version(versions: Collection[str]) -> str:
    """A version later than all of ours in `versions`, even those of a machine whose clock is ahead."""
    at = datetime.now(timezone.utc)
    made = [old for old in map(published_at, our_versions(versions)) if old is not None]
    at = max([at, *(old + timedelta(microseconds=1) for old in made)])
    return VERSION_PREFIX + at.strftime(_STAMP)


def delete_expired(
    gateway: LabelStudio, project_id: int, versions: Collection[str], current: str | None, *, at_most: int
) -> None:
    """Deletes the oldest of the expired windows."""
    for old in expired(versions, current)[:at_most]:
        gateway.delete_version(project_id, old)
