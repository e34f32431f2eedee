"""`connector report`: how a project stands, as one page; nothing is changed in Label Studio or in the state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from connector import __version__
from connector.active_learning.stopping import sentence
from connector.annotations.statistics import LabelCounts, label_counts, task_counts
from connector.backend import Backend
from connector.formatting import count, now_here
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.queue.settings import changed_settings, out_of_order
from connector.reporting import atomic_output as output
from connector.reporting.content import Content, Head
from connector.reporting.no_model import suggest_no_model
from connector.reporting.report_data import Facts
from connector.reporting.section_annotators import people
from connector.reporting.section_labels import classes, consensus, pace
from connector.reporting.section_learning_curve import curve, read_replay
from connector.reporting.section_window import window
from connector.state.project_state import ProjectState
from connector.state.pull import look
from connector.sync.scoring import SCORERS, review


def report(
    project_id: int,
    gateway: LabelStudio,
    backend: Backend | None,
    state: ProjectState,
    out: Path,
    reporter: Reporter,
    draw: Callable[[Content], str],
    *,
    scorer: str = "activelab",
    simulated: Path | None = None,
    clock: Callable[[], datetime] = now_here,
) -> dict[str, Any]:
    """Writes the project's report to `out` and returns counts (what `--json` prints).

    `draw` makes HTML of the content; `simulated`: what `connector simulate` has written, for the learning curve;
    `clock`: an aware datetime, whose time zone says when a day begins. Without a backend consensus labels are majority
    votes and nothing is said of the model. No lock is taken. `out` is replaced as a whole or left as it was. Raises
    UsageError when the project is not adopted, `simulated` holds no replay of it or `out` cannot be written;
    TryAgainLater when a server is away or the disk is full.
    """
    state.require_initialized()
    replay = None if simulated is None else read_replay(simulated, project_id)
    with output.explaining(out):
        target = output.place_of(out)
        output.check_file(target, out, "a report")
        output.check_writable(target, out)
    if backend is not None:
        with suggest_no_model("report"):
            backend.check()  # before Label Studio is read, which takes minutes where there are many tasks
    with output.workshop(target, out, "report") as folder:
        with reporter.stage("read", "Reading the project in Label Studio") as stage:
            pulled = look(project_id, gateway, state, stage.count)
        with suggest_no_model("report"):
            reviewed = review(pulled, backend, reporter, SCORERS[scorer])
        with reporter.stage("report", f"Writing a report on {len(pulled.tasks)} tasks to {out}"):
            facts = Facts(pulled, reviewed, gateway.emails(), state.record(), state.rounds())
            now, (shown, left_out) = clock(), classes(facts)
            multiple, replayable = facts.control.multiple, facts.replayable
            content = Content(
                head=_head(facts, gateway.url, now, asked_model=backend is not None),
                curve=curve(facts.rounds, replay, project_id, multiple=multiple, replayable=replayable),
                window=window(facts, state.window(), state.answers_at_publishing()),
                consensus=consensus(facts),
                people=people(facts),
                classes=shown,
                classes_left_out=left_out,
                pace=pace(facts, now),
            )
            # A lone surrogate has no UTF-8 form: a question mark stands for it, as in the mirror.
            drawn = draw(content).encode("utf-8", errors="replace")
            with output.explaining(out):
                (folder / "new").write_bytes(drawn)
                output.replace(target, folder / "new")
    return {
        "project": project_id,
        "out": str(out),
        "tasks": content.head.tasks,
        "annotations": content.head.labels,
        "suspects": len(content.consensus.suspects) + content.consensus.suspects_left_out,
        "alpha": content.people.alpha,
        "bytes": len(drawn),
        "model_version": content.head.model_version,
    }


def words(done: dict[str, Any]) -> str:
    """What was done, as a sentence."""
    labels = count(done["annotations"], "label")
    return f"Wrote a report on {count(done['tasks'], 'task')} with {labels} to {done['out']}."


# -- the parts ---------------------------------------------------------------------------------------------------------


def _head(facts: Facts, url: str, now: datetime, *, asked_model: bool) -> Head:
    pulled, last, scored = facts.pulled, facts.last_round, facts.reviewed.scored
    rows = [row for task in pulled.tasks.values() for row in task.annotations]
    labels, tasks = label_counts(rows, now), task_counts(pulled.tasks)
    last_sync = facts.record.last_sync
    return Head(
        project=pulled.project["id"],
        title=pulled.project["title"],
        label_studio=url,
        made_at=now.isoformat(timespec="seconds"),
        version=__version__,
        classes=list(facts.control.classes),
        multiple=facts.control.multiple,
        tasks=tasks.total,
        labelled=tasks.labelled,
        labels=len(facts.labels),
        annotators=labels.annotators,
        skipped=labels.skipped,
        ground_truth=labels.ground_truth,
        without_text=tasks.without_text,
        last_sync=last_sync["at"] if last_sync else None,
        asked_model=asked_model,
        model_version=scored.model_version,
        agreement=scored.agreement if asked_model else last.get("model_agreement"),
        ground_truth_tasks=last.get("ground_truth_tasks", 0),
        ground_truth_accuracy=last.get("ground_truth_accuracy"),
        advice=sentence(last.get("forecast")),
        notes=_notes(facts, labels, asked_model=asked_model),
    )


def _notes(facts: Facts, labels: LabelCounts, *, asked_model: bool) -> list[str]:
    """What a reader should know first."""
    record, project = facts.record, facts.pulled.project["id"]
    last_sync, unknown, truth = record.last_sync, labels.unknown_choices, labels.ground_truth
    notes = []
    if not asked_model:
        notes.append(
            "The ML backend was left alone (--no-model): nothing new is asked of the model, consensus labels are "
            "majority votes, and their quality is unknown."
        )
    elif facts.reviewed.scored.model_version is None:
        notes.append("There is no model yet: consensus labels are majority votes, and no quality is known of them.")
    if last_sync is None:
        notes.append(
            f"The project has never been synced: connector sync --project {project} trains a model and chooses what "
            "annotators are asked."
        )
    elif last_sync["result"] == "failed":
        notes.append(f"The last sync failed: {last_sync['error']}")
    elif facts.pulled.changed:
        notes.append("The project has changed since the last sync: its window and its rounds are from before.")
    version = record.queue_version
    if version is not None and (changed := changed_settings(facts.pulled, version)):
        notes.append(f"{out_of_order(changed)}: run connector sync --project {project}.")
    if truth:
        what = f"{count(truth, 'annotation')} {'is' if truth == 1 else 'are'} marked as ground truth and"
        notes.append(f'{what} left out of what is told of people; an import with "ground_truth": false counts.')
    if unknown:
        notes.append(f"{count(unknown, 'annotation')} with a choice that the labelling config no longer has.")
    return notes
