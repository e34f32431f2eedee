"""Labels of several annotators, from rows or at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connector.active_learning.labels import Floats, Labels

Rows = Sequence[tuple[int, int, int]]


def labels_of(rows: Rows, n_classes: int = 2) -> Labels:
    """Labels from (task, annotator, class) rows."""
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return Labels(columns[0], columns[1], columns[2], n_tasks=len({row[0] for row in rows}), n_classes=n_classes)


def random_case(seed: int) -> tuple[Labels, Floats, Floats]:
    """Sparse labels of people of different quality, and a model's probabilities, for labelled and new tasks."""
    random = np.random.default_rng(seed)
    n_tasks, n_annotators, n_classes = (
        int(random.integers(5, 60)),
        int(random.integers(2, 7)),
        int(random.integers(2, 5)),
    )
    truth = random.integers(0, n_classes, n_tasks)
    quality = random.uniform(0.5, 1.0, n_annotators)
    rows = []
    for task in range(n_tasks):
        how_many = int(random.integers(1, n_annotators + 1)) if task else 2
        for annotator in sorted(random.choice(n_annotators, how_many, replace=False)):
            right = random.random() < quality[annotator]
            rows.append((task, int(annotator), int(truth[task] if right else random.integers(0, n_classes))))
    probs = random.dirichlet(np.ones(n_classes), n_tasks + 20)
    probs[np.arange(n_tasks), truth] += 1.0
    probs /= probs.sum(axis=1, keepdims=True)
    return labels_of(rows, n_classes), probs[:n_tasks], probs[n_tasks:]
