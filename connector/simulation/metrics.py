"""What replayed runs amount to: accuracies with intervals, labels needed, errors saved, advice kept. Pure.

A run is {"strategy", "classifier", "seed", "rounds": [{"labels", "accuracy", "consensus_accuracy", …}, …]}; its first
round is the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pstdev
from typing import Any, NamedTuple

from connector.simulation.confidence_intervals import Estimate, mean, ratio

Run = Mapping[str, Any]

RANDOM = "random"
STEPS = (0.05, 0.02, 0.01)  # between round accuracies
MOST_BETWEEN = 3

# Advice is judged by the gain in accuracy over so many rounds.
ADVICE_ROUNDS = 5
ADVICE_GAIN = 0.002


@dataclass(frozen=True)
class Line:
    """One strategy with one classifier, over its seeds.

    `accuracy`: mean over the rounds; `final`: at the end of each run; `labels_needed`: the median over seeds for each
    target, None unless more than half of the runs reach it; `error_removed`: the share of random choice's mean error;
    `difference`: mean accuracy less that of the reference, paired by seed; `consensus`: share of consensus labels that
    are true, at the end. None where it cannot be said.
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


@dataclass(frozen=True)
class Outcome:
    """All lines, the most accurate first.

    `rounds`: means are taken over so many, the start included, which every run has; `targets`: accuracies, ascending;
    `reference`: the strategy that differences are taken to, or the classifier where there is one strategy only.
    """

    rounds: int
    targets: tuple[float, ...]
    reference: str
    lines: tuple[Line, ...]


class Advice(NamedTuple):
    """How often, where the advice was that more labels are likely to pay (`go`) or not (`stop`), they did (`paid`)."""

    go_paid: int
    go_vain: int
    stop_paid: int
    stop_vain: int


class MeanCurve(NamedTuple):
    """Of several runs by round: labels, mean accuracy, and its standard deviation."""

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


def summarise(runs: Sequence[Run], default: str, classifiers: Sequence[str] = ()) -> Outcome:
    """The outcome of at least one run, whatever their order.

    Differences are to the strategy `default` with the same classifier, or without it to random choice, or to the first
    strategy by name; where all runs have one strategy, to the first of `classifiers` (of all, by name).
    """
    rounds = min(len(run["rounds"]) for run in runs)
    keys = sorted({(run["strategy"], run["classifier"]) for run in runs})
    groups = {key: _Group([run for run in runs if _key(run) == key], rounds) for key in keys}
    strategies = {strategy for strategy, _ in keys}
    if default not in strategies:
        default = RANDOM if RANDOM in strategies else min(strategies)
    first = next((name for name in classifiers if any(name == other for _, other in keys)), keys[0][1])
    # With one strategy it is the classifiers that are compared.
    reference = default if len(strategies) > 1 else first
    base = groups.get((RANDOM, first)) or groups.get((default, first)) or groups[keys[0]]
    targets = _targets(list(base.runs.values()))
    lines = [
        _line(
            key,
            group,
            targets,
            groups.get((RANDOM, key[1])) if key[0] != RANDOM else None,
            groups.get((default, key[1]) if len(strategies) > 1 else (key[0], first)),
        )
        for key, group in groups.items()
    ]
    lines.sort(key=lambda line: (-line.accuracy.value, line.strategy, line.classifier))
    return Outcome(rounds, targets, reference, tuple(lines))


def mean_curve(runs: Iterable[Sequence[Mapping[str, Any]]]) -> MeanCurve:
    """The mean of the rounds of some runs, as far as every one of them goes."""
    columns = list(zip(*runs, strict=False))
    accuracies = [_accuracies(column) for column in columns]
    labels = [fmean(one["labels"] for one in column) for column in columns]
    return MeanCurve(labels, [fmean(values) for values in accuracies], [pstdev(values) for values in accuracies])


def labels_to_reach(rounds: Sequence[Mapping[str, Any]], target: float) -> float:
    """How many labels a run has when its accuracy is first `target`, linear between rounds; infinite: never."""
    before: Mapping[str, Any] | None = None
    for now in rounds:
        if now["accuracy"] >= target:
            if before is None:
                return float(now["labels"])
            share = (target - before["accuracy"]) / (now["accuracy"] - before["accuracy"])
            return float(before["labels"] + share * (now["labels"] - before["labels"]))
        before = now
    return math.inf


def advice_outcome(runs: Iterable[Run]) -> Advice:
    """How right the rounds' "advice" was (true: more labels are likely to pay), over all with enough rounds after them.

    More labels paid where accuracy grew by more than ADVICE_GAIN over the next ADVICE_ROUNDS rounds.
    """
    counts = {(advice, paid): 0 for advice in (True, False) for paid in (True, False)}
    for run in runs:
        for now, later in zip(run["rounds"], run["rounds"][ADVICE_ROUNDS:], strict=False):
            if now.get("advice") is not None:
                gain = round(later["accuracy"] - now["accuracy"], 6)  # exactly ADVICE_GAIN is one text of 500
                counts[bool(now["advice"]), gain > ADVICE_GAIN] += 1
    return Advice(counts[True, True], counts[True, False], counts[False, True], counts[False, False])


def advice_words(advice: Advice) -> str | None:
    """The advice's outcome as a sentence; None where none was given."""
    said = (
        ("that more labels are likely to pay", advice.go_paid, advice.go_paid + advice.go_vain),
        ("that they are not", advice.stop_vain, advice.stop_paid + advice.stop_vain),
    )
    parts = [f"{words} was right {right} of {total} times" for words, right, total in said if total]
    if not parts:
        return None
    how = f"judged by whether the next {ADVICE_ROUNDS} rounds gained more than {100 * ADVICE_GAIN:.1f} points"
    return f"The advice {', and '.join(parts)}, {how}."


def _line(
    key: tuple[str, str], group: _Group, targets: Sequence[float], random: _Group | None, reference: _Group | None
) -> Line:
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
        difference = mean([one - other for one, other in zip(ours, theirs, strict=True)]) if ours else None
    ends = [run[-1].get("consensus_accuracy") for run in group.runs.values()]
    return Line(
        strategy=key[0],
        classifier=key[1],
        seeds=len(group.runs),
        accuracy=mean(list(group.means.values())),
        final=mean([run[-1]["accuracy"] for run in group.runs.values()]),
        labels_needed=tuple(labels if math.isfinite(labels) else None for labels in needed),
        error_removed=removed,
        difference=difference,
        consensus=mean(ends) if None not in ends else None,
    )


def _targets(runs: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[float, ...]:
    """The accuracies that these runs reach on average at half of their rounds and at their end, and round ones between.

    Of the latter the coarsest of which there are two, MOST_BETWEEN at most.
    """
    rounds = min(map(len, runs))
    curve = [fmean(run[index]["accuracy"] for run in runs) for index in range(rounds)]
    half, end = round(curve[rounds // 2], 3), round(curve[-1], 3)
    low, high = min(half, end), max(half, end)
    between: list[float] = []
    for step in STEPS:
        found = (round(step * number, 2) for number in range(math.ceil(low / step), math.floor(high / step) + 1))
        between = [value for value in found if low < value < high]
        if len(between) > 1:
            break
    return tuple(sorted({half, *between[:MOST_BETWEEN], end}))


def _accuracies(rounds: Iterable[Mapping[str, Any]]) -> list[float]:
    return [one["accuracy"] for one in rounds]


def _key(run: Run) -> tuple[str, str]:
    return run["strategy"], run["classifier"]
