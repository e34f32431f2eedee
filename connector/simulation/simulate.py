"""`connector simulate`: replays the loop offline on data that several people have labelled, and compares strategies."""

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
from connector.annotations.objects.content import NOUNS
from connector.errors import UsageError
from connector.formatting import count, verb
from connector.progress import Reporter
from connector.simulation.corpus import Corpus
from connector.simulation.metrics import Advice, Run, SimulationSummary, judge_advice, summarise
from connector.simulation.replay import ReplayOptions, Round
from connector.simulation.results import plot, require_plot, results_csv, results_json, rounded
from connector.simulation.workers import NOT_INHERITED, Job, Replay, run_all, serve_backends

MOST_PROCESSES = 8  # each takes nearly a gigabyte of memory


@dataclass(frozen=True)
class Plan:
    """What to compare: every strategy with every classifier and the seeds 0, 1, …, all with the same options.

    `default`: the strategy that the others are compared with.
    """

    strategies: Sequence[str]
    classifiers: Sequence[str]
    default: str
    seeds: int = 5
    options: ReplayOptions = field(default_factory=ReplayOptions)

    @property
    def jobs(self) -> list[Job]:
        """All runs, ordered by seed, so that the runs of an interrupted simulation can be compared."""
        return [
            Job(strategy, classifier, seed)
            for seed in range(self.seeds)
            for classifier in dict.fromkeys(self.classifiers)
            for strategy in dict.fromkeys(self.strategies)
        ]


@dataclass(frozen=True)
class SimulationResult:
    """All runs, their summary, the files written, and notes that a reader of the results needs."""

    runs: list[Run]
    summary: SimulationSummary
    advice: Advice
    files: list[str]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "files": self.files,
            "notes": self.notes,
            "advice": self.advice._asdict(),
            **rounded(asdict(self.summary)),
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
    serve: Callable[..., contextlib.AbstractContextManager[list[str]]] = serve_backends,
) -> SimulationResult:
    """Replays the runs of the plan that `out` does not have yet, and writes the results there.

    Args:
        corpus: the labelled texts.
        plan: what to compare.
        out: the folder of the results and of finished runs.
        replay: replays one run. Other processes call it, so it has to be a function of a module.
        reporter: shows the progress.
        jobs: the number of processes, one per core by default.
        with_plot: whether to draw the plot.
        serve: starts ML backends for the processes, as `serve_backends` does.

    Raises:
        UsageError: the data cannot give such a start, a package is missing, or `out` cannot be written.
        TryAgainLater: a worker or its ML backend died.
    """
    if with_plot:
        require_plot()
    check_start(corpus.without_annotators(plan.options.machines), plan.options)
    with _writing(out):
        (out / "runs").mkdir(parents=True, exist_ok=True)
    store = _RunStore(out / "runs", corpus, plan.options)
    finished = {job: run for job in plan.jobs if (run := store.get(job)) is not None}
    missing = [job for job in plan.jobs if job not in finished]
    if missing:
        processes = min(jobs or _processes(), len(missing))
        with contextlib.ExitStack() as stack:
            with reporter.stage("prepare", f"Embedding {count(len(corpus.tasks), NOUNS[corpus.kind])}") as stage:
                embedded = out / "embedded"
                project = plan.options.project
                urls = stack.enter_context(serve(corpus, project, plan.classifiers, processes, embedded, stage.count))

            def keep(job: Job, rounds: list[Round]) -> None:
                with _writing(out):
                    finished[job] = store.put(job, rounds)

            words = f"Replaying {count(len(missing), 'run')} on {count(processes, 'process', 'processes')}"
            with reporter.stage("replay", words) as stage:
                run_all(missing, replay, corpus, plan.options, urls, keep, stage.count)
    runs = [finished[job] for job in plan.jobs]
    summary, advice = summarise(runs, plan.default, plan.classifiers), judge_advice(runs)
    notes = [*corpus.notes, *_ended_early(runs, plan.options, summary.rounds)]
    if len(missing) < len(runs):
        there = len(runs) - len(missing)
        notes.append(f"{there} of {count(len(runs), 'run')} {verb(there, 'was', 'were')} already in {out / 'runs'}.")
    more = {
        "data": describe(corpus),
        "options": asdict(plan.options) | {"seeds": plan.seeds},
        "advice": advice._asdict(),
    }
    with _writing(out):
        _replace(out / "results.json", results_json(plan.default, runs, **more))
        _replace(out / "results.csv", results_csv(runs))
        if with_plot:
            plot(runs, out / "plot.png")
    names = ["results.json", "results.csv", *(["plot.png"] if with_plot else [])]
    return SimulationResult(runs, summary, advice, [str(out / name) for name in names], notes)


