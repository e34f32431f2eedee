"""How many labels the queue saves: strategies and classifiers on real annotators, and on data of known truth.

    python benchmarks/labels.py --out DIR [strategies] [classifiers] [generated] [time]

`strategies`: all strategies with one classifier. `classifiers`: classifiers with the default strategy and in random
order, by the share of the gap between random order and a model of all labels that they close, and at several budgets.
`generated`: 3 and 6 classes, annotators of mixed quality, two of whom answer at random and one with always the same
class. It also compares the default's consensus labels with majority vote and crowd-kit's Dawid-Skene on the same
labels. `time`: seconds per run on one core. The default is the first three.

All runs are replays of `connector simulate`. Finished runs are kept in DIR, and the same command continues from there.
Use another DIR after a change of the code. The exit code is 1 if the default does not keep its promises.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import click
import generated
from rich.console import Console
from rich.table import Table

from connector.active_learning import DEFAULT_STRATEGY
from connector.active_learning.strategies import STRATEGIES
from connector.backend import Backend
from connector.cli.simulate_table import format_table
from connector.progress import Reporter
from connector.simulation.confidence_intervals import Estimate, mean, ratio
from connector.simulation.corpus import Corpus, read_corpus
from connector.simulation.metrics import RANDOM, Run, SimulationSummary, format_advice
from connector.simulation.replay import ReplayOptions, Round, replay
from connector.simulation.replay import Run as Replayed
from connector.simulation.simulate import Plan, SimulationResult, simulate
from connector.simulation.workers import POLL_SECONDS, Count, Job, run_all, serve_backends

TABLES = ("strategies", "classifiers", "generated", "time")
POLITENESS = Path(__file__).resolve().parents[2] / "shared" / "data" / "politeness"
TO_BEAT = (RANDOM, "random-new", "least-confidence", "activelab")
CLASSES = (3, 6)
CONSENSUS = ("majority", "dawid_skene")
BUDGETS = (200, 275, 300, 400, 600, 825)  # labels, of which a run begins with 200
CONSENSUS_POINTS = 0.002  # how far the default's consensus may be below the better of these
SECONDS = {"activelab": 15, DEFAULT_STRATEGY: 60}

console = Console(width=None if sys.stdout.isatty() else 200)


@click.command()
@click.argument("tables", nargs=-1, type=click.Choice(TABLES))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option("--data", type=click.Path(path_type=Path), default=POLITENESS, help="Multi-annotated texts.")
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=25, show_default=True)
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    type=click.Choice(list(STRATEGIES)),
    help="With the default and random, instead of all.",
)
@click.option("--classifier", default="logistic", show_default=True, help="Under which strategies are compared.")
@click.option("--classifiers", default="logistic auto", show_default=True)
@click.option("--classifier-seeds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [one a core].")
def main(
    tables: Sequence[str],
    out: Path,
    data: Path,
    seeds: int,
    rounds: int,
    strategies: Sequence[str],
    classifier: str,
    classifiers: str,
    classifier_seeds: int,
    jobs: int | None,
) -> None:
    """Print the tables."""
    chosen = dict.fromkeys([DEFAULT_STRATEGY, RANDOM, *strategies]) if strategies else STRATEGIES
    plan = Plan(list(chosen), [classifier], DEFAULT_STRATEGY, seeds, ReplayOptions(rounds))
    wanted = tables or TABLES[:3]
    failures: list[str] = []
    if "strategies" in wanted or "classifiers" in wanted:
        everything = all_labels(read_corpus(data), classifier, out / "data")
    if "strategies" in wanted:
        failures += compare_strategies(read_corpus(data), plan, everything, out / "data", jobs)
    if "classifiers" in wanted:
        few = replace(plan, seeds=classifier_seeds)
        compare_classifiers(read_corpus(data), few, classifiers.split(), everything, out / "data", jobs)
    if "generated" in wanted:
        for count in CLASSES:
            failures += compare_on_generated(count, plan, out / f"generated-{count}", jobs)
    if "time" in wanted:
        failures += measure_time(read_corpus(data), plan, out / "data")
    for failure in failures:
        console.print(f"Failed: {failure}.", soft_wrap=True)
    sys.exit(1 if failures else 0)


# -- the tables --------------------------------------------------------------------------------------------------------


def compare_strategies(texts: Corpus, plan: Plan, everything: float, out: Path, jobs: int | None) -> list[str]:
    """Prints all strategies with paired intervals. Returns those that the default does not beat beyond the interval.

    `everything`: the accuracy of a model of all labels.
    """
    done = simulate(texts, plan, out, replay, Reporter(), jobs=jobs)
    show(done)
    share = gap_closed(done.runs, (plan.default, plan.classifiers[0]), plan.classifiers[0], everything)
    console.print(f"All labels give {everything:.3f}; the default closes {percent(share)} of the gap to it.")
    return [
        f"the default does not beat {name} beyond the interval" for name in TO_BEAT if not beaten(name, done.summary)
    ]


def compare_classifiers(
    texts: Corpus, plan: Plan, classifiers: Sequence[str], everything: float, out: Path, jobs: int | None
) -> None:
    """Prints classifiers under the default strategy and in random order, and what each gains at several budgets.

    `everything`: the accuracy of a model of all labels, by the first classifier of `plan`.
    """
    fixed = plan.classifiers[0]
    classifiers = list(dict.fromkeys([fixed, *classifiers]))
    done = simulate(
        texts,
        replace(plan, strategies=[plan.default, RANDOM], classifiers=classifiers),
        out,
        replay,
        Reporter(),
        jobs=jobs,
    )
    show(done)
    table = Table("classifier", f"share closed of the gap from {RANDOM}", "mean accuracy")
    for line in done.summary.lines:
        if line.strategy == plan.default:
            share = gap_closed(done.runs, (line.strategy, line.classifier), fixed, everything)
            table.add_row(line.classifier, percent(share), three(line.accuracy))
    table.add_row(f"{fixed}, all labels", "100 %", f"{everything:.3f}")
    console.print(table)
    for name in classifiers:
        best = all_labels(texts, name, out)
        table = Table(
            *(f"labels, {name}", "accuracy", f"over {fixed}", f"over {RANDOM}"),
            *(f"of {RANDOM}'s error", f"of its error over {best:.3f} (all labels)"),
        )
        for labels in BUDGETS:
            ours, same, random = (
                accuracies(done.runs, strategy, classifier, labels)
                for strategy, classifier in ((plan.default, name), (plan.default, fixed), (RANDOM, name))
            )
            if not ours or len(same) != len(ours) or len(random) != len(ours):
                continue
            gain = [mine - other for mine, other in zip(ours, random, strict=True)]
            table.add_row(
                f"{labels:,}",
                three(mean(ours)),
                signed(mean([mine - other for mine, other in zip(ours, same, strict=True)])),
                signed(mean(gain)),
                percent(ratio(gain, [1 - other for other in random])),
                percent(ratio(gain, [best - other for other in random])),
            )
        console.print(table)


def compare_on_generated(count: int, plan: Plan, out: Path, jobs: int | None) -> list[str]:
    """Prints all strategies on data of known truth, and the default's consensus beside others on the same labels."""
    done = simulate(generated.generate(count), plan, out, replay_and_vote, Reporter(), jobs=jobs)
    console.print(f"Generated texts of {count} classes")
    show(done)
    ends = [run["rounds"][-1] for run in done.runs if run["strategy"] == plan.default]
    ours = [end["consensus_accuracy"] for end in ends]
    table = Table("consensus labels at the end", "true", "the default's less these")
    table.add_row(plan.default, three(mean(ours)), "")
    for name in CONSENSUS:
        theirs = [end[name] for end in ends]
        table.add_row(name, three(mean(theirs)), signed(mean([a - b for a, b in zip(ours, theirs, strict=True)])))
    console.print(table)
    best = max(fmean(end[name] for end in ends) for name in CONSENSUS)
    means = {line.strategy: line.accuracy.value for line in done.summary.lines}
    failures = [
        f"with {count} classes {name} is above the default"
        for name in TO_BEAT
        if means.get(name, 0.0) > means[plan.default]
    ]
    if fmean(ours) < best - CONSENSUS_POINTS:
        failures.append(
            f"with {count} classes the default's consensus is {100 * (best - fmean(ours)):.1f} points below"
        )
    return failures


