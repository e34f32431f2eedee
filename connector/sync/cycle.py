"""One round of the loop: pull, consensus, train, score, choose, publish."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.active_learning import DEFAULT_STRATEGY
from connector.active_learning.stopping import forecast
from connector.active_learning.window import Slot
from connector.errors import ConnectorError, StaleTasks, StateError, UsageError
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.queue.publish import QUICK_IMPORT, SLOW_IMPORT_SECONDS, is_open, publish, stale_open_tasks
from connector.queue.settings import restore
from connector.queue.versions import PUBLISHED_CONSENSUS, delete_expired, unknown_newer
from connector.queue.views import OwnTabs, restore_tab_order
from connector.state.project_state import ProjectState, now
from connector.state.pull import ProjectReading, Pulled, pull, read_project

if TYPE_CHECKING:
    from connector.backend import Backend
    from connector.sync.scoring import Scored

# What a round's summary tells of the model.
MEASURED = ("model_agreement", "ground_truth_tasks", "ground_truth_accuracy", "forecast")


@dataclass(frozen=True)
class SyncOptions:
    """How one sync is to be done; the field names are those of the command's options."""

    window: int = 100
    max_annotations_per_task: int = 5
    train: str = "auto"
    prelabel_new: bool = False
    dry_run: bool = False
    scorer: str = "activelab"  # the setting CONNECTOR_SCORER
    strategy: str = DEFAULT_STRATEGY
    ground_truth: bool = False
    publish_consensus: bool = False

    def chosen_under(self, skip_queue: str) -> dict[str, Any]:
        """What a window depends on, the project's rule for skipped tasks too: another value asks for another window."""
        return {
            "window": self.window,
            "max_annotations_per_task": self.max_annotations_per_task,
            "prelabel_new": self.prelabel_new,
            "skip_queue": skip_queue,
            "scorer": self.scorer,
            "strategy": self.strategy,
            "ground_truth": self.ground_truth,
            **({"publish_consensus": True} if self.publish_consensus else {}),
        }


def sync(
    project_id: int,
    gateway: LabelStudio,
    connect: Callable[[], Backend],
    state: ProjectState,
    options: SyncOptions,
    reporter: Reporter,
) -> dict[str, Any]:
    """Does one sync of an adopted project and returns its summary (the object that `--json` prints).

    `connect` gives the ML backend and is called only when there is something to do.
    Raises UsageError when the project is not adopted, TryAgainLater when another sync holds it or a server is away.
    """
    state.require_initialized()
    wanted = state.record().min_annotations_per_task
    if wanted > options.max_annotations_per_task:
        raise UsageError(
            f"Project {project_id} was set up to have {wanted} annotations on every task (--min-annotations-per-task), "
            f"and --max-annotations-per-task is {options.max_annotations_per_task}: give at least {wanted}."
        )
    with state.lock_for_writes(gateway), _recorded(state, options):
        state.require_initialized()  # again: undo may have held the lock
        with reporter.stage("pull", "Reading what changed in Label Studio") as stage:
            reading, restored = _read_and_restore(project_id, gateway, state, options)
            pulled = pull(reading, gateway, state, progress=stage.count)
        for name in restored:
            what = "deleted the window's predictions" if name == "predictions" else f"changed {name}"
            reporter.say(f"Somebody had {what}; this sync puts the queue in order again.")
        if restored:
            reporter.say(f"What else may break the queue: connector doctor --project {project_id}")
        if not _work_to_do(pulled, state, options):
            if not options.dry_run:
                # One a sync: there is no hurry, and a sync with nothing to do shall stay a quick one.
                current = state.record().queue_version
                delete_expired(gateway, project_id, pulled.versions, current, at_most=1)
            return _summary(pulled, restored, state, reporter)
        backend = connect()
        try:
            return _round(pulled, restored, gateway, backend, state, options, reporter)
        except StaleTasks:  # deleted since it was read: once more, on a fresh reading
            with reporter.stage("pull", "Reading all of the project again") as stage:
                reading, restored_again = _read_and_restore(project_id, gateway, state, options)
                again = pull(reading, gateway, state, everything=True, progress=stage.count)
            return _round(again, [*restored, *restored_again], gateway, backend, state, options, reporter)


