"""The sections of a report on labels: reliability of the consensus, class balance, and labels per day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta

import numpy as np

from connector.annotations.records import moment
from connector.reporting.content import (
    AnnotatorAnswer,
    Bin,
    ClassCount,
    ConfusedLabels,
    ConsensusSection,
    Day,
    Disputed,
    PaceSection,
    SoftLabel,
    Suspect,
)
from connector.reporting.report_data import ReportData

BINS = 10
SUSPECTS = 25
DISPUTED = 25
CONFUSED = 10  # pairs of classes
SOFT_LABELS = 3
DOUBTFUL = 0.5  # a consensus label of a lower quality is more likely wrong than right
ANSWERS = 10  # on a task
CLASSES = 50
DAYS = 60


def consensus_section(data: ReportData) -> ConsensusSection:
    """How probably consensus labels are right, and which are wrong or cannot be agreed on. Empty without a model."""
    bins, (suspects, suspects_left_out) = _bins(data.reviewed.quality.values()), _suspects(data)
    if data.control.multiple:
        return ConsensusSection(bins, suspects, suspects_left_out)
    confused = [
        ConfusedLabels(data.class_name(pair.classes[0]), data.class_name(pair.classes[1]), pair.tasks, pair.of)
        for pair in data.reviewed.scored.confused[:CONFUSED]
    ]
    return ConsensusSection(bins, suspects, suspects_left_out, *_disputed(data), confused)


def _bins(qualities: Iterable[float]) -> list[Bin]:
    edges = [index / BINS for index in range(BINS + 1)]
    values = np.fromiter(qualities, np.float64)
    if not len(values):
        return []
    tasks = np.histogram(values, edges)[0].tolist()
    return [Bin(low, high, count) for low, high, count in zip(edges, edges[1:], tasks, strict=False)]


def _suspects(data: ReportData) -> tuple[list[Suspect], int]:
    """The worst tasks whose consensus label is doubtful or differs from the prediction, and how many more there are.

    Without those that people honestly differ on: nobody needs to be wrong there.
    """
    quality, scored = data.reviewed.quality, data.reviewed.scored
    ambiguous = scored.ambiguous
    doubtful = [
        task
        for task in quality
        if (quality[task] < DOUBTFUL or scored.predicted[task] != scored.consensus[task]) and task not in ambiguous
    ]
    chosen = sorted(doubtful, key=lambda task: (quality[task], task))[:SUSPECTS]
    texts = data.texts(chosen)
    suspects = []
    for task in chosen:
        answers, predicted = _answers(data, task), scored.predicted[task]
        suspects.append(
            Suspect(
                task=task,
                text=texts[task],
                answers=answers[:ANSWERS],
                answers_left_out=max(0, len(answers) - ANSWERS),
                consensus=data.shown(scored.consensus[task]),
                quality=quality[task],
                predicted=data.shown(predicted),
                probability=data.probability(task, predicted),
            )
        )
    return suspects, len(doubtful) - len(suspects)


def _disputed(data: ReportData) -> tuple[list[Disputed], int]:
    """The tasks that people most probably differ on honestly, and how many more there are."""
    ambiguous, differing = data.reviewed.scored.ambiguous, data.reviewed.scored.differing
    order = sorted(ambiguous, key=lambda task: (-ambiguous[task], task))
    chosen = order[:DISPUTED]
    texts = data.texts(chosen)
    disputed = []
    for task in chosen:
        answers = _answers(data, task)
        soft = zip(data.control.classes, differing[task].soft, strict=True)
        likeliest = sorted(soft, key=lambda label: -label[1])[:SOFT_LABELS]
        disputed.append(
            Disputed(
                task=task,
                text=texts[task],
                answers=answers[:ANSWERS],
                answers_left_out=max(0, len(answers) - ANSWERS),
                probability=ambiguous[task],
                soft=[SoftLabel(data.class_name(name), probability) for name, probability in likeliest],
            )
        )
    return disputed, len(order) - len(disputed)


def _answers(data: ReportData, task: int) -> list[AnnotatorAnswer]:
    """Each annotator's latest label on a task, or that they skipped it, in the order of time."""
    rows = sorted(data.pulled.tasks[task].annotations, key=lambda row: (moment(row.updated_at), row.id))
    latest: dict[tuple[int, bool], AnnotatorAnswer] = {}
    for row in rows:
        key = row.annotator, row.ground_truth
        # A skip or an empty answer does not replace an earlier label.
        if row.label is None and (not row.skipped or key in latest):
            continue
        name = data.name(row.annotator) + " (ground truth)" * row.ground_truth
        latest[key] = AnnotatorAnswer(name, None if row.label is None else data.shown(row.label))
    return list(latest.values())


def class_counts(data: ReportData) -> tuple[list[ClassCount], int]:
    """The classes in the config's order, and how many are left out.

    If there are more than CLASSES, those with most labels come first.
    """
    classes_of, scored = data.control.classes_of, data.reviewed.scored

    def count(labels: Iterable[str]) -> Counter[str]:
        counts = Counter[str]()
        for label, times in Counter(labels).items():
            for name in classes_of(label):
                counts[name] += times
        return counts

    labels, chosen = count(data.labels.values()), count(scored.consensus.values())
    predicted = count(label for task, label in scored.predicted.items() if task not in scored.consensus)
    counts = [
        ClassCount(data.class_name(name), labels[name], chosen[name], predicted[name]) for name in data.control.classes
    ]
    if len(counts) > CLASSES:
        counts.sort(key=lambda counted: (-counted.labels, -counted.consensus, -counted.predicted))
    return counts[:CLASSES], max(0, len(counts) - CLASSES)


def pace_section(data: ReportData, now: datetime) -> PaceSection:
    """Labels per day in the time zone of `now`, and seconds per label."""
    rows = [row for row in data.rows if row.label is not None]
    made = Counter(moment(row.created_at).astimezone(now.tzinfo).date() for row in rows)
    seconds = [row.lead_time for row in rows if row.lead_time is not None and row.lead_time > 0]
    quartiles = tuple(np.percentile(seconds, (25, 50, 75)).tolist()) if seconds else None
    days = [Day(day.isoformat(), made[day]) for day in _days(made)]
    return PaceSection(days, len(rows) - sum(day.labels for day in days), quartiles)


def _days(made: Iterable[date]) -> list[date]:
    """The days from the first to the last, at most the last DAYS."""
    labelled = sorted(made)
    if not labelled:
        return []
    last = labelled[-1]
    return [last - timedelta(days=back) for back in range(min(DAYS, (last - labelled[0]).days + 1))][::-1]
