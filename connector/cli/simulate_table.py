"""The table that `connector simulate` prints."""

from __future__ import annotations

from rich.table import Table

from connector.formatting import count
from connector.simulation.confidence_intervals import Estimate
from connector.simulation.metrics import SimulationSummary, StrategyResult


def format_table(summary: SimulationSummary) -> Table:
    """A row per strategy and classifier, the most accurate first. ± is half of the 95 % interval."""
    several = len({line.strategy for line in summary.lines}) > 1
    classifiers = len({line.classifier for line in summary.lines}) > 1
    consensus = any(line.consensus is not None for line in summary.lines)
    timed = any(line.hours is not None for line in summary.lines)
    removed = any(line.error_removed is not None for line in summary.lines)
    seeds = max(line.seeds for line in summary.lines)
    made = Table(
        title=f"Accuracy on test texts, mean of {count(seeds, 'seed')} and {count(summary.rounds, 'round')}",
        caption="±: half of the 95 % interval. Differences and shares are paired by seed",
    )
    if several or not classifiers:
        made.add_column("strategy")
    if classifiers:
        made.add_column("classifier")
    headings = ["mean accuracy", "at the end", *(f"labels for {target:.3f}" for target in summary.targets)]
    headings += ["of random's error removed"] if removed else []
    headings += [f"against {summary.reference}"] if len(summary.lines) > 1 else []
    headings += ["consensus at the end"] if consensus else []
    headings += ["hours"] if timed else []
    for heading in headings:
        made.add_column(heading, justify="right")
    for line in summary.lines:
        cells = [line.strategy] if several or not classifiers else []
        cells += [line.classifier] if classifiers else []
        cells += [_share(line.accuracy), _share(line.final)]
        cells += ["not reached" if labels is None else f"{labels:.0f}" for labels in line.labels_needed]
        cells += [_percent(line.error_removed)] if removed else []
        cells += [_difference(line)] if len(summary.lines) > 1 else []
        cells += [_share(line.consensus)] if consensus else []
        cells += [f"{line.hours:.1f}" if line.hours is not None else ""] if timed else []
        made.add_row(*cells)
    return made


def _share(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.3f}{_margin(estimate, '.3f', 1)}"


def _percent(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{100 * estimate.value:.0f}{_margin(estimate, '.0f', 100)} %"


def _difference(line: StrategyResult) -> str:
    return "" if line.difference is None else f"{line.difference.value:+.3f}{_margin(line.difference, '.3f', 1)}"


def _margin(estimate: Estimate, form: str, unit: int) -> str:
    return "" if estimate.margin is None else f" ± {unit * estimate.margin:{form}}"
