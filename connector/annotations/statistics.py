"""How many labels and tasks a project has, by kind. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean, median

from connector.annotations.records import Annotation, Task, moment

RECENT_DAYS = 7
LONGEST = 10  # medians: whoever takes longer did something else meanwhile


@dataclass(frozen=True)
class LabelCounts:
    """Labels by people, of annotations that give one. What is marked as ground truth counts in `ground_truth` alone.

    `today`: since midnight. `mean_of_7_days`: labels of the last 7 times 24 hours, divided by 7. `days`: the whole days
    since the first label, at most 7. `per_day`: labels per day within these last `days`, None on the first day.
    """

    total: int
    annotators: int
    today: int
    mean_of_7_days: float
    days: int
    per_day: float | None
    ground_truth: int
    skipped: int
    unknown_choices: int
    unreadable_annotations: int


@dataclass(frozen=True)
class TaskCounts:
    """Tasks with and without a label, and those without a text, whose labels are left out. Together they are all."""

    total: int
    labelled: int
    unlabelled: int
    without_text: int


def label_counts(rows: Iterable[Annotation], now: datetime) -> LabelCounts:
    """Counts the labels in `rows`.

    Args:
        rows: The annotations of usable tasks.
        now: An aware datetime, in whose time zone a day begins.
    """
    rows = list(rows)
    labels = [row for row in rows if row.label is not None and not row.ground_truth]
    made = [moment(row.created_at) for row in labels]
    days = max(0, min(RECENT_DAYS, (now - min(made, default=now)).days))

    def within(last: int) -> int:
        return sum(when > now - timedelta(days=last) for when in made)

    return LabelCounts(
        total=len(labels),
        annotators=len({row.annotator for row in labels}),
        today=sum(when.astimezone(now.tzinfo).date() == now.date() for when in made),
        mean_of_7_days=round(within(RECENT_DAYS) / RECENT_DAYS, 1),
        days=days,
        per_day=round(within(days) / days, 1) if days else None,
        ground_truth=sum(row.label is not None and row.ground_truth for row in rows),
        skipped=sum(row.skipped for row in rows),
        unknown_choices=sum(row.unknown for row in rows),
        unreadable_annotations=sum(row.unreadable for row in rows),
    )


def task_counts(tasks: Mapping[int, Task]) -> TaskCounts:
    """Counts the usable `tasks` {id: task}."""
    usable = [task for task in tasks.values() if task.digest is not None]
    labelled = sum(any(row.label is not None for row in task.annotations) for task in usable)
    return TaskCounts(
        total=len(tasks),
        labelled=labelled,
        unlabelled=len(usable) - labelled,
        without_text=len(tasks) - len(usable),
    )


def seconds_per_label(rows: Iterable[Annotation]) -> float | None:
    """How long a label takes on average, by `lead_time`. One of more than LONGEST medians counts as so many.

    None: not known of any.
    """
    times = [row.lead_time for row in rows if row.label is not None and row.lead_time is not None and row.lead_time > 0]
    if not times:
        return None
    longest = LONGEST * median(times)
    return fmean(min(time, longest) for time in times)
