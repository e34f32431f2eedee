"""`connector report`: how a project stands, as one page; nothing is changed in Label Studio or in the state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from connector import __version__, output
from connector.annotations import moment
from connector.backend import Backend
from connector.export import offering_no_model
from connector.forecast import sentence
from connector.label_studio import LabelStudio
from connector.mirror import look
from connector.progress import Reporter
from connector.report_content import Bin, ClassCount, Consensus, Content, Day, Head, Pace, Said, Suspect
from connector.report_curve import curve, read_replay
from connector.report_facts import Facts
from connector.report_numbers import counted
from connector.report_people import people
from connector.report_window import window
from connector.scoring import SCORERS, review
from connector.state import ProjectState
from connector.status import label_counts, task_counts
from connector.sync import adopted

BINS = 10
SUSPECTS = 25
SAID = 10  # annotators of a suspect
CLASSES = 50
DAYS = 60


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
    clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
) -> dict[str, Any]:
    """Writes the project's report to `out` and returns counts (what `--json` prints).

    `draw` makes HTML of the content; `simulated`: what `connector simulate` has written, for the learning curve;
    `clock`: an aware datetime, whose time zone says when a day begins. Without a backend consensus labels are majority
    votes and nothing is said of the model. No lock is taken. `out` is replaced as a whole or left as it was. Raises
    UsageError when the project is not adopted, `simulated` holds no replay or `out` cannot be written; TryAgainLater
    when a server is away.
    """
    adopted(project_id, state)
    replay = None if simulated is None else read_replay(simulated)
    with output.explaining(out):
        target = output.place_of(out)
        output.check_file(target, out, "a report")
        output.check_writable(target, out)
        if backend is not None:
            with offering_no_model("report"):
                backend.check()  # before Label Studio is read, which takes minutes where there are many tasks
        with output.workshop(target, "report") as folder:
            with reporter.stage("read", "Reading the project in Label Studio") as stage:
                pulled = look(project_id, gateway, state, stage.count)
            with offering_no_model("report"):
                reviewed = review(pulled, backend, reporter, SCORERS[scorer])
            with reporter.stage("report", f"Writing a report on {len(pulled.tasks)} tasks to {out}"):
                facts = Facts(pulled, reviewed, gateway.emails(), state.get(), state.rounds())
                now = clock()
                content = Content(
                    head=_head(facts, gateway.url, now, without_model=backend is None),
                    curve=curve(facts.rounds, replay, project_id, multiple=facts.control.multiple),
                    window=window(facts, state.window(), state.answers_at_publishing()),
                    consensus=Consensus(_bins(reviewed.quality.values()), _suspects(facts)),
                    people=people(facts),
                    classes=(classes := _classes(facts))[:CLASSES],
                    classes_left_out=max(0, len(classes) - CLASSES),
                    pace=_pace(facts, now),
                )
                # A lone surrogate has no UTF-8 form: a question mark stands for it, as in the mirror.
                drawn = draw(content).encode("utf-8", errors="replace")
                (folder / "new").write_bytes(drawn)
                output.replace(target, folder / "new")
    return {
        "project": project_id,
        "out": str(out),
        "tasks": content.head.tasks,
        "annotations": content.head.labels,
        "suspects": len(content.consensus.suspects),
        "alpha": content.people.alpha,
        "bytes": len(drawn),
        "model_version": content.head.model_version,
    }


def words(done: dict[str, Any]) -> str:
    """What was done, as a sentence."""
    labels = counted(done["annotations"], "label")
    return f"Wrote a report on {counted(done['tasks'], 'task')} with {labels} to {done['out']}."


# -- the parts ---------------------------------------------------------------------------------------------------------


def _head(facts: Facts, url: str, now: datetime, *, without_model: bool) -> Head:
    pulled, last, scored = facts.pulled, facts.last_round, facts.reviewed.scored
    rows = [row for task in pulled.tasks.values() for row in task.annotations]
    labels, tasks = label_counts(rows, now), task_counts(pulled.tasks)
    last_sync = facts.known["last_sync"]
    return Head(
        project=pulled.project["id"],
        title=pulled.project["title"],
        label_studio=url,
        made_at=now.isoformat(timespec="seconds"),
        version=__version__,
        classes=list(facts.control.classes),
        multiple=facts.control.multiple,
        tasks=tasks["total"],
        labelled=tasks["labelled"],
        labels=len(facts.labels),
        annotators=labels["annotators"],
        skipped=labels["skipped"],
        ground_truth=labels["ground_truth"],
        without_text=tasks["without_text"],
        last_sync=last_sync and last_sync["at"],
        model_version=scored.model_version,
        agreement=last.get("model_agreement") if without_model else scored.agreement,
        ground_truth_accuracy=last.get("ground_truth_accuracy"),
        advice=sentence(last.get("forecast")),
        notes=_notes(facts, labels, without_model=without_model),
    )


def _notes(facts: Facts, labels: dict[str, Any], *, without_model: bool) -> list[str]:
    """What a reader should know first."""
    last_sync, unknown, truth = facts.known["last_sync"], labels["unknown_choices"], labels["ground_truth"]
    notes = []
    if without_model:
        notes.append(
            "The ML backend was left alone (--no-model): consensus labels are majority votes, and nothing is said of "
            "the model, its probabilities or the quality of labels."
        )
    elif facts.reviewed.scored.model_version is None:
        notes.append("There is no model yet: consensus labels are majority votes, and no quality is known of them.")
    if last_sync is None:
        notes.append(
            f"The project has never been synced: connector sync --project {facts.pulled.project['id']} trains a model "
            "and chooses what annotators are asked."
        )
    elif last_sync["result"] == "failed":
        notes.append(f"The last sync failed: {last_sync['error']}")
    elif facts.pulled.changed:
        notes.append("The project has changed since the last sync: its window and its rounds are from before.")
    if truth:
        notes.append(
            f"{counted(truth, 'annotation')} marked as ground truth: part of the consensus, and nobody's work."
        )
    if unknown:
        notes.append(f"{counted(unknown, 'annotation')} with a choice that the labelling config no longer has.")
    return notes


def _bins(qualities: Iterable[float]) -> list[Bin]:
    edges = [index / BINS for index in range(BINS + 1)]
    values = np.fromiter(qualities, np.float64)
    if not len(values):
        return []
    tasks = np.histogram(values, edges)[0].tolist()
    return [Bin(low, high, count) for low, high, count in zip(edges, edges[1:], tasks, strict=False)]


def _suspects(facts: Facts) -> list[Suspect]:
    """The labelled tasks whose consensus is likeliest to be wrong, those first."""
    quality, scored = facts.reviewed.quality, facts.reviewed.scored
    chosen = sorted(quality, key=lambda task: (quality[task], task))[:SUSPECTS]
    texts = facts.texts(chosen)
    found = []
    for task in chosen:
        said, predicted = _said(facts, task), scored.predicted.get(task)
        found.append(
            Suspect(
                task=task,
                text=texts[task],
                said=said[:SAID],
                said_left_out=max(0, len(said) - SAID),
                consensus=facts.shown(scored.consensus[task]),
                quality=quality[task],
                predicted=None if predicted is None else facts.shown(predicted),
                probability=None if predicted is None else facts.probability(task, predicted),
            )
        )
    return found


def _said(facts: Facts, task: int) -> list[Said]:
    """Each one's latest label on a task, or that they skipped it; by when they said it."""
    rows = sorted(facts.pulled.tasks[task].annotations, key=lambda row: (moment(row.updated_at), row.id))
    latest: dict[tuple[int, bool], Said] = {}
    for row in rows:
        key = row.annotator, row.ground_truth
        # Neither a skip nor what says nothing hides a label.
        if row.label is None and (not row.skipped or key in latest):
            continue
        name = facts.name(row.annotator) + " (ground truth)" * row.ground_truth
        latest[key] = Said(name, None if row.label is None else facts.shown(row.label))
    return list(latest.values())


