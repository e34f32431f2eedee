"""A round: people label a batch from the label stream, the connector syncs, and the new model is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from connector.demo.dataset import Corpus
from connector.demo.measure import Measure
from connector.demo.people import Person, Task
from connector.demo.project import Connector, Project

FIRST_TASKS = 100
FIRST_LABELS = 2


@dataclass(frozen=True)
class Round:
    """After a sync: labels so far, new tasks and second opinions in the window, accuracy on the test texts."""

    labels: int
    new: int
    second_opinions: int
    accuracy: float


@dataclass
class Crowd:
    """People who label a project in turn. `labels`: {(Label Studio's task id, person): class}."""

    people: list[Person]
    project: Project
    corpus: Corpus
    labels: dict[tuple[int, int], str] = field(default_factory=dict)
    _seen: Counter[int] = field(default_factory=Counter)
    _turn: int = 0

    def label_next(self) -> int | None:
        """The next person labels the next task of their label stream. Returns its id, None if no one gets a task."""
        for _ in self.people:
            number = self._turn % len(self.people)
            self._turn += 1
            task = self.people[number].next_task(self.project.id)
            if task is not None:
                self._submit(number, task)
                return int(task["id"])
        return None

    def label_again(self, task: int) -> None:
        """The next person opens this task and also labels it."""
        number = self._turn % len(self.people)
        self._submit(number, self.people[number].open_task(task))

    def _submit(self, number: int, task: Task) -> None:
        label = self.corpus.answer(self.project.tasks[task["id"]], number, self._seen[task["id"]])
        self.people[number].submit(task, self.project.control, self.project.text, label)
        self.labels[task["id"], number] = label
        self._seen[task["id"]] += 1


def label_start(crowd: Crowd, progress: Callable[[int, int], None]) -> None:
    """The start: a hundred tasks with two labels each, or a fifth of all tasks if that is less.

    The first label comes through the label stream. Before there is a model, the stream asks for no second labels. So
    the second person opens the same task from the Data Manager's list, like a person who checks a colleague's labels.
    """
    count = max(1, min(FIRST_TASKS, len(crowd.corpus.tasks) // 5))
    for done in range(count):
        task = crowd.label_next()
        if task is None:
            return
        for _ in range(1, min(FIRST_LABELS, len(crowd.people))):
            crowd.label_again(task)
        progress(done + 1, count)


def label_batch(crowd: Crowd, size: int, progress: Callable[[int, int], None]) -> int:
    """Adds `size` labels through the label stream. Returns how many were possible."""
    for done in range(size):
        if crowd.label_next() is None:
            return done
        progress(done + 1, size)
    return size


def sync(connector: Connector, crowd: Crowd, measure: Measure) -> Round:
    """One `connector sync`, and the accuracy of the model after it."""
    most = str(crowd.corpus.labels_a_task)
    summary = connector.run("sync", crowd.project, "--max-annotations-per-task", most)
    window = summary["window"]
    accuracy = measure.accuracy(str(crowd.project.id)) if summary["model_version"] else 0.0
    return Round(summary["annotations"], window["new"], window["relabel"], accuracy)
