"""The loop replayed on the labels of several people, with the functions of a sync but without Label Studio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from rich.console import Console

from connector._compat import batched
from connector.active_learning import DEFAULT_MAX_ANNOTATIONS
from connector.active_learning.accuracy import Accuracy
from connector.active_learning.audit import Audit, Drawn
from connector.active_learning.stopping import forecast
from connector.active_learning.strategies import STRATEGIES
from connector.active_learning.window import Slot
from connector.annotations.form.data import PAIR_SEPARATOR
from connector.annotations.label_config import find_questions
from connector.annotations.objects import OBJECTS
from connector.annotations.records import Annotation, Task, digest
from connector.annotations.statistics import seconds_per_label
from connector.backend import Backend
from connector.progress import Reporter
from connector.simulation.corpus import SIDES, Corpus
from connector.state.rows import MachineLabel
from connector.state.snapshot import ProjectSnapshot
from connector.sync.audit import estimate_accuracy
from connector.sync.cost import weigh_time
from connector.sync.finish import WeighedLabels
from connector.sync.options import Cost
from connector.sync.scoring import Scored, choose, score

AT = "2000-01-01T00:00:00Z"  # all answers have this time, so that all annotators count as active
DATA_KEY = "text"
COPIES_A_CALL = 200

Round = dict[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReplayOptions:
    """The options of a run.

    It starts with `initial_tasks` tasks that have `initial_labels` labels each. It gets `batch` labels in each of
    `rounds` rounds, at most `max_annotations_per_task` on a task. `project`: its key in the ML backend.
    """

    rounds: int = 25
    batch: int = 25
    initial_tasks: int = 100
    initial_labels: int = 2
    max_annotations_per_task: int = DEFAULT_MAX_ANNOTATIONS
    project: str = "simulate"
    audit: float = 0.0  # share of a window that is drawn at random
    machines: tuple[str, ...] = ()  # annotators who are machines: all their labels are there at the start
    cost: Cost = "labels"  # what an answer costs


def replay(
    corpus: Corpus,
    strategy: str,
    classifier: str,
    seed: int,
    options: ReplayOptions,
    backend: Backend,
    progress: Progress = lambda done, total: None,
) -> list[Round]:
    """Replays one run and returns its rounds, as Run.play does.

    The ML backend deletes its model of the project at the start, but keeps the texts.

    Args:
        corpus: the labelled texts.
        strategy: a key of STRATEGIES.
        classifier: the name of a classifier of the ML backend.
        seed: decides who answers first, and everything that no score decides.
        options: how many rounds and labels.
        backend: the ML backend.
        progress: called with the rounds done and their number.
    """
    return Run(corpus, strategy, classifier, seed, options, backend).play(progress)


class Run:
    """A project that is labelled step by step.

    Tasks are numbered from 1 in the order of the corpus, annotators from 1 in the order of their names. `seed` decides
    in which order each task's annotators answer. After the start, annotators who have labelled anything come first.
    `scored`: what the latest round found.
    """

    def __init__(
        self, corpus: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend
    ) -> None:
        self.labels: dict[tuple[int, int], str] = {}
        self._corpus, self._options, self._backend, self._classifier = corpus, options, backend, classifier
        self._strategy, self._seed = STRATEGIES[strategy], seed
        self._config = self._label_config()
        self._questions = find_questions(self._config)
        names = dict(enumerate(corpus.tasks, start=1))
        self._texts = {number: corpus.tasks[name] for number, name in names.items()}
        self._tasks = {number: Task(number, digest(text), False, 1, AT) for number, text in self._texts.items()}
        self._truth = {number: corpus.truth[name] for number, name in names.items() if name in corpus.truth}
        people = sorted({person for rows in corpus.annotations.values() for person, _ in rows} - set(options.machines))
        annotator = {person: number for number, person in enumerate(people, start=1)}
        task_of = {name: number for number, name in names.items()}
        self._seconds = {
            (task_of[name], annotator[person]): value
            for (name, person), value in corpus.seconds.items()
            if name in task_of and person in annotator
        }
        rng = np.random.default_rng(seed)
        self._waiting: dict[int, list[tuple[int, str]]] = {}  # {task: (annotator, label) of the answers not yet given}
        for number, name in names.items():
            rows = [row for row in corpus.annotations.get(name, []) if row[0] not in options.machines]
            self._waiting[number] = [(annotator[rows[at][0]], rows[at][1]) for at in rng.permutation(len(rows))]
        self._machine_labels = machine_labels(corpus, options.machines)
        self._state = ReplayMemory()
        self._drawn: dict[int, Drawn] = {}
        self.scored: Scored | None = None
        send_contents(corpus, backend, options.project)
        backend.forget_model(options.project)

    def play(self, progress: Progress) -> list[Round]:
        """Plays all rounds and returns them, the start first. It ends early if the data have no more labels.

        `progress`: called with the rounds done and their number.
        """
        made: list[Round] = []
        while len(made) <= self._options.rounds and (done := self.step()) is not None:
            made.append(done)
            progress(len(made), self._options.rounds + 1)
        return made

    def step(self) -> Round | None:
        """Adds the next labels and trains the model on all. Returns the round's results, None if no label is left.

        `labels`: their number. `new`, `relabel`: how many of this round were on new and on labelled tasks. `accuracy`:
        of the model on the test texts. `consensus_accuracy`: the share of consensus labels that are true, None if the
        truth is unknown. `agreement`: of the model with the consensus, out of sample. `advice`: whether `connector
        status` would say that more labels are likely to pay, None if it is too early to say. `hours`: how long all
        labels took, if the corpus has times. A pause counts as `statistics.seconds_per_label` says.
        """
        new, relabel = self._begin() if self.scored is None else self._ask(self._choice(self.scored))
        if not new + relabel:
            return None
        quiet = Reporter(Console(quiet=True), quiet=True)
        pulled = self._pulled(self._tasks)
        self.scored = self._score(pulled, quiet)
        right = [label == self._truth[task] for task, label in self.scored.consensus.items() if task in self._truth]
        return {
            "labels": len(self.labels),
            "accuracy": self._accuracy(),
            "consensus_accuracy": sum(right) / len(right) if right else None,
            "new": new,
            "relabel": relabel,
            "agreement": self.scored.agreement,
            "advice": forecast(self.scored.agreement, len(self.scored.consensus))["likely_to_pay"],
            **({"hours": self._hours()} if self._seconds else {}),
        }

    def estimate(self) -> Accuracy | None:
        """How many labels are right after the latest round, by the audit."""
        assert self.scored is not None
        return estimate_accuracy(self._pulled(self._tasks), self.scored, self._audit())

    def weigh_labels(self) -> WeighedLabels:
        """How often the model's labels of unlabelled tasks are wrong after the latest round, by the audit."""
        assert self.scored is not None
        return WeighedLabels(self._pulled(self._tasks), self.scored, self._audit())

    def first_audit_labels(self) -> dict[int, str]:
        """{task: its first label} of the tasks that have labels of the audit alone."""
        only = self._audit().only(Counter(task for task, _ in self.labels))
        return {task: str(self._tasks[task].annotations[0].label) for task in only}

    def _label_config(self) -> str:
        return label_config(self._corpus)

    def _score(self, pulled: ProjectSnapshot, reporter: Reporter) -> Scored:
        """Trains the model on all labels, and scores all tasks."""
        return score(
            pulled,
            self._backend,
            self._state,
            reporter,
            train="always",
            strategy=self._strategy,
            classifier=self._classifier,
            audit=self._audit(),
        )

    def _begin(self) -> tuple[int, int]:
        """Labels the first tasks. Returns how many labels were first ones and how many further ones."""
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
            audit=self._audit(each),
        )
        self._draw(window[:size], each)
        for slot in window[:size]:
            for _ in range(each):
                self._answer(slot.task, ())
        return size, len(self.labels) - size

    def _choice(self, scored: Scored) -> list[Slot]:
        """The next window of the tasks that have an answer left."""
        weighs = self._options.cost == "time"
        return choose(
            self._pulled({number: task for number, task in self._tasks.items() if self._waiting[number]}),
            scored,
            self._backend,
            strategy=self._strategy,
            window=self._options.batch,
            max_annotations=self._options.max_annotations_per_task,
            seed=self._seed,
            audit=self._audit(),
            seconds=weigh_time(self._pulled(self._tasks), scored, self._strategy) if weighs else None,
        )

    def _ask(self, window: list[Slot]) -> tuple[int, int]:
        """Answers the first tasks of the window. Returns the same as `_begin`."""
        asked = window[: self._options.batch]
        self._draw(asked, 1)
        for slot in asked:
            self._answer(slot.task, {annotator for _, annotator in self.labels})
        relabel = sum(slot.relabel for slot in asked)
        return len(asked) - relabel, relabel

    def _audit(self, wanted: int = 1) -> Audit:
        return Audit(self._options.audit, str(self._seed), self._drawn, wanted)

    def _draw(self, asked: list[Slot], wanted: int) -> None:
        """Records the tasks of the audit among those that are asked."""
        for slot in asked:
            if slot.audit:
                self._drawn[slot.task] = Drawn(len(self._tasks[slot.task].annotations), wanted)

    def _answer(self, task: int, preferred: Container[int]) -> None:
        """Adds the next answer to a task, by one of the `preferred` annotators if any of them has one."""
        waiting = self._waiting[task]
        places = (place for place, (annotator, _) in enumerate(waiting) if annotator in preferred)
        annotator, label = waiting.pop(next(places, 0))
        self.labels[task, annotator] = label
        seconds = self._seconds.get((task, annotator))
        row = Annotation(len(self.labels), task, annotator, label, False, False, AT, lead_time=seconds)
        self._tasks[task] = self._tasks[task]._replace(annotations=(*self._tasks[task].annotations, row))

    def _hours(self) -> float:
        rows = [row for task in self._tasks.values() for row in task.annotations]
        return len(rows) * (seconds_per_label(rows) or 0.0) / 3600

    def _accuracy(self) -> float:
        """The share of the test texts that the current model labels correctly."""
        answers = self._backend.predict(self._options.project, self._test_data, self._config)
        labels = [label for _, label in self._corpus.test]
        right = [self._questions.read(row["result"]).label == label for row, label in zip(answers, labels, strict=True)]
        return sum(right) / len(right)

    @cached_property
    def _test_data(self) -> list[dict[str, str]]:
        """The data of the test tasks. Media are in them, because they belong to no item of the project."""
        if self._corpus.kind != "text":
            return [{DATA_KEY: address} for address in self._corpus.test_addresses]
        keys, most = self._questions.data_keys, len(self._questions.data_keys) - 1
        return [dict(zip(keys, text.split(PAIR_SEPARATOR, most), strict=True)) for text, _ in self._corpus.test]

    def _pulled(self, tasks: dict[int, Task]) -> ProjectSnapshot:
        """The project as a sync would find it."""
        project = {"id": self._options.project, "skip_queue": "REQUEUE_FOR_OTHERS"}
        return ProjectSnapshot(
            project, self._questions, tasks, {}, True, self._some, read_machine_labels=lambda: self._machine_labels
        )

    def _some(self, tasks: Iterable[int]) -> dict[int, str]:
        return {task: self._texts[task] for task in tasks}


