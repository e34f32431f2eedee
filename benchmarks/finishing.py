"""Which share of the model's labels `connector finish` accepts, and how often more of them are wrong than the limit.

    python benchmarks/finishing.py --out DIR

Replays of the default strategy on the corpora of `audit.py`, with generated ones of 3,000 texts, and its annotators. A
half of each window of 600 is drawn at random. At 700, 1,300 and 1,900 labels, and for limits of 2, 5, 10 and 15 %: the
share of replays in which anything is accepted, the share of tasks without a label that is, and the share of replays in
which too many of the accepted labels are wrong, of all replays and of those in which anything is accepted.

All runs are replays of `connector simulate`. Finished runs are kept in DIR, and the same command continues from there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import click
from audit import POLITENESS, annotate, console, corpora, crew_of
from rich.table import Table

from connector.active_learning import DEFAULT_STRATEGY
from connector.backend import Backend
from connector.progress import Reporter
from connector.simulation.corpus import Corpus, read_corpus
from connector.simulation.replay import ReplayOptions, Round, Run
from connector.simulation.simulate import Plan, simulate
from connector.simulation.workers import Count

MOMENTS = (700, 1300, 1900)  # labels
LIMITS = (0.02, 0.05, 0.1, 0.15)
TASKS = 3000


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option("--data", type=click.Path(path_type=Path), default=POLITENESS, help="Multi-annotated texts.")
@click.option("--replays", type=click.IntRange(min=1), default=30, show_default=True, help="Of each corpus.")
@click.option("--audit", type=click.FloatRange(min=0, max=1, min_open=True), default=0.5, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [one a core].")
def main(out: Path, data: Path, replays: int, audit: float, jobs: int | None) -> None:
    """Print the table."""
    options = ReplayOptions(rounds=3, batch=600, initial_tasks=100, initial_labels=1, audit=audit)
    plan = Plan([DEFAULT_STRATEGY], ["logistic"], DEFAULT_STRATEGY, replays, options)
    found: dict[tuple[str, str, int, float], list[Mapping[str, Any]]] = defaultdict(list)
    for name, texts in corpora(read_corpus(data), TASKS).items():
        done = simulate(texts, plan, out / name, replay_and_finish, Reporter(), jobs=jobs, with_plot=False)
        for run in done.runs:
            for moment, at_limits in zip(MOMENTS, run["rounds"][-1]["finishing"], strict=False):
                for limit, one in zip(LIMITS, at_limits, strict=False):
                    for corpus, crew in ((name, "all"), ("all", crew_of(run["seed"])), ("all", "all")):
                        found[corpus, crew, moment, limit].append(one)
    columns = (
        "corpus",
        "annotators",
        "labels",
        "limit",
        "replays",
        "accepts",
        "share of tasks",
        "its errors",
        "too many",
    )
    table = Table(*columns, "of those that accept", "audited", "model's errors")
    for (corpus, crew, moment, limit), rows in sorted(found.items(), key=lambda item: (item[0][0] == "all", item[0])):
        accepting = [row for row in rows if row["accepted"]]
        wrong = sum(row["errors"] > limit for row in accepting)
        table.add_row(
            *(corpus, crew, f"{moment:,}", f"{limit:.0%}", str(len(rows)), f"{len(accepting) / len(rows):.0%}"),
            f"{fmean(row['accepted'] for row in rows):.1%}",
            f"{fmean(row['errors'] for row in accepting):.1%}" if accepting else "",
            f"{wrong / len(rows):.1%}",
            f"{wrong / len(accepting):.1%}" if accepting else "",
            f"{fmean(row['audited'] for row in rows):.0f}",
            f"{fmean(row['all_errors'] for row in rows):.1%}",
        )
    console.print(table)


def replay_and_finish(
    texts: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend, progress: Count
) -> list[Round]:
    """As `replay`, with simulated annotators. The last round has what is accepted at MOMENTS, a list by LIMITS each.

    Worker processes call it. `accepted`: a share of the tasks without a label. `errors`: the share of accepted labels
    that are wrong. `all_errors`: the share of the model's labels of all tasks without one that are wrong.
    """
    texts = annotate(texts, seed)
    run = Run(texts, strategy, classifier, seed, options, backend)
    truth = dict(enumerate((texts.truth[name] for name in texts.tasks), start=1))
    rounds: list[Round] = []
    finishing: list[list[dict[str, Any]]] = []
    while len(finishing) < len(MOMENTS) and (done := run.step()) is not None:
        rounds.append(done)
        progress(len(rounds), options.rounds + 1)
        if done["labels"] < MOMENTS[len(finishing)]:
            continue
        scored = run.scored
        if scored is None or not scored.scores:  # all labels are of one class: there is no model yet
            finishing.append([])
            continue
        weighed = run.weigh_labels()
        wrong = {task for task in weighed.tasks if scored.predicted[task] != truth[task]}
        at_limits = []
        for limit in LIMITS:
            chosen = weighed.chosen(weighed.accept(limit))
            at_limits.append(
                {
                    "accepted": len(chosen) / max(len(weighed.tasks), 1),
                    "errors": sum(task in wrong for task in chosen) / max(len(chosen), 1),
                    "all_errors": len(wrong) / max(len(weighed.tasks), 1),
                    "audited": weighed.audited,
                }
            )
        finishing.append(at_limits)
    rounds[-1]["finishing"] = finishing
    return rounds


if __name__ == "__main__":
    main()
