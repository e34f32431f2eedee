"""The accuracy of random order with the same start, the same annotations and the same model, without Label Studio.

Without the connector, Label Studio serves a random unlabelled task and asks for one annotation. The model is trained on
these labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from connector.active_learning.labels import Labels as LabelArrays
from connector.active_learning.majority_vote import majority_vote
from connector.backend import Backend
from connector.demo.dataset import Corpus
from connector.demo.measure import Measure
from connector.demo.project import Project
from connector.simulation.replay import send_contents

Labels = dict[tuple[int, int], str]
KEY = "demo-random"
RUNS = 3


@dataclass
class RandomOrder:
    """One run in random order, as a separate project in the ML backend.

    `labels`: {(Label Studio's task id, person): class}, which grows with every `step`.
    """

    project: Project
    corpus: Corpus
    backend: Backend
    labels: Labels
    rng: np.random.Generator

    def step(self, count: int) -> None:
        """`count` people in turn label one random unlabelled task each, fewer if no more are left."""
        labelled = {task for task, _ in self.labels}
        free = np.array([task for task in self.project.tasks if task not in labelled], np.int64)
        for turn, task in enumerate(self.rng.permutation(free)[:count].tolist()):
            person = turn % self.corpus.labels_a_task
            self.labels[task, person] = self.corpus.answer(self.project.tasks[task], person, 0)

    def train(self) -> None:
        """Trains on majority votes. Only tasks of the start have more than one label."""
        classes = self.corpus.classes
        keys = sorted(self.labels)
        tasks = sorted({task for task, _ in keys})
        row = {task: index for index, task in enumerate(tasks)}
        labels = LabelArrays(
            task=np.array([row[task] for task, _ in keys], np.int64),
            annotator=np.array([person for _, person in keys], np.int64),
            label=np.array([classes.index(self.labels[key]) for key in keys], np.int64),
            n_tasks=len(tasks),
            n_classes=len(classes),
        )
        consensus = majority_vote(labels).tolist()
        self.backend.train(KEY, classes, dict(zip(tasks, consensus, strict=True)))


def replay_at_random(
    project: Project,
    corpus: Corpus,
    backend: Backend,
    measure: Measure,
    start: Labels,
    label_counts: list[int],
    seed: int,
    progress: Callable[[int, int], None],
) -> list[float]:
    """Mean accuracy of RUNS runs in random order at each of `label_counts`.

    Args:
        project: the demo's project.
        corpus: its texts and labels.
        backend: the ML backend.
        measure: measures the accuracy.
        start: the labels of the start, {(Label Studio's task id, person): class}.
        label_counts: numbers of labels, the first of which is that of `start`.
        seed: of the random order.
        progress: called with the number of steps done and of all steps.
    """
    texts = {task: corpus.tasks[name] for task, name in project.tasks.items()}
    send_contents(corpus, backend, KEY, texts)
    accuracies = np.zeros((RUNS, len(label_counts)))
    for run in range(RUNS):
        order = RandomOrder(project, corpus, backend, dict(start), np.random.default_rng([seed, run]))
        for index, count in enumerate(label_counts):
            before = len(order.labels)
            order.step(count - before)
            if index == 0 or len(order.labels) > before:
                order.train()
            accuracies[run, index] = measure.accuracy(KEY)
            progress(run * len(label_counts) + index + 1, RUNS * len(label_counts))
    return [float(value) for value in accuracies.mean(axis=0)]
