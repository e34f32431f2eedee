"""The experiment that this project began with: ActiveLab against random order with a fine-tuned transformer.

    python benchmarks/seed.py --out DIR [--model NAME] [--rounds N] [--seeds N] [--steps N] [--pool N]

A run starts with 100 tasks with two labels each. ActiveLab or chance chooses 25 labels per round. After each round the
transformer is trained anew on the consensus labels: one model per fold for the out-of-sample probabilities, and one
on all labels, whose accuracy on the test texts is printed. Every run is a replay of `connector simulate`. The plot
shows the mean over the seeds with one standard deviation. It runs on a GPU if there is one. benchmarks/README.md says
what is small enough for two cores.

Finished runs are kept in DIR, and the same command continues from there. Use another DIR after a change of the code.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean, pstdev

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from connector.cli.simulate_table import format_table
from connector.progress import Reporter
from connector.simulation.corpus import Corpus, read_corpus
from connector.simulation.metrics import RANDOM, Run
from connector.simulation.replay import ReplayOptions, replay
from connector.simulation.simulate import Plan, SimulationResult, simulate

POLITENESS = Path(__file__).resolve().parents[2] / "shared" / "data" / "politeness"
STRATEGIES = ("activelab", RANDOM)
CLASSIFIER = "transformer"

console = Console(width=None if sys.stdout.isatty() else 200)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs and the plot.")
@click.option("--data", type=click.Path(path_type=Path), default=POLITENESS, help="Multi-annotated texts.")
@click.option("--model", help="Name or folder of a transformer [the packaged all-MiniLM-L6-v2].")
@click.option("--rounds", type=click.IntRange(min=1), default=25, show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), help="Steps of training a model.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True))
@click.option("--batch-size", type=click.IntRange(min=1))
@click.option("--max-length", type=click.IntRange(min=8), help="Tokens of a text that the model reads.")
@click.option("--folds", type=click.IntRange(min=2))
@click.option("--pool", type=click.IntRange(min=1), help="So many of the tasks, drawn once for all runs [all].")
@click.option("--strategy", "strategies", multiple=True, default=STRATEGIES, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at a time.")
def main(
    out: Path,
    data: Path,
    model: str | None,
    rounds: int,
    seeds: int,
    steps: int | None,
    learning_rate: float | None,
    batch_size: int | None,
    max_length: int | None,
    folds: int | None,
    pool: int | None,
    strategies: tuple[str, ...],
    jobs: int,
) -> None:
    """Replay the experiment, print what it gave and draw it."""
    given = {
        "TRANSFORMER": model,
        "TRANSFORMER_STEPS": steps,
        "TRANSFORMER_LEARNING_RATE": learning_rate,
        "TRANSFORMER_BATCH_SIZE": batch_size,
        "TRANSFORMER_MAX_LENGTH": max_length,
        "FOLDS": folds,
    }
    # The ML backends of the replays read them, and finished runs are kept under them.
    os.environ |= {f"ML_BACKEND_{name}": str(value) for name, value in given.items() if value is not None}
    texts = drawn(read_corpus(data), pool)
    plan = Plan(list(strategies), [CLASSIFIER], RANDOM, seeds, ReplayOptions(rounds))
    done = simulate(texts, plan, out, replay, Reporter(), jobs=jobs)
    show(done)


def drawn(texts: Corpus, count: int | None, seed: int = 0) -> Corpus:
    """The corpus with at most `count` of its tasks, in their order, and all of its test."""
    if count is None or count >= len(texts.tasks):
        return texts
    places = np.sort(np.random.default_rng(seed).choice(len(texts.tasks), count, replace=False))
    names = list(texts.tasks)
    kept = {names[place] for place in places}
    return replace(
        texts,
        tasks={name: text for name, text in texts.tasks.items() if name in kept},
        annotations={name: rows for name, rows in texts.annotations.items() if name in kept},
        truth={name: label for name, label in texts.truth.items() if name in kept},
    )


def by_labels(runs: list[Run]) -> dict[str, list[tuple[int, float, float]]]:
    """Of each strategy, round by round: labels, mean accuracy over the seeds and its standard deviation."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    for strategy in dict.fromkeys(run["strategy"] for run in runs):
        columns = zip(*(run["rounds"] for run in runs if run["strategy"] == strategy), strict=False)
        found[strategy] = [
            (column[0]["labels"], fmean(accuracies), pstdev(accuracies))
            for column in columns
            for accuracies in [[one["accuracy"] for one in column]]
        ]
    return found


def show(done: SimulationResult) -> None:
    """The accuracy round by round, and the table of `connector simulate`."""
    curves, seeds = by_labels(done.runs), len({run["seed"] for run in done.runs})
    seeds_shown = f"mean of {seeds} seeds ± one standard deviation" if seeds > 1 else "one seed"
    table = Table("labels", *curves, title=f"Accuracy on test texts, {seeds_shown}")
    for row in zip(*curves.values(), strict=False):
        cells = (f"{mean:.3f} ± {deviation:.3f}" if seeds > 1 else f"{mean:.3f}" for _, mean, deviation in row)
        table.add_row(str(row[0][0]), *cells)
    console.print(table)
    console.print(format_table(done.summary))
    for sentence in (*done.notes, f"The plot is {done.files[-1]}."):
        console.print(sentence, soft_wrap=True)


if __name__ == "__main__":
    main()