def measure_time(texts: Corpus, plan: Plan, out: Path) -> list[str]:
    """Prints the seconds of one run on one core, all texts embedded before."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    table = Table("strategy", "rounds", "seconds a run", "at most")
    failures = []
    with serve_backends(texts, plan.options.project, plan.classifiers, 1, out / "embedded", _quiet) as (url,):
        backend = Backend(url, poll_seconds=POLL_SECONDS)
        warm = replace(plan.options, rounds=1)  # embeds the test texts, too
        replay(texts, RANDOM, plan.classifiers[0], 0, warm, backend)
        for name, most in SECONDS.items():
            started = time.perf_counter()
            rounds = len(replay(texts, name, plan.classifiers[0], 0, plan.options, backend)) - 1
            seconds = time.perf_counter() - started
            table.add_row(name, str(rounds), f"{seconds:.1f}", str(most))
            if seconds > most:
                failures.append(f"a run of {name} took {seconds:.1f} s")
        backend.close()
    console.print(table)
    return failures


# -- what they are made of ---------------------------------------------------------------------------------------------


def replay_and_vote(
    texts: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend, progress: Count
) -> list[Round]:
    """As `replay`. The last round also has the share of true consensus labels by other methods.

    Worker processes call it.
    """
    import pandas as pd
    from crowdkit.aggregation import DawidSkene, MajorityVote

    run = Replayed(texts, strategy, classifier, seed, options, backend)
    rounds = run.play(progress)
    names = dict(enumerate(texts.tasks, start=1))
    rows = [(names[task], annotator, label) for (task, annotator), label in run.labels.items()]
    table = pd.DataFrame(rows, columns=["task", "worker", "label"])
    for name, aggregation in zip(CONSENSUS, (MajorityVote(), DawidSkene(n_iter=100)), strict=True):
        found = aggregation.fit_predict(table).items()
        rounds[-1][name] = fmean(label == texts.truth[str(task)] for task, label in found)
    return rounds


def all_labels(texts: Corpus, classifier: str, out: Path) -> float:
    """The accuracy of a model that is trained on the majority of all labels."""
    each = min(map(len, texts.annotations.values()))
    options = ReplayOptions(0, 1, len(texts.tasks), each, each)
    found: list[Round] = []
    with serve_backends(texts, options.project, [classifier], 1, out / "embedded", _quiet) as urls:
        job = Job(RANDOM, classifier, 0)
        run_all([job], replay, texts, options, urls, lambda _, rounds: found.extend(rounds), _quiet)
    return float(found[0]["accuracy"])


def gap_closed(runs: Sequence[Run], key: tuple[str, str], fixed: str, everything: float) -> Estimate:
    """The share of the gap between random order under the fixed classifier and all labels, paired by seed."""
    ours, base = means(runs, *key), means(runs, RANDOM, fixed)
    seeds = sorted(ours.keys() & base.keys())
    return ratio([ours[seed] - base[seed] for seed in seeds], [everything - base[seed] for seed in seeds])


def means(runs: Sequence[Run], strategy: str, classifier: str) -> dict[int, float]:
    """{seed: mean accuracy over the rounds}."""
    return {
        run["seed"]: fmean(one["accuracy"] for one in run["rounds"])
        for run in runs
        if (run["strategy"], run["classifier"]) == (strategy, classifier)
    }


def accuracies(runs: Sequence[Run], strategy: str, classifier: str, labels: int) -> list[float]:
    """The accuracy of each seed's run when it has so many labels, in the order of the seeds."""
    found = {
        run["seed"]: one["accuracy"]
        for run in runs
        if (run["strategy"], run["classifier"]) == (strategy, classifier)
        for one in run["rounds"]
        if one["labels"] == labels
    }
    return [found[seed] for seed in sorted(found)]


def beaten(name: str, summary: SimulationSummary) -> bool:
    """Whether the default is more accurate by more than the paired interval. True if `name` was not replayed."""
    lines = [line for line in summary.lines if line.strategy == name]
    return all(
        line.difference is not None and line.difference.value + (line.difference.margin or 0.0) < 0 for line in lines
    )


def show(done: SimulationResult) -> None:
    """The table of `connector simulate`, and what it says below."""
    console.print(format_table(done.summary))
    for sentence in filter(None, [*done.notes, format_advice(done.advice)]):
        console.print(sentence, soft_wrap=True)


def three(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ± {estimate.margin:.3f}"


def signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.4f} ± {estimate.margin:.4f}"


def percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.0f} ± {100 * (estimate.margin or 0.0):.0f} %"


def _quiet(done: int, total: int) -> None:
    pass


if __name__ == "__main__":
    main()
