"""What is found of tasks that people honestly differ on, and what it saves to ask no more about them.

    python benchmarks/ambiguity.py --out DIR [simulated] [window] [relabel]

Generated texts of known classes (benchmarks/generated.py), one in ten of them made of halves of two texts of different
classes. Every annotator reads such a text as one of the two classes at random. Two groups of eight annotators label:
"good" ones are right in 85 to 95 % of their answers. Of "mixed" ones, three answer mostly at random. So any two labels
on a text may differ by error, or because it is a coin flip.

`simulated`: labels without texts, in a minute. The model does not learn. It is undecided on coin flips, and otherwise
good or weak. `window`: replays as a sync has them, of new tasks and second opinions, at most five labels a task.
`relabel`: every task has two labels, and all others are further opinions, at most eight a task. Each replay asks on, or
skips ambiguous tasks as `connector sync --skip-ambiguous` does, or skips all coin flips as if it knew them. `none`: the
same without coin flips, for false alarms. Consensus accuracy is that of the other texts: a coin flip has no true class.

Finished runs are kept in DIR, and the same command continues from there. Use another DIR after a change of the code.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import numpy as np
from generated import generate
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from connector.active_learning import DEFAULT_STRATEGY
from connector.active_learning.activelab import scores
from connector.active_learning.ambiguity import ambiguity
from connector.active_learning.dawid_skene import posterior
from connector.active_learning.labels import Floats, Labels
from connector.active_learning.window import Slot
from connector.backend import Backend
from connector.progress import Reporter
from connector.simulation.confidence_intervals import Estimate, mean
from connector.simulation.corpus import Corpus
from connector.simulation.replay import ReplayOptions, Run
from connector.simulation.simulate import Plan, simulate
from connector.sync.scoring import Scored, choose, find_consensus

ASK, SKIP, KNOWN = "asks on", "skips ambiguous tasks", "knows all coin flips"
ORDERS = (ASK, SKIP, KNOWN)
PEOPLE = {
    "good": (0.95, 0.95, 0.93, 0.9, 0.9, 0.9, 0.88, 0.85),
    "mixed": (0.95, 0.9, 0.85, 0.8, 0.75, 0.4, 0.4, 0.4),
}
SIMULATED = "simulated"
MODELS = {"good": 4.0, "weak": 1.5}  # how far the true class lies above the others, in standard deviations
SIMULATED_TASKS, LABELS_A_TASK, MOST_LABELS, BATCH = 400, 4.5, 8, 40
REPLAYS = {
    "window": (1000, ReplayOptions(25, 25, 100, 2, 5)),
    "relabel": (400, ReplayOptions(25, 40, 400, 2, 8)),
}
SHARE = 0.1
LEAST_LABELS = 3  # a coin flip that is known is skipped from here on

Rounds = Sequence[dict[str, Any]]

console = Console(width=None if sys.stdout.isatty() else 200)


def with_flips(classes: int, people: Sequence[float], tasks: int, share: float, seed: int = 0) -> Corpus:
    """Texts with a label of each of `people`, a `share` of them coin flips. `truth` has the others alone."""
    corpus = generate(classes, tasks=tasks, seed=seed)
    rng = np.random.default_rng([classes, len(people), seed])
    names = sorted(set(corpus.truth.values()))
    texts, truth, labels = dict(corpus.tasks), dict(corpus.truth), {}
    ids = list(texts)
    for task, text in corpus.tasks.items():
        reads = [names.index(corpus.truth[task])]
        if rng.random() < share:
            other = next(one for one in rng.permutation(ids).tolist() if corpus.truth[one] != corpus.truth[task])
            ours, theirs = text.split(), corpus.tasks[other].split()
            texts[task] = " ".join([*ours[: len(ours) // 2], *theirs[: len(theirs) // 2]])
            reads.append(names.index(corpus.truth[other]))
            del truth[task]
        labels[task] = [
            (
                f"{number}: right in {quality:.0%}",
                names[_answer(reads[int(rng.integers(len(reads)))], quality, len(names), rng)],
            )
            for number, quality in enumerate(people, start=1)
        ]
    return Corpus(texts, labels, corpus.test, truth)


def _answer(read: int, quality: float, classes: int, rng: np.random.Generator) -> int:
    return read if rng.random() < quality else int(read + rng.integers(1, classes)) % classes


class _Run(Run):
    """A run that skips tasks or does not, and says what it found of coin flips."""

    def __init__(
        self, corpus: Corpus, order: str, classifier: str, seed: int, options: ReplayOptions, backend: Backend
    ) -> None:
        super().__init__(corpus, DEFAULT_STRATEGY, classifier, seed, options, backend)
        self._order = order
        self._flips = {number for number in self._tasks if number not in self._truth}

    def _choice(self, scored: Scored) -> list[Slot]:
        left = {number: task for number, task in self._tasks.items() if self._waiting[number]}
        if self._order == KNOWN:
            done = {number for number in self._flips if len(left[number].annotations) >= LEAST_LABELS} & left.keys()
            left = {number: task for number, task in left.items() if number not in done}
        return choose(
            self._pulled(left),
            scored,
            self._backend,
            strategy=self._strategy,
            window=self._options.batch,
            max_annotations=self._options.max_annotations_per_task,
            skip_ambiguous=self._order == SKIP,
            seed=self._seed,
        )

    def step(self) -> dict[str, Any] | None:
        """As Run.step, with what was found of coin flips.

        `auc`: how well they are told from errors among tasks whose labels differ, None without one of both. `by_votes`,
        `by_quality`: the same by the entropy of a task's votes, and by how doubtful its consensus label is. `flagged`:
        the share of tasks with enough labels that are ambiguous. `precision`: the share of coin flips among them,
        `recall`: of those with enough labels. `on_flips`: the share of all labels that are on coin flips.
        """
        done = super().step()
        if done is None:
            return None
        assert self.scored is not None
        labels: dict[int, list[str]] = {}
        for (task, _), label in self.labels.items():
            labels.setdefault(task, []).append(label)
        found, flips = self.scored.differing, self._flips
        differ = [task for task, given in labels.items() if len(set(given)) > 1]
        enough = [task for task, given in labels.items() if len(given) >= LEAST_LABELS]
        flagged = [task for task in enough if task in found and found[task].ambiguous]
        known = sum(task in flips for task in enough)
        is_flip = np.array([task in flips for task in differ], np.bool_)
        now = replace(self.scored)
        find_consensus(now, self._questions.controls[0], self._strategy)
        return {
            **done,
            "auc": auc([found[task].probability if task in found else 0.0 for task in differ], is_flip),
            "by_votes": auc([entropy(labels[task]) for task in differ], is_flip),
            "by_quality": auc([-now.quality[task] for task in differ], is_flip),
            "flagged": len(flagged) / len(enough) if enough else None,
            "precision": fmean(task in flips for task in flagged) if flagged else None,
            "recall": sum(task in flips for task in flagged) / known if known else None,
            "on_flips": sum(len(given) for task, given in labels.items() if task in flips) / len(self.labels),
        }


def auc(values: Sequence[float] | Floats, is_flip: NDArray[np.bool_]) -> float | None:
    """How often a coin flip has a higher value than an error, ties by half. None without one of both."""
    first, second = np.array(values)[is_flip][:, None], np.array(values)[~is_flip][None, :]
    if not first.size or not second.size:
        return None
    return float(((first > second) + 0.5 * (first == second)).mean())


def entropy(labels: Sequence[str]) -> float:
    """The entropy of a task's labels, in nats."""
    shares = np.array(list(Counter(labels).values())) / len(labels)
    return float(-(shares * np.log(shares)).sum())


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


