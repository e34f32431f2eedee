"""Rounds: people label a batch through the label stream, the connector syncs, the new model is measured."""

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
    """After a sync: labels so far, what the new window holds, the model's accuracy on the test texts."""

    labels: int
    new: int
    second_opinions: int
    accuracy: float


@dataclass
class Crowd:
    """People who label a project in turn; `labels` {(Label Studio's task id, person): class} is what they gave."""

    people: list[Person]
    project: Project
    corpus: Corpus
    labels: dict[tuple[int, int], str] = field(default_factory=dict)
    _seen: Counter[int] = field(default_factory=Counter)
    _turn: int = 0

    def label_next(self) -> int | None:
        """The next person takes the next task of their label stream: its id, or None when nobody is served one."""
        for _ in self.people:
            number = self._turn % len(self.people)
            self._turn += 1
            task = self.people[number].next_task(self.project.id)
            if task is not None:
                self._submit(number, task)
                return int(task["id"])
        return None

    def label_again(self, task: int) -> None:
        """The next person opens this task and labels it, too."""
        number = self._turn % len(self.people)
        self._submit(number, self.people[number].open_task(task))

    def _submit(self, number: int, task: Task) -> None:
        label = self.corpus.answer(self.project.tasks[task["id"]], number, self._seen[task["id"]])
        self.people[number].submit(task, self.project.control, self.project.text, label)
        self.labels[task["id"], number] = label
        self._seen[task["id"]] += 1


def label_start(crowd: Crowd, progress: Callable[[int, int], None]) -> None:
    """The start: a hundred tasks (a fifth of all, where these are fewer), two labels each.

    The first label comes through the label stream. The stream asks for a second one only where it looks worth it, and
    before there is a model nothing does; so the second person opens the same task from the Data Manager's list, as
    people do who are told to check a colleague's first labels.
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
    """`size` labels through the label stream; returns how many there were tasks for."""
    for done in range(size):
        if crowd.label_next() is None:
            return done
        progress(done + 1, size)
    return size


def sync(connector: Connector, crowd: Crowd, measure: Measure) -> Round:
    """One `connector sync`, then the model that serves after it, measured."""
    most = str(crowd.corpus.labels_a_task)
    summary = connector.run("sync", crowd.project, "--max-annotations-per-task", most)
    window = summary["window"]
    accuracy = measure.accuracy(str(crowd.project.id)) if summary["model_version"] else 0.0
    return Round(summary["annotations"], window["new"], window["relabel"], accuracy)
