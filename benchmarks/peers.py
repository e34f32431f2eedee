"""Other open-source tools on the same labels: accuracy at equal numbers of labels.

    python benchmarks/peers.py --out DIR [strategies] [classifiers] [--seeds N] [--rounds N]

`strategies`: replays as of `connector simulate`, from 100 tasks with two labels each, 25 labels in each round.

- small-text's BreakingTies, EmbeddingKMeans and ContrastiveActiveLearning, and scikit-activeml's UncertaintySampling
  (in its SingleAnnotatorWrapper) and IntervalEstimationThreshold choose for our classifier. They get the probabilities
  and sentence embeddings that our own strategies have. The model is trained on majority votes.
- Potato's active learning, as its documentation and its configuration class describe the defaults: TF-IDF and logistic
  regression, calibrated by isotonic regression in three folds, new items by least confidence, a fifth of them at random
  in between. This is our reimplementation. Its own classifier is measured.

`classifiers`: SetFit's few-shot classifier (20 iterations of pairs, the sentence encoder that ours uses), Potato's and
ours, each trained on the same randomly chosen texts with one label each.

Needs `pip install -c constraints.txt '.[peers]'`. Finished runs are kept in DIR, and the same command continues from
there.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
from labels import BUDGETS, POLITENESS, accuracies, means, signed, three
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from connector.active_learning import DEFAULT_STRATEGY
from connector.active_learning.window import Slot
from connector.backend import Backend
from connector.progress import Reporter
from connector.simulation.confidence_intervals import mean
from connector.simulation.corpus import Corpus, read_corpus
from connector.simulation.metrics import RANDOM
from connector.simulation.replay import ReplayOptions, Round, Run, replay
from connector.simulation.simulate import Plan, simulate
from connector.simulation.workers import Count
from connector.sync.scoring import Scored

TABLES = ("strategies", "classifiers")
MAJORITY = "random-new"  # our strategy that begins at random and trains on majority votes, as the peers do
RANDOM_SHARE = 0.2  # Potato's random_sample_percent
SIZES = (50, 100, 200, 400)
PAIRS = 20  # SetFit's num_iterations, as in Tunstall et al. 2022

console = Console(width=None if sys.stdout.isatty() else 200)

Probs = NDArray[np.float64]


@click.command()
@click.argument("tables", nargs=-1, type=click.Choice(TABLES))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option("--data", type=click.Path(path_type=Path), default=POLITENESS, help="Multi-annotated texts.")
@click.option("--seeds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=25, show_default=True)
@click.option("--classifier", default="logistic", show_default=True, help="Ours, for the strategies.")
@click.option("--classifiers", default="logistic auto", show_default=True, help="Ours, beside SetFit.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [one a core].")
def main(
    tables: Sequence[str],
    out: Path,
    data: Path,
    seeds: int,
    rounds: int,
    classifier: str,
    classifiers: str,
    jobs: int | None,
) -> None:
    """Print the tables."""
    texts, wanted = read_corpus(data), tables or TABLES
    if "strategies" in wanted:
        compare_strategies(texts, classifier, seeds, rounds, out / "strategies", jobs)
    if "classifiers" in wanted:
        compare_classifiers(texts, classifiers.split(), seeds, out / "classifiers", jobs)


def compare_strategies(texts: Corpus, classifier: str, seeds: int, rounds: int, out: Path, jobs: int | None) -> None:
    """Prints the accuracy of each tool's choice at several numbers of labels, and its paired distance to ours."""
    names = [DEFAULT_STRATEGY, RANDOM, *PEERS]
    plan = Plan(names, [classifier], DEFAULT_STRATEGY, seeds, ReplayOptions(rounds))
    runs = simulate(texts, plan, out, replay_peer, Reporter(), jobs=jobs, with_plot=False).runs
    ours = means(runs, DEFAULT_STRATEGY, classifier)
    table = Table("chosen by", *(f"{labels}" for labels in BUDGETS), "mean of the rounds", "over ours")
    for name in names:
        columns = [accuracies(runs, name, classifier, labels) for labels in BUDGETS]
        theirs = means(runs, name, classifier)
        table.add_row(
            name,
            *(three(mean(column)) if column else "" for column in columns),
            three(mean(list(theirs.values()))),
            signed(mean([theirs[seed] - ours[seed] for seed in ours])),
        )
    console.print(table)


