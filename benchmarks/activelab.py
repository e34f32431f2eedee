"""ActiveLab scores: ours next to cleanlab's on the same inputs, and how ours scale.

    python benchmarks/activelab.py [--large/--no-large]

Three labels per task, five classes, and as many unlabelled tasks as labelled ones. If both are measured, both are
silenced in the same way and run once on 1,000 tasks. Then they run in turn on the same inputs, including their checks
of the labels (`replace` makes ours run again), and the median counts. cleanlab counts a task's labels as integers, as
ours does (docs/decisions/0061-label-counts-under-their-classes.md). Every other size is measured in a separate
process, which also measures its memory: the first run, with nothing warm.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from unittest import mock

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from connector.active_learning.activelab import scores
from connector.active_learning.labels import Floats, Labels

CLASSES, LABELS_A_TASK = 5, 3
COMPARED = ((10_000, 50), (40_000, 50))
TURNS, RUNS_A_TURN = 3, 5
WARM_UP = (1_000, 50)
GROWTH = ((10_000, 500), (100_000, 500), (1_000_000, 500))


@click.command()
@click.option("--large/--no-large", default=True, help="Measure up to 1,000,000 labelled tasks, too.")
@click.option("--one", nargs=2, type=int, hidden=True)
def main(large: bool, one: tuple[int, int] | None) -> None:
    """Print the table."""
    if one is not None:
        print(json.dumps(alone(*one)))
        return
    table = Table(
        "labelled tasks",
        "annotators",
        "cleanlab, s",
        "ours, s",
        "times faster",
        "largest difference",
        "MB",
        "µs a task",
    )
    compared(*WARM_UP)
    for n_tasks, n_annotators in COMPARED:
        theirs, ours, difference = compared(n_tasks, n_annotators)
        cells = (f"{theirs:.2f}", f"{ours:.3f}", f"{theirs / ours:.0f}", f"{difference:.1e}", "")
        table.add_row(f"{n_tasks:,}", str(n_annotators), *cells, f"{1e6 * ours / n_tasks:.1f}")
    for n_tasks, n_annotators in GROWTH if large else ():
        command = [sys.executable, __file__, "--one", str(n_tasks), str(n_annotators)]
        done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        cells = ("", f"{done['seconds']:.3f}", "", "", f"{done['mb']:.0f}")
        table.add_row(f"{n_tasks:,}", str(n_annotators), *cells, f"{1e6 * done['seconds'] / n_tasks:.1f}")
    Console().print(table)


def drawn(n_tasks: int, n_annotators: int) -> tuple[Labels, Floats, Floats]:
    """Labels of people who err in a quarter of them, and a model's probabilities."""
    random = np.random.default_rng(0)
    task = np.repeat(np.arange(n_tasks), LABELS_A_TASK)
    first = random.integers(0, n_annotators, n_tasks)
    annotator = ((first[:, None] + np.arange(LABELS_A_TASK) * (n_annotators // LABELS_A_TASK)) % n_annotators).ravel()
    truth = random.integers(0, CLASSES, n_tasks)
    guess = random.integers(0, CLASSES, len(task))
    label = np.where(random.random(len(task)) < 0.25, guess, truth[task])
    pred_probs = random.dirichlet(np.full(CLASSES, 0.6), 2 * n_tasks)
    return Labels(task, annotator, label, n_tasks, CLASSES), pred_probs[:n_tasks], pred_probs[n_tasks:]


def compared(n_tasks: int, n_annotators: int) -> tuple[float, float, float]:
    """The median seconds of cleanlab, those of ours, the largest difference of a score."""
    from cleanlab.internal import multiannotator_utils
    from cleanlab.multiannotator import get_active_learning_scores

    labels, pred_probs, unlabeled = drawn(n_tasks, n_annotators)
    table = np.full((n_tasks, n_annotators), np.nan)  # cleanlab's form of the labels
    table[labels.task, labels.annotator] = labels.label
    theirs, ours, difference = [], [], 0.0
    count = multiannotator_utils.value_counts

    def count_integers(values: Floats, **options: object) -> Floats:
        return count(values.astype(int), **options)

    for _ in range(TURNS):
        with mock.patch.object(multiannotator_utils, "value_counts", count_integers):
            seconds, expected = timed(lambda: get_active_learning_scores(table, pred_probs, unlabeled))
        theirs.append(seconds)
        for _ in range(RUNS_A_TURN):
            seconds, got = timed(lambda: scores(replace(labels), pred_probs, unlabeled))
            ours.append(seconds)
        for mine, other in zip(got, expected, strict=True):
            difference = max(difference, float(np.abs(mine - other).max()))
    return median(theirs), median(ours), difference


def timed(function: Callable[[], tuple[Floats, Floats]]) -> tuple[float, tuple[Floats, Floats]]:
    """Seconds and the answer, in silence: cleanlab prints and warns."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        answer = function()
        return time.perf_counter() - started, answer


def alone(n_tasks: int, n_annotators: int) -> dict[str, float]:
    """Seconds and the process's largest memory."""
    labels, pred_probs, unlabeled = drawn(n_tasks, n_annotators)
    seconds, _ = timed(lambda: scores(replace(labels), pred_probs, unlabeled))
    return {"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    main()
