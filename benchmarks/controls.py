"""What the queue saves where labels are ratings, paths of a tree, or the better side of a pair.

    python benchmarks/controls.py --out DIR [ratings] [tree] [pairs] [--seeds N]

`ratings`: generated texts of one to five stars, by people who err by one star. `tree`: generated texts of twelve leaves
in four branches, by people who err within a branch. Two of the eight people answer at random, and one always the same.
`pairs`: which of two requests is more polite, from real people's labels of each. The reference is random order, paired
by seed. Finished runs are kept in DIR.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from generated import generate
from rich.console import Console

from connector.active_learning import DEFAULT_STRATEGY
from connector.annotations.form.choice_tree import PATH_SEPARATOR
from connector.annotations.form.data import PAIR_SEPARATOR
from connector.cli.simulate_table import format_table
from connector.progress import Reporter
from connector.simulation.corpus import SIDES, Corpus, read_corpus
from connector.simulation.metrics import RANDOM
from connector.simulation.replay import ReplayOptions, replay
from connector.simulation.simulate import Plan, simulate

POLITENESS = Path(__file__).resolve().parents[2] / "shared" / "data" / "politeness"
STARS, BRANCHES, LEAVES = 5, 4, 3

console = Console(width=None if sys.stdout.isatty() else 200)


def ratings(_: Path) -> Corpus:
    """Texts of one to five stars. Neighbouring stars share words."""
    names = [str(star + 1) for star in range(STARS)]
    return generate(STARS, names=names, similar=lambda own: [star for star in (own - 1, own + 1) if 0 <= star < STARS])


def tree(_: Path) -> Corpus:
    """Texts of the leaves of a tree. Those of a branch share words."""
    names = [f"branch {one + 1}{PATH_SEPARATOR}leaf {two + 1}" for one in range(BRANCHES) for two in range(LEAVES)]
    branch = [[number for number in range(len(names)) if number // LEAVES == one] for one in range(BRANCHES)]
    return generate(
        len(names), names=names, similar=lambda own: [other for other in branch[own // LEAVES] if other != own]
    )


def pairs(data: Path, seed: int = 0) -> Corpus:
    """Each request beside another. The better side by one person's labels of both, or by chance if they are equal.

    The test set has pairs of a polite and an impolite request.
    """
    given, rng = read_corpus(data), np.random.default_rng(seed)
    names, polite = list(given.tasks), max(given.classes)
    others = rng.permutation(len(names)).tolist()
    tasks, said = {}, {}
    for name, place in zip(names, others, strict=True):
        other = names[place]
        if other != name:
            tasks[name] = f"{given.tasks[name]}{PAIR_SEPARATOR}{given.tasks[other]}"
            said[name] = [
                (person, SIDES[rng.integers(2) if one == two else int(one != polite)])
                for (person, one), (_, two) in zip(given.annotations[name], given.annotations[other], strict=False)
            ]
    good, bad = ([text for text, label in given.test if (label == polite) is wanted] for wanted in (True, False))
    test = []
    for first, second in zip(good, bad, strict=False):
        swapped = bool(rng.integers(2))
        sides = (second, first) if swapped else (first, second)
        test.append((PAIR_SEPARATOR.join(sides), SIDES[swapped]))
    return Corpus(tasks, {name: rows for name, rows in said.items() if rows}, test)


CORPORA: dict[str, Callable[[Path], Corpus]] = {"ratings": ratings, "tree": tree, "pairs": pairs}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(CORPORA)))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option(
    "--data", type=click.Path(path_type=Path), default=POLITENESS, help="Multi-annotated texts of two classes."
)
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=25, show_default=True)
@click.option("--classifier", default="logistic", show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [one a core].")
def main(
    names: Sequence[str], out: Path, data: Path, seeds: int, rounds: int, classifier: str, jobs: int | None
) -> None:
    """Print a table for each corpus."""
    plan = Plan([DEFAULT_STRATEGY, RANDOM], [classifier], DEFAULT_STRATEGY, seeds, ReplayOptions(rounds))
    for name in names or CORPORA:
        corpus = CORPORA[name](data)
        console.print(f"{name}: {len(corpus.tasks):,} tasks, {len(corpus.test)} test texts", markup=False)
        done = simulate(corpus, plan, out / name, replay, Reporter(), jobs=jobs)
        console.print(format_table(done.summary))


if __name__ == "__main__":
    main()
