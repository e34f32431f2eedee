"""What it saves, or costs, that near-duplicates of a task wait until it is labelled.

    python benchmarks/near_duplicates.py --out DIR [--data DIR] [--seeds N] [--rounds N] [--similarity X]

Replays the default strategy with the setting ML_BACKEND_DUPLICATE_SIMILARITY and without (1: only equal texts wait), on
a corpus as it is and on the same corpus in which a third of the tasks are near-copies. Those tasks have the text of one
of COPIED tasks with another number behind it, and its labels in another order. Finished runs are kept in DIR.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from connector.active_learning import DEFAULT_STRATEGY
from connector.progress import Reporter
from connector.simulation.confidence_intervals import Estimate, mean
from connector.simulation.corpus import Corpus, read_corpus
from connector.simulation.metrics import labels_to_reach
from connector.simulation.replay import ReplayOptions, replay
from connector.simulation.simulate import Plan, simulate

POLITENESS = Path(__file__).resolve().parents[2] / "shared" / "data" / "politeness"
SHARE, COPIED = 3, 20  # one of SHARE tasks is a near-copy, of one of COPIED tasks
SETTING = "ML_BACKEND_DUPLICATE_SIMILARITY"
EQUAL_TEXTS = "1"

console = Console()


def with_copies(corpus: Corpus, seed: int = 0) -> Corpus:
    """The corpus with a third of its tasks replaced by near-copies of COPIED of the others."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(list(corpus.tasks)).tolist()
    replaced, originals = order[: len(order) // SHARE], order[len(order) // SHARE :][:COPIED]
    tasks, annotations, truth = dict(corpus.tasks), dict(corpus.annotations), dict(corpus.truth)
    for number, task in enumerate(replaced):
        original = originals[number % COPIED]
        rows = corpus.annotations[original]
        tasks[task] = f"{corpus.tasks[original]} ({int(rng.integers(10, 10_000))})"
        annotations[task] = [rows[at] for at in rng.permutation(len(rows)).tolist()]
        if original in truth:
            truth[task] = truth[original]
    return replace(corpus, tasks=tasks, annotations=annotations, truth=truth)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option("--data", type=click.Path(path_type=Path), default=POLITENESS, help="Multi-annotated texts.")
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=25, show_default=True)
@click.option("--similarity", default=None, help=f"{SETTING} [the default of the ML backend].")
def main(out: Path, data: Path, seeds: int, rounds: int, similarity: str | None) -> None:
    """Print the table."""
    corpus = read_corpus(data)
    plan = Plan([DEFAULT_STRATEGY], ["logistic"], DEFAULT_STRATEGY, seeds, ReplayOptions(rounds))
    table = Table("corpus", "near-duplicates", "mean accuracy", "at the end", "labels, as many as at the end without")
    for name, texts in (("as it is", corpus), ("a third near-copies", with_copies(corpus))):
        without = _runs(texts, plan, EQUAL_TEXTS, out / f"{name}-1".replace(" ", "-"))
        waiting = _runs(texts, plan, similarity, out / f"{name}-{similarity or 'default'}".replace(" ", "-"))
        target = fmean(run[-1]["accuracy"] for run in without)
        for label, runs in (("are asked for", without), ("wait", waiting)):
            reached = median(labels_to_reach(run, target) for run in runs)
            table.add_row(
                name,
                label,
                _three(mean([_mean_accuracy(run) for run in runs])),
                _three(mean([run[-1]["accuracy"] for run in runs])),
                f"{reached:.0f}" if math.isfinite(reached) else "not reached",
            )
        gains = [_mean_accuracy(ours) - _mean_accuracy(theirs) for ours, theirs in zip(waiting, without, strict=True)]
        ends = [ours[-1]["accuracy"] - theirs[-1]["accuracy"] for ours, theirs in zip(waiting, without, strict=True)]
        table.add_row(name, "difference, paired", _three(mean(gains), sign="+"), _three(mean(ends), sign="+"), "")
    console.print(table)


def _runs(texts: Corpus, plan: Plan, similarity: str | None, out: Path) -> list[Sequence[dict[str, Any]]]:
    """The rounds of each seed."""
    os.environ.pop(SETTING, None)
    if similarity is not None:
        os.environ[SETTING] = similarity
    done = simulate(texts, plan, out, replay, Reporter(), with_plot=False)
    return [run["rounds"] for run in sorted(done.runs, key=lambda run: int(run["seed"]))]


def _mean_accuracy(rounds: Sequence[dict[str, Any]]) -> float:
    return fmean(one["accuracy"] for one in rounds)


def _three(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.3f} ± {estimate.margin:.3f}"


if __name__ == "__main__":
    main()
