"""How the scores of two questions of one project should be combined, where one annotation answers both.

    python benchmarks/questions.py --out DIR [--seeds N]

Generated texts with an easy question (two classes) and a hard one (six). The same people answer both. Two of them
answer at random and one always the same. Each order is replayed with the same seeds: random, by one question alone,
and by both, combined in three ways. The table has the accuracy of the models on either question, mean over the rounds,
and the paired difference to random order with its 95 % interval. Finished runs are kept in DIR.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import click
from generated import generate_several
from rich.console import Console
from rich.table import Table

from connector.active_learning import DEFAULT_STRATEGY
from connector.active_learning.combine import DEFAULT_COMBINATION, Combination
from connector.annotations.records import digest
from connector.backend import Backend
from connector.progress import Reporter
from connector.simulation.confidence_intervals import mean
from connector.simulation.corpus import Corpus
from connector.simulation.metrics import RANDOM
from connector.simulation.replay import ReplayMemory, ReplayOptions, Run
from connector.simulation.simulate import Plan, simulate
from connector.state.snapshot import ProjectSnapshot
from connector.sync.scoring import Scored, score
from connector.sync.several import join

EASY, HARD = "easy", "hard"
CLASSES = {EASY: 2, HARD: 6}
ORDERS = (RANDOM, EASY, HARD, "mean", "minimum", "mean-rank")

console = Console(width=None if sys.stdout.isatty() else 200)


def corpus() -> Corpus:
    """Texts with joint labels of both questions."""
    tasks, said, test = generate_several(CLASSES)
    return Corpus(
        tasks,
        {task: [(person, json.dumps(labels)) for person, labels in rows] for task, rows in said.items()},
        [(text, json.dumps(labels)) for text, labels in test],
    )


class _Run(Run):
    """A run on two questions, each with a model."""

    def __init__(
        self, corpus: Corpus, order: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend
    ) -> None:
        super().__init__(corpus, RANDOM if order == RANDOM else DEFAULT_STRATEGY, classifier, seed, options, backend)
        self._order = order
        self._memories = {name: ReplayMemory() for name in CLASSES}
        self.right: dict[str, float] = {}
        digests = [digest(text) for text in self._texts.values()]
        for name in self._questions.names[1:]:
            key = self._questions.model_key(options.project, name)
            backend.put_items(key, list(self._texts), digests, self._some)
            backend.forget_model(key)

    def _label_config(self) -> str:
        choices = {
            name: "".join(f'<Choice value="{name} {number + 1}"/>' for number in range(count))
            for name, count in CLASSES.items()
        }
        controls = "".join(f'<Choices name="{name}" toName="text">{inner}</Choices>' for name, inner in choices.items())
        return f'<View><Text name="text" value="$text"/>{controls}</View>'

    def _score(self, pulled: ProjectSnapshot, reporter: Reporter) -> Scored:
        parts = [
            score(
                part,
                self._backend,
                self._memories[part.control.name],
                reporter,
                train="always",
                strategy=self._strategy,
                classifier=self._classifier,
            )
            for part in pulled.by_question()
        ]
        hows: tuple[Combination, ...] = ("minimum", "mean-rank")
        how = next((one for one in hows if one == self._order), DEFAULT_COMBINATION)
        joined = join(self._questions, parts, how)
        if self._order in CLASSES:
            joined.scores = parts[list(CLASSES).index(self._order)].scores
        return joined

    def _accuracy(self) -> float:
        answers = self._backend.predict(
            self._options.project, [{"text": text} for text, _ in self._corpus.test], self._config
        )
        right: dict[str, list[bool]] = {name: [] for name in CLASSES}
        for row, (_, joint) in zip(answers, self._corpus.test, strict=True):
            found = self._questions.read(row["result"]).label
            labels = {} if found is None else self._questions.labels_of(found)
            for name, label in json.loads(joint).items():
                right[name].append(labels.get(name) == label)
        self.right = {name: fmean(found) for name, found in right.items()}
        return fmean(self.right.values())

    def step(self) -> dict[str, Any] | None:
        """As Run.step, with the accuracy on either question."""
        done = super().step()
        return None if done is None else {**done, **self.right}


def replay(
    corpus: Corpus,
    order: str,
    classifier: str,
    seed: int,
    options: ReplayOptions,
    backend: Backend,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Replays one order."""
    return _Run(corpus, order, classifier, seed, options, backend).play(progress)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--order", "orders", multiple=True, type=click.Choice(ORDERS), help="An order to replay [all].")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [one a core].")
def main(out: Path, seeds: int, rounds: int, orders: Sequence[str], jobs: int | None) -> None:
    """Print a table of the orders."""
    chosen = [RANDOM, *(order for order in orders or ORDERS if order != RANDOM)]
    plan = Plan(chosen, ["logistic"], RANDOM, seeds, ReplayOptions(rounds))
    done = simulate(corpus(), plan, out, replay, Reporter(), jobs=jobs, with_plot=False)
    means = {
        (run["strategy"], name, run["seed"]): fmean(one[name] for one in run["rounds"])
        for run in done.runs
        for name in CLASSES
    }
    table = Table("order", *(f"{name}: accuracy" for name in CLASSES), *(f"{name}: over random" for name in CLASSES))
    for order in chosen:
        by_seed = {name: [means[order, name, seed] for seed in range(seeds)] for name in CLASSES}
        cells = [f"{fmean(by_seed[name]):.3f}" for name in CLASSES]
        for name in CLASSES:
            gains = mean([means[order, name, seed] - means[RANDOM, name, seed] for seed in range(seeds)])
            cells.append("" if order == RANDOM else f"{gains.value:+.3f} ± {gains.margin:.3f}")
        table.add_row(order, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
