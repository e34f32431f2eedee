"""What random order would have reached: the same start, the same annotations, the same model; no Label Studio.

Left alone, Label Studio serves a random unlabelled task and asks for one annotation of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from connector import activelab
from connector.annotations import digest
from connector.backend import Backend
from connector.demo.corpus import Corpus
from connector.demo.measure import Measure
from connector.demo.project import Project

Labels = dict[tuple[int, int], str]
SEEDS = 3


@dataclass
class RandomOrder:
    """One run in random order, under a project key of its own in the ML backend.

    `labels` {(Label Studio's task id, person): class} grows with every `step`.
    """

    key: str
    project: Project
    corpus: Corpus
    backend: Backend
    labels: Labels
    rng: np.random.Generator
    classes: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.labels = dict(self.labels)
        self.classes = self.corpus.classes
        texts = [self.corpus.tasks[name] for name in self.project.tasks.values()]
        self.backend.put_items(self.key, list(self.project.tasks), [digest(text) for text in texts], texts)

    def step(self, count: int) -> None:
        """`count` people in turn label a random unlabelled task each; fewer when no more are left."""
        labelled = {task for task, _ in self.labels}
        free = [task for task in self.project.tasks if task not in labelled]
        for turn, task in enumerate(self.rng.permutation(np.array(free, np.int64))[:count].tolist()):
            person = turn % self.corpus.labels_a_task
            self.labels[task, person] = self.corpus.answer(self.project.tasks[task], person, 0)

    def train(self) -> None:
        """Consensus and training as `connector sync` does them."""
        tasks = sorted({task for task, _ in self.labels})
        keys = sorted(self.labels)
        row = {task: index for index, task in enumerate(tasks)}
        labels = activelab.Labels(
            task=np.array([row[task] for task, _ in keys], np.int64),
            annotator=np.array([person for _, person in keys], np.int64),
            label=np.array([self.classes.index(self.labels[key]) for key in keys], np.int64),
            n_tasks=len(tasks),
            n_classes=len(self.classes),
        )
        consensus = self._consensus(labels, tasks)
        self.backend.train(self.key, self.classes, dict(zip(tasks, consensus.tolist(), strict=True)))

    def _consensus(self, labels: activelab.Labels, tasks: list[int]) -> NDArray[np.int64]:
        known = self.backend.probabilities(self.key)
        if known is None:
            return activelab.majority_vote(labels)
        place = {int(task): index for index, task in enumerate(known.ids)}
        return activelab.consensus(labels, known.pred_probs[[place[task] for task in tasks]])[0]


def replay(
    project: Project,
    corpus: Corpus,
    backend: Backend,
    measure: Measure,
    start: Labels,
    label_counts: list[int],
    seed: int,
    progress: Callable[[int, int], None],
) -> list[float]:
    """Mean accuracy in random order at each of `label_counts`, the first of which is that of `start`."""
    accuracies = np.zeros((SEEDS, len(label_counts)))
    for run in range(SEEDS):
        rng = np.random.default_rng([seed, run])
        order = RandomOrder(f"demo-random-{run + 1}", project, corpus, backend, start, rng)
        for index, count in enumerate(label_counts):
            before = len(order.labels)
            order.step(count - before)
            if index == 0 or len(order.labels) > before:
                order.train()
            accuracies[run, index] = measure.accuracy(order.key)
            progress(run * len(label_counts) + index + 1, SEEDS * len(label_counts))
    return [float(value) for value in accuracies.mean(axis=0)]
