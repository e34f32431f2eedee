"""One round of the loop: pull, consensus, train, score, choose, publish."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from connector.active_learning import DEFAULT_AUDIT, DEFAULT_MAX_ANNOTATIONS, DEFAULT_STRATEGY
from connector.active_learning.audit import Audit
from connector.active_learning.stopping import forecast
from connector.active_learning.window import Slot
from connector.annotations.left_out import LeftOut
from connector.errors import ConnectorError, StaleTasks, StateError, UsageError
from connector.formatting import count
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.queue.publish import QUICK_IMPORT, SLOW_IMPORT_SECONDS, is_open, publish, stale_open_tasks
from connector.queue.settings import restore
from connector.queue.versions import (
    ACCEPTED_LABELS,
    PUBLISHED_CONSENSUS,
    PUBLISHED_LABELS,
    delete_expired,
    our_versions,
    unknown_newer,
)
from connector.queue.views import OwnTabs, update_tabs
from connector.state.project_state import ProjectState, now
from connector.state.pull import fetched, pull, read_project
from connector.state.recognition import explain_deleted
from connector.state.rows import Accepted
from connector.state.snapshot import ProjectSnapshot
from connector.sync.accepted import FinishSummary, require_served, still_accepted, without_label
from connector.sync.summary import (
    CodebookSummary,
    ModelSummary,
    QuestionSummary,
    SyncSummary,
    WindowSummary,
    codebook_of_round,
)

if TYPE_CHECKING:
    from connector.backend import Backend
    from connector.queue.label_predictions import Label
    from connector.sync.finish import Finishing
    from connector.sync.scoring import Scored


# An import of predictions looks at all tasks. That took about a minute with 100,000 tasks, so a few seconds with these.
# If an import is slow in a smaller project, the cause is another one.
MANY_TASKS = 10_000


@dataclass(frozen=True)
class SyncOptions:
    """How to sync. The fields are named after the command's options, but for the setting CONNECTOR_SCORER."""

    window: int = 100
    max_annotations_per_task: int | None = None  # see `most_annotations`
    train: str = "auto"
    prelabel_new: bool = False
    dry_run: bool = False
    scorer: str = "activelab"
    strategy: str = DEFAULT_STRATEGY
    ground_truth: bool = False
    publish_consensus: bool = False
    audit: float = DEFAULT_AUDIT  # share of the window that is drawn at random
    skip_ambiguous: bool = False
    gold: float = 0.0
    media_hosts: tuple[str, ...] = ()  # private hosts from which files may be fetched

    def most_annotations(self, wanted: int) -> int:
        """How many annotations a task may get, if `wanted` are to be on every task."""
        given = self.max_annotations_per_task
        return given if given is not None else max(DEFAULT_MAX_ANNOTATIONS, wanted)

    @classmethod
    def of_round(cls, stored: Mapping[str, Any] | None, wanted: int, **changes: Any) -> SyncOptions:
        """The options of a round as the state database has it. They may be changed.

        `wanted`: how many annotations are to be on every task.
        """
        known = dict((stored or {}).get("options") or {})
        names = cls.__dataclass_fields__.keys() & known.keys()
        options = {name: known[name] for name in names - {"max_annotations_per_task", "media_hosts"}}
        most = max(known.get("max_annotations_per_task", DEFAULT_MAX_ANNOTATIONS), wanted)
        return cls(**{**options, "max_annotations_per_task": most, **changes})

    def window_fingerprint(self, skip_queue: str) -> dict[str, Any]:
        """What a window depends on, the project's rule for skipped tasks too. If it changes, a new window is due."""
        return {
            "window": self.window,
            "max_annotations_per_task": self.most_annotations(0),
            "prelabel_new": self.prelabel_new,
            "skip_queue": skip_queue,
            "scorer": self.scorer,
            "strategy": self.strategy,
            "ground_truth": self.ground_truth,
            **({"audit": self.audit} if self.audit else {}),
            **({"gold": self.gold} if self.gold else {}),
            **({"publish_consensus": True} if self.publish_consensus else {}),
            **({"skip_ambiguous": True} if self.skip_ambiguous else {}),
            # Without a training the window may be another one than with it: the next sync that may train is to do so.
            **({"train": "never"} if self.train == "never" else {}),
            # Media that could not be fetched may be, now.
            **({"media_hosts": sorted(self.media_hosts)} if self.media_hosts else {}),
        }


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
    cycle = _Cycle(project_id, gateway, state, options, reporter)
    with _held(state, gateway), cycle.result_recorded(), explain_deleted(project_id, gateway):
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
    with _held(state, gateway):
        state.require_initialized()
        wanted = state.record().min_annotations_per_task
        options = SyncOptions.of_round(state.last_round(), wanted, dry_run=dry_run, media_hosts=media_hosts)
        acceptance = _Acceptance(max_error)
        cycle = _Cycle(project_id, gateway, state, options, reporter, acceptance)
        with explain_deleted(project_id, gateway):
            for everything in (False, True):
                with reporter.stage("pull", "Reading what changed in Label Studio") as stage:
                    snapshot, restored = cycle.read(everything=everything, progress=stage.count)
                cycle.tell_restored(restored)
                cycle.require_finishable(snapshot, max_error)
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
class _Acceptance:
    """Which labels of the model a round is to accept: at most a share `max_error` of them wrong. None: none at all.

    `found`: what the round found.
    """

    max_error: float | None
    found: Finishing | None = None


