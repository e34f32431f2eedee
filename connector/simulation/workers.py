"""Replays in parallel: worker processes, each with its own ML backend. All of them are ended, whatever happens."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from connector.backend import Backend
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.retry import Retries
from connector.simulation.corpus import Corpus
from connector.simulation.local_backend import model_directory, start_ml_backend, stop_ml_backend
from connector.simulation.processes import HOST, free_port, signals_later
from connector.simulation.replay import ReplayOptions, Round, send_contents
from connector.sync.signals import Stopped

POLL_SECONDS = 0.02  # a training takes about a tenth of a second
WATCH_SECONDS = 0.5
PATIENCE_SECONDS = 10  # a local ML backend that does not answer for so long has died
QUICK_CLASSIFIER = "logistic"  # for a training whose model is deleted
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Variables of the user's own ML backend, which ours must not inherit.
NOT_INHERITED = tuple(
    f"ML_BACKEND_{name}" for name in ("URL", "HOST", "PORT", "MODEL_DIR", "TOKEN", "USERNAME", "PASSWORD")
)
UNNEEDED = ("LABEL_STUDIO_", "CONNECTOR_")  # beginnings of variables

Count = Callable[[int, int], None]

_asked_to_stop = threading.Event()  # a signal has come since the ML backends were started


class Job(NamedTuple):
    """One run."""

    strategy: str
    classifier: str
    seed: int


# (corpus, strategy, classifier, seed, options, backend, progress) -> the rounds, the start first
Replay = Callable[[Corpus, str, str, int, ReplayOptions, Backend, Count], list[Round]]


@contextlib.contextmanager
def serve_backends(
    corpus: Corpus, project: str, classifiers: Sequence[str], count: int, cache: Path, progress: Count
) -> Iterator[list[str]]:
    """Runs ML backends with one thread each for the length of the context, and gives their addresses.

    They have the embedded texts of all tasks. One ML backend with all cores embeds what `cache` does not have yet. The
    others run on copies of `cache`. Within the context, SIGTERM has the same effect as Ctrl-C.

    Args:
        corpus: the texts.
        project: the key of the texts in the ML backends.
        classifiers: the names of the classifiers that the runs use.
        count: the number of ML backends.
        cache: the directory that keeps the embedded texts.
        progress: called with the number of texts done and of all texts.

    Raises:
        UsageError: the ML backend does not have one of the classifiers.
    """
    environment = {
        name: value for name, value in os.environ.items() if name not in NOT_INHERITED and not name.startswith(UNNEEDED)
    }
    temporary = Path(tempfile.mkdtemp(prefix="connector-simulate-"))
    environment["TMPDIR"] = str(temporary)  # so that temporary files of the servers are deleted, too
    environment["ML_BACKEND_FINETUNE"] = "now"  # within the training, so that it affects the same round in every replay
    directories = [temporary / f"worker-{number}" for number in range(count)]
    _asked_to_stop.clear()
    before, hook = {number: signal.signal(number, _stop) for number in SIGNALS}, sys.unraisablehook
    sys.unraisablehook = partial(_report_unraisable, hook)
    try:
        _reach_this_machine()
        server = start_ml_backend(cache, environment=environment)
        backend = Backend(server.url, poll_seconds=POLL_SECONDS)
        check_classifiers(backend, classifiers)
        prepare(corpus, backend, project, progress)
        backend.close()
        stop_ml_backend(cache)
        for directory in directories:
            shutil.copytree(model_directory(cache), model_directory(directory))
        ports: set[int] = set()
        while len(ports) < count:  # a free port may come twice, until its server listens
            ports.add(free_port())
        with ThreadPoolExecutor(count) as threads:
            starting = [
                threads.submit(start_ml_backend, directory, port=port, environment=environment, threads=1)
                for directory, port in zip(directories, sorted(ports), strict=True)
            ]
        yield [server.result().url for server in starting]
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for directory in (cache, *directories):
            stop_ml_backend(directory)
        shutil.rmtree(temporary)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def check_classifiers(backend: Backend, names: Sequence[str]) -> None:
    """Raises UsageError if the ML backend does not have one of the classifiers."""
    available = backend.classifiers()
    for name in names:
        if name not in available:
            raise UsageError(f"--classifier {name}: the ML backend has only {', '.join(available)}.")


def prepare(corpus: Corpus, backend: Backend, project: str, progress: Count) -> None:
    """Makes the ML backend embed the texts of all tasks, which are numbered from 1 in their order."""
    texts = dict(enumerate(corpus.tasks.values(), start=1))
    send_contents(corpus, backend, project)
    # A training computes the features of all texts. Any two labels of two different texts are enough.
    first, text = next(iter(texts.items()))
    second = next(number for number, other in texts.items() if other != text)
    labels = {first: 0, second: 1}
    backend.train(
        project,
        corpus.classes,
        labels,
        classifier=QUICK_CLASSIFIER,
        progress=lambda stage, share: progress(round(share * len(texts)), len(texts)),
    )
    backend.forget_model(project)  # another version of the ML backend might not read it


def run_all(
    jobs: Sequence[Job],
    replay: Replay,
    corpus: Corpus,
    options: ReplayOptions,
    urls: Sequence[str],
    done: Callable[[Job, list[Round]], None],
    progress: Count,
) -> None:
    """Replays all jobs in one process per ML backend.

    Args:
        jobs: the runs.
        replay: replays one run.
        corpus: the labelled texts.
        options: how many rounds and labels.
        urls: the addresses of the ML backends.
        done: called with each job and its rounds.
        progress: called with the number of rounds done and of all rounds.

    Raises:
        TryAgainLater: a worker or its ML backend died. All others were ended.
        ConnectorError: what the first replay raised that failed. All others were ended.
        Stopped: SIGTERM or Ctrl-C came. All were ended.
    """
    spawn = multiprocessing.get_context("spawn")
    free: SimpleQueue[str] = spawn.SimpleQueue()
    for url in urls:
        free.put(url)
    rounds = spawn.Value("q", 0)
    total = len(jobs) * (options.rounds + 1)
    earlier_children = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        len(urls), mp_context=spawn, initializer=_open, initargs=(replay, corpus, options, free, rounds)
    )
    # An exception from a signal, at any moment, could leave a lock of the pool or of a future taken. The end of the
    # pool would then wait for ever, or a second signal would keep it from ending the workers.
    with signals_later() as signals:
        try:
            # Workers inherit that Ctrl-C is blocked, from their first moment on: only this process handles it. Threads
            # of libraries receive it all the same, and a worker that is interrupted at its start prints a traceback.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                running: dict[Future[list[Round]], Job] = {pool.submit(_replay, job): job for job in jobs}
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            while running:
                ended, _ = wait(running, timeout=WATCH_SECONDS, return_when=FIRST_COMPLETED)
                failed = [run for run in ended if run.exception() is not None]
                for run in ended.difference(failed):
                    done(running.pop(run), run.result())
                for run in failed:
                    run.result()
                progress(min(rounds.value, total), total)
                if signals or _asked_to_stop.is_set():
                    raise Stopped
        except BaseException as error:
            for child in set(multiprocessing.active_children()) - earlier_children:
                child.terminate()  # no one needs the results of the others
            if isinstance(error, BrokenProcessPool):
                raise TryAgainLater(
                    "A worker process died, perhaps for lack of memory (--jobs 1 needs the least). Finished runs are "
                    "kept: run the same command again to continue."
                ) from error
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            free.close()


# -- in a worker process -----------------------------------------------------------------------------------------------

_work: Callable[[Job], list[Round]] | None = None


def _open(
    replay: Replay, corpus: Corpus, options: ReplayOptions, free: SimpleQueue[str], rounds: Synchronized[int]
) -> None:
    """Keeps what all jobs of this process share. Called once per process."""
    global _work
    backend = Backend(free.get(), retries=Retries(PATIENCE_SECONDS), poll_seconds=POLL_SECONDS)

    def work(job: Job) -> list[Round]:
        counted = 0

        def count(done: int, _: int) -> None:
            nonlocal counted
            with rounds.get_lock():
                rounds.value += done - counted
            counted = done

        replayed = replay(corpus, job.strategy, job.classifier, job.seed, options, backend, count)
        count(options.rounds + 1, 0)  # even if it ended early
        return replayed

    _work = work


def _replay(job: Job) -> list[Round]:
    assert _work is not None
    try:
        return _work(job)
    except TryAgainLater as error:
        raise TryAgainLater(
            f"The ML backend of a worker failed ({error}) Finished runs are kept: run the same command again to "
            "continue."
        ) from None
    except UsageError as error:  # only plain errors can be sent to another process
        raise UsageError(str(error)) from None
    except ConnectorError as error:
        raise ConnectorError(str(error)) from None


def _report_unraisable(hook: Callable[[Any], object], swallowed: Any) -> None:
    """Says nothing of a Stopped that Python swallows in a finalizer: the flag has the signal."""
    if not isinstance(swallowed.exc_value, Stopped):
        hook(swallowed)


def _stop(number: int, frame: FrameType | None) -> None:
    _asked_to_stop.set()  # in case a finalizer or a weak reference's callback runs now, which swallows exceptions
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # a second signal must not interrupt the end and leave processes
    raise Stopped


def _reach_this_machine() -> None:
    """Makes this process and its workers bypass the environment's proxy for this machine."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = os.environ.get(name, "").split(",")
        if HOST not in hosts:
            os.environ[name] = ",".join(filter(None, [*hosts, HOST]))
