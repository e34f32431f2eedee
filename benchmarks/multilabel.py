"""Multiple choice on generated texts: our queue against random order, and rules that combine the scores of classes.

    python benchmarks/multilabel.py [--seeds N] [--rules]

The data are reviews with none, one or several of five topics, and five people who miss topics or add wrong ones. Both
orders start with the same 60 texts and use the same number of annotations. Ours uses the functions of `connector sync`:
consensus, training, scores, window. Random order asks for one annotation of a random text without any, as Label Studio
does by itself, and trains on these answers. The model is the ML backend's classifier on TF-IDF with its folds. The
measure is the share of new texts whose topics the model gets all right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from connector.active_learning import multilabel
from connector.active_learning.strategies import find_strategy
from connector.annotations.controls.choices import Choices
from connector.annotations.questions import Questions
from connector.annotations.records import Annotation, Task, digest, latest_labels
from connector.backend import Probabilities
from connector.progress import Reporter
from connector.state.project_state import ProjectState, State
from connector.state.snapshot import ProjectSnapshot
from connector.sync.label_matrix import class_positions, label_set
from connector.sync.scoring import choose, score
from ml_backend.classifiers.one_vs_rest import DECISION_THRESHOLD, OneVsRestClassifier
from ml_backend.training.folds import assign_folds
from ml_backend.training.request import strata

TOPICS = {
    "price": "cost money bill cheap expensive fee refund charged paid discount invoice deposit",
    "room": "bed pillow window carpet shower curtain wardrobe mirror balcony desk lamp towel",
    "food": "breakfast coffee bread soup dinner menu cook taste cold plate eggs juice",
    "staff": "reception waiter manager rude friendly smile helpful clerk porter answer ignored greeting",
    "noise": "loud street music neighbours traffic party night sleep walls drill barking slam",
}
SHARES = (0.45, 0.35, 0.3, 0.2, 0.1)  # of the texts that mention each topic
FILLING = "we stayed the hotel was there again and it on our last visit with family after before next time long trip"
ERRORS = (0.05, 0.1, 0.15, 0.2, 0.3)  # of each person: the share of topics missed; half of that are seen elsewhere
TEXTS, TEST, START, ROUNDS, A_ROUND = 600, 400, 60, 10, 45
CLASSES = tuple(TOPICS)
CONTROL = Choices("topics", "text", "text", CLASSES, {name: name for name in CLASSES}, multiple=True, none_counts=True)
AT = "2026-03-01T10:00:00.000000Z"

Sets = NDArray[np.bool_]
Rule = Callable[[NDArray[np.float64]], NDArray[np.float64]]

# What is made of a task's scores, one a class; the first is ours.
RULES: dict[str, Rule] = {
    "mean": lambda scores: scores.mean(axis=1),
    "least": lambda scores: scores.min(axis=1),
    "mean of the two least": lambda scores: np.sort(scores, axis=1)[:, :2].mean(axis=1),
    "mean of the lower half": lambda scores: np.sort(scores, axis=1)[:, : (scores.shape[1] + 1) // 2].mean(axis=1),
    "product": lambda scores: scores.prod(axis=1),
}


@dataclass(frozen=True)
class World:
    """`texts`, the first TEXTS of which are labelled, their features, what is true of them and what people say of it.

    `features` (n, d), `truth` (n, k), `said` (people, TEXTS, k), `turns` (TEXTS, people): in which order people come.
    """

    texts: list[str]
    features: NDArray[np.float32]
    truth: Sets
    said: Sets
    turns: NDArray[np.int64]


def generate(seed: int) -> World:
    """A world of its own for each seed."""
    random = np.random.default_rng([seed, 0])
    words = [topic.split() for topic in TOPICS.values()]
    truth = random.random((TEXTS + TEST, len(CLASSES))) < SHARES
    texts = []
    for number, mentioned in enumerate(truth):
        text = random.choice(FILLING.split(), 8).tolist()
        for topic in np.flatnonzero(mentioned):
            text += random.choice(words[topic], random.integers(1, 3)).tolist()
        if random.random() < 0.5:  # a word that means nothing here
            text.append(random.choice(words[random.integers(len(words))]))
        texts.append(f"{' '.join(random.permutation(text))} {number}")
    features = TfidfVectorizer().fit_transform(texts).toarray().astype(np.float32)
    known = truth[:TEXTS]
    said = np.stack([known ^ (random.random(known.shape) < np.where(known, e, e / 2)) for e in ERRORS])
    turns = np.stack([random.permutation(len(ERRORS)) for _ in range(TEXTS)])
    return World(texts, features, truth, said, turns)


class Model:
    """The ML backend in this process: its classifier and its folds on ready features."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: Probabilities | None = None
        self.accuracy = 0.0

    def check(self) -> None:
        """Always there."""

    def put_items(self, *items: Any) -> None:
        """Every text has its features."""

    def distinct(self, project: str, ids: Sequence[int], count: int) -> list[int]:
        """No texts are near-duplicates."""
        return list(ids[:count])

    def probabilities(self, project: str) -> Probabilities | None:
        """Out-of-sample of what it was trained on."""
        return self._known

    def train(self, project: str, classes: Sequence[str], labels: Any, *, weights: Any = None, **options: Any) -> None:
        """As ml_backend.training.train does it."""
        tasks = np.array(list(labels))
        counted = np.array([1.0 if weights is None else weights[task] for task in labels])
        sets = _as_rows(list(labels.values()))
        folds = assign_folds(tasks, strata(sets), 3, seed=0)
        features = self._world.features
        each = np.stack(
            [
                _fitted(features[tasks[seen]], sets[seen], counted[seen])(features[:TEXTS])
                for seen in (folds != fold for fold in range(3))
            ]
        )
        probs, of_task = each.mean(axis=0), np.full(TEXTS, -1, np.int8)
        probs[tasks], of_task[tasks] = each[folds, tasks], folds
        self._known = Probabilities("v", tuple(classes), np.arange(TEXTS), probs, of_task, multilabel=True)
        self.accuracy = accuracy(self._world, tasks, sets, counted)