def _read_and_restore(
    project_id: int, gateway: LabelStudio, state: ProjectState, options: SyncOptions
) -> tuple[ProjectReading, list[str]]:
    """Reads the project and, except in a dry run, restores the settings that the queue needs."""
    reading = read_project(project_id, gateway)
    return (reading, []) if options.dry_run else restore(reading, gateway, state)


@contextlib.contextmanager
def _recorded(state: ProjectState, options: SyncOptions) -> Iterator[None]:
    """Remembers how a sync ended, for `connector status`; a dry run leaves no trace."""
    before = state.record().round
    try:
        yield
    except Exception as error:
        if not options.dry_run:
            words = str(error) if isinstance(error, ConnectorError) else f"{type(error).__name__}: {error}"
            # The state database itself may be what failed.
            with contextlib.suppress(StateError):
                state.put(last_sync={"at": now(), "result": "failed", "error": words})
        raise
    if not options.dry_run:
        result = "published" if state.record().round > before else "nothing new"
        state.put(last_sync={"at": now(), "result": result, "error": None})


def _work_to_do(pulled: Pulled, state: ProjectState, options: SyncOptions) -> bool:
    """Whether a new window is due: something changed, or the published window no longer stands as it was published."""
    record = state.record()
    version = record.queue_version
    asked = {slot.task for slot in state.window() if slot.relabel}
    return (
        pulled.changed
        or options.train == "always"
        or record.window_options != options.chosen_under(pulled.project["skip_queue"])
        or version is None
        or pulled.project["model_version"] != version
        or pulled.versions.get(version, 0) != record.queue_size
        or _consensus_differs(pulled, state, options)
        or bool(unknown_newer(pulled.versions, version))
        or not asked.issuperset(state.reopened())
        or any(not is_open(pulled.tasks[task], pulled.project["skip_queue"]) for task in asked)
        or bool(stale_open_tasks(pulled.tasks, asked, pulled.project["skip_queue"]))
    )


def _round(
    pulled: Pulled,
    restored: list[str],
    gateway: LabelStudio,
    backend: Backend,
    state: ProjectState,
    options: SyncOptions,
    reporter: Reporter,
) -> dict[str, Any]:
    # NumPy and requests are imported here: a sync with nothing to do must not pay for them.
    from connector.active_learning.strategies import find_strategy
    from connector.sync.scoring import choose, score

    strategy = find_strategy(options.strategy, options.scorer)
    train = "never" if options.dry_run else options.train
    scored = score(pulled, backend, state, reporter, train=train, strategy=strategy, ground_truth=options.ground_truth)
    with reporter.stage("select", "Choosing the next window"):
        window = choose(
            pulled,
            scored,
            backend,
            strategy=strategy,
            window=options.window,
            max_annotations=options.max_annotations_per_task,
            min_annotations=state.record().min_annotations_per_task,
        )
    if options.dry_run:
        return {**_summary(pulled, restored, state, reporter, scored, window), "dry_run": True}
    chosen = options.chosen_under(pulled.project["skip_queue"])
    about_consensus = options.publish_consensus or PUBLISHED_CONSENSUS in pulled.versions
    with reporter.stage("publish", f"Publishing a window of {len(window)} tasks") as stage:
        published = publish(
            gateway,
            state,
            pulled,
            window,
            # Not yet those asked for: a sync that is killed before the consensus is out has its round to do again.
            options={**chosen, "publish_consensus": None} if about_consensus else chosen,
            prelabels=scored.predicted if options.prelabel_new else None,
            progress=stage.count,
        )
    if published.import_seconds > SLOW_IMPORT_SECONDS:
        reporter.say(
            f"Label Studio took {published.import_seconds:.0f} s to import the window. Started with the environment "
            f"variable {QUICK_IMPORT} it takes less than one."
        )
    if about_consensus:
        _publish_consensus(pulled, gateway, scored, state, options, reporter)
        state.put(window_options=chosen)
    summary = _summary(pulled, restored, state, reporter, scored, published.window)
    summary["round"] += 1
    state.store_round(summary["round"], {**summary, "labels": len(scored.labels)})  # what the model learns from
    if restore_tab_order(pulled.project["id"], gateway, OwnTabs.of(state.record().found)):
        reporter.say("Somebody had sorted our tab in the Data Manager; it is in the queue's order again.")
    return summary


