"""What it saves, or costs, to choose tasks by worth per expected second (`--cost time`) in place of worth alone.

    python benchmarks/hours.py --out DIR [--data DIR] [--seeds N] [--jobs N]

Replays the default strategy on politeness and on generated texts of 3 and of 6 classes, whose lengths are from 5 to 80
words. An answer takes (FIXED + A_WORD x words) x noise x the annotator's speed seconds, with log-normal noise and
speeds. Its lead time, from which the connector learns, is a hundred times as long in one of PAUSES answers. In the
setting "alike", the words are replaced by their mean over the tasks, so that there is nothing to gain.

Runs go on until their answers have taken as many hours as 825 average ones. The start of 200 labels is the same for
both orders. The table has the mean accuracy of the model over the hours, linear between rounds, and paired differences
with 95 % intervals. All runs are replays of `connector simulate`. Finished runs are kept in DIR, and the same command
continues from there.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from connector.simulation.confidence_intervals import Estimate, mean
from connector.simulation.corpus import Corpus, read_corpus
from connector.simulation.replay import ReplayOptions, Round, Run
from connector.simulation.simulate import Plan, simulate
from connector.simulation.workers import Count

POLITENESS = Path(__file__).resolve().parents[2] / "shared" / "data" / "politeness"
SETTINGS = ("by length", "alike")
FIXED, A_WORD = 4.0, 0.4  # seconds
NOISE, SPEED = 0.5, 0.4  # standard deviations of logarithms
PAUSES, PAUSE = 50, 100.0  # one of so many answers, and by how much its lead time is longer
WORDS = (5, 81)  # of generated texts
LABELS, MOST_ROUNDS = 825, 80
GRID = 400  # moments at which curves are read

console = Console(width=None if sys.stdout.isatty() else 200)
Times = dict[tuple[str, str], float]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option("--data", type=click.Path(path_type=Path), default=POLITENESS, help="Multi-annotated texts.")
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [one a core].")
def main(out: Path, data: Path, seeds: int, jobs: int | None) -> None:
    """Print the table."""
    corpora = {"politeness": read_corpus(data)}
    corpora |= {f"{count} classes": generated.generate(count, lengths=WORDS) for count in (3, 6)}
    plan = Plan([DEFAULT_STRATEGY], ["logistic"], DEFAULT_STRATEGY, seeds, ReplayOptions(MOST_ROUNDS))
    by_time = replace(plan, options=replace(plan.options, cost="time"))
    table = Table("texts", "times", "order by", "labels", "mean accuracy", "at the end")
    for name, texts in corpora.items():
        folder = out / name.replace(" ", "-")
        labels = simulate(texts, plan, folder / "labels", replay_both, Reporter(), jobs=jobs, with_plot=False).runs
        for setting, replay in zip(SETTINGS, (replay_by_length, replay_alike), strict=True):
            there = folder / setting.replace(" ", "-")
            if not there.exists():  # the texts are embedded once
                shutil.copytree(folder / "labels" / "embedded", there / "embedded")
            timed = simulate(texts, by_time, there, replay, Reporter(), jobs=jobs, with_plot=False).runs
            show(table, name, setting, labels, timed)
    console.print(table)


def show(table: Table, name: str, setting: str, labels: Sequence[Any], timed: Sequence[Any]) -> None:
    """Adds the reference, the order by worth per second, and the difference."""
    rows = {}
    for order, runs in (("worth", labels), ("worth per second", timed)):
        ordered = sorted(runs, key=lambda run: int(run["seed"]))
        rows[order] = [curve(run["rounds"], setting) for run in ordered]
    for order, runs in (("worth", labels), ("worth per second", timed)):
        made = rows[order]
        collected = [labels_within(run["rounds"], setting) for run in runs]
        table.add_row(
            name,
            setting,
            order,
            f"{fmean(collected):.0f}",
            _three(mean([float(one.mean()) for one in made])),
            _three(mean([float(one[-1]) for one in made])),
        )
    differences = [ours - theirs for ours, theirs in zip(rows["worth per second"], rows["worth"], strict=True)]
    means, ends = [float(one.mean()) for one in differences], [float(one[-1]) for one in differences]
    table.add_row(name, setting, "difference, paired", "", _three(mean(means), "+"), _three(mean(ends), "+"))
    table.add_section()


def curve(rounds: Sequence[Mapping[str, Any]], setting: str) -> NDArray[np.float64]:
    """The accuracy at GRID moments between the start and the end of the hours."""
    hours = [one["worked"][setting] for one in rounds]
    moments = np.linspace(hours[0], rounds[0]["budget"][setting], GRID)
    return np.asarray(np.interp(moments, hours, [one["accuracy"] for one in rounds]), np.float64)


def labels_within(rounds: Sequence[Mapping[str, Any]], setting: str) -> float:
    """How many labels the hours were enough for."""
    hours = [one["worked"][setting] for one in rounds]
    return float(np.interp(rounds[0]["budget"][setting], hours, [one["labels"] for one in rounds]))


def replay_both(
    texts: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend, progress: Count
) -> list[Round]:
    """A run whose order does not depend on times, with its hours in all settings. Worker processes call it."""
    return _replay(texts, strategy, classifier, seed, options, backend, progress, SETTINGS)


def replay_by_length(
    texts: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend, progress: Count
) -> list[Round]:
    """A run in which times depend on the length. Worker processes call it."""
    return _replay(texts, strategy, classifier, seed, options, backend, progress, SETTINGS[:1])


def replay_alike(
    texts: Corpus, strategy: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend, progress: Count
) -> list[Round]:
    """A run in which times do not depend on the length. Worker processes call it."""
    return _replay(texts, strategy, classifier, seed, options, backend, progress, SETTINGS[1:])


def _replay(
    texts: Corpus,
    strategy: str,
    classifier: str,
    seed: int,
    options: ReplayOptions,
    backend: Backend,
    progress: Count,
    settings: Sequence[str],
) -> list[Round]:
    """The rounds with the hours `worked` and the `budget` by setting, until all budgets are used up."""
    times = {setting: work(texts, seed, setting) for setting in settings}
    lead_times = with_pauses(times[settings[0]], seed)
    run = Run(replace(texts, seconds=lead_times), strategy, classifier, seed, options, backend)
    tasks = dict(enumerate(texts.tasks, start=1))
    people = dict(enumerate(sorted({who for rows in texts.annotations.values() for who, _ in rows}), start=1))
    budget = {setting: LABELS * fmean(found.values()) / 3600 for setting, found in times.items()}
    rounds: list[Round] = []
    while len(rounds) <= options.rounds and (done := run.step()) is not None:
        worked = {
            setting: sum(found[tasks[task], people[who]] for task, who in run.labels) / 3600
            for setting, found in times.items()
        }
        rounds.append({**done, "worked": worked, "budget": budget})
        progress(len(rounds), options.rounds + 1)
        if all(worked[setting] >= budget[setting] for setting in settings):
            break
    return rounds


def work(texts: Corpus, seed: int, setting: str) -> Times:
    """{(task, annotator): the seconds that the answer takes}."""
    rng = np.random.default_rng([seed, 1])
    words = {task: float(len(text.split())) for task, text in texts.tasks.items()}
    if setting == "alike":
        words = dict.fromkeys(words, fmean(words.values()))
    people = sorted({who for rows in texts.annotations.values() for who, _ in rows})
    speed = dict(zip(people, np.exp(rng.normal(0, SPEED, len(people))).tolist(), strict=True))
    return {
        (task, who): (FIXED + A_WORD * words[task]) * speed[who] * float(np.exp(rng.normal(0, NOISE)))
        for task, rows in texts.annotations.items()
        for who, _ in rows
    }


def with_pauses(times: Times, seed: int) -> Times:
    """The lead times: one of PAUSES has a pause in it."""
    rng = np.random.default_rng([seed, 2])
    return {key: seconds * (PAUSE if rng.random() < 1 / PAUSES else 1) for key, seconds in times.items()}


def _three(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.3f} ± {estimate.margin:.3f}"


if __name__ == "__main__":
    main()
