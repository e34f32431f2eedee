"""One round that accepts labels of the model, or gives them up: pull, train, score, accept, choose, publish."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connector.active_learning.audit import Audit
from connector.errors import StaleTasks
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.state.project_state import ProjectState
from connector.state.recognition import explain_deleted
from connector.state.rows import Accepted
from connector.state.snapshot import ProjectSnapshot
from connector.sync.accepted import FinishSummary, require_served, still_accepted, without_label
from connector.sync.cycle import Cycle, held
from connector.sync.options import SyncOptions

if TYPE_CHECKING:
    from connector.backend import Backend
    from connector.sync.finish import Finishing
    from connector.sync.scoring import Scored


def finish(
    project_id: int,
    gateway: LabelStudio,
    connect: Callable[[], Backend],
    state: ProjectState,
    reporter: Reporter,
    max_error: float | None,
    *,
    dry_run: bool = False,
    media_hosts: tuple[str, ...] = (),
) -> FinishSummary:
    """Accepts the model's labels of tasks without one, as far as at most `max_error` of them are wrong.

    Then people are asked for the other tasks. It syncs with the options of the last round, but its window has no tasks
    of the audit and no gold tasks. That of the next sync may have some.

    Args:
        project_id: the project in Label Studio.
        gateway: Label Studio.
        connect: opens the ML backend.
        state: the project's state.
        reporter: shows the stages.
        max_error: a share. None: give up the labels that were accepted, and ask for all tasks again.
        dry_run: change nothing.
        media_hosts: private hosts from which files may be fetched.

    Raises:
        UsageError: the project is not set up, its questions cannot be finished, there is no model, or too few tasks of
            the audit have a label.
        TryAgainLater: another sync holds the project, or a server is away.
    """
    state.require_initialized()
    with held(state, gateway):
        state.require_initialized()
        wanted = state.record().min_annotations_per_task
        options = SyncOptions.of_round(state.last_round(), wanted, dry_run=dry_run, media_hosts=media_hosts)
        acceptance = Acceptance(max_error)
        cycle = Cycle(project_id, gateway, state, options, reporter, acceptance)
        with explain_deleted(project_id, gateway):
            for everything in (False, True):
                with reporter.stage("pull", "Reading what changed in Label Studio") as stage:
                    snapshot, restored = cycle.read(everything=everything, progress=stage.count)
                cycle.tell_restored(restored)
                _require_finishable(snapshot, state, max_error)
                before = len(still_accepted(snapshot, state.accepted()))
                try:
                    with cycle.result_recorded():
                        done = cycle.round(snapshot, restored, connect())
                    break
                except StaleTasks:  # a task was deleted since it was read: once more, on a fresh reading
                    if everything:
                        raise
    found = acceptance.found
    accepted = len(found.labels) if found else 0
    return FinishSummary(
        project=project_id,
        max_error=max_error,
        accepted=accepted,
        before=before,
        left=without_label(snapshot) - accepted,
        bound=found.found.bound if found and found.found else None,
        audited=found.found.audited if found and found.found else 0,
        audited_in_all=found.audited if found else 0,
        model_version=done.model_version,
        window=done.window.size,
        dry_run=dry_run,
    )


@dataclass
class Acceptance:
    """Which labels of the model a round is to accept: at most a share `max_error` of them wrong. None: none at all.

    `found`: what the round found.
    """

    max_error: float | None
    found: Finishing | None = None

    def accept(
        self,
        snapshot: ProjectSnapshot,
        scored: Scored,
        audit: Audit,
        state: ProjectState,
        reporter: Reporter,
        *,
        dry_run: bool,
    ) -> Mapping[int, Accepted] | None:
        """Finds and remembers them. Returns {task: its accepted label}, or None without any."""
        if self.max_error is None:
            if not dry_run:
                state.store_accepted({}, None)
            return None
        from connector.sync.finish import find_acceptable

        with reporter.stage("accept", "Finding which labels of the model can be accepted"):
            found = self.found = find_acceptable(snapshot, scored, audit, self.max_error)
        if not dry_run:
            state.renew_lock()
            state.store_accepted(found.labels, found.finish)
        return None if found.finish is None else found.labels


def _require_finishable(snapshot: ProjectSnapshot, state: ProjectState, max_error: float | None) -> None:
    """Raises UsageError if no label of the model can be accepted, whatever it says."""
    if max_error is None:
        return
    from connector.sync.finish import require_audited

    require_served(snapshot.project["id"], snapshot.questions)
    require_audited(snapshot, Audit(drawn=state.drawn()), max_error)
