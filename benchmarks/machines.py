"""What labels of machines save, and that bad ones cost nothing.

    python benchmarks/machines.py --out DIR [--corpus NAME]… [--seeds N]

Replays of the default strategy with people's labels (politeness' own annotators, and simulated ones on generated texts)
and simulated machines that have labelled all tasks at the start. All machines are compared with none, paired by seed,
by the accuracy of the model on test texts and by the share of the project's labels (consensus, elsewhere what the model
and the machines say together) that are true: their means over the rounds, and the share of people's labels that is
saved on the way to the accuracy that people alone have at the end.

All runs are replays of `connector simulate`. Finished runs are kept in DIR, and the same command continues from there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import audit
import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer

from connector.active_learning import DEFAULT_STRATEGY
from connector.backend import Backend
from connector.progress import Reporter
from connector.simulation.confidence_intervals import mean
from connector.simulation.corpus import Corpus, read_corpus
from connector.simulation.replay import ReplayOptions, Round, Run
from connector.simulation.simulate import Plan, simulate
from connector.simulation.workers import Count

TOPICS, BAD_TOPICS = 6, 2
SMOOTH = 3  # rounds, of a curve that is to reach an accuracy

# From the true classes (n,), their number, the topics (n,) and a random generator to the machines' classes.
Machines = Callable[[NDArray[np.int64], int, NDArray[np.int64], np.random.Generator], list[NDArray[np.int64]]]


def _right(share: float | NDArray[np.float64]) -> Machines:
    def answers(
        truth: NDArray[np.int64], k: int, topic: NDArray[np.int64], rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        other = (truth + rng.integers(1, k, len(truth))) % k
        return [np.where(rng.random(len(truth)) < share, truth, other)]

    return answers


def _over_predicts(
    truth: NDArray[np.int64], k: int, topic: NDArray[np.int64], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """It finds nearly all of the first class, and calls 40 % of the others so, too."""
    return [np.where((truth == 0) | (rng.random(len(truth)) < 0.4), 0, truth)]


def _by_topic(
    truth: NDArray[np.int64], k: int, topic: NDArray[np.int64], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Right in 95 % of the texts, but in 20 % of those of some topics."""
    share = np.where(topic < BAD_TOPICS, 0.2, 0.95)
    return _right(share)(truth, k, topic, rng)


