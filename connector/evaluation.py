"""How good the model is, by what a project tells: accuracy on ground truth, predictions that changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from connector.annotations import Annotation, latest_labels
from connector.backend import Probabilities
from connector.heard import model_rows, predicted
from connector.label_config import Control

# Beyond this share of the labelled tasks, those with a ground truth are likely to be imported labels, which Label
# Studio marks so by default, and no test set.
TEST_SHARE = 0.2


def ground_truths(rows: Iterable[Annotation]) -> dict[int, str]:
    """{task: its ground truth} of the tasks that have one."""
    return {task: label for (task, _), label in latest_labels(row for row in rows if row.ground_truth).items()}


def warning(held_out: int, labelled: int) -> str | None:
    """What to say where `held_out` tasks, beside `labelled` others, may well be labels to learn from; else None."""
    total = held_out + labelled
    if held_out <= TEST_SHARE * total:
        return None
    return (
        f"{held_out} of {total} labelled tasks are marked as ground truth, as Label Studio marks every imported "
        "annotation, and --ground-truth keeps all of them out of the training. If they are labels to learn from, sync "
        "without it."
    )


def accuracy(truth: Mapping[int, str], said: Mapping[int, str]) -> float | None:
    """The share of the tasks {task: label} that the model `said` has the same label for; None where it has none."""
    right = [said[task] == label for task, label in truth.items() if task in said]
    return sum(right) / len(right) if right else None


def changed(before: Probabilities, after: Probabilities, control: Control) -> float | None:
    """The share of the items of both models that the later one labels otherwise; None where there is none.

    1 less it is the agreement of successive models (Bloodgood and Vijay-Shanker, "A method for stopping active learning
    based on stabilizing predictions and the need for user-adjustable stopping", 2009).
    """
    items = sorted(before.place.keys() & after.place.keys())
    if not items:
        return None
    labels = (np.array(predicted(model_rows(known, items, control), control), object) for known in (before, after))
    return float(np.mean(next(labels) != next(labels)))