def compare_classifiers(texts: Corpus, ours: Sequence[str], seeds: int, out: Path, jobs: int | None) -> None:
    """Prints the accuracy of each classifier after so many texts with one label each."""
    found: dict[str, list[str]] = {}
    for size in SIZES:
        options = ReplayOptions(0, 1, size, 1, 1)
        for names, classifiers in ((list(CLASSIFIERS), ours[:1]), ([MAJORITY], ours)):
            plan = Plan(names, classifiers, names[0], seeds, options)
            done = simulate(texts, plan, out, replay_peer, Reporter(), jobs=jobs, with_plot=False)
            for line in done.summary.lines:
                name = line.classifier if line.strategy == MAJORITY else line.strategy
                found.setdefault(name, []).append(three(line.accuracy))
    table = Table("texts with one label each", *map(str, SIZES))
    for name in (*CLASSIFIERS, *ours):
        table.add_row(name, *found[name])
    console.print(table)


def replay_peer(
    texts: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend, progress: Count
) -> list[Round]:
    """As `replay`, also for the names of PEERS and CLASSIFIERS. Worker processes call it."""
    if strategy not in PEERS and strategy not in CLASSIFIERS:
        return replay(texts, strategy, classifier, seed, options, backend, progress)
    random.seed(seed)
    np.random.seed(seed)  # which small-text draws from
    run = {**PEERS, **CLASSIFIERS}[strategy](texts, MAJORITY, classifier, seed, options, backend)
    run.name = strategy
    return run.play(progress)


# -- other strategies for our classifier -------------------------------------------------------------------------------