def _agreeing(
    truth: NDArray[np.int64], k: int, topic: NDArray[np.int64], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Two that are right in 75 %, with the same errors but for a few."""
    (first,) = _right(0.75)(truth, k, topic, rng)
    return [first, np.where(rng.random(len(truth)) < 0.03, rng.integers(0, k, len(truth)), first)]


KINDS: dict[str, Machines] = {
    "none": lambda truth, k, topic, rng: [],
    "60 %": _right(0.6),
    "75 %": _right(0.75),
    "85 %": _right(0.85),
    "95 %": _right(0.95),
    "over-predicts": _over_predicts,
    "errors by topic": _by_topic,
    "two that agree": _agreeing,
    "chance": lambda truth, k, topic, rng: [rng.integers(0, k, len(truth))],
    "one class": lambda truth, k, topic, rng: [np.zeros(len(truth), np.int64)],
    "worse than chance": _right(0.25),
}
METRICS = ("accuracy", "project_accuracy")

console = Console(width=None if sys.stdout.isatty() else 200)


def with_machines(texts: Corpus, kind: str, seed: int) -> tuple[Corpus, tuple[str, ...]]:
    """The corpus with the labels of machines, and their names."""
    rng = np.random.default_rng([seed, *kind.encode()])
    names = [name for name in texts.tasks if name in texts.truth]
    truth = np.array([texts.classes.index(texts.truth[name]) for name in names], np.int64)
    vectors = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(texts.tasks[name] for name in names)
    topic = KMeans(TOPICS, n_init=1, random_state=seed).fit_predict(vectors)
    labels = KINDS[kind](truth, len(texts.classes), topic, rng)
    machines = tuple(f"machine {place}" for place in range(len(labels)))
    said = {
        name: [
            *texts.annotations.get(name, []),
            *((machine, texts.classes[int(label[row])]) for machine, label in zip(machines, labels, strict=True)),
        ]
        for row, name in enumerate(names)
    }
    tasks = {name: texts.tasks[name] for name in names}
    return replace(texts, tasks=tasks, annotations=said), machines


def replay_with_machines(
    texts: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend, progress: Count
) -> list[Round]:
    """As `replay`, with machines of the kind that the options name, and how many of the project's labels are true."""
    texts, machines = with_machines(texts, options.machines[0] if options.machines else "none", seed)
    run = Run(texts, strategy, classifier, seed, replace(options, machines=machines), backend)
    truth = dict(enumerate((texts.truth[name] for name in texts.tasks), start=1))
    rounds: list[Round] = []
    while len(rounds) <= options.rounds and (done := run.step()) is not None:
        scored = run.scored
        assert scored is not None
        said = {**scored.predicted, **scored.consensus}
        pools = scored.opinion.pools
        rounds.append(
            {
                **done,
                "project_accuracy": fmean(said.get(task) == label for task, label in truth.items()),
                "weights": pools[0].weight.tolist() if pools else [],
                "from_machines": len(scored.opinion.labels),
            }
        )
        progress(len(rounds), options.rounds + 1)
    return rounds


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option("--data", type=click.Path(path_type=Path), default=audit.POLITENESS, help="Multi-annotated texts.")
@click.option("--corpus", "names", multiple=True, help="[all]")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="[all]")
@click.option("--seeds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=25, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [one a core].")
def main(
    out: Path, data: Path, names: Sequence[str], kinds: Sequence[str], seeds: int, rounds: int, jobs: int | None
) -> None:
    """Print the tables."""
    for name, texts in audit.corpora(read_corpus(data)).items():
        if names and name not in names:
            continue
        runs: dict[str, list[list[Round]]] = {}
        for kind in dict.fromkeys(["none", *(kinds or KINDS)]):
            options = ReplayOptions(rounds, machines=() if kind == "none" else (kind,))
            plan = Plan([DEFAULT_STRATEGY], ["logistic"], DEFAULT_STRATEGY, seeds, options)
            done = simulate(texts, plan, out / name, replay_with_machines, Reporter(), jobs=jobs, with_plot=False)
            runs[kind] = [run["rounds"] for run in done.runs]
        show(name, runs)


def show(name: str, runs: dict[str, list[list[Round]]]) -> None:
    """Prints each kind of machine beside none."""
    for metric in METRICS:
        words = {"accuracy": "the model's accuracy", "project_accuracy": "the project's labels"}[metric]
        table = Table(
            "machine", "mean over the rounds", "over none", "labels saved", "weight", title=f"{name}: {words}"
        )
        for kind, theirs in runs.items():
            means = [fmean(round_[metric] for round_ in rounds) for rounds in theirs]
            gains = [
                a - b for a, b in zip(means, [fmean(r[metric] for r in rounds) for rounds in runs["none"]], strict=True)
            ]
            saved = [share_saved(alone, mine, metric) for alone, mine in zip(runs["none"], theirs, strict=True)]
            gain, share = mean(gains), mean(saved)
            weights = [sum(rounds[-1]["weights"]) for rounds in theirs]
            table.add_row(
                kind,
                f"{fmean(means):.4f}",
                "" if kind == "none" else f"{gain.value:+.4f} ± {gain.margin:.4f}",
                f"{share.value:.0%} ± {share.margin:.0%}",
                f"{fmean(weights):.2f}",
            )
        console.print(table)


def share_saved(alone: Sequence[Round], mine: Sequence[Round], metric: str) -> float:
    """The share of people's labels that is saved on the way to the accuracy that people alone have at the end.

    Accuracies are means of SMOOTH rounds. Negative: it took more labels than the run has, or it was never reached. Then
    the share counts as that of one more round.
    """
    goal = fmean(round_[metric] for round_ in alone[-SMOOTH:])
    total, step = alone[-1]["labels"], alone[-1]["labels"] - alone[-2]["labels"]
    for end in range(len(mine)):
        if fmean(round_[metric] for round_ in mine[max(0, end - SMOOTH + 1) : end + 1]) >= goal:
            return float(1 - mine[end]["labels"] / total)
    return float(-step / total)


if __name__ == "__main__":
    main()