# -- labels without texts ----------------------------------------------------------------------------------------------


def simulated_table(classes: Sequence[int], seeds: int) -> Table:
    """How well coin flips are found on simulated labels, with and without any, and how well by other measures."""
    table = Table(
        *("simulated labels", "classes", "AUC", "by entropy", "by quality"),
        *("ambiguous", "as it says", "precision", "recall", "precision from 80 %", "without any, ambiguous"),
    )
    for count in classes:
        for group, people in PEOPLE.items():
            for model in MODELS:
                some, none = (
                    [_found(count, people, MODELS[model], share, seed) for seed in range(seeds)] for share in (SHARE, 0)
                )
                keys = ("auc", "by_votes", "by_quality", "flagged", "said", "precision", "recall", "certain")
                cells = [known(some, key) for key in keys]
                table.add_row(f"{group}, model {model}", str(count), *cells, known(none, "flagged"))
    return table


def _found(classes: int, people: Sequence[float], lead: float, share: float, seed: int) -> dict[str, Any]:
    """What is found of one project of simulated labels. Each further label goes where ActiveLab wants it."""
    rng = np.random.default_rng([classes, seed, len(people)])
    n, rows = SIMULATED_TASKS, np.arange(SIMULATED_TASKS)
    truth, is_flip = rng.integers(classes, size=n), rng.random(n) < share
    other = (truth + rng.integers(1, classes, size=n)) % classes
    logits = rng.normal(size=(n, classes))
    logits[rows, truth] += np.where(is_flip, 0.6, 1) * lead
    logits[rows[is_flip], other[is_flip]] += 0.6 * lead
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    reads = [[truth[task], other[task]] if is_flip[task] else [truth[task]] for task in rows]
    order = np.array([rng.permutation(len(people)) for _ in rows])
    answers = np.array(
        [[_answer(int(rng.choice(reads[task])), people[one], classes, rng) for one in order[task]] for task in rows]
    )
    counts = np.full(n, 2)
    while True:
        given = np.arange(len(people)) < counts[:, None]
        labels = Labels(np.repeat(rows, counts), order[given], answers[given], n, classes)
        if counts.sum() >= LABELS_A_TASK * n:
            break
        worth = scores(labels, probs, probs[:0])[0]
        counts[np.argsort(np.where(counts < MOST_LABELS, worth, np.inf), kind="stable")[:BATCH]] += 1
    found, votes = ambiguity(labels, probs), labels.votes()
    differ, flagged = (votes > 0).sum(axis=1) > 1, found.ambiguous
    shares = [votes[task][votes[task] > 0] / counts[task] for task in rows]
    by_votes = np.array([-(one * np.log(one)).sum() for one in shares])
    return {
        "auc": auc(found.probability[differ], is_flip[differ]),
        "by_votes": auc(by_votes[differ], is_flip[differ]),
        "by_quality": auc(-posterior(labels, probs).max(axis=1)[differ], is_flip[differ]),
        "flagged": flagged[counts >= LEAST_LABELS].mean(),
        "said": found.probability[flagged].mean() if flagged.any() else None,
        "precision": is_flip[flagged].mean() if flagged.any() else None,
        "recall": flagged[is_flip & (counts >= LEAST_LABELS)].mean() if is_flip.any() else None,
        "certain": is_flip[found.hopeless].mean() if found.hopeless.any() else None,
    }