def _classes(facts: Facts) -> list[ClassCount]:
    """All classes, in the config's order unless there are more than CLASSES: then those with most labels first."""
    classes_of, scored = facts.control.classes_of, facts.reviewed.scored

    def count(labels: Iterable[str]) -> Counter[str]:
        found = Counter[str]()
        for label, times in Counter(labels).items():
            for name in classes_of(label):
                found[name] += times
        return found

    labels, consensus = count(facts.labels.values()), count(scored.consensus.values())
    predicted = count(label for task, label in scored.predicted.items() if task not in scored.consensus)
    counts = [ClassCount(name, labels[name], consensus[name], predicted[name]) for name in facts.control.classes]
    if len(counts) > CLASSES:
        counts.sort(key=lambda one: (-one.labels, -one.consensus, -one.predicted))
    return counts


def _pace(facts: Facts, now: datetime) -> Pace:
    rows = [row for row in facts.rows if row.label is not None]
    made = Counter(moment(row.created_at or row.updated_at).astimezone(now.tzinfo).date() for row in rows)
    seconds = [row.lead_time for row in rows if row.lead_time is not None and row.lead_time > 0]
    quartiles = tuple(np.percentile(seconds, (25, 50, 75)).tolist()) if seconds else None
    return Pace([Day(day.isoformat(), made[day]) for day in _days(made)], quartiles)


def _days(made: Iterable[date]) -> list[date]:
    """From the first day to the last, DAYS at most."""
    known = sorted(made)
    if not known:
        return []
    last = known[-1]
    return [last - timedelta(days=back) for back in range(min(DAYS, (last - known[0]).days + 1))][::-1]
