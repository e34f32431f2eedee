"""`connector simulate`: the loop replayed offline on data that several people have labelled, and what it amounts to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from connector import __version__
from connector.errors import UsageError
from connector.progress import Reporter
from connector.simulation.corpus import Corpus
from connector.simulation.metrics import Advice, Outcome, Run, advice_outcome, summarise
from connector.simulation.replay import ReplayOptions, Round
from connector.simulation.results import plot, require_plot, results_csv, results_json, rounded
from connector.simulation.workers import NOT_INHERITED, Job, Replay, backends, run_all

MOST_PROCESSES = 8  # each takes nearly a gigabyte of memory


@dataclass(frozen=True)
class Plan:
    """What is to be compared: every strategy with every classifier on seeds 0, 1, …, each in the same way.

    `default` names the strategy that others are compared with.
    """

    strategies: Sequence[str]
    classifiers: Sequence[str]
    default: str
    seeds: int = 5
    options: ReplayOptions = field(default_factory=ReplayOptions)

    @property
    def jobs(self) -> list[Job]:
        """All runs: every seed of all before the next, so that what an interrupted simulation has can be compared."""
        return [
            Job(strategy, classifier, seed)
            for seed in range(self.seeds)
            for classifier in dict.fromkeys(self.classifiers)
            for strategy in dict.fromkeys(self.strategies)
        ]


@dataclass(frozen=True)
class Simulated:
    """All runs, what they amount to, the files written and what should be known with them."""

    runs: list[Run]
    outcome: Outcome
    advice: Advice
    files: list[str]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "files": self.files,
            "notes": self.notes,
            "advice": self.advice._asdict(),
            **rounded(asdict(self.outcome)),
        }


def simulate(
    corpus: Corpus,
    plan: Plan,
    out: Path,
    replay: Replay,
    reporter: Reporter,
    *,
    jobs: int | None = None,
    with_plot: bool = True,
    serve: Callable[..., contextlib.AbstractContextManager[list[str]]] = backends,
) -> Simulated:
    """Runs what of the plan `out` does not hold yet, in `jobs` processes (one a core), and writes the results there.

    `replay` is a function of a module, since it is called in other processes; `serve` gives them ML backends, as
    `backends` does. Raises UsageError where the data cannot be started from, something is missing or `out` cannot be
    written; TryAgainLater when a worker or its backend is gone.
    """
    if with_plot:
        require_plot()
    check_start(corpus, plan.options)
    with _writing(out):
        (out / "runs").mkdir(parents=True, exist_ok=True)
    store = _Runs(out / "runs", corpus, plan.options)
    found = {job: run for job in plan.jobs if (run := store.get(job)) is not None}
    lacking = [job for job in plan.jobs if job not in found]
    if lacking:
        count = min(jobs or _processes(), len(lacking))
        with contextlib.ExitStack() as stack:
            with reporter.stage("prepare", f"Embedding {len(corpus.tasks)} texts") as stage:
                embedded = out / "embedded"
                project = plan.options.project
                urls = stack.enter_context(serve(corpus, project, plan.classifiers, count, embedded, stage.count))

            def keep(job: Job, rounds: list[Round]) -> None:
                with _writing(out):
                    found[job] = store.put(job, rounds)

            words = f"Replaying {len(lacking)} runs on {count} processes"
            with reporter.stage("replay", words) as stage:
                run_all(lacking, replay, corpus, plan.options, urls, keep, stage.count)
    runs = [found[job] for job in plan.jobs]
    outcome, advice = summarise(runs, plan.default, plan.classifiers), advice_outcome(runs)
    notes = [*corpus.notes, *_ended_early(runs, plan.options, outcome.rounds)]
    if len(lacking) < len(runs):
        notes.append(f"{len(runs) - len(lacking)} of {len(runs)} runs were kept in {out / 'runs'} from before.")
    more = {"data": about(corpus), "options": asdict(plan.options) | {"seeds": plan.seeds}, "advice": advice._asdict()}
    with _writing(out):
        _replace(out / "results.json", results_json(plan.default, runs, **more))
        _replace(out / "results.csv", results_csv(runs))
        if with_plot:
            plot(runs, out / "plot.png")
    names = ["results.json", "results.csv", *(["plot.png"] if with_plot else [])]
    return Simulated(runs, outcome, advice, [str(out / name) for name in names], notes)


def check_start(corpus: Corpus, options: ReplayOptions) -> None:
    """Raises UsageError where the data hold no such start, or not one label more."""
    asked = f"--initial {options.initial_tasks}x{options.initial_labels}"
    if options.initial_labels > options.max_annotations_per_task:
        raise UsageError(
            f"{asked} gives a task more labels than --max-annotations-per-task {options.max_annotations_per_task}."
        )
    startable = len(corpus.startable(options.initial_labels))
    if startable < options.initial_tasks:
        raise UsageError(
            f"{asked} needs {options.initial_tasks} tasks with {options.initial_labels} labels, and the data have "
            f"{startable}: give a smaller --initial."
        )
    if corpus.available(options.max_annotations_per_task) <= options.initial_tasks * options.initial_labels:
        raise UsageError(f"{asked} takes all labels that the data have: give a smaller --initial.")


def about(corpus: Corpus) -> dict[str, Any]:
    """What results.json says of the data."""
    rows = [row for given in corpus.annotations.values() for row in given]
    return {
        "tasks": len(corpus.tasks),
        "annotations": len(rows),
        "annotators": len({annotator for annotator, _ in rows}),
        "classes": corpus.classes,
        "test": len(corpus.test),
        "truth": len(corpus.truth),
        "digest": corpus.digest,
        "notes": list(corpus.notes),
    }


class _Runs:
    """The finished runs in a directory, a file each, found again under the same data, options and version."""

    def __init__(self, directory: Path, corpus: Corpus, options: ReplayOptions) -> None:
        self._directory = directory
        backend = {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith("ML_BACKEND_") and name not in NOT_INHERITED
        }
        self._under = [__version__, corpus.digest, asdict(options), backend]

    def get(self, job: Job) -> Run | None:
        """The run, None where there is none that can be read."""
        try:
            run: Run = json.loads(self._path(job).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return run

    def put(self, job: Job, rounds: list[Round]) -> Run:
        """The run as it will be read again."""
        run: Run = rounded({**job._asdict(), "rounds": rounds})
        _replace(self._path(job), json.dumps(run, allow_nan=False))
        return run

    def _path(self, job: Job) -> Path:
        key = hashlib.blake2b(json.dumps([*self._under, *job]).encode(), digest_size=8).hexdigest()
        return self._directory / f"{job.strategy}-{job.classifier}-{job.seed}-{key}.json"


def _ended_early(runs: Sequence[Run], options: ReplayOptions, common: int) -> Iterator[str]:
    shortest: dict[str, int] = {}
    for run in runs:
        rounds = len(run["rounds"]) - 1
        if rounds < options.rounds:
            shortest[run["strategy"]] = min(rounds, shortest.get(run["strategy"], rounds))
    if shortest:
        told = ", ".join(f"{name} after round {rounds}" for name, rounds in sorted(shortest.items()))
        yield (
            f"The data had no more labels to ask for before round {options.rounds}: {told}; means are over the start "
            f"and the {common - 1} rounds that every run has."
        )


def _replace(path: Path, content: str) -> None:
    """Writes a file in one step: an interrupted one is not half there."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(content, encoding="utf-8", newline="")
    new.replace(path)


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}.") from error


def _processes() -> int:
    """One for each core that this process may use, but no more than MOST_PROCESSES."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_PROCESSES)
