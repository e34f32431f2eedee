"""Results of replayed runs: accuracy with intervals, labels needed, errors saved, quality of the advice. Pure: no I/O.

A run is {"strategy", "classifier", "seed", "rounds": [{"labels", "accuracy", "consensus_accuracy", …}, …]}. Its first
round is the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pstdev
from typing import Any, NamedTuple

from connector.formatting import count
from connector.simulation.confidence_intervals import Estimate, mean, ratio

Run = Mapping[str, Any]

RANDOM = "random"
STEPS = (0.05, 0.02, 0.01)  # between round numbers of accuracy
MOST_BETWEEN = 3
ROUNDING = 1e-9  # by which a mean of accuracies may be off

# More labels paid if the accuracy grew by more than ADVICE_GAIN over the next ADVICE_ROUNDS rounds.
ADVICE_ROUNDS = 5
ADVICE_GAIN = 0.002


@dataclass(frozen=True)
class StrategyResult:
    """One strategy with one classifier, over its seeds.

    `accuracy`: mean over the rounds. `final`: at the end of the runs. `labels_needed`: the median over seeds for each
    target, None unless more than half of the runs reach it. `error_removed`: the share of random order's mean error
    that is gone. `difference`: mean accuracy minus that of the reference, paired by seed. `consensus`: the share of
    consensus labels that are true at the end. `hours`: the mean of how long the labels of a run took. None if it is
    unknown.
    """

    strategy: str
    classifier: str
    seeds: int
    accuracy: Estimate
    final: Estimate
    labels_needed: tuple[float | None, ...]
    error_removed: Estimate | None
    difference: Estimate | None
    consensus: Estimate | None
    hours: float | None = None


@dataclass(frozen=True)
class SimulationSummary:
    """All results, the most accurate first.

    `rounds`: the number of rounds that every run has, start included, over which means are taken. `targets`:
    accuracies, ascending. `reference`: the strategy that the others are compared with, or the classifier if there is
    only one strategy.
    """

    rounds: int
    targets: tuple[float, ...]
    reference: str
    lines: tuple[StrategyResult, ...]


class Advice(NamedTuple):
    """How often more labels did or did not pay after the advice that they are likely to (`go`) or not (`stop`)."""

    go_paid: int
    go_vain: int
    stop_paid: int
    stop_vain: int


class MeanCurve(NamedTuple):
    """Labels, mean accuracy and its standard deviation of several runs, by round."""

    labels: list[float]
    mean: list[float]
    deviation: list[float]


class _Group:
    """The runs of one strategy with one classifier, by seed."""

    def __init__(self, runs: Iterable[Run], rounds: int) -> None:
        self.runs = {run["seed"]: run["rounds"] for run in sorted(runs, key=lambda run: int(run["seed"]))}
        self.means = {seed: fmean(_accuracies(run[:rounds])) for seed, run in self.runs.items()}

    def paired(self, other: _Group, value: Callable[[float], float] = float) -> tuple[list[float], list[float]]:
        """A value of the mean accuracies of both, for the seeds that both have."""
        seeds = [seed for seed in self.means if seed in other.means]
        return [value(self.means[seed]) for seed in seeds], [value(other.means[seed]) for seed in seeds]


def summarise(runs: Sequence[Run], default: str, classifiers: Sequence[str] = ()) -> SimulationSummary:
    """The summary of at least one run, in any order.

    Strategies are compared with `default` under the same classifier. If there are no such runs, they are compared with
    random order, else with the first strategy by name. If all runs have one strategy, classifiers are compared with the
    first of `classifiers`, else with the first by name.
    """
    rounds = min(len(run["rounds"]) for run in runs)
    keys = sorted({(run["strategy"], run["classifier"]) for run in runs})
    groups = {key: _Group([run for run in runs if _key(run) == key], rounds) for key in keys}
    strategies = {strategy for strategy, _ in keys}
    if default not in strategies:
        default = RANDOM if RANDOM in strategies else min(strategies)
    first = next((name for name in classifiers if any(name == classifier for _, classifier in keys)), keys[0][1])
    # If there is one strategy, the classifiers are compared.
    reference = default if len(strategies) > 1 else first
    base = groups.get((RANDOM, first)) or groups.get((default, first)) or groups[keys[0]]
    targets = _targets(list(base.runs.values()))
    lines = [
        _result(
            key,
            group,
            targets,
            groups.get((RANDOM, key[1])) if key[0] != RANDOM else None,
            groups.get((default, key[1]) if len(strategies) > 1 else (key[0], first)),
        )
        for key, group in groups.items()
    ]
    lines.sort(key=lambda line: (-line.accuracy.value, line.strategy, line.classifier))
    return SimulationSummary(rounds, targets, reference, tuple(lines))


def mean_curve(runs: Iterable[Sequence[Mapping[str, Any]]]) -> MeanCurve:
    """The means over some runs, for the rounds that all of them have."""
    columns = list(zip(*runs, strict=False))
    accuracies = [_accuracies(column) for column in columns]
    labels = [fmean(each["labels"] for each in column) for column in columns]
    return MeanCurve(labels, [fmean(values) for values in accuracies], [pstdev(values) for values in accuracies])


def labels_to_reach(rounds: Sequence[Mapping[str, Any]], target: float) -> float:
    """The number of labels at which a run first reaches `target`, linear between rounds. Infinite if it never does."""
    before: Mapping[str, Any] | None = None
    for now in rounds:
        if now["accuracy"] >= target - ROUNDING:
            if before is None:
                return float(now["labels"])
            share = (target - before["accuracy"]) / (now["accuracy"] - before["accuracy"])
            return float(before["labels"] + share * (now["labels"] - before["labels"]))
        before = now
    return math.inf


def judge_advice(runs: Iterable[Run]) -> Advice:
    """How often the rounds' "advice" was right (true: more labels are likely to pay), if ADVICE_ROUNDS followed."""
    counts = {(advice, paid): 0 for advice in (True, False) for paid in (True, False)}
    for run in runs:
        for now, later in zip(run["rounds"], run["rounds"][ADVICE_ROUNDS:], strict=False):
            if now.get("advice") is not None:
                gain = round(
                    later["accuracy"] - now["accuracy"], 6
                )  # without rounding errors: one text of 500 is exactly ADVICE_GAIN
                counts[bool(now["advice"]), gain > ADVICE_GAIN] += 1
    return Advice(counts[True, True], counts[True, False], counts[False, True], counts[False, False])


