"""How often a target was met when `connector status --target` said so, and how well it tells the labels needed.

    python benchmarks/stopping.py --out DIR

Replays of the default strategy with an audit of 10 %, on the corpora and the simulated annotators of
benchmarks/audit.py, until all tasks are labelled or LABELS labels are there. Targets are shares of the project's labels
(consensus, elsewhere the model's) that are right. `oracle` knows the truth, and stops at the first round where the
target is met. All rules are asked after every round:

- `audit`: the lower end of the 95 % interval of the audit is at least the target.
- `audit's value`: the estimate is.
- `hardly pays`: the model's gain by the next labels is below `stopping.PAYS`, which has no target.
- `stable`: the mean of Cohen's kappa of three successive models with their predecessors is at least 0.99 (Bloodgood and
  Vijay-Shanker, "A method for stopping active learning based on stabilizing predictions", 2009). It has no target.
- `confidence`: the mean of the model's highest probability, of all tasks, is at least the target (after Zhu, Wang and
  Hovy, "Multi-criteria-based strategy to stop active learning for data annotation", 2008).

A second table has the labels that the forecast said were needed, beside those that were. Finished runs are kept in DIR,
and the same command continues from there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median

import audit
import click
import numpy as np
from rich.console import Console
from rich.table import Table

from connector.active_learning import DEFAULT_STRATEGY
from connector.active_learning.audit import LEAST_AUDITED
from connector.active_learning.target import target_of
from connector.backend import Backend
from connector.progress import Reporter
from connector.simulation.corpus import Corpus, read_corpus
from connector.simulation.replay import ReplayOptions, Round, Run
from connector.simulation.simulate import Plan, simulate
from connector.simulation.workers import Count
from connector.sync.scoring import Scored

TARGETS = (0.85, 0.9, 0.95)
LABELS, BATCH = 2_000, 75
STABLE, SUCCESSIVE = 0.99, 3

console = Console(width=None if sys.stdout.isatty() else 200)


def replay_all(
    texts: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend, progress: Count
) -> list[Round]:
    """As `replay`, with simulated annotators and all that a rule may ask for in every round."""
    texts = audit.annotate(texts, seed)
    run = Run(texts, strategy, classifier, seed, options, backend)
    truth = dict(enumerate((texts.truth[name] for name in texts.tasks), start=1))
    rounds: list[Round] = []
    before: dict[int, str] = {}
    while len(run.labels) < LABELS and (done := run.step()) is not None:
        scored, found = run.scored, run.estimate()
        assert scored is not None
        right = {task: scored.predicted.get(task) == label for task, label in truth.items()}
        consensus = {task: label == truth[task] for task, label in scored.consensus.items()}
        now = {task: scored.predicted.get(task, "") for task in truth}
        rounds.append(
            {
                **done,
                "tasks": len(truth),
                "labelled": len(consensus),
                "found": None if found is None else asdict(found),
                "truth": {
                    "model": fmean(right.values()),
                    "consensus": fmean(consensus.values()),
                    "project": fmean({**right, **consensus}.values()),
                },
                "kappa": kappa(before, now) if before else None,
                "confidence": confidence(scored),
            }
        )
        before = now
        progress(len(rounds), options.rounds + 1)
        if len(consensus) == len(truth):
            break
    return rounds


def kappa(before: Mapping[int, str], now: Mapping[int, str]) -> float:
    """Cohen's kappa of two models' labels of the same tasks."""
    classes = sorted({*before.values(), *now.values()})
    one = np.array([classes.index(before[task]) for task in now])
    other = np.array([classes.index(label) for label in now.values()])
    by_chance = sum(float((one == k).mean() * (other == k).mean()) for k in range(len(classes)))
    return 1.0 if by_chance == 1 else (float((one == other).mean()) - by_chance) / (1 - by_chance)


def confidence(scored: Scored) -> float | None:
    """The mean of the model's highest probability, of all tasks."""
    return None if scored.probabilities is None else float(scored.probabilities.pred_probs.max(axis=1).mean())


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option("--data", type=click.Path(path_type=Path), default=audit.POLITENESS, help="Multi-annotated texts.")
@click.option("--replays", type=click.IntRange(min=1), default=34, show_default=True, help="Of each corpus.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [one a core].")
def main(out: Path, data: Path, replays: int, jobs: int | None) -> None:
    """Print the tables."""
    options = ReplayOptions(rounds=LABELS // BATCH, batch=BATCH, initial_tasks=BATCH, initial_labels=1, audit=0.1)
    plan = Plan([DEFAULT_STRATEGY], ["logistic"], DEFAULT_STRATEGY, replays, options)
    runs: list[list[Round]] = []
    for name, texts in audit.corpora(read_corpus(data)).items():
        done = simulate(texts, plan, out / name, replay_all, Reporter(), jobs=jobs)
        runs += [run["rounds"] for run in done.runs]
    show_rules(runs)
    show_forecasts(runs)


def show_rules(runs: Sequence[Sequence[Round]]) -> None:
    """Prints how often each rule stopped, how often the target was met then, and how many labels it took."""
    table = Table("target", "rule", "stopped", "met when it stopped", "labels more than the oracle", "too early by")
    for target in TARGETS:
        oracle = [first(rounds, rules(target)["oracle"]) for rounds in runs]
        for name, rule in rules(target).items():
            stopped = [first(rounds, rule) for rounds in runs]
            met, late, early = [], [], []
            for rounds, labels, best in zip(runs, stopped, oracle, strict=True):
                if labels is None:
                    continue
                truth = next(round_["truth"]["project"] for round_ in rounds if round_["labels"] == labels)
                met.append(truth >= target)
                if truth >= target and best is not None:
                    late.append(labels - best)
                elif truth < target:
                    early.append(target - truth)
            shown = f"{fmean(met):.3f}" if met else ""
            table.add_row(
                f"{target:.0%}",
                name,
                f"{len(met)} of {len(runs)}",
                shown,
                f"median {median(late):.0f}, mean {fmean(late):.0f}" if late else "",
                f"{fmean(early):.3f}" if early else "",
            )
    console.print(table)


def show_forecasts(runs: Sequence[Sequence[Round]]) -> None:
    """Prints how many labels a target took, and how many were forecast, where it was met later."""
    table = Table("labels", "target", "forecasts", "within the range", "fewer", "more", "taken", "least", "most")
    for moment in audit.MOMENTS:
        for target in TARGETS:
            rows = []
            for rounds in runs:
                then = next((round_ for round_ in rounds if round_["labels"] >= moment), None)
                met = first(rounds, rules(target)["oracle"])
                if then is None or then["found"] is None or met is None or met <= then["labels"]:
                    continue
                found = target_of(then["found"], target, new=then["new"], further=then["relabel"])
                if found.met is None:
                    continue
                rows.append((met - then["labels"], found.least, LABELS if found.most is None else found.most))
            known = [(taken, least, most) for taken, least, most in rows if least is not None]
            if not known:
                continue
            table.add_row(
                f"{moment}",
                f"{target:.0%}",
                f"{len(known)} of {len(rows)}",
                f"{fmean(least - BATCH <= taken <= most + BATCH for taken, least, most in known):.3f}",
                f"{fmean(taken < least - BATCH for taken, least, _ in known):.3f}",
                f"{fmean(taken > most + BATCH for taken, _, most in known):.3f}",
                *(f"{median(row[place] for row in known):.0f}" for place in range(3)),
            )
    console.print(table)


Rule = Callable[[Round, Sequence[Round]], bool]


def rules(target: float) -> dict[str, Rule]:
    """{name: whether to stop, by a round and those before it}."""

    def stable(round_: Round, before: Sequence[Round]) -> bool:
        last = [one["kappa"] for one in (*before, round_)][-SUCCESSIVE:]
        return len(last) == SUCCESSIVE and None not in last and fmean(last) >= STABLE

    def audited(round_: Round, end: str) -> bool:
        found = round_["found"]
        return found is not None and found["audited"] >= LEAST_AUDITED and found["project"][end] >= target

    return {
        "oracle": lambda round_, before: round_["truth"]["project"] >= target,
        "audit": lambda round_, before: audited(round_, "low"),
        "audit's value": lambda round_, before: audited(round_, "value"),
        "hardly pays": lambda round_, before: round_["advice"] is False,
        "stable": stable,
        "confidence": lambda round_, before: (round_["confidence"] or 0) >= target,
    }


def first(rounds: Sequence[Round], rule: Rule) -> int | None:
    """The labels of the first round at which a rule stops."""
    return next((one["labels"] for place, one in enumerate(rounds) if rule(one, rounds[:place])), None)


if __name__ == "__main__":
    main()