def machine_labels(corpus: Corpus, machines: Collection[str]) -> dict[str, dict[int, MachineLabel]]:
    """{machine: {task: its label}}, with tasks numbered from 1."""
    found: dict[str, dict[int, MachineLabel]] = {name: {} for name in machines}
    for number, name in enumerate(corpus.tasks, start=1):
        for annotator, label in corpus.annotations.get(name, []):
            if annotator in found:
                found[annotator][number] = MachineLabel(label, None, "")
    return found


def send_contents(corpus: Corpus, backend: Backend, project: str, texts: Mapping[int, str] | None = None) -> None:
    """Makes the tasks of a corpus the items of a project in the ML backend.

    `texts`: {item: a text or path of the corpus}. None: all, numbered from 1 in their order.
    """
    texts = dict(enumerate(corpus.tasks.values(), start=1)) if texts is None else texts
    digests = [digest(text) for text in texts.values()]
    if corpus.kind == "text":
        backend.put_items(project, list(texts), digests, lambda ids: texts)
        return
    paths = list(texts.values())
    missing = backend.missing_items(project, list(texts), digests, corpus.kind)
    for part in batched(missing, COPIES_A_CALL):
        backend.send_media(project, {digests[place]: corpus.content(paths[place]) for place in part})


class ReplayMemory:
    """What a sync keeps in its state database. No other process wants the lock."""

    def __init__(self) -> None:
        self._trained: dict[int, str] = {}

    def trained(self) -> dict[int, str]:
        return self._trained

    def store_trained(self, labels: dict[int, str]) -> None:
        self._trained = labels

    def trained_machines(self) -> dict[str, int]:
        return {}  # every round trains

    def store_trained_machines(self, counts: dict[str, int]) -> None:
        pass

    def renew_lock(self, *, at_most_every: float = 0.0) -> None:
        pass


def label_config(corpus: Corpus) -> str:
    """A labelling config with the corpus' classes, one per text, or for the better side of a pair."""
    if corpus.paired:
        texts = "".join(f'<Text name="{side}" value="${side}"/>' for side in SIDES)
        return f'<View>{texts}<Pairwise name="label" toName="{",".join(SIDES)}"/></View>'
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in corpus.classes)
    shown = next(tag for tag, content in OBJECTS.items() if content.kind == corpus.kind)
    return (
        f'<View><{shown} name="text" value="${DATA_KEY}"/>'
        f'<Choices name="label" toName="text">{choices}</Choices></View>'
    )
