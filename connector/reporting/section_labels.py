"""The parts of a report on labels: how far the consensus can be trusted, the classes, and the pace of the work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta

import numpy as np

from connector.annotations.records import moment
from connector.reporting.content import Bin, ClassCount, Consensus, Day, Pace, Said, Suspect
from connector.reporting.report_data import Facts

BINS = 10
SUSPECTS = 25
DOUBTFUL = 0.5  # a consensus label of a lower quality is more likely wrong than right
SAID = 10  # annotators of a suspect
CLASSES = 50
DAYS = 60


def consensus(facts: Facts) -> Consensus:
    """How probably consensus labels are right, and which are likely to be wrong; empty without a model."""
    return Consensus(_bins(facts.reviewed.quality.values()), *_suspects(facts))


def _bins(qualities: Iterable[float]) -> list[Bin]:
    edges = [index / BINS for index in range(BINS + 1)]
    values = np.fromiter(qualities, np.float64)
    if not len(values):
        return []
    tasks = np.histogram(values, edges)[0].tolist()
    return [Bin(low, high, count) for low, high, count in zip(edges, edges[1:], tasks, strict=False)]


def _suspects(facts: Facts) -> tuple[list[Suspect], int]:
    """The labelled tasks whose consensus is doubtful or not what the model says, the worst first; how many more."""
    quality, scored = facts.reviewed.quality, facts.reviewed.scored
    doubtful = [
        task for task in quality if quality[task] < DOUBTFUL or scored.predicted[task] != scored.consensus[task]
    ]
    chosen = sorted(doubtful, key=lambda task: (quality[task], task))[:SUSPECTS]
    texts = facts.texts(chosen)
    found = []
    for task in chosen:
        said, predicted = _said(facts, task), scored.predicted[task]
        found.append(
            Suspect(
                task=task,
                text=texts[task],
                said=said[:SAID],
                said_left_out=max(0, len(said) - SAID),
                consensus=facts.shown(scored.consensus[task]),
                quality=quality[task],
                predicted=facts.shown(predicted),
                probability=facts.probability(task, predicted),
            )
        )
    return found, len(doubtful) - len(found)


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


def classes(facts: Facts) -> tuple[list[ClassCount], int]:
    """The classes in the config's order, and how many are left out.

    Where there are more than CLASSES, those with most labels first.
    """
    classes_of, scored = facts.control.classes_of, facts.reviewed.scored

    def count(labels: Iterable[str]) -> Counter[str]:
        found = Counter[str]()
        for label, times in Counter(labels).items():
            for name in classes_of(label):
                found[name] += times
        return found

    labels, chosen = count(facts.labels.values()), count(scored.consensus.values())
    predicted = count(label for task, label in scored.predicted.items() if task not in scored.consensus)
    counts = [ClassCount(name, labels[name], chosen[name], predicted[name]) for name in facts.control.classes]
    if len(counts) > CLASSES:
        counts.sort(key=lambda one: (-one.labels, -one.consensus, -one.predicted))
    return counts[:CLASSES], max(0, len(counts) - CLASSES)


def pace(facts: Facts, now: datetime) -> Pace:
    """Labels a day, in the time zone of `now`, and what a label takes."""
    rows = [row for row in facts.rows if row.label is not None]
    made = Counter(moment(row.created_at).astimezone(now.tzinfo).date() for row in rows)
    seconds = [row.lead_time for row in rows if row.lead_time is not None and row.lead_time > 0]
    quartiles = tuple(np.percentile(seconds, (25, 50, 75)).tolist()) if seconds else None
    days = [Day(day.isoformat(), made[day]) for day in _days(made)]
    return Pace(days, len(rows) - sum(day.labels for day in days), quartiles)


def _days(made: Iterable[date]) -> list[date]:
    """From the first day to the last, DAYS at most."""
    known = sorted(made)
    if not known:
        return []
    last = known[-1]
    return [last - timedelta(days=back) for back in range(min(DAYS, (last - known[0]).days + 1))][::-1]
