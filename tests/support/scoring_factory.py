"""Tasks with labels, and an ML backend in memory, for tests of consensus, scores and the window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from connector.annotations.controls.choices import Choices
from connector.annotations.label_config import Control
from connector.annotations.questions import Questions
from connector.annotations.records import Annotation, Task, digest
from connector.backend import Probabilities
from connector.state.snapshot import ProjectSnapshot

CLASSES = ("Polite", "Impolite")


class Model:
    """Plays the ML backend: its "model" is sure of a task's label to 0.8, and undecided where it has seen none."""

    def __init__(self) -> None:
        self.served: Probabilities | None = None
        self.items: list[tuple[str, list[int], list[str], list[str]]] = []
        self.trainings: list[tuple[str, tuple[str, ...], dict[int, int]]] = []
        self.checked = 0
        self.forgotten: list[str] = []
        self.weights: Mapping[int, float] | None = None
        self.classifier: str | None = None
        self.failure: Exception | None = None
        self.in_training = False
        self.copies: set[int] = set()  # near-duplicates of other tasks

    def check(self) -> None:
        self.checked += 1

    def forget_model(self, project: str) -> None:
        self.forgotten.append(project)

    def put_items(
        self,
        project: str,
        ids: Sequence[int],
        digests: Sequence[str],
        texts: Callable[[Sequence[int]], Mapping[int, str]],
        progress: Any = None,
    ) -> None:
        self.items.append((project, list(ids), list(digests), list(texts(ids).values())))

    def probabilities(self, project: str) -> Probabilities | None:
        return self.served

    def model(self, project: str) -> dict[str, Any] | None:
        if self.served is None:
            return None
        told = {"embedding": "frozen", "since": "2026-03-01T10:00:00+00:00", "in_training": self.in_training}
        return {"model_version": self.served.model_version, **told}

    def close(self) -> None:
        pass

    def distinct(self, project: str, ids: Sequence[int], count: int) -> list[int]:
        return [item for item in ids if item not in self.copies][:count]

    def train(
        self,
        project: str,
        classes: Sequence[str],
        labels: dict[int, int],
        *,
        multilabel: bool = False,
        weights: Mapping[int, float] | None = None,
        classifier: str | None = None,
        progress: Callable[[str, float], None] = lambda stage, share: None,
        **_: Any,
    ) -> str:
        self.weights, self.classifier = weights, classifier
        if self.failure is not None:
            raise self.failure
        self.trainings.append((project, tuple(classes), dict(labels)))
        progress("fitting", 1.0)
        ids = self.items[-1][1]
        probs = np.full((len(ids), len(classes)), 1 / len(classes))
        for row, task in enumerate(ids):
            if task in labels:
                probs[row] = 0.2 / (len(classes) - 1)
                probs[row, labels[task]] = 0.8
        version = f"model-{len(self.trainings)}"
        self.served = probabilities(probs, ids, tuple(classes), version)
        return version


def probabilities(
    probs: Any, ids: Sequence[int], classes: tuple[str, ...] = CLASSES, version: str = "v1"
) -> Probabilities:
    numbers = np.asarray(ids, np.int64)
    return Probabilities(version, classes, numbers, np.asarray(probs, np.float64), np.full(len(numbers), -1, np.int8))


def labelled(number: int, *labels: str | None) -> Task:
    """A task with a label (None: a skip) of annotator 1, of annotator 2, and so on."""
    at = "2026-03-01T10:00:00.000000Z"
    rows = tuple(
        Annotation(number * 10 + annotator, number, annotator, label, label is None, False, at)
        for annotator, label in enumerate(labels, start=1)
    )
    return Task(number, digest(f"Text {number}"), bool(rows), 1, at, rows)


def control_of(classes: tuple[str, ...]) -> Control:
    return Choices("politeness", "text", "text", classes, {name: name for name in classes})


def pulled(*tasks: Task, classes: tuple[str, ...] = CLASSES) -> ProjectSnapshot:
    control = control_of(classes)
    found = {task.id: task for task in tasks}
    project = {"id": 7, "skip_queue": "REQUEUE_FOR_OTHERS"}
    return ProjectSnapshot(
        project,
        Questions((control,)),
        found,
        {},
        changed=True,
        texts=lambda ids: {task: f"Text {task}" for task in ids},
    )


def both_classes(count: int, start: int = 1) -> list[Task]:
    """`count` tasks with one label each, the classes in turn."""
    return [labelled(number, CLASSES[number % 2]) for number in range(start, start + count)]
