"""The loop replayed on what several people have answered, with the functions that a sync uses; no Label Studio."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from rich.console import Console

from connector.active_learning.stopping import forecast
from connector.active_learning.strategies import STRATEGIES
from connector.active_learning.window import Slot
from connector.annotations.label_config import find_control
from connector.annotations.records import Annotation, Task, digest
from connector.backend import Backend
from connector.progress import Reporter
from connector.simulation.corpus import Corpus
from connector.state.pull import Pulled
from connector.sync.scoring import Scored, choose, score

AT = "2000-01-01T00:00:00Z"  # all answers are of one moment: everybody counts as active
DATA_KEY = "text"

Round = dict[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReplayOptions:
    """How a run is done.

    It starts from `initial_tasks` tasks with `initial_labels` labels each and gets `batch` labels in each of `rounds`
    rounds, at most `max_annotations_per_task` on a task. `project` is its key in the ML backend.
    """

    rounds: int = 25
    batch: int = 25
    initial_tasks: int = 100
    initial_labels: int = 2
    max_annotations_per_task: int = 5
    project: str = "simulate"


def replay(
    corpus: Corpus,
    strategy: str,
    classifier: str,
    seed: int,
    options: ReplayOptions,
    backend: Backend,
    progress: Progress = lambda done, total: None,
) -> list[Round]:
    """One run: a dictionary a round, the start first, as Run.step returns them; `progress` is told the rounds done.

    It ends early when the data have no more labels to ask for. The backend's model of the project is forgotten at the
    start, its texts are not.
    """
    run = Run(corpus, strategy, classifier, seed, options, backend)
    made = []
    while (done := run.step()) is not None:
        made.append(done)
        progress(len(made), options.rounds + 1)
        if len(made) > options.rounds:
            break
    return made


class Run:
    """A project that is labelled step by step.

    Tasks are numbered from 1 in the order of the corpus, annotators from 1 in the order of their names. Each task's
    annotators answer in an order drawn by `seed`; after the start, those who have labelled anything come before those
    who have not.
    """

    def __init__(
        self, corpus: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend
    ) -> None:
        self.labels: dict[tuple[int, int], str] = {}
        self._corpus, self._options, self._backend, self._classifier = corpus, options, backend, classifier
        self._strategy, self._seed = STRATEGIES[strategy], seed
        self._config = label_config(corpus.classes)
        self._control = find_control(self._config)
        names = dict(enumerate(corpus.tasks, start=1))
        self._texts = {number: corpus.tasks[name] for number, name in names.items()}
        self._tasks = {number: Task(number, digest(text), False, 1, AT) for number, text in self._texts.items()}
        self._truth = {number: corpus.truth[name] for number, name in names.items() if name in corpus.truth}
        people = sorted({person for rows in corpus.annotations.values() for person, _ in rows})
        annotator = {person: number for number, person in enumerate(people, start=1)}
        rng = np.random.default_rng(seed)
        self._waiting: dict[int, list[tuple[int, str]]] = {}  # who else has an answer, and which
        for number, name in names.items():
            rows = corpus.annotations.get(name, [])
            self._waiting[number] = [(annotator[rows[at][0]], rows[at][1]) for at in rng.permutation(len(rows))]
        self._state = _Memory()
        self._scored: Scored | None = None
        backend.put_items(options.project, list(names), [digest(text) for text in self._texts.values()], self._some)
        backend.forget_model(options.project)

    def step(self) -> Round | None:
        """Has the next labels given and the model trained on all; what the round came to, None where no label is left.

        `labels`: how many there are; `new` and `relabel`: how many of this round's were on new and on labelled tasks;
        `accuracy`: of the model on the test texts; `consensus_accuracy`: share of the consensus labels that are true,
        None where truth is not known; `agreement`: that of the model and the consensus out of sample; `advice`: whether
        `connector status` would say that more labels are likely to pay, None while it says neither.
        """
        new, relabel = self._begin() if self._scored is None else self._ask(self._choice(self._scored))
        if not new + relabel:
            return None
        quiet = Reporter(Console(quiet=True), quiet=True)
        pulled = self._pulled(self._tasks)
        self._scored = score(
            pulled,
            self._backend,
            self._state,
            quiet,
            train="always",
            strategy=self._strategy,
            classifier=self._classifier,
        )
        known = [(label, self._truth[task]) for task, label in self._scored.consensus.items() if task in self._truth]
        return {
            "labels": len(self.labels),
            "accuracy": self._accuracy(),
            "consensus_accuracy": sum(said == true for said, true in known) / len(known) if known else None,
            "new": new,
            "relabel": relabel,
            "agreement": self._scored.agreement,
            "advice": forecast(self._scored.agreement, len(self._scored.consensus))["likely_to_pay"],
        }

    def _begin(self) -> tuple[int, int]:
        """Labels the first tasks; returns how many labels were first ones and how many further ones."""
        size, each = self._options.initial_tasks, self._options.initial_labels
        startable = {number: task for number, task in self._tasks.items() if len(self._waiting[number]) >= each}
        window = choose(
            self._pulled(startable),
            Scored({}),
            self._backend,
            strategy=self._strategy,
            window=size,
            max_annotations=self._options.max_annotations_per_task,
            seed=self._seed,
        )
        for slot in window[:size]:
            for _ in range(each):
                self._answer(slot.task, ())
        return size, len(self.labels) - size

    def _choice(self, scored: Scored) -> list[Slot]:
        """All tasks that could be asked, in the order of the window."""
        return choose(
            self._pulled(self._tasks),
            scored,
            self._backend,
            strategy=self._strategy,
            window=len(self._tasks),
            max_annotations=self._options.max_annotations_per_task,
            seed=self._seed,
        )

    def _ask(self, window: list[Slot]) -> tuple[int, int]:
        """Has the first of the window answered that anybody has an answer to; as `_begin`."""
        asked = [slot for slot in window if self._waiting[slot.task]][: self._options.batch]
        for slot in asked:
            self._answer(slot.task, {annotator for _, annotator in self.labels})
        relabel = sum(slot.relabel for slot in asked)
        return len(asked) - relabel, relabel

    def _answer(self, task: int, known: Container[int]) -> None:
        """The next answer to a task: by one of `known`, if any of them has one."""
        waiting = self._waiting[task]
        places = (place for place, (annotator, _) in enumerate(waiting) if annotator in known)
        annotator, label = waiting.pop(next(places, 0))
        self.labels[task, annotator] = label
        row = Annotation(len(self.labels), task, annotator, label, False, False, AT)
        self._tasks[task] = self._tasks[task]._replace(annotations=(*self._tasks[task].annotations, row))

    def _accuracy(self) -> float:
        """The share of the test texts that the current model gives their label."""
        texts = [text for text, _ in self._corpus.test]
        answers = self._backend.predict(self._options.project, texts, self._config, DATA_KEY)
        said = [answer["result"][0]["value"]["choices"] if answer["result"] else [] for answer in answers]
        right: list[bool] = [one == [label] for one, (_, label) in zip(said, self._corpus.test, strict=True)]
        return sum(right) / len(right)

    def _pulled(self, tasks: dict[int, Task]) -> Pulled:
        """The project as a sync would find it."""
        project = {"id": self._options.project, "skip_queue": "REQUEUE_FOR_OTHERS"}
        return Pulled(project, self._control, tasks, {}, True, self._some)

    def _some(self, tasks: Iterable[int]) -> dict[int, str]:
        return {task: self._texts[task] for task in tasks}


class _Memory:
    """What a sync keeps in its state database: here no longer than the run, and nobody else wants the lock."""

    def __init__(self) -> None:
        self._trained: dict[int, str] = {}

    def trained(self) -> dict[int, str]:
        return self._trained

    def store_trained(self, labels: dict[int, str]) -> None:
        self._trained = labels

    def renew_lock(self, *, at_most_every: float = 0.0) -> None:
        pass

    def put(self, **values: Any) -> None:
        pass


def label_config(classes: Iterable[str]) -> str:
    """A labelling config of these classes, one a text."""
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in classes)
    return (
        f'<View><Text name="text" value="${DATA_KEY}"/><Choices name="label" toName="text">{choices}</Choices></View>'
    )
