"""What a round publishes in Label Studio: its window, and labels if they are wanted. Free of NumPy until it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connector.active_learning.window import Slot
from connector.formatting import count
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.queue.publish import QUICK_IMPORT, SLOW_IMPORT_SECONDS, publish
from connector.queue.versions import ACCEPTED_LABELS, PUBLISHED_CONSENSUS, PUBLISHED_LABELS
from connector.state.project_state import ProjectState
from connector.state.snapshot import ProjectSnapshot
from connector.sync.accepted import still_accepted
from connector.sync.options import SyncOptions
from connector.sync.prelabelled import Following, following

if TYPE_CHECKING:
    from connector.queue.label_predictions import Label
    from connector.sync.scoring import Scored

# An import of predictions looks at all tasks. That took about a minute with 100,000 tasks, so a few seconds with these.
# If an import is slow in a smaller project, the cause is another one.
MANY_TASKS = 10_000


@dataclass(frozen=True)
class Publishing:
    """Publishes what a round found."""

    project_id: int
    gateway: LabelStudio
    state: ProjectState
    options: SyncOptions
    reporter: Reporter

    def publish(self, snapshot: ProjectSnapshot, scored: Scored, window: Sequence[Slot]) -> list[Slot]:
        """Publishes the window and labels. Returns the window as annotators are served it."""
        options, state, reporter = self.options, self.state, self.reporter
        fingerprint = options.window_fingerprint(snapshot.project["skip_queue"])
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
                prelabels=self._prelabels(snapshot, scored),
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

    def _prelabels(self, snapshot: ProjectSnapshot, scored: Scored) -> Mapping[int, str] | None:
        """{task: label} to show preselected on new tasks: a machine's, or the model's own."""
        if self.options.prelabel:
            labels = snapshot.machine_labels.get(self.options.prelabel, {})
            return {task: one.label for task, one in labels.items() if one.label is not None}
        return scored.own_labels if self.options.prelabel_new else None

    def prelabelled(self, snapshot: ProjectSnapshot, scored: Scored) -> Following | None:
        """How far people follow labels that they see preselected."""
        shown = self.state.shown_labels()
        if not shown:
            return None
        rows = (row for task in snapshot.tasks.values() for row in task.annotations)
        return following(rows, shown, self._prelabels(snapshot, scored) or {})

    def look_at_labels(self, versions: Mapping[str, int]) -> None:
        """Finds labels that someone exchanged in Label Studio. A project without any costs no call."""
        for version in PUBLISHED_LABELS:
            if versions.get(version):
                from connector.queue import label_predictions

                label_predictions.forget_if_changed(self.gateway, self.state, self.project_id, version, versions)

    def labels_differ(self, snapshot: ProjectSnapshot) -> bool:
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
