"""After how many answers each bad annotator is named, and how often an honest one is.

    python benchmarks/people.py [--seeds N] [--answers N] [--days N]

Eight simulated annotators label for some days. In one team, one answers at random, one always gives the most frequent
class, one is right and three times as slow, one becomes careless after half of their answers (and guesses in 7 of 10
from then on), and four are honest. In another team, one is much faster and worse. In the third, all are honest: they
are right in 75 to 95 %, and their speeds differ. A look after every 25 answers each is the sync.

The reference is a rule that one could read off a report: who is named has an agreement with the majority of the others
whose 95 % interval (Wilson's) is below the mean of all. Both rules see the same labels.

Some worlds break what the tests assume: a model that is far too sure, tasks that are hard for everybody, classes whose
shares change, and tasks that get harder for everybody half-way.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from connector.active_learning.labels import Floats
from connector.active_learning.people import Answers, assess
from connector.simulation.confidence_intervals import wilson

CLASSES = {
    "2 classes": (0.5, 0.5),
    "2 classes, one of 5 %": (0.95, 0.05),
    "3 classes": (0.4, 0.35, 0.25),
    "6 classes, two of 3 %": (0.4, 0.25, 0.17, 0.12, 0.03, 0.03),
}
MIXED = ("random", "constant", "slow", "careless", *["honest"] * 4)
HURRIED = ("hasty", *["honest"] * 7)
HONEST = ("honest",) * 8
NAMES = {"careless": {"careless", "random"}}  # what a warning may call them. Others: by their own name
BATCH = 25  # answers of each between two looks
A_DAY = 100
SEPARATION = 1.6  # of the classes, for the model
LEAST = 10  # labels that the reference asks for


@dataclass(frozen=True)
class World:
    """What the labels come from. `overconfident`: the exponent of the model's probabilities."""

    shares: Sequence[float]
    model: bool = True
    second_opinions: float = 0.3
    overconfident: float = 1.0
    hard: float = 0.0
    drift: bool = False
    harder: bool = False


@dataclass(frozen=True)
class Labelled:
    """Labels in the order of time, and the model's probabilities."""

    answers: Answers
    probs: Floats | None
    classes: int
    people: int

    def until(self, each: int) -> Labelled:
        """The labels until each annotator has given so many."""
        many, all_of = each * self.people, self.answers
        part = Answers(all_of.task[:many], all_of.annotator[:many], all_of.label[:many], all_of.seconds[:many])
        tasks = int(part.task.max()) + 1
        return Labelled(part, None if self.probs is None else self.probs[:tasks], self.classes, self.people)


WORLDS: dict[str, dict[str, Any]] = {
    "model, 30 % second opinions": {},
    "no model, 50 % second opinions": {"model": False, "second_opinions": 0.5},
}
BROKEN: dict[str, dict[str, Any]] = {
    "the model is too sure": {"overconfident": 2.0},
    "a fifth is hard for all": {"hard": 0.2},
    "classes change half-way": {"drift": True},
    "harder for all half-way": {"harder": True},
}