@click.command()
@click.argument("tables", nargs=-1, type=click.Choice([SIMULATED, *REPLAYS]))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for finished runs.")
@click.option("--seeds", type=click.IntRange(min=2), default=6, show_default=True)
@click.option("--classes", multiple=True, type=click.IntRange(min=2), default=(2, 3, 6), show_default=True)
@click.option("--order", "orders_wanted", multiple=True, type=click.Choice(ORDERS), help="With the first [all].")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [one a core].")
def main(
    tables: Sequence[str],
    out: Path,
    seeds: int,
    classes: Sequence[int],
    orders_wanted: Sequence[str],
    jobs: int | None,
) -> None:
    """Print the tables."""
    chosen = [order for order in ORDERS if order == ASK or order in (orders_wanted or ORDERS)]
    if not tables or SIMULATED in tables:
        console.print(simulated_table(classes, seeds))
    for name in [name for name in REPLAYS if name in tables or not tables]:
        tasks, options = REPLAYS[name]
        found = Table(f"{name}: coin flips", *("classes", "AUC", "ambiguous", "precision", "recall"))
        saved = Table(
            f"{name}: the replay", *("classes", "labels on coin flips", "consensus accuracy, half way", "at the end")
        )
        saved.add_column("test accuracy, mean")
        saved.add_column("labels for as good a consensus")
        for count in classes:
            for group, people in PEOPLE.items():
                for share, orders in ((SHARE, chosen), (0.0, [order for order in chosen if order != KNOWN])):
                    corpus = with_flips(count, people, tasks, share)
                    plan = Plan(list(orders), ["logistic"], ASK, seeds, options)
                    folder = out / f"{name}-{count}-{group}-{share:g}"
                    done = simulate(corpus, plan, folder, replay, Reporter(), jobs=jobs, with_plot=False)
                    runs = {order: [run["rounds"] for run in done.runs if run["strategy"] == order] for order in orders}
                    about = f"{group}, {'one in ten' if share else 'none'}"
                    ends = [rounds[-1] for rounds in runs[ASK]]
                    keys = ("auc", "by_votes", "by_quality", "flagged", "precision", "recall")
                    cells = (known(ends, key) for key in keys)
                    found.add_row(about, str(count), *cells)
                    for order in orders:
                        saved.add_row(f"{about}: {order}", str(count), *_compared(runs[order], runs[ASK], order))
        console.print(found)
        console.print(saved)


