"""Whose predictions count as labels of machines: `--annotator-version NAME`. Label Studio is only read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from connector.errors import UsageError
from connector.formatting import listed
from connector.queue.own_predictions import is_from_our_backend
from connector.queue.versions import PUBLISHED_LABELS, is_ours
from connector.state.project_state import ProjectState
from connector.state.rows import Found


def check_versions(
    names: Sequence[str], dropped: Sequence[str], versions: Mapping[str, int], state: ProjectState
) -> None:
    """Raises UsageError if one of the versions to add, or of the machines to drop, cannot be meant.

    Args:
        names: model versions whose predictions are to count.
        dropped: machines whose labels are to count no more.
        versions: how many predictions Label Studio has of each model version.
        state: the project's state.
    """
    known, found = state.machines(), state.record().found or {}
    for name in names:
        if is_ours(name) or name in PUBLISHED_LABELS:
            raise UsageError(f"Nothing was changed: {name} is a model version of the connector itself, and no machine.")
        if is_from_our_backend(name, found):
            raise UsageError(
                f"Nothing was changed: {name} is a version of the ML backend that init connected. Its model has a say "
                "already."
            )
        if name in known:
            if "predictions" not in known[name]:
                raise UsageError(f"Nothing was changed: connector label-with asks {name}. Its labels count already.")
            continue
        if not versions.get(name):
            others = _others(versions, found)
            there = f" It has {listed(others)}." if others else ""
            raise UsageError(f"Nothing was changed: Label Studio has no predictions of the version {name!r}.{there}")
    for name in dropped:
        if name not in known:
            machines = f" Machines: {listed(sorted(known))}." if known else ""
            raise UsageError(f"Nothing was changed: {name!r} is no machine of this project.{machines}")


def store_versions(names: Sequence[str], dropped: Sequence[str], state: ProjectState) -> bool:
    """Records which versions count. Returns whether that changes anything: then the next sync chooses a new window."""
    known = state.machines()
    new = [name for name in dict.fromkeys(names) if name not in known]
    for name in new:
        state.put_machine(name, {"predictions": 0})
    for name in dict.fromkeys(dropped):
        state.drop_machine(name)
    if new or dropped:
        state.ask_for_a_window()
    return bool(new or dropped)


def _others(versions: Collection[str], found: Found) -> list[str]:
    """The versions that are neither ours nor of our backend."""
    return sorted(
        repr(name)
        for name in versions
        if name and not is_ours(name) and name not in PUBLISHED_LABELS and not is_from_our_backend(name, found)
    )