def generate(kinds: Sequence[str], world: World, each: int, seed: int) -> Labelled:
    """The labels of annotators of these kinds, `each` of every one."""
    rng = np.random.default_rng(seed)
    shares = np.array(world.shares)
    n_classes, people, most = len(shares), len(kinds), each * len(kinds)
    right, pace = rng.uniform(0.75, 0.95, people), np.exp(rng.normal(0, 0.25, people))
    truth = rng.choice(n_classes, most, p=shares)
    if world.drift:
        former = shares * np.where(np.arange(n_classes) == n_classes - 1, 4, 1)
        truth[: most // 2] = rng.choice(n_classes, most // 2, p=former / former.sum())
    hard = rng.random(most) < world.hard
    seen = rng.normal(size=(most, n_classes))
    seen[np.arange(most), truth] += SEPARATION
    logs = (np.log(shares) + SEPARATION * seen) * world.overconfident
    probs = np.exp(logs - logs.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    rows: list[tuple[int, int, int, float]] = []
    answered: defaultdict[int, set[int]] = defaultdict(set)
    new = 0
    for number in range(each):
        for who in rng.permutation(people).tolist():
            task = new
            if new > 20 and rng.random() < world.second_opinions:
                older = rng.integers(max(0, new - 400), new, 20).tolist()
                task = next((one for one in older if who not in answered[one] and len(answered[one]) < 5), new)
            new += task == new
            answered[task].add(who)
            kind = kinds[who]
            accuracy = {"slow": 0.92, "hasty": 0.6}.get(kind, right[who])
            if hard[task] or (world.harder and number >= each // 2):
                accuracy = max(accuracy - 0.25, 0.4)
            careless = kind == "careless" and number >= each // 2 and rng.random() < 0.7
            if kind == "random" or careless:
                label = int(rng.integers(n_classes))
            elif kind == "constant":
                label = 0
            elif rng.random() < accuracy:
                label = int(truth[task])
            else:
                wrong = (shares + 0.1) * (np.arange(n_classes) != truth[task])
                label = int(rng.choice(n_classes, p=wrong / wrong.sum()))
            seconds = 8 * pace[who] * {"slow": 3, "hasty": 0.3}.get(kind, 1) * math.exp(rng.normal(0, 0.6))
            rows.append((task, who, label, seconds))
    task_of, annotator, label_of, seconds_of = zip(*rows, strict=True)
    answers = Answers(np.array(task_of), np.array(annotator), np.array(label_of), np.array(seconds_of))
    return Labelled(answers, probs[:new] if world.model else None, n_classes, people)


def warned(data: Labelled) -> set[tuple[int, str]]:
    """(annotator, kind) of our warnings."""
    truth = np.full(int(data.answers.task.max()) + 1, -1)
    people = assess(data.answers, data.probs, truth, data.classes, data.people)
    return {(number, one.kind) for number, person in enumerate(people) for one in person.warnings}


def disagreeing(data: Labelled) -> set[int]:
    """The annotators whom the reference names."""
    task, annotator, label = data.answers.task, data.answers.annotator, data.answers.label
    votes = np.zeros((int(task.max()) + 1, data.classes))
    np.add.at(votes, (task, label), 1)
    others = votes[task]
    others[np.arange(len(label)), label] -= 1
    shared = others.sum(axis=1) > 0
    agreed = others[np.arange(len(label)), label] == others.max(axis=1)
    mean = float(agreed[shared].mean()) if shared.any() else 0.0
    return {number for number in range(data.people) if _is_below(agreed[shared & (annotator == number)], mean)}


def _is_below(agreed: Any, mean: float) -> bool:
    return len(agreed) >= LEAST and wilson(float(agreed.mean()), len(agreed))[1] < mean


def first_named(kinds: Sequence[str], data: Labelled, each: int) -> tuple[dict[tuple[int, str], int], dict[int, int]]:
    """After how many answers each is first named: by us, with the kind, and by the reference."""
    ours: dict[tuple[int, str], int] = {}
    theirs: dict[int, int] = {}
    for answers in range(BATCH, each + 1, BATCH):
        part = data.until(answers)
        for found in warned(part):
            ours.setdefault(found, answers)
        for number in disagreeing(part):
            theirs.setdefault(number, answers)
    return ours, theirs


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--answers", default=800, show_default=True, help="Of each annotator, in the first two teams.")
@click.option("--days", default=10, show_default=True, help=f"Of {A_DAY} answers each, in the honest team.")
def main(seeds: int, answers: int, days: int) -> None:
    """Print both tables."""
    console = Console(width=150)
    table = Table("classes", "labels", "who", "named after, median", "90 %", "of", "reference, median", "90 %", "of")
    for classes, shares in CLASSES.items():
        for labels, changes in WORLDS.items():
            after: defaultdict[str, list[float]] = defaultdict(list)
            reference: defaultdict[str, list[float]] = defaultdict(list)
            for seed, kinds in ((seed, kinds) for seed in range(seeds) for kinds in (MIXED, HURRIED)):
                data = generate(kinds, World(shares, **changes), answers, seed)
                ours, theirs = first_named(kinds, data, answers)
                for number, kind in enumerate(kinds):
                    if kind != "honest":
                        began = answers // 2 if kind == "careless" else 0
                        named = [ours[number, name] for name in NAMES.get(kind, {kind}) if (number, name) in ours]
                        after[kind].append(max(0, min(named, default=math.inf) - began))
                        reference[kind].append(max(0, theirs.get(number, math.inf) - began))
            for kind in after:
                table.add_row(classes, labels, kind, *_quantiles(after[kind]), *_quantiles(reference[kind]))
    console.print(table)
    table = Table("classes", "labels", "honest annotator-days", "false alarms per 1,000", "of the reference")
    for classes, shares in CLASSES.items():
        for labels, changes in {**WORLDS, **BROKEN}.items():
            false = reference_false = 0
            for seed in range(seeds):
                data = generate(HONEST, World(shares, **changes), days * A_DAY, 1000 + seed)
                ours, theirs = first_named(HONEST, data, days * A_DAY)
                false += sum(kind != "slow" for _, kind in ours)
                reference_false += len(theirs)
            total = seeds * days * len(HONEST)
            per = [f"{1000 * number / total:.2f}" for number in (false, reference_false)]
            table.add_row(classes, labels, f"{total:,}", *per)
    console.print(table)


def _quantiles(values: Sequence[float]) -> tuple[str, str, str]:
    """The median, the 90 % quantile, and how many were named."""
    ordered = sorted(values)
    shown = [ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.9)]
    half, most = (f"{value:.0f}" if math.isfinite(value) else "not" for value in shown)
    return half, most, f"{sum(map(math.isfinite, values))} of {len(values)}"


if __name__ == "__main__":
    main()