def _compared(
    runs: Sequence[Sequence[dict[str, Any]]], reference: Sequence[Sequence[dict[str, Any]]], order: str
) -> list[str]:
    """The cells of an order: figures of the one that asks on, and paired differences to it of the others."""
    half = min(len(rounds) for rounds in [*runs, *reference]) // 2
    figures: list[Callable[[Rounds], float]] = [
        lambda rounds: rounds[-1]["on_flips"],
        lambda rounds: rounds[half]["consensus_accuracy"],
        lambda rounds: rounds[-1]["consensus_accuracy"],
        lambda rounds: fmean(one["accuracy"] for one in rounds),
    ]
    if order == ASK:
        return [*(three(mean([figure(rounds) for rounds in runs])) for figure in figures), ""]
    cells = [
        three(mean([figure(ours) - figure(theirs) for ours, theirs in zip(runs, reference, strict=True)]), sign="+")
        for figure in figures
    ]
    ratios = []
    for ours, theirs in zip(runs, reference, strict=True):
        target = min(best(ours), best(theirs))
        ratios.append(labels_for(ours, target) / labels_for(theirs, target))
    saved = mean([100 * (1 - one) for one in ratios])
    return [*cells, f"{saved.value:.0f} ± {saved.margin:.0f} % fewer"]


def best(rounds: Rounds) -> float:
    """The best consensus accuracy that a run has in three rounds together: single rounds are noisy."""
    return max(smooth(rounds))


def labels_for(rounds: Rounds, target: float) -> float:
    """The number of labels from which the consensus accuracy, in three rounds together, has been as good."""
    found = (one["labels"] for one, value in zip(rounds, smooth(rounds), strict=True) if value >= target - 1e-9)
    return float(next(found, math.inf))


def smooth(rounds: Rounds) -> list[float]:
    """The mean consensus accuracy of a round, the one before and the one after."""
    values = [one["consensus_accuracy"] for one in rounds]
    return [fmean(values[max(at - 1, 0) : at + 2]) for at in range(len(values))]


def known(ends: Sequence[dict[str, Any]], key: str) -> str:
    """The mean of a figure at the end of the runs that have it."""
    values = [end[key] for end in ends if end.get(key) is not None]
    return three(mean(values)) if len(values) > 1 else ""


def three(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.3f} ± {estimate.margin:.3f}"


if __name__ == "__main__":
    main()
