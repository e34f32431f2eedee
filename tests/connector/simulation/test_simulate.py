"""`connector simulate` around the replays: which runs are done, where, what is kept of them, and what is refused."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import multiprocessing.util
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from support import replay_factory

from connector.backend import Backend
from connector.errors import TryAgainLater, UsageError
from connector.progress import Reporter
from connector.simulation import workers
from connector.simulation.corpus import Corpus
from connector.simulation.replay import ReplayOptions, Round
from connector.simulation.simulate import Plan, SimulationResult, check_start, simulate
from connector.simulation.workers import Count, Job, Replay, check_classifiers, run_all
from connector.sync.signals import Stopped

SAID = {f"t{number}": [("x", "ab"[number % 2]), ("y", "a")] for number in range(12)}
CORPUS = Corpus({task: f"text {task}" for task in SAID}, SAID, [("a test", "a")])
PLAN = Plan(["random", "margin"], ["logistic"], "margin", seeds=2, options=ReplayOptions(3, 2, 4, 2))
URLS = ("http://one", "http://two")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where every made-up run leaves a file, with the address of its ML backend."""
    made = tmp_path / "log"
    made.mkdir()
    monkeypatch.setenv(replay_factory.LOG, str(made))
    return made


def runs_in(log: Path) -> set[str]:
    """The runs since this was last asked."""
    found = {path.name for path in log.iterdir()}
    for name in found:
        (log / name).unlink()
    return found


@contextlib.contextmanager
def raised_at_once(number: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """A signal raises Stopped wherever the program is, as around ML backends of our own."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    before = signal.signal(number, stop)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def nowhere(
    corpus: Corpus, project: str, classifiers: Sequence[str], count: int, kept: Path, progress: Count
) -> Iterator[Any]:
    """Stands for ML backends, of which a made-up replay needs the addresses only."""
    yield list(URLS[:count])


def simulated(out: Path, plan: Plan = PLAN, corpus: Corpus = CORPUS, jobs: int = 1) -> SimulationResult:
    return simulate(corpus, plan, out, replay_factory.replay, Reporter(), jobs=jobs, with_plot=False, serve=nowhere)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays here instead of in worker processes: for tests of what is kept and written."""

    def one_by_one(
        jobs: Sequence[Job],
        replay: Replay,
        corpus: Corpus,
        options: ReplayOptions,
        urls: Sequence[str],
        done: Callable[[Job, list[Round]], None],
        progress: Count,
    ) -> None:
        for job in jobs:
            done(job, replay(corpus, *job, options, Backend(urls[0]), progress))

    monkeypatch.setattr("connector.simulation.simulate.run_all", one_by_one)


# -- ML backends -------------------------------------------------------------------------------------------------------


def test_a_classifier_that_the_backend_does_not_know_is_refused_with_those_it_knows() -> None:
    class Knowing(Backend):
        def classifiers(self) -> list[str]:
            return ["logistic", "auto"]

    backend = Knowing("http://in-process")
    check_classifiers(backend, ["auto", "logistic"])
    with pytest.raises(UsageError, match=r"^--classifier oracle: the ML backend has only logistic, auto\.$"):
        check_classifiers(backend, ["logistic", "oracle"])


# -- workers -----------------------------------------------------------------------------------------------------------


def all_of(
    jobs: Sequence[Job], progress: Count = lambda count, total: None
) -> tuple[dict[Job, int], list[tuple[int, int]]]:
    """How many rounds each job ended with, in two processes, and what was told of the progress."""
    done: dict[Job, int] = {}
    counted: list[tuple[int, int]] = []

    def count(rounds: int, total: int) -> None:
        progress(rounds, total)
        counted.append((rounds, total))

    run_all(
        jobs,
        replay_factory.replay,
        CORPUS,
        PLAN.options,
        URLS,
        lambda job, rounds: done.update({job: len(rounds)}),
        count,
    )
    return done, counted


def test_every_run_is_done_once_and_both_backends_have_work(log: Path) -> None:
    short = Job("short", "logistic", 0)
    done, counted = all_of([*PLAN.jobs, short])
    assert done == dict.fromkeys(PLAN.jobs, 4) | {short: 3}
    assert {path.read_text() for path in log.iterdir()} == set(URLS)
    assert counted[-1] == (20, 20), "a run that ends early counts as a whole one"
    assert counted == sorted(counted)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("fault", "kind", "sentence"),
    [
        (
            "dies",
            TryAgainLater,
            r"A worker process died, perhaps for lack of memory .* run the same command again to continue",
        ),
        pytest.param(
            "away",
            TryAgainLater,
            r"The ML backend of a worker failed \(.*does not answer\.\) Finished runs are kept",
            marks=pytest.mark.nightly,
        ),
        ("wrong", UsageError, "The data are wrong"),
        pytest.param("unforeseen", ValueError, "nobody thought of this", marks=pytest.mark.nightly),
    ],
)
def test_a_failure_ends_all_and_leaves_no_process(
    log: Path, monkeypatch: pytest.MonkeyPatch, fault: str, kind: type[Exception], sentence: str
) -> None:
    monkeypatch.setenv(replay_factory.FAULT, f"margin 0 {fault}")
    with pytest.raises(kind, match=sentence):
        all_of(PLAN.jobs)
    assert multiprocessing.active_children() == []