def accuracy(
    world: World, tasks: NDArray[np.int64], sets: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> float:
    """The share of new texts all of whose topics a model gets right that was trained on the `sets` of `tasks`."""
    predicted = _fitted(world.features[tasks], sets, weights)(world.features[TEXTS:]) >= DECISION_THRESHOLD
    return float((predicted == world.truth[TEXTS:]).all(axis=1).mean())


def _as_rows(sets: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Lists of the positions of classes as rows of ones and zeros."""
    rows = np.zeros((len(sets), len(CLASSES)), np.int64)
    for row, chosen in zip(rows, sets, strict=True):
        row[list(chosen)] = 1
    return rows


def _fitted(
    features: NDArray[np.float32], sets: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> Callable[[Any], NDArray[np.float64]]:
    classifier = OneVsRestClassifier()
    with threadpool_limits(1):  # threads that wait for each other take most of the time on matrices so small
        classifier.fit(features, sets, len(CLASSES), 0, weights)
    return classifier.predict_proba


class Project:
    """The texts as tasks of Label Studio, with the annotations that people have given so far."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = np.random.default_rng([seed, 1])
        self.tasks = {number: Task(number, digest(world.texts[number]), False, 1, AT) for number in range(TEXTS)}
        start = self.random.permutation(TEXTS)[:START].tolist()
        for task in start + start[: START // 2]:
            self.annotate(task)

    def annotate(self, number: int) -> None:
        """The next person whose turn it is with the text says what they see."""
        task = self.tasks[number]
        person = int(self.world.turns[number, len(task.annotations)])
        label = CONTROL.label_of([CLASSES[topic] for topic in np.flatnonzero(self.world.said[person, number])])
        row = Annotation(number * 10 + person, number, person + 1, label, False, False, AT)
        self.tasks[number] = task._replace(is_labeled=True, annotations=(*task.annotations, row))

    def pulled(self) -> ProjectSnapshot:
        """As sync reads it."""
        project = {"id": 1, "skip_queue": "REQUEUE_FOR_OTHERS"}
        return ProjectSnapshot(project, Questions((CONTROL,)), dict(self.tasks), {}, changed=True, texts=lambda ids: {})


def ours(seed: int) -> list[float]:
    """The model's accuracy at the start and after each round of our queue."""
    world = generate(seed)
    project, model, accuracies = Project(world, seed), Model(world), []
    database = State("sqlite://")
    state = database.project("http://studio", 1)
    with state.lock():
        for number in range(ROUNDS + 1):
            window = _synced(project, model, state)
            accuracies.append(model.accuracy)
            for task in window[:A_ROUND] if number < ROUNDS else []:
                project.annotate(task)
    database.close()
    return accuracies


def _synced(project: Project, model: Model, state: ProjectState) -> list[int]:
    pulled = project.pulled()
    scored = score(pulled, model, state, Reporter(Console(quiet=True), quiet=True))  # type: ignore[arg-type]
    window = choose(pulled, scored, model, window=A_ROUND, max_annotations=5)  # type: ignore[arg-type]
    return [slot.task for slot in window]


def in_random_order(seed: int) -> list[float]:
    """The model's accuracy at the start and after each round of random order."""
    world = generate(seed)
    project, accuracies = Project(world, seed), []
    for number in range(ROUNDS + 1):
        labels = latest_labels(row for task in project.tasks.values() for row in task.annotations)
        tasks = sorted({task for task, _ in labels})
        arrays = label_set(labels, tasks, CONTROL)
        consensus = arrays.names(arrays.consensus(None, find_strategy()))
        chosen = class_positions(dict(zip(tasks, consensus, strict=True)), CONTROL)
        accuracies.append(accuracy(world, np.array(tasks), _as_rows(list(chosen.values()))))  # type: ignore[arg-type]
        free = [task.id for task in project.tasks.values() if not task.annotations]
        for task in project.random.permutation(free)[:A_ROUND].tolist() if number < ROUNDS else []:
            project.annotate(task)
    return accuracies


def gain(ours: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """The mean of the paired differences and half of its 95 % interval."""
    difference = ours - other
    spread = difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean()), float(student.ppf(0.975, len(difference) - 1) * spread)


@click.command()
@click.option("--seeds", default=10, show_default=True, help="Worlds to generate.")
@click.option("--rules", is_flag=True, help="Compare the rules for one score of many, too.")
def main(seeds: int, rules: bool) -> None:
    """Print the table."""
    random = np.array([in_random_order(seed) for seed in range(seeds)])
    table = Table("order", "mean accuracy", "at the end", "gain on random order, mean", "gain at the end")
    table.add_row("random", f"{random.mean():.3f}", f"{random[:, -1].mean():.3f}", "", "")
    for name, rule in RULES.items() if rules else [("mean", RULES["mean"])]:
        multilabel.combine = rule  # type: ignore[assignment]
        got = np.array([ours(seed) for seed in range(seeds)])
        gains = gain(got.mean(axis=1), random.mean(axis=1)), gain(got[:, -1], random[:, -1])
        cells = (f"{value:+.3f} ± {half:.3f}" for value, half in gains)
        table.add_row(f"ours, {name}", f"{got.mean():.3f}", f"{got[:, -1].mean():.3f}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