def check_start(corpus: Corpus, options: ReplayOptions) -> None:
    """Raises UsageError if the data cannot give such a start, or not one more label, or no times that are to count."""
    if options.cost == "time" and corpus.kind != "text":
        raise UsageError(f"--cost time goes by the length of texts, and these are {NOUNS[corpus.kind]}s.")
    if options.cost == "time" and not corpus.seconds:
        raise UsageError(
            "--cost time needs to know how long answers took: a column seconds in annotations.csv, or lead times of "
            "the project's annotations. There are none."
        )
    asked = f"--initial {options.initial_tasks}x{options.initial_labels}"
    if options.initial_labels > options.max_annotations_per_task:
        raise UsageError(
            f"{asked} gives a task more labels than --max-annotations-per-task {options.max_annotations_per_task}."
        )
    startable = len(corpus.startable(options.initial_labels))
    if startable < options.initial_tasks:
        raise UsageError(
            f"{asked} needs {count(options.initial_tasks, 'task')} with {count(options.initial_labels, 'label')}, but "
            f"the data have only {startable}: give a smaller --initial."
        )
    if corpus.available(options.max_annotations_per_task) <= options.initial_tasks * options.initial_labels:
        raise UsageError(f"{asked} uses up all labels of the data: give a smaller --initial.")


def describe(corpus: Corpus) -> dict[str, Any]:
    """The data as results.json describes them."""
    rows = [row for annotations in corpus.annotations.values() for row in annotations]
    return {
        "tasks": len(corpus.tasks),
        "annotations": len(rows),
        "annotators": len({annotator for annotator, _ in rows}),
        "classes": corpus.classes,
        **({"control": corpus.control} if corpus.control else {}),
        "test": len(corpus.test),
        "truth": len(corpus.truth),
        "digest": corpus.digest,
        "notes": list(corpus.notes),
    }


class _RunStore:
    """The finished runs in a directory, one file each. Only runs with the same data, options and version are used."""

    def __init__(self, directory: Path, corpus: Corpus, options: ReplayOptions) -> None:
        self._directory = directory
        backend = {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith("ML_BACKEND_") and name not in NOT_INHERITED
        }
        self._conditions = [__version__, corpus.digest, asdict(options), backend]

    def get(self, job: Job) -> Run | None:
        """The run, or None if there is none that can be read."""
        try:
            run: Run = json.loads(self._path(job).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return run

    def put(self, job: Job, rounds: list[Round]) -> Run:
        """Stores the run and returns it as it will be read again."""
        run: Run = rounded({**job._asdict(), "rounds": rounds})
        _replace(self._path(job), json.dumps(run, allow_nan=False))
        return run

    def _path(self, job: Job) -> Path:
        key = hashlib.blake2b(json.dumps([*self._conditions, *job]).encode(), digest_size=8).hexdigest()
        return self._directory / f"{job.strategy}-{job.classifier}-{job.seed}-{key}.json"


def _ended_early(runs: Sequence[Run], options: ReplayOptions, common: int) -> Iterator[str]:
    shortest: dict[str, int] = {}
    for run in runs:
        rounds = len(run["rounds"]) - 1
        if rounds < options.rounds:
            shortest[run["strategy"]] = min(rounds, shortest.get(run["strategy"], rounds))
    if shortest:
        ends = ", ".join(f"{name} after round {rounds}" for name, rounds in sorted(shortest.items()))
        yield (
            f"The data had no more labels before round {options.rounds}: {ends}. Means are over the start and the "
            f"{count(common - 1, 'round')} that every run has."
        )


def _replace(path: Path, content: str) -> None:
    """Writes a file in one step, so that an interruption leaves no half of it."""
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
    """One per core that this process may use, at most MOST_PROCESSES."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_PROCESSES)
