"""Ground truth as a test set: which tasks are in it, and how often the model is right. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from connector.annotations.records import Annotation, latest_labels

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