class PeerRun(Run):
    """A run in which another library chooses. Tasks are numbered from 0 for it, in the order of the corpus."""

    name = ""

    def probabilities(self, scored: Scored) -> Probs:
        """Class probabilities of all tasks (n, k), out of sample for the labelled ones."""
        found = scored.probabilities
        assert found is not None
        return np.asarray(found.pred_probs[[found.place[task] for task in self._tasks]], np.float64)

    def split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The unlabelled and the labelled tasks."""
        labelled = {task - 1 for task, _ in self.labels}
        unlabelled = [task - 1 for task in self._tasks if task - 1 not in labelled and self._waiting[task]]
        return np.array(unlabelled), np.array(sorted(labelled))


class SmallTextRun(PeerRun):
    """New tasks are chosen by a query strategy of small-text."""

    def _choice(self, scored: Scored) -> list[Slot]:
        import small_text

        strategy = {
            "BreakingTies": small_text.BreakingTies,
            "EmbeddingKMeans": small_text.EmbeddingKMeans,
            "ContrastiveActiveLearning": small_text.ContrastiveActiveLearning,
        }[self.name.split()[1]]()
        classifier = _Known(self.probabilities(scored), embeddings(self._corpus))
        unlabelled, labelled = self.split()
        given = np.array([self._corpus.classes.index(scored.consensus[task + 1]) for task in labelled.tolist()])
        count, all_tasks = min(self._options.batch, len(unlabelled)), np.arange(len(self._tasks))
        chosen = strategy.query(classifier, all_tasks, unlabelled, labelled, given, n=count) if count else []
        return [Slot(int(task) + 1, relabel=False) for task in chosen]


class _Known:
    """A classifier of small-text whose "texts" are the numbers of tasks."""

    def __init__(self, probs: Probs, vectors: NDArray[np.float32]) -> None:
        self._probs, self._vectors = probs, vectors

    def predict_proba(self, tasks: NDArray[np.int64]) -> Probs:
        return self._probs[tasks]

    def embed(self, tasks: NDArray[np.int64], return_proba: bool = False, **_: Any) -> Any:
        return (self._vectors[tasks], self._probs[tasks]) if return_proba else self._vectors[tasks]


class SkactivemlRun(PeerRun):
    """Pairs of a task and one of its annotators are chosen by a query strategy of scikit-activeml."""

    def _choice(self, scored: Scored) -> list[Slot]:
        pairs = self._pairs(self.probabilities(scored))[: self._options.batch]
        self._annotators = [annotator for _, annotator in pairs]
        known, slots = {task for task, _ in self.labels}, []
        for task, _ in pairs:
            slots.append(Slot(task, relabel=task in known))
            known.add(task)
        return slots

    def _ask(self, window: list[Slot]) -> tuple[int, int]:
        for slot, annotator in zip(window, self._annotators, strict=True):
            self._answer(slot.task, {annotator})
        relabel = sum(slot.relabel for slot in window)
        return len(window) - relabel, relabel

    def _pairs(self, probs: Probs) -> list[tuple[int, int]]:
        """The chosen pairs, those that are worth most first."""
        from skactiveml.pool import UncertaintySampling
        from skactiveml.pool.multiannotator import IntervalEstimationThreshold, SingleAnnotatorWrapper

        people = sorted(
            {who for waiting in self._waiting.values() for who, _ in waiting} | {who for _, who in self.labels}
        )
        column = {who: place for place, who in enumerate(people)}
        labels = np.full((len(self._tasks), len(people)), np.nan)
        for (task, who), label in self.labels.items():
            labels[task - 1, column[who]] = self._corpus.classes.index(label)
        available = np.zeros(labels.shape, bool)
        most = self._options.max_annotations_per_task
        for task, waiting in self._waiting.items():
            if len(self._tasks[task].annotations) < most:
                available[task - 1, [column[who] for who, _ in waiting]] = True
        numbers, classifier = np.arange(len(labels))[:, None], _known_classifier(probs)
        seed = len(self.labels) + 10_000 * self._seed
        if self.name.endswith("UncertaintySampling"):
            open_tasks = np.flatnonzero(available.any(axis=1))
            chosen = SingleAnnotatorWrapper(UncertaintySampling(random_state=seed), random_state=seed).query(
                numbers,
                labels,
                candidates=open_tasks,
                annotators=available[open_tasks],
                batch_size=self._options.batch,
                clf=classifier,
                fit_clf=False,
            )
            return [(int(task) + 1, people[who]) for task, who in chosen]
        # It wants every annotator to be available for every task. So it ranks all pairs, and we take those that exist.
        unlabelled, _ = self.split()
        _, utilities = IntervalEstimationThreshold(random_state=seed).query(
            numbers, labels, classifier, fit_clf=False, candidates=unlabelled, batch_size=1, return_utilities=True
        )
        utility = np.where(available, utilities[0], np.nan)
        order = np.argsort(-utility, axis=None, kind="stable")[: np.isfinite(utility).sum()]
        tasks, whos = np.unravel_index(order, utility.shape)
        return [(int(task) + 1, people[who]) for task, who in zip(tasks, whos, strict=True)]


def _known_classifier(probs: Probs) -> Any:
    """A classifier of scikit-activeml whose samples are the numbers of tasks."""
    from skactiveml.base import SkactivemlClassifier

    class Known(SkactivemlClassifier):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Known:
            return self

        def predict_proba(self, X: Any) -> Probs:
            return probs[np.asarray(X)[:, 0].astype(int)]

    known = Known(classes=list(range(probs.shape[1])))
    known.classes_ = np.arange(probs.shape[1])
    return known


# -- other classifiers -------------------------------------------------------------------------------------------------


class ClassifierRun(PeerRun):
    """A run with a classifier that is trained in this process, on majority votes with ties at random."""

    def step(self) -> Round | None:
        new, relabel = self._begin() if not self.labels else self._ask(self._next())
        if not new + relabel:
            return None
        votes: dict[int, Counter[str]] = {}
        for (task, _), label in self.labels.items():
            votes.setdefault(task, Counter())[label] += 1
        consensus = {
            task: random.choice([label for label, number in found.items() if number == max(found.values())])
            for task, found in sorted(votes.items())
        }
        self._fit([self._texts[task] for task in consensus], list(consensus.values()))
        predicted = self._classify([text for text, _ in self._corpus.test])
        right = [ours == label for ours, (_, label) in zip(predicted, self._corpus.test, strict=True)]
        known = [label == self._truth[task] for task, label in consensus.items() if task in self._truth]
        return {
            "labels": len(self.labels),
            "accuracy": sum(right) / len(right),
            "consensus_accuracy": sum(known) / len(known) if known else None,
            "new": new,
            "relabel": relabel,
            "agreement": None,
            "advice": None,
        }

    def _next(self) -> list[Slot]:
        raise NotImplementedError

    def _fit(self, texts: list[str], labels: list[str]) -> None:
        raise NotImplementedError

    def _classify(self, texts: list[str]) -> list[str]:
        raise NotImplementedError


class PotatoRun(ClassifierRun):
    """Potato's active learning with its default settings."""

    def _fit(self, texts: list[str], labels: list[str]) -> None:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression())
        self._model = CalibratedClassifierCV(pipeline, cv=3, method="isotonic").fit(texts, labels)

    def _classify(self, texts: list[str]) -> list[str]:
        return [str(label) for label in self._model.predict(texts)]

    def _next(self) -> list[Slot]:
        """Unlabelled tasks by least confidence, each followed by a random one until a fifth of all have come so."""
        unlabelled, _ = self.split()
        if not len(unlabelled):
            return []
        tasks = (unlabelled + 1).tolist()
        best = self._model.predict_proba([self._texts[task] for task in tasks]).max(axis=1)
        ranked = [tasks[place] for place in np.argsort(best, kind="stable")]
        by_chance = random.sample(ranked, int(RANDOM_SHARE * len(ranked)))
        mixed = [task for pair in zip(ranked, by_chance, strict=False) for task in pair]
        order = dict.fromkeys([*mixed, *ranked])  # each task at its first place
        return [Slot(task, relabel=False) for task in order][: self._options.batch]