def _unknown_windows(snapshot: ProjectSnapshot, state: ProjectState) -> set[str]:
    """The windows of ours that are newer than the state database knows, without those that init took over."""
    record = state.record()
    if record.queue_version is None and not (record.found or {}).get("taken_over"):
        return our_versions(snapshot.versions)
    return unknown_newer(snapshot.versions, record.queue_version)


@contextlib.contextmanager
def _held(state: ProjectState, gateway: LabelStudio) -> Iterator[None]:
    """Holds the project. Raises UsageError if an undo was interrupted: a sync would take the project over again."""
    with state.lock_for_writes(gateway):
        state.require_no_undo()
        yield


@dataclass(frozen=True)
class _Cycle:
    """One sync of a project, with all that its steps share."""

    project_id: int
    gateway: LabelStudio
    state: ProjectState
    options: SyncOptions
    reporter: Reporter
    acceptance: _Acceptance | None = None

    def read(self, *, everything: bool, progress: Callable[[int, int], None]) -> tuple[ProjectSnapshot, list[str]]:
        """Reads the project, after restoring the settings that the queue needs. Returns the names of what it restored.

        A dry run restores nothing.
        """
        reading, restored = read_project(self.project_id, self.gateway), list[str]()
        self.state.require_same(reading.project)
        if not self.options.dry_run:
            reading, restored = restore(reading, self.gateway, self.state)
        self._look_at_published_labels(reading.versions)
        return pull(reading, self.gateway, self.state, everything=everything, progress=progress), restored

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

    def require_finishable(self, snapshot: ProjectSnapshot, max_error: float | None) -> None:
        """Raises UsageError if no label of the model can be accepted, whatever it says."""
        if max_error is None:
            return
        from connector.sync.finish import require_audited

        require_served(self.project_id, snapshot.questions)
        require_audited(snapshot, Audit(drawn=self.state.drawn()), max_error)

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
            or self._published_labels_differ(snapshot)
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
            models, known = self._models(snapshot, backend), self.state.record().model_version
            is_lost = self._is_lost(known, models, snapshot, backend)
        model = _newest(models) or {}
        if model and model["model_version"] != known:
            return True
        if is_lost:
            self._say_that_it_is_lost(known)
            return self.options.train != "never"
        if was_training and not model.get("in_training") and not self.options.dry_run:
            self.state.amend_last_round(model_in_training=False)
            self.reporter.say(
                "The ML backend does not fine-tune the encoder any more, and has no new model: it was stopped, or the "
                "fine-tuning failed (its log says why). The next training starts it again."
            )
        return False

    def _models(self, snapshot: ProjectSnapshot, backend: Backend) -> dict[str, dict[str, Any]]:
        """{control: its model as the ML backend describes it}, without those that have none."""
        questions = snapshot.questions
        models = {name: backend.model(questions.model_key(self.project_id, name)) for name in questions.names}
        return {name: model for name, model in models.items() if model is not None}

    def round(self, snapshot: ProjectSnapshot, restored: list[str], backend: Backend) -> SyncSummary:
        """Scores the tasks, chooses the next window and publishes it. A dry run does not publish."""
        from connector.sync.people import people_of  # which needs NumPy

        if not self.options.dry_run:
            # The ML backend may have a new model from now on. A sync that is killed before its window is out must do
            # its round again, though nothing else has changed.
            self.state.ask_for_a_window()
            self._forget_former_models(backend)
        snapshot = self._with_media(snapshot, backend)
        scored, window = self._choose(snapshot, backend)
        models, known = self._models(snapshot, backend), self.state.record().model_version
        described = _newest(models)
        is_lost = self._is_lost(known, models, snapshot, backend)
        if is_lost:
            self._say_that_it_is_lost(known)
        model = _model_summary(scored, described)
        people = people_of(snapshot, scored)
        if self.options.dry_run:
            return replace(self.summary(snapshot, restored, scored, model, window), people=people, dry_run=True)
        if not is_lost:  # else the state goes on naming it, so that doctor, export and report can tell
            self.state.put(model_version=scored.model_version)
        window = self._publish(snapshot, scored, window)
        summary = self.summary(snapshot, restored, scored, model, window)
        questions = _question_summaries(snapshot, scored, models)
        summary = replace(summary, round=summary.round + 1, questions=questions, people=people)
        labels = len(scored.labels)  # what the model learns from
        options = self._fingerprint(snapshot)
        self.state.store_round(summary.round, {**summary.to_json(), "labels": labels, "options": options})
        own, ambiguous = OwnTabs.of(self.state.record().found), scored.ambiguous
        discussed = sorted(ambiguous, key=lambda task: (-ambiguous[task], task))
        if update_tabs(self.project_id, self.gateway, own, discussed):
            self.reporter.say("The ActiveLab tab was sorted in the Data Manager. It has the queue's order again.")
        return summary

    def _is_lost(
        self, known: str | None, models: Mapping[str, Any], snapshot: ProjectSnapshot, backend: Backend
    ) -> bool:
        """Whether the model that the state names is gone. One of a question that is not served just now is not."""
        questions = snapshot.questions
        keys = [questions.model_key(self.project_id, name) for name in questions.missing]
        return known is not None and not models and not any(backend.model(key) is not None for key in keys)

    def _say_that_it_is_lost(self, model_version: str | None) -> None:
        self.reporter.say(
            f"The ML backend has lost the project's model ({model_version}). Start it with the folder that it had "
            "before, or let a sync train a new one (without --train never or --dry-run)."
        )

    def _forget_former_models(self, backend: Backend) -> None:
        """Deletes the models of questions that init no longer serves, or else /predict would go on answering them."""
        found = self.state.record().found or {}
        left = list(found.get("former_models", ()))
        for key in tuple(left):
            with contextlib.suppress(ConnectorError):  # its training runs. The next sync tries again
                model = backend.model(key)
                if model is not None and model["model_version"] == self.state.record().model_version:
                    self.state.put(model_version=None)  # or else it would count as lost
                backend.forget_model(key)
                left.remove(key)
        if left != found.get("former_models", []):
            self.state.put(found={**found, "former_models": left})

    def _with_media(self, snapshot: ProjectSnapshot, backend: Backend) -> ProjectSnapshot:
        """Fetches what models read. Returns the project with it, and without what cannot be fetched."""
        remember, failed = not self.options.dry_run, dict[str, str]()
        if snapshot.questions.has_links:
            from connector.sync import linked

            with linked.open_fetcher(self.gateway, self.options.media_hosts) as fetcher:
                failed |= linked.bring_texts(snapshot.complete, fetcher, self.state, self.reporter, remember=remember)
            snapshot = fetched(snapshot.complete, self.state, failed)
        if not snapshot.questions.has_media:
            return snapshot
        from connector.sync.media import bring_media, media_parts, open_fetcher

        with open_fetcher(self.gateway, self.options.media_hosts) as fetcher:
            for part in media_parts(snapshot):
                reporter = self.reporter.of(part.control.name) if snapshot.questions.several else self.reporter
                failed |= bring_media(part, backend, fetcher, self.state, reporter, remember=remember)
        return fetched(snapshot.complete, self.state, failed)

    def _choose(self, snapshot: ProjectSnapshot, backend: Backend) -> tuple[Scored, list[Slot]]:
        # NumPy and requests are imported here: a sync with nothing to do must not pay for them.
        from connector.active_learning.strategies import find_strategy
        from connector.sync.audit import estimate_accuracy
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
        accepted = self._accept(snapshot, scored, audit)
        finishes = self.acceptance is not None and self.acceptance.max_error is not None
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
            )
        return scored, window

    def _accept(self, snapshot: ProjectSnapshot, scored: Scored, audit: Audit) -> Mapping[int, Accepted] | None:
        """The accepted labels of the model by task. None if `finish` has accepted none."""
        acceptance, state = self.acceptance, self.state
        if acceptance is None:
            return None if state.record().finish is None else still_accepted(snapshot, state.accepted())
        if acceptance.max_error is None:
            if not self.options.dry_run:
                state.store_accepted({}, None)
            return None
        from connector.sync.finish import find_acceptable

        with self.reporter.stage("accept", "Finding which labels of the model can be accepted"):
            found = acceptance.found = find_acceptable(snapshot, scored, audit, acceptance.max_error)
        if not self.options.dry_run:
            state.renew_lock()
            state.store_accepted(found.labels, found.finish)
        return None if found.finish is None else found.labels

    def _fingerprint(self, snapshot: ProjectSnapshot) -> dict[str, Any]:
        return self.options.window_fingerprint(snapshot.project["skip_queue"])

    def _publish(self, snapshot: ProjectSnapshot, scored: Scored, window: Sequence[Slot]) -> list[Slot]:
        """Publishes the window and labels. Returns the window as annotators are served it."""
        options, state, reporter = self.options, self.state, self.reporter
        fingerprint = self._fingerprint(snapshot)
        about_consensus = options.publish_consensus or PUBLISHED_CONSENSUS in snapshot.versions
        about_accepted = state.record().finish is not None or ACCEPTED_LABELS in snapshot.versions
        with reporter.stage("publish", f"Publishing a window of {count(len(window), 'task')}") as stage:
            published = publish(
                self.gateway,
                state,
                snapshot,
                window,
                # Not yet the real one: a sync that is killed before the labels are out must do its round again.
                options={**fingerprint, "publish_consensus": None}
                if about_consensus or about_accepted
                else fingerprint,
                prelabels=scored.predicted if options.prelabel_new else None,
                progress=stage.count,
            )
        if published.import_seconds > SLOW_IMPORT_SECONDS and len(snapshot.tasks) >= MANY_TASKS:
            reporter.say(
                f"Label Studio took {published.import_seconds:.0f} s to import the window. In a large project, it "
                f"can be much faster if Label Studio is started with the environment variable {QUICK_IMPORT}."
            )
        if about_consensus:
            self._publish_consensus(snapshot, scored)
        if about_accepted:
            self._publish_accepted(snapshot)
        if about_consensus or about_accepted:
            state.put(window_options=fingerprint)
        return published.window

    def _look_at_published_labels(self, versions: Mapping[str, int]) -> None:
        """Finds labels that someone exchanged in Label Studio. A project without any costs no call."""
        for version in PUBLISHED_LABELS:
            if versions.get(version):
                from connector.queue import label_predictions

                label_predictions.forget_if_changed(self.gateway, self.state, self.project_id, version, versions)

    def _published_labels_differ(self, snapshot: ProjectSnapshot) -> bool:
        """Whether Label Studio has other labels than were published: people can delete predictions."""
        from connector.queue import label_predictions

        versions = [*([PUBLISHED_CONSENSUS] if self.options.publish_consensus else []), ACCEPTED_LABELS]
        return not all(
            label_predictions.is_up_to_date(self.state, version, snapshot.versions, snapshot.tasks)
            for version in versions
        )

    def _publish_consensus(self, snapshot: ProjectSnapshot, scored: Scored) -> None:
        """Publishes the consensus labels that an export would have now, or removes those of an earlier sync."""
        from connector.queue import label_predictions
        from connector.sync.review import consensus_quality

        self._replace_theirs(PUBLISHED_CONSENSUS, snapshot)
        if not self.options.publish_consensus:
            with self.reporter.stage("consensus", "Removing published consensus labels"):
                label_predictions.remove_labels(self.gateway, self.state, self.project_id, PUBLISHED_CONSENSUS)
            return
        with self.reporter.stage("consensus", "Publishing consensus labels") as stage:
            options = self.options
            reviewed = consensus_quality(snapshot, scored, options.strategy, options.scorer, gold=bool(options.gold))
            wanted = {
                task: label_predictions.Label(reviewed.consensus[task], quality)
                for task, quality in reviewed.quality.items()
            }
            self._publish_labels(PUBLISHED_CONSENSUS, snapshot, wanted, stage.count)

    def _publish_accepted(self, snapshot: ProjectSnapshot) -> None:
        """Publishes the accepted labels of the model, or removes those that were given up."""
        from connector.queue import label_predictions

        self._replace_theirs(ACCEPTED_LABELS, snapshot)
        if self.state.record().finish is None:
            with self.reporter.stage("accepted", "Removing accepted labels of the model"):
                label_predictions.remove_labels(self.gateway, self.state, self.project_id, ACCEPTED_LABELS)
            return
        with self.reporter.stage("accepted", "Publishing accepted labels of the model") as stage:
            accepted = still_accepted(snapshot, self.state.accepted())
            wanted = {task: label_predictions.Label(one.label, one.probability) for task, one in accepted.items()}
            self._publish_labels(ACCEPTED_LABELS, snapshot, wanted, stage.count)

    def _publish_labels(
        self,
        version: str,
        snapshot: ProjectSnapshot,
        wanted: Mapping[int, Label],
        progress: Callable[[int, int], None],
    ) -> None:
        from connector.queue import label_predictions

        label_predictions.publish_labels(
            self.gateway,
            self.state,
            self.project_id,
            version,
            snapshot.questions,
            wanted,
            tasks=snapshot.tasks,
            versions=snapshot.versions,
            progress=progress,
        )

    def _replace_theirs(self, version: str, snapshot: ProjectSnapshot) -> None:
        """Records that predictions with the name of ours, which init found, are deleted now. Someone agreed to that."""
        found = self.state.record().found or {}
        if version in found.get("versions", ()):
            versions = [other for other in found["versions"] if other != version]
            replaced = found.get("replaced", 0) + snapshot.versions[version]
            self.state.put(found={**found, "versions": versions, "replaced": replaced})

    def summary(
        self,
        snapshot: ProjectSnapshot,
        restored: list[str],
        scored: Scored | None = None,
        model: ModelSummary | None = None,
        window: Sequence[Slot] | None = None,
    ) -> SyncSummary:
        """The summary, without `scored`, `model` and `window` of a sync that had nothing to do."""
        record, last = self.state.record(), self.state.last_round()
        window = self.state.window() if window is None else window
        rows = [row for task in snapshot.tasks.values() for row in task.annotations if not row.skipped]
        relabel = sum(slot.relabel for slot in window)
        left_out = LeftOut.of(snapshot.tasks.values())
        return SyncSummary(
            project=snapshot.project["id"],
            round=record.round,
            tasks=len(snapshot.tasks),
            annotations=len(rows),
            annotators=len({row.annotator for row in rows}),
            labels_changed=scored.labels_changed if scored else 0,
            trained=scored is not None and scored.trained,
            model_version=scored.model_version if scored else record.model_version,
            model=model or ModelSummary.of_round(last),
            queue_version=record.queue_version,
            window=WindowSummary(size=len(window), new=len(window) - relabel, relabel=relabel),
            without_text=len(left_out.without_text),
            unknown_choices=len(left_out.unknown),
            unreadable_annotations=len(left_out.unreadable),
            left_out=snapshot.left_out_sentences(left_out),
            restored=restored,
            seconds=dict(self.reporter.seconds),
            spare=max(0, len(window) - self.options.window) if scored else 0,
            ambiguous=len(scored.ambiguous) if scored else (last or {}).get("ambiguous", 0),
            codebook=_codebook(snapshot, scored) if scored else codebook_of_round(last),
        )


