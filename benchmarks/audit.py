"""How often the intervals of an audit contain the true accuracies, how wide they are, and what an audit costs.

    python benchmarks/audit.py --out DIR [coverage] [cost]

`coverage`: replays of the default strategy on texts of known truth (politeness, and generated ones of 2, 3 and 6
classes, with a class of 2 % among 2 and 4), with simulated annotators who are good, mixed, or in part useless. At 100,
300 and 800 labels, the shares of 95 % intervals that contain the truth, and their widths, for the model's labels, the
consensus labels, and the project's (consensus, elsewhere the model's). `naive`: for the model, Wilson's interval of
the first labels of audited tasks, as if annotators never erred. `cost`: the mean accuracy over the rounds with no
audit and with shares of 5 % and 10 %, on politeness with its own annotators, paired by seed.

All runs are replays of `connector simulate`. Finished runs are kept in DIR, and the same command continues from there.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import generated
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from connector.active_learning import DEFAULT_STRATEGY
from connector.backend import Backend
from connector.progress import Reporter
from connector.simulation.confidence_intervals import mean, wilson
from connector.simulation.corpus import Corpus, read_corpus
from connector.simulation.replay import ReplayOptions, Round, Run, replay
from connector.simulation.simulate import Plan, simulate
from connector.simulation.workers import Count

TABLES = ("coverage", "cost")
POLITENESS = Path(__file__).resolve().parents[2] / "shared" / "data" / "politeness"
MOMENTS = (100, 300, 800)  # labels
SHARES = (0.0, 0.05, 0.1)
ACCURACIES = ("model", "consensus", "project")
RARE = 0.02
# How often each annotator is right. "random" answers at random, "same" gives the first class to everything.
CREWS: dict[str, Sequence[float | str]] = {
    "good": (0.95, 0.93, 0.9, 0.9, 0.88, 0.85, 0.85, 0.8),
    "mixed": (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6),
    "useless": (0.95, 0.9, 0.85, 0.8, 0.75, "random", "random", "same"),
}

console = Console(width=None if sys.stdout.isatty() else 200)


@click.command()
@click.argument("tables", nargs=-1, type=click.Choice(TABLES))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option("--data", type=click.Path(path_type=Path), default=POLITENESS, help="Multi-annotated texts.")
@click.option("--replays", type=click.IntRange(min=1), default=84, show_default=True, help="Of each corpus.")
@click.option("--audit", type=click.FloatRange(min=0, max=1, min_open=True), default=0.1, show_default=True)
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True, help="For `cost`.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [one a core].")
def main(
    tables: Sequence[str], out: Path, data: Path, replays: int, audit: float, seeds: int, jobs: int | None
) -> None:
    """Print the tables."""
    if "coverage" in (tables or TABLES):
        options = ReplayOptions(rounds=14, batch=50, initial_tasks=50, audit=audit)
        plan = Plan([DEFAULT_STRATEGY], ["logistic"], DEFAULT_STRATEGY, replays, options)
        show_coverage(plan, read_corpus(data), out, jobs)
    if "cost" in (tables or TABLES):
        show_cost(read_corpus(data), Plan([DEFAULT_STRATEGY], ["logistic"], DEFAULT_STRATEGY, seeds), out, jobs)


def show_coverage(plan: Plan, politeness: Corpus, out: Path, jobs: int | None) -> None:
    """Prints a line for each corpus, crew and moment, and one for all of a moment."""
    found: dict[tuple[str, str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for name, texts in corpora(politeness).items():
        done = simulate(texts, plan, out / f"coverage-{name}", replay_and_estimate, Reporter(), jobs=jobs)
        for run in done.runs:
            for moment, audited in zip(MOMENTS, run["rounds"][-1]["audits"], strict=True):
                for corpus, crew in ((name, crew_of(run["seed"])), ("all", "all")):
                    found[corpus, crew, moment] += [audited] if audited is not None else []
    table = Table("corpus", "annotators", "labels", "replays", *ACCURACIES, "naive model", "width", "audited", "bias")
    ordered = sorted(found.items(), key=lambda item: (item[0][0] == "all", item[0]))
    for (name, crew, moment), rows in ((key, rows) for key, rows in ordered if rows):
        covered = [f"{fmean(covers(row[which]) for row in rows):.3f}" for which in (*ACCURACIES, "naive")]
        widths = " ".join(
            f"{fmean(row[which]['high'] - row[which]['low'] for row in rows):.2f}" for which in ACCURACIES
        )
        biases = " ".join(f"{fmean(row[w]['value'] - row[w]['truth'] for row in rows):+.3f}" for w in ACCURACIES)
        audited = f"{fmean(row['audited'] for row in rows):.0f}"
        table.add_row(name, crew, f"{moment:,}", str(len(rows)), *covered, widths, audited, biases)
    console.print(table)


def show_cost(texts: Corpus, plan: Plan, out: Path, jobs: int | None) -> None:
    """Prints the mean accuracy over the rounds by the share of the audit, and the paired difference to none."""
    table = Table("audit", "mean accuracy", "less than none by")
    without: list[float] = []
    for share in SHARES:
        shared = replace(plan, options=replace(plan.options, audit=share))
        done = simulate(texts, shared, out / "cost", replay, Reporter(), jobs=jobs)
        means = [fmean(round_["accuracy"] for round_ in run["rounds"]) for run in done.runs]
        without = without or means
        difference = mean([before - now for before, now in zip(without, means, strict=True)])
        shown = f"{difference.value:+.4f} ± {difference.margin:.4f}" if share else ""
        table.add_row(f"{share:.0%}", f"{fmean(means):.4f}", shown)
    console.print(table)


def covers(interval: Mapping[str, float]) -> bool:
    """Whether an interval contains the truth."""
    return interval["low"] - 1e-9 <= interval["truth"] <= interval["high"] + 1e-9


def corpora(politeness: Corpus, tasks: int = 1500) -> dict[str, Corpus]:
    """The texts, with their truth: of politeness, what most of its annotators say. `rare`: a class has 2 % of them.

    `tasks`: the number of generated ones.
    """
    said = {task: Counter(label for _, label in rows) for task, rows in politeness.annotations.items()}
    majority = {task: labels.most_common(1)[0][0] for task, labels in said.items()}
    rare = {count: [*[(1 - RARE) / (count - 1)] * (count - 1), RARE] for count in (2, 4)}
    return {
        "politeness": replace(politeness, truth=majority),
        **{f"{count} classes": generated.generate(count, tasks) for count in (2, 3, 6)},
        **{
            f"{count} classes, rare": generated.generate(count, tasks, weights=weights)
            for count, weights in rare.items()
        },
    }


def crew_of(seed: int) -> str:
    """The crew of a replay."""
    return list(CREWS)[seed % len(CREWS)]


def annotate(texts: Corpus, seed: int) -> Corpus:
    """The texts with the labels of simulated annotators, all of whom label all tasks of known truth."""
    rng = np.random.default_rng(seed)
    classes = sorted(set(texts.truth.values()))
    count = len(classes)
    confusions: list[NDArray[np.float64]] = []
    for quality in CREWS[crew_of(seed)]:
        if quality == "random":
            confusions.append(np.full((count, count), 1 / count))
        elif quality == "same":
            confusions.append(np.eye(count)[np.zeros(count, int)])
        else:
            own = np.clip(float(quality) + rng.normal(0, 0.04, count), 0.3, 0.99)
            wrong = rng.dirichlet(np.full(count - 1, 2.0), count)  # whom each class is taken for
            confusions.append(np.array([np.insert(wrong[k] * (1 - own[k]), k, own[k]) for k in range(count)]))
    said = {
        task: [
            (f"annotator {place}", classes[rng.choice(count, p=table[classes.index(label)])])
            for place, table in enumerate(confusions)
        ]
        for task, label in texts.truth.items()
    }
    tasks = {task: text for task, text in texts.tasks.items() if task in said}
    return replace(texts, tasks=tasks, annotations=said)


def replay_and_estimate(
    texts: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend, progress: Count
) -> list[Round]:
    """As `replay`, with simulated annotators. The last round has the estimates at MOMENTS with the truth, or None.

    Worker processes call it.
    """
    texts = annotate(texts, seed)
    run = Run(texts, strategy, classifier, seed, options, backend)
    truth = dict(enumerate((texts.truth[name] for name in texts.tasks), start=1))
    rounds: list[Round] = []
    audits: list[dict[str, Any] | None] = []
    while len(audits) < len(MOMENTS) and (done := run.step()) is not None:
        rounds.append(done)
        progress(len(rounds), options.rounds + 1)
        if done["labels"] < MOMENTS[len(audits)]:
            continue
        found, scored = run.estimate(), run.scored
        if found is None or scored is None:  # all labels are of one class: there is no model yet
            audits.append(None)
            continue
        right = {task: scored.predicted[task] == label for task, label in truth.items()}
        consensus = {task: label == truth[task] for task, label in scored.consensus.items()}
        true = {"model": right, "consensus": consensus, "project": {**right, **consensus}}
        first = [scored.predicted[task] == label for task, label in run.first_audit_labels().items()]
        low, high = wilson(fmean(first), len(first))
        estimates = asdict(found)
        estimates["naive"] = {"value": fmean(first), "low": low, "high": high}
        for name, of in ((name, true.get(name, right)) for name in (*ACCURACIES, "naive")):
            estimates[name]["truth"] = fmean(of.values())
        audits.append(estimates)
    rounds[-1]["audits"] = audits
    return rounds


if __name__ == "__main__":
    main()