class SetFitRun(ClassifierRun):
    """SetFit's contrastive fine-tuning of the sentence encoder, and its logistic regression."""

    def _fit(self, texts: list[str], labels: list[str]) -> None:
        import torch
        from datasets import Dataset
        from setfit import SetFitModel, Trainer, TrainingArguments

        from ml_backend.features.encoder import packaged_weights

        torch.set_num_threads(1)  # as our ML backends in the other processes
        self._model = SetFitModel.from_pretrained(str(packaged_weights()), labels=self._corpus.classes)
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainingArguments(
                output_dir=folder,
                num_iterations=PAIRS,
                seed=self._seed,
                report_to="none",
                show_progress_bar=False,
                save_strategy="no",
            )
            data = Dataset.from_dict({"text": texts, "label": labels})
            Trainer(self._model, settings, train_dataset=data).train()

    def _classify(self, texts: list[str]) -> list[str]:
        return [str(label) for label in self._model.predict(texts, show_progress_bar=False)]


PEERS: Mapping[str, type[PeerRun]] = {
    "small-text BreakingTies": SmallTextRun,
    "small-text EmbeddingKMeans": SmallTextRun,
    "small-text ContrastiveActiveLearning": SmallTextRun,
    "scikit-activeml UncertaintySampling": SkactivemlRun,
    "scikit-activeml IntervalEstimationThreshold": SkactivemlRun,
    "Potato": PotatoRun,
}
CLASSIFIERS: Mapping[str, type[PeerRun]] = {"SetFit": SetFitRun, "Potato": PotatoRun}


@cache
def _encoder() -> Any:
    from ml_backend.features.encoder import Encoder
    from ml_backend.settings import DEFAULT_ENCODER

    return Encoder(DEFAULT_ENCODER, threads=1)


_embedded: dict[str, NDArray[np.float32]] = {}


def embeddings(texts: Corpus) -> NDArray[np.float32]:
    """The sentence embeddings of all tasks (n, d), computed once in a process."""
    if texts.digest not in _embedded:
        _embedded[texts.digest] = _encoder().encode(list(texts.tasks.values()))
    return _embedded[texts.digest]


if __name__ == "__main__":
    main()
