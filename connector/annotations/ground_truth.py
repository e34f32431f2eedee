"""Ground truth as a test set: which tasks are in it, and how often the model is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from connector.annotations.records import Annotation, latest_labels

# If more than this share of the labelled tasks have a ground truth, they are probably imported labels, which Label
# Studio marks so by default, and not a test set.
TEST_SHARE = 0.2


def ground_truths(rows: Iterable[Annotation]) -> dict[int, str]:
    """{task: ground truth} of the tasks that have one."""
    return {task: label for (task, _), label in latest_labels(row for row in rows if row.ground_truth).items()}


def without_answers_on_truth(rows: Iterable[Annotation]) -> list[Annotation]:
    """The rows, without other annotations of tasks that have a ground truth: the class of those is known."""
    rows = list(rows)
    truths = ground_truths(rows)
    return [row for row in rows if row.ground_truth or row.task not in truths]


def warning(held_out: int, labelled: int) -> str | None:
    """A warning if `held_out` tasks, beside `labelled` others, are probably labels to learn from. None if not."""
    total = held_out + labelled
    if held_out <= TEST_SHARE * total:
        return None
    return (
        f"{held_out} of {total} labelled tasks are marked as ground truth, as Label Studio marks every imported "
        "annotation, and --ground-truth keeps all of them out of the training. If they are labels to learn from, sync "
        "without that option."
    )


def accuracy(truth: Mapping[int, str], predicted: Mapping[int, str]) -> float | None:
    """The share of the tasks in `truth` {task: label} whose predicted label is the same. None: none is predicted."""
    right = [predicted[task] == label for task, label in truth.items() if task in predicted]
    return sum(right) / len(right) if right else None