def _consensus_differs(pulled: Pulled, state: ProjectState, options: SyncOptions) -> bool:
    """Whether Label Studio has other consensus labels than those known, as somebody deletes predictions."""
    from connector.queue.consensus_predictions import is_up_to_date

    return options.publish_consensus and not is_up_to_date(state, pulled.versions, pulled.tasks)


def _publish_consensus(
    pulled: Pulled,
    gateway: LabelStudio,
    scored: Scored,
    state: ProjectState,
    options: SyncOptions,
    reporter: Reporter,
) -> None:
    """Publishes the consensus that `connector export` would write now, or removes what an earlier sync published."""
    from connector.queue.consensus_predictions import Label, publish_consensus, remove_consensus
    from connector.sync.review import consensus_quality

    project = pulled.project["id"]
    if not options.publish_consensus:
        with reporter.stage("consensus", "Removing published consensus labels"):
            remove_consensus(gateway, state, project)
        return
    with reporter.stage("consensus", "Publishing consensus labels") as stage:
        reviewed = consensus_quality(pulled, scored, options.strategy, options.scorer)
        labels, quality = reviewed.consensus, reviewed.quality
        wanted = {task: Label(labels[task], quality[task]) for task in quality}
        publish_consensus(
            gateway,
            state,
            project,
            pulled.control,
            wanted,
            tasks=pulled.tasks,
            versions=pulled.versions,
            progress=stage.count,
        )


def _summary(
    pulled: Pulled,
    restored: list[str],
    state: ProjectState,
    reporter: Reporter,
    scored: Scored | None = None,
    window: Sequence[Slot] | None = None,
) -> dict[str, Any]:
    """What `--json` prints; without `scored` and `window`, of a sync that had nothing to do."""
    record, last = state.record(), state.last_round() or {}
    window = state.window() if window is None else window
    rows = [row for task in pulled.tasks.values() for row in task.annotations if not row.skipped]
    relabel = sum(slot.relabel for slot in window)
    return {
        "project": pulled.project["id"],
        "round": record.round,
        "tasks": len(pulled.tasks),
        "annotations": len(rows),
        "annotators": len({row.annotator for row in rows}),
        "labels_changed": scored.labels_changed if scored else 0,
        "trained": bool(scored and scored.trained),
        "model_version": scored.model_version if scored else record.model_version,
        **(_measured(scored) if scored else {name: last.get(name) for name in MEASURED}),
        "queue_version": record.queue_version,
        "window": {"size": len(window), "new": len(window) - relabel, "relabel": relabel},
        "without_text": sum(task.digest is None for task in pulled.tasks.values()),
        "unknown_choices": sum(row.unknown for row in rows),
        "restored": restored,
        "seconds": dict(reporter.seconds),
    }


def _measured(scored: Scored) -> dict[str, Any]:
    """What a round found out about the model, by the names of MEASURED."""
    ahead = forecast(scored.agreement, len(scored.consensus))
    return dict(zip(MEASURED, (scored.agreement, len(scored.held_out), scored.accuracy, ahead), strict=True))