def test_a_signal_while_workers_start_leaves_no_process_and_no_traceback(
    log: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    spawn = multiprocessing.util.spawnv_passfds  # type: ignore[attr-defined]
    workers: list[int] = []

    def interrupted(path: Any, words: list[Any], passed: Any) -> Any:
        process: int = spawn(path, words, passed)
        if any("spawn_main" in str(word) for word in words):
            workers.append(process)
            signal.raise_signal(signal.SIGTERM)  # the worker waits for what it is to do
        return process

    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", interrupted)
    with raised_at_once(), pytest.raises(Stopped):
        all_of(PLAN.jobs)
    assert multiprocessing.active_children() == []
    for worker in workers:
        with contextlib.suppress(ChildProcessError):  # it is waited for already
            os.waitpid(worker, 0)
    assert workers
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_replays_interrupts_nothing_and_ends_all(log: Path, number: signal.Signals) -> None:
    heard: list[int] = []

    def twice(count: int, total: int) -> None:
        for _ in range(2):
            signal.raise_signal(number)
            heard.append(count)

    with raised_at_once(number), pytest.raises(Stopped):
        all_of(PLAN.jobs, twice)
    assert len(heard) == 2, "an exception in the middle of the work could leave a lock taken"
    assert multiprocessing.active_children() == []


def test_a_signal_at_the_last_moment_is_not_lost(log: Path) -> None:
    def last(count: int, total: int) -> None:
        if count == total:
            signal.raise_signal(signal.SIGTERM)

    with raised_at_once(), pytest.raises(Stopped):
        all_of([Job("margin", "logistic", 0)], last)
    assert multiprocessing.active_children() == []


def test_a_signal_before_the_replays_is_not_lost_with_its_exception(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_asked_to_stop", threading.Event())
    before = {number: signal.signal(number, workers._stop) for number in workers.SIGNALS}
    try:
        with contextlib.suppress(Stopped):  # as Python does in a finalizer
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            all_of(PLAN.jobs)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert multiprocessing.active_children() == []


def test_a_worker_names_its_backend_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(job: Job) -> list[Round]:
        raise TryAgainLater("The ML backend at http://nowhere does not answer.")

    monkeypatch.setattr(workers, "_work", unavailable)
    with pytest.raises(
        TryAgainLater, match=r"The ML backend of a worker failed \(.*does not answer\.\) Finished runs are"
    ):
        workers._replay(PLAN.jobs[0])


# -- files -------------------------------------------------------------------------------------------------------------


def test_the_files_are_the_same_whatever_the_number_of_processes_and_what_was_kept(
    log: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    one, two, again = (tmp_path / name for name in ("one", "two", "again"))
    simulated(two, jobs=2)
    request.getfixturevalue("in_this_process")
    assert simulated(one).notes == []
    simulated(again, replace(PLAN, seeds=1))
    runs_in(log)
    done = simulated(again)
    assert runs_in(log) == {"random logistic 1", "margin logistic 1"}
    assert done.notes == [f"2 of 4 runs were already in {again / 'runs'}."]
    for name in ("results.json", "results.csv"):
        assert (two / name).read_bytes() == (one / name).read_bytes() == (again / name).read_bytes()
    results = json.loads((one / "results.json").read_text())
    assert results["default"] == "margin"
    assert [(run["strategy"], run["classifier"], run["seed"]) for run in results["runs"]] == [
        ("margin", "logistic", 0),
        ("margin", "logistic", 1),
        ("random", "logistic", 0),
        ("random", "logistic", 1),
    ]
    assert [one["labels"] for one in results["runs"][0]["rounds"]] == [8, 10, 12, 14]
    assert results["options"]["seeds"] == 2
    assert (one / "results.csv").read_text().count("\n") == 17
    assert done.files == [str(again / "results.json"), str(again / "results.csv")]
    assert done.to_json()["lines"][0]["strategy"] == "margin"


def test_a_simulation_that_failed_goes_on_from_there(
    log: Path, in_this_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    simulated(whole)
    monkeypatch.setenv(replay_factory.FAULT, "random 1 away")  # the third of four
    with pytest.raises(TryAgainLater):
        simulated(out)
    assert not (out / "results.json").exists()
    monkeypatch.delenv(replay_factory.FAULT)
    runs_in(log)
    simulated(out)
    assert runs_in(log) == {"random logistic 1", "margin logistic 1"}
    assert (out / "results.json").read_bytes() == (whole / "results.json").read_bytes()


def test_a_kept_run_that_cannot_be_read_is_done_again(log: Path, in_this_process: None, tmp_path: Path) -> None:
    simulated(tmp_path)
    runs_in(log)
    (half,) = (tmp_path / "runs").glob("margin-logistic-1-*.json")
    half.write_text('{"strategy": ')
    simulated(tmp_path)
    assert runs_in(log) == {"margin logistic 1"}


@pytest.mark.parametrize("changed", ["data", "options", "encoder"])
def test_runs_under_other_conditions_are_not_kept_ones(
    log: Path, in_this_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    simulated(tmp_path)
    runs_in(log)
    plan, corpus = PLAN, CORPUS
    if changed == "data":
        corpus = replace(CORPUS, test=[("another", "a")])
    elif changed == "options":
        plan = replace(PLAN, options=replace(PLAN.options, batch=1))
    else:
        monkeypatch.setenv("ML_BACKEND_ENCODER", "another")
    simulated(tmp_path, plan, corpus)
    assert len(runs_in(log)) == 4


def test_that_the_data_were_used_up_is_told(log: Path, in_this_process: None, tmp_path: Path) -> None:
    done = simulated(tmp_path, replace(PLAN, strategies=["short", "margin"]))
    assert done.summary.rounds == 3
    assert done.notes == [
        "The data had no more labels before round 3: short after round 2. Means are over the start and the 2 rounds "
        "that every run has."
    ]


def test_the_plot_is_drawn_unless_it_is_not_wanted(log: Path, in_this_process: None, tmp_path: Path) -> None:
    done = simulate(CORPUS, PLAN, tmp_path, replay_factory.replay, Reporter(), jobs=1, serve=nowhere)
    assert done.files[-1] == str(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (ReplayOptions(3, 2, 13, 2), "--initial 13x2 needs 13 tasks with 2 labels, but the data have only 12"),
        (ReplayOptions(3, 2, 4, 3), "--initial 4x3 needs 4 tasks with 3 labels, but the data have only 0"),
        (ReplayOptions(3, 2, 12, 2), "--initial 12x2 uses up all labels of the data"),
        (ReplayOptions(3, 2, 4, 2, 1), "--initial 4x2 gives a task more labels than --max-annotations-per-task 1"),
        (ReplayOptions(3, 2, 4, 2, cost="time"), "--cost time needs to know how long answers took: a column seconds"),
    ],
)
def test_a_start_that_the_data_do_not_hold_is_refused(tmp_path: Path, options: ReplayOptions, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        simulated(tmp_path / "out", replace(PLAN, options=options))
    assert not (tmp_path / "out").exists()


def test_the_times_of_images_are_no_matter_of_length() -> None:
    images = replace(CORPUS, kind="image", seconds={("t1", "ann"): 3.0})
    with pytest.raises(UsageError, match="--cost time goes by the length of texts, and these are images"):
        check_start(images, ReplayOptions(3, 2, 4, 2, cost="time"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match=r"out cannot be written: (File exists|Not a directory)\."):
        simulated(tmp_path / "out")


def test_a_signal_that_python_swallows_in_a_finalizer_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []
    for error in (Stopped(), ValueError("seen")):
        workers._report_unraisable(seen.append, SimpleNamespace(exc_value=error))
    assert [str(swallowed.exc_value) for swallowed in seen] == ["seen"]
    assert capsys.readouterr().err == ""