def format_advice(advice: Advice) -> str | None:
    """A sentence on how often the advice was right, None if there was no advice."""
    verdicts = (
        ("that more labels are likely to pay", advice.go_paid, advice.go_paid + advice.go_vain),
        ("that they are not", advice.stop_vain, advice.stop_paid + advice.stop_vain),
    )
    parts = [f"{advised} was right {right} of {count(total, 'time')}" for advised, right, total in verdicts if total]
    if not parts:
        return None
    how = f"judged by whether the next {ADVICE_ROUNDS} rounds gained more than {100 * ADVICE_GAIN:.1f} points"
    return f"The advice {', and '.join(parts)}, {how}."


def _result(
    key: tuple[str, str], group: _Group, targets: Sequence[float], random: _Group | None, reference: _Group | None
) -> StrategyResult:
    needed = (median(labels_to_reach(run, target) for run in group.runs.values()) for target in targets)
    removed = None
    if random is not None:
        ours, randoms = group.paired(random, lambda accuracy: 1 - accuracy)
        if sum(randoms):
            left = ratio(ours, randoms)
            removed = Estimate(1 - left.value, left.margin)
    difference = None
    if reference is not None and reference is not group:
        ours, theirs = group.paired(reference)
        difference = mean([own - reference for own, reference in zip(ours, theirs, strict=True)]) if ours else None
    ends = [run[-1].get("consensus_accuracy") for run in group.runs.values()]
    hours = [run[-1].get("hours") for run in group.runs.values()]
    return StrategyResult(
        strategy=key[0],
        classifier=key[1],
        seeds=len(group.runs),
        accuracy=mean(list(group.means.values())),
        final=mean([run[-1]["accuracy"] for run in group.runs.values()]),
        labels_needed=tuple(labels if math.isfinite(labels) else None for labels in needed),
        error_removed=removed,
        difference=difference,
        consensus=mean(ends) if None not in ends else None,
        hours=fmean(hours) if None not in hours else None,
    )


def _targets(runs: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[float, ...]:
    """The mean accuracies of these runs after half of their rounds and at their end, and round numbers between.

    The step between round numbers is the largest that gives two of them. There are at most MOST_BETWEEN.
    """
    rounds = min(map(len, runs))
    curve = [fmean(run[index]["accuracy"] for run in runs) for index in range(rounds)]
    half, end = _rounded_down(curve[rounds // 2]), _rounded_down(curve[-1])
    low, high = min(half, end), max(half, end)
    between: list[float] = []
    for step in STEPS:
        candidates = (round(step * number, 2) for number in range(math.ceil(low / step), math.floor(high / step) + 1))
        between = [value for value in candidates if low < value < high]
        if len(between) > 1:
            break
    return tuple(sorted({half, *between[:MOST_BETWEEN], end}))


def _rounded_down(accuracy: float) -> float:
    """To three digits. Rounded up, it would be more than the run reached."""
    return math.floor(1000 * accuracy + ROUNDING) / 1000


def _accuracies(rounds: Iterable[Mapping[str, Any]]) -> list[float]:
    return [each["accuracy"] for each in rounds]


def _key(run: Run) -> tuple[str, str]:
    return run["strategy"], run["classifier"]