def _newest(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The newest of the models, or None without any. `in_training`: whether one of them is."""
    if not models:
        return None
    newest = max(models.values(), key=lambda model: str(model["model_version"]))
    return {**newest, "in_training": any(model.get("in_training") for model in models.values())}


def _question_summaries(
    snapshot: ProjectSnapshot, scored: Scored, models: Mapping[str, Mapping[str, Any]]
) -> list[QuestionSummary]:
    """Of several questions, what was found of each."""
    return [
        QuestionSummary(
            control=name,
            labels=len(part.labels),
            labelled=len(part.consensus),
            labels_changed=part.labels_changed,
            trained=part.trained,
            model_version=part.model_version,
            model_agreement=part.agreement,
            ground_truth_tasks=len(part.held_out),
            ground_truth_accuracy=part.accuracy,
            model_embedding=models.get(name, {}).get("embedding"),
            model_embedding_since=models.get(name, {}).get("since"),
            audit=_audit(part),
        )
        for name, part in zip(snapshot.questions.names, scored.parts, strict=bool(scored.parts))
    ]


def _codebook(snapshot: ProjectSnapshot, scored: Scored) -> list[CodebookSummary]:
    return [
        CodebookSummary(name, pair.classes, pair.tasks, pair.of)
        for name, part in zip(snapshot.questions.names, scored.parts or [scored], strict=True)
        for pair in part.confused
    ]


def _model_summary(scored: Scored, model: Mapping[str, Any] | None) -> ModelSummary:
    """How well the model does. `model`: as the ML backend describes it, None without one."""
    described = model or {}
    return ModelSummary(
        model_agreement=scored.agreement,
        ground_truth_tasks=len(scored.held_out),
        ground_truth_accuracy=scored.accuracy,
        forecast=forecast(scored.agreement, len(scored.consensus)),
        model_embedding=described.get("embedding"),
        model_embedding_since=described.get("since"),
        model_in_training=bool(described.get("in_training")),
        audit=_audit(scored),
    )


def _audit(scored: Scored) -> dict[str, Any] | None:
    return None if scored.audit is None else asdict(scored.audit)
