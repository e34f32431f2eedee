"""Gold tasks: answered tasks whose class is known, asked of annotators who have not seen them, to judge annotators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from connector.active_learning.window import Slot
from connector.annotations.ground_truth import ground_truths
from connector.annotations.records import latest_labels
from connector.state.snapshot import ProjectSnapshot

UNANIMOUS = 3  # equal labels, without any other, that make a task gold
LEAST_QUALITY = 0.95  # of its consensus label, if the model was asked


def gold_tasks(
    pulled: ProjectSnapshot, quality: Mapping[int, float], active: Collection[int], max_annotations: int
) -> list[int]:
    """The tasks that can be asked as gold: those that most active annotators have not seen first, then ground truths.

    A task with a ground truth is asked of every annotator. A unanimous one gets at most `max_annotations` labels.
    `quality`: {task: that of its consensus label}. Without a model, equal labels are enough.
    """
    rows = [row for task in pulled.usable_tasks.values() for row in task.annotations]
    truths = ground_truths(rows)
    labels: defaultdict[int, list[str]] = defaultdict(list)
    for (task, _), label in latest_labels(row for row in rows if not row.ground_truth).items():
        labels[task].append(label)

    def is_unanimous(task: int) -> bool:
        given = labels[task]
        sure = quality.get(task, 1.0) >= LEAST_QUALITY
        return UNANIMOUS <= len(given) < max_annotations and len(set(given)) == 1 and sure

    unseen = {
        task.id: len(set(active) - {row.annotator for row in task.annotations if not row.ground_truth})
        for task in pulled.tasks.values()
        if task.digest is not None and (task.id in truths or is_unanimous(task.id))
    }
    return sorted(
        (task for task, left in unseen.items() if left), key=lambda task: (-unseen[task], task not in truths, task)
    )


def with_gold(window: Sequence[Slot], gold: Sequence[int], size: int) -> list[Slot]:
    """The window with these tasks at even distances within its first `size` places."""
    slots = list(window)
    step = size / max(len(gold), 1)
    for number, task in enumerate(gold):
        slots.insert(int((number + 0.5) * step), Slot(task, relabel=True, gold=True))
    return slots
