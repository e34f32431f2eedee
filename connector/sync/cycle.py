"""One round of the loop: pull, consensus, train, score, choose, publish."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from connector.active_learning.audit import Audit
from connector.active_learning.window import Slot
from connector.errors import ConnectorError, StaleTasks, StateError, UsageError
from connector.formatting import listed
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.queue.machines import check_versions, store_versions
from connector.queue.publish import is_open, stale_open_tasks
from connector.queue.settings import restore
from connector.queue.versions import delete_expired, our_versions, unknown_newer
from connector.queue.views import OwnTabs, update_tabs
from connector.state.project_state import ProjectState, now
from connector.state.pull import pull, read_project
from connector.state.recognition import explain_deleted
from connector.state.snapshot import ProjectSnapshot
from connector.sync.accepted import still_accepted
from connector.sync.content import with_content
from connector.sync.models import ServedModels, forget_former_models, lost_model
from connector.sync.options import SyncOptions
from connector.sync.publishing import Publishing
from connector.sync.round_summary import model_summary, question_summaries, summarize
from connector.sync.summary import ModelSummary, SyncSummary

if TYPE_CHECKING:
    from connector.backend import Backend
    from connector.sync.finish_cycle import Acceptance
    from connector.sync.scoring import Scored


def sync(
    project_id: int,
    gateway: LabelStudio,
    connect: Callable[[], Backend],
    state: ProjectState,
    options: SyncOptions,
    reporter: Reporter,
) -> SyncSummary:
    """Syncs a project once.

    Args:
        project_id: the project in Label Studio.
        gateway: Label Studio.
        connect: opens the ML backend. It is called only if there is something to do.
        state: the project's state.
        options: how to sync.
        reporter: shows the stages.

    Raises:
        UsageError: the project is not set up, an undo of it was interrupted, or the options contradict its settings.
        TryAgainLater: another sync holds the project, or a server is away.
    """
    state.require_initialized()
    cycle = Cycle(project_id, gateway, state, options, reporter)
    with held(state, gateway), cycle.result_recorded(), explain_deleted(project_id, gateway):
        state.require_initialized()  # again: undo may have held the lock
        cycle.require_room()
        with reporter.stage("pull", "Reading what changed in Label Studio") as stage:
            snapshot, restored = cycle.read(everything=False, progress=stage.count)
        cycle.tell_restored(restored)
        if snapshot.project["model_version"] in _unknown_windows(snapshot, state):
            reporter.say(
                "Label Studio serves a newer window than the state database knows: a sync was killed right after it "
                "had published, the state database is an older copy, or a connector with another state database also "
                "runs this project. If this comes again, look for that connector."
            )
        if restored:
            reporter.say(f"To find what else breaks the queue, run connector doctor --project {project_id}.")
        if not cycle.is_work_to_do(snapshot) and not cycle.is_model_replaced(snapshot, connect):
            if not options.dry_run:
                # One per sync: there is no hurry, and a sync with nothing to do should be quick.
                current = state.record().queue_version
                delete_expired(gateway, project_id, snapshot.versions, current, at_most=1)
            return cycle.summary(snapshot, restored)
        backend = connect()
        try:
            return cycle.round(snapshot, restored, backend)
        except StaleTasks:  # a task was deleted since it was read: once more, on a fresh reading
            with reporter.stage("pull", "Reading all of the project again") as stage:
                snapshot, restored_again = cycle.read(everything=True, progress=stage.count)
            return cycle.round(snapshot, [*restored, *restored_again], backend)


def _unknown_windows(snapshot: ProjectSnapshot, state: ProjectState) -> set[str]:
    """The windows of ours that are newer than the state database knows, without those that init took over."""
    record = state.record()
    if record.queue_version is None and not (record.found or {}).get("taken_over"):
        return our_versions(snapshot.versions)
    return unknown_newer(snapshot.versions, record.queue_version)


@contextlib.contextmanager
def held(state: ProjectState, gateway: LabelStudio) -> Iterator[None]:
    """Holds the project. Raises UsageError if an undo was interrupted: a sync would take the project over again."""
    with state.lock_for_writes(gateway):
        state.require_no_undo()
        yield


@dataclass(frozen=True)
class Cycle:
    """One sync of a project, with all that its steps share."""

    project_id: int
    gateway: LabelStudio
    state: ProjectState
    options: SyncOptions
    reporter: Reporter
    acceptance: Acceptance | None = None

    @property
    def _publishing(self) -> Publishing:
        return Publishing(self.project_id, self.gateway, self.state, self.options, self.reporter)

    def read(self, *, everything: bool, progress: Callable[[int, int], None]) -> tuple[ProjectSnapshot, list[str]]:
        """Reads the project, after restoring the settings that the queue needs. Returns the names of what it restored.

        A dry run restores nothing.
        """
        reading, restored = read_project(self.project_id, self.gateway), list[str]()
        self.state.require_same(reading.project)
        if not self.options.dry_run:
            reading, restored = restore(reading, self.gateway, self.state)
        if self.options.annotator_versions:
            check_versions(self.options.annotator_versions, (), reading.versions, self.state)
            store_versions(self.options.annotator_versions, (), self.state)
        self._require_machine_to_show()
        self._publishing.look_at_labels(reading.versions)
        return pull(reading, self.gateway, self.state, everything=everything, progress=progress), restored

    def _require_machine_to_show(self) -> None:
        """Raises UsageError if no machine has the labels that are to be preselected."""
        name, known = self.options.prelabel, self.state.machines()
        if name and name not in known:
            machines = f" Machines: {listed(sorted(known))}." if known else ""
            raise UsageError(f"--prelabel {name}: project {self.project_id} has no machine of that name.{machines}")

    def require_room(self) -> None:
        """Raises UsageError if every task is to have more annotations than the sync may ask for."""
        wanted = self.state.record().min_annotations_per_task
        most = self.options.most_annotations(wanted)
        if wanted > most:
            raise UsageError(
                f"Project {self.project_id} was set up to have {wanted} annotations on every task "
                f"(--min-annotations-per-task), and --max-annotations-per-task is {most}: give at least {wanted}."
            )

    def tell_restored(self, restored: Sequence[str]) -> None:
        """Says what was restored."""
        for name in restored:
            if name == "predictions":
                sentence = "The window's predictions were deleted in Label Studio. This sync publishes a new window."
            else:
                sentence = f"The setting {name} was changed in Label Studio. This sync restores it."
            self.reporter.say(sentence)

    @contextlib.contextmanager
    def result_recorded(self) -> Iterator[None]:
        """Remembers how the sync ended, for `connector status`. A dry run leaves no trace."""
        before = self.state.record().round
        try:
            yield
        except Exception as error:
            if not self.options.dry_run:
                message = str(error) if isinstance(error, ConnectorError) else f"{type(error).__name__}: {error}"
                # The state database itself may be what failed.
                with contextlib.suppress(StateError):
                    self.state.put(last_sync={"at": now(), "result": "failed", "error": message})
            raise
        if not self.options.dry_run:
            result = "published" if self.state.record().round > before else "nothing new"
            self.state.put(last_sync={"at": now(), "result": result, "error": None})

    def is_work_to_do(self, snapshot: ProjectSnapshot) -> bool:
        """Whether a new window is due: something changed, or Label Studio no longer has the window as published."""
        record, project = self.state.record(), snapshot.project
        version, skip_queue = record.queue_version, project["skip_queue"]
        reopened = {slot.task for slot in self.state.window() if slot.relabel}
        return (
            snapshot.changed
            or self.options.train == "always"
            or record.window_options != self.options.window_fingerprint(skip_queue)
            or version is None
            or project["model_version"] != version
            or snapshot.versions.get(version, 0) != record.queue_size
            or self._publishing.labels_differ(snapshot)
            or bool(unknown_newer(snapshot.versions, version))
            or not reopened.issuperset(self.state.reopened())
            or any(not is_open(snapshot.tasks[task], skip_queue) for task in reopened)
            or bool(stale_open_tasks(snapshot.tasks, reopened, skip_queue))
        )

    def is_model_replaced(self, snapshot: ProjectSnapshot, connect: Callable[[], Backend]) -> bool:
        """Whether the ML backend has another model than the last round: it went on training, or was rolled back.

        It is asked only if it went on training, or if its model is to be used as it is (train "never"), because a sync
        with nothing new should be quick.
        """
        was_training = ModelSummary.of_round(self.state.last_round()).model_in_training
        if not was_training and self.options.train != "never":
            return False
        with contextlib.closing(connect()) as backend:
            known = self.state.record().model_version
            served = ServedModels.read(self.project_id, snapshot.questions, backend, known)
        model = served.newest or {}
        if model and model["model_version"] != known:
            return True
        if served.is_lost:
            self.reporter.say(lost_model(known))
            return self.options.train != "never"
        if was_training and not model.get("in_training") and not self.options.dry_run:
            self.state.amend_last_round(model_in_training=False)
            self.reporter.say(
                "The ML backend does not fine-tune the encoder any more, and has no new model: it was stopped, or the "
                "fine-tuning failed (its log says why). The next training starts it again."
            )
        return False

    def round(self, snapshot: ProjectSnapshot, restored: list[str], backend: Backend) -> SyncSummary:
        """Scores the tasks, chooses the next window and publishes it. A dry run does not publish."""
        from connector.sync.machine_summary import machines_of  # which need NumPy
        from connector.sync.people import people_of

        if not self.options.dry_run:
            # The ML backend may have a new model from now on. A sync that is killed before its window is out must do
            # its round again, though nothing else has changed.
            self.state.ask_for_a_window()
            forget_former_models(self.state, backend)
        snapshot = with_content(snapshot, backend, self.gateway, self.state, self.options, self.reporter)
        scored, window = self._choose(snapshot, backend)
        known = self.state.record().model_version
        served = ServedModels.read(self.project_id, snapshot.questions, backend, known)
        if served.is_lost:
            self.reporter.say(lost_model(known))
        model = model_summary(scored, served.newest)
        people = people_of(snapshot, scored)
        machines = machines_of(snapshot, scored, people)
        if self.options.dry_run:
            summary = self.summary(snapshot, restored, scored, model, window)
            return replace(summary, people=people, machines=machines, dry_run=True)
        if not served.is_lost:  # else the state goes on naming it, so that doctor, export and report can tell
            self.state.put(model_version=scored.model_version)
        window = self._publishing.publish(snapshot, scored, window)
        summary = self.summary(snapshot, restored, scored, model, window)
        summary = replace(
            summary,
            round=summary.round + 1,
            questions=question_summaries(snapshot, scored, served.of_controls),
            people=people,
            machines=machines,
            prelabelled=self._publishing.prelabelled(snapshot, scored),
        )
        labels = len(scored.labels)  # what the model learns from
        options = self.options.window_fingerprint(snapshot.project["skip_queue"])
        self.state.store_round(summary.round, {**summary.to_json(), "labels": labels, "options": options})
        own, ambiguous = OwnTabs.of(self.state.record().found), scored.ambiguous
        discussed = sorted(ambiguous, key=lambda task: (-ambiguous[task], task))
        if update_tabs(self.project_id, self.gateway, own, discussed):
            self.reporter.say("The ActiveLab tab was sorted in the Data Manager. It has the queue's order again.")
        return summary

    def _choose(self, snapshot: ProjectSnapshot, backend: Backend) -> tuple[Scored, list[Slot]]:
        # NumPy and requests are imported here: a sync with nothing to do must not pay for them.
        from connector.active_learning.strategies import find_strategy
        from connector.sync.audit import estimate_accuracy
        from connector.sync.cost import weigh_time
        from connector.sync.scoring import choose, score
        from connector.sync.several import join

        options, state, questions = self.options, self.state, snapshot.questions
        record = state.record()
        wanted = record.min_annotations_per_task
        audit = Audit(options.audit, f"{record.created_at} {self.project_id}", state.drawn(), wanted)
        strategy = find_strategy(options.strategy, options.scorer)
        parts = [
            score(
                part,
                backend,
                state.memory_of(questions, part.control.name),
                self.reporter.of(part.control.name) if questions.several else self.reporter,
                train="never" if options.dry_run else options.train,
                strategy=strategy,
                ground_truth=options.ground_truth,
                audit=audit,
                gold=bool(options.gold),
            )
            for part in snapshot.by_question()
        ]
        if audit.drawn:
            with self.reporter.stage("audit", "Estimating how many labels are right"):
                for part, found in zip(snapshot.by_question(), parts, strict=True):
                    found.audit = estimate_accuracy(part, found, audit)
        scored = join(questions, parts) if questions.several else parts[0]
        acceptance = self.acceptance
        finishes = acceptance is not None and acceptance.max_error is not None
        if acceptance is not None:
            accepted = acceptance.accept(snapshot, scored, audit, state, self.reporter, dry_run=options.dry_run)
        else:
            accepted = None if record.finish is None else still_accepted(snapshot, state.accepted())
        seconds = None
        if options.cost == "time":
            with self.reporter.stage("cost", "Estimating how long answers take"):
                seconds = weigh_time(snapshot, scored, strategy)
        with self.reporter.stage("select", "Choosing the next window"):
            window = choose(
                snapshot,
                scored,
                backend,
                strategy=strategy,
                window=options.window,
                max_annotations=options.most_annotations(wanted),
                min_annotations=wanted,
                audit=replace(audit, share=0.0) if finishes else audit,
                skip_ambiguous=options.skip_ambiguous,
                gold=0.0 if finishes else options.gold,
                accepted=accepted,
                seconds=seconds,
            )
        return scored, window

    def summary(
        self,
        snapshot: ProjectSnapshot,
        restored: list[str],
        scored: Scored | None = None,
        model: ModelSummary | None = None,
        window: Sequence[Slot] | None = None,
    ) -> SyncSummary:
        """The summary, without `scored`, `model` and `window` of a sync that had nothing to do."""
        seconds = self.reporter.seconds
        return summarize(snapshot, self.state, self.options, restored, seconds, scored, model, window)
