"""Replays in parallel: worker processes, each with an ML backend of its own, all of them ended whatever happens."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from connector.annotations.records import digest
from connector.backend import Backend
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.retry import Retries
from connector.simulation.corpus import Corpus
from connector.simulation.local_backend import model_directory, start_ml_backend, stop_ml_backend
from connector.simulation.processes import HOST, free_port, signals_later
from connector.simulation.replay import ReplayOptions, Round
from connector.sync.signals import Stopped

POLL_SECONDS = 0.02  # a training takes about a tenth of a second
WATCH_SECONDS = 0.5
PATIENCE_SECONDS = 10  # a backend on this machine that does not answer for so long is gone
QUICK_CLASSIFIER = "logistic"  # for a training that is forgotten
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Of a shell's variables what belongs to the user's own ML backend, and what none needs.
NOT_INHERITED = tuple(
    f"ML_BACKEND_{name}" for name in ("URL", "HOST", "PORT", "MODEL_DIR", "TOKEN", "USERNAME", "PASSWORD")
)
OF_OTHERS = ("LABEL_STUDIO_", "CONNECTOR_")

Count = Callable[[int, int], None]


class Job(NamedTuple):
    """One run."""

    strategy: str
    classifier: str
    seed: int


# (corpus, strategy, classifier, seed, options, backend, progress) -> one dictionary a round, the start first
Replay = Callable[[Corpus, str, str, int, ReplayOptions, Backend, Count], list[Round]]


@contextlib.contextmanager
def backends(
    corpus: Corpus, project: str, classifiers: Sequence[str], count: int, kept: Path, progress: Count
) -> Iterator[list[str]]:
    """Addresses of `count` ML backends of one thread each, in which `project` holds the texts of all tasks, embedded.

    One backend embeds with all cores what the directory `kept` does not hold yet, and copies of it serve. They run as
    long as the context does; within it SIGTERM is as Ctrl-C. Raises UsageError for a classifier that they do not know.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in NOT_INHERITED and not name.startswith(OF_OTHERS)
    }
    temporary = Path(tempfile.mkdtemp(prefix="connector-simulate-"))
    environment["TMPDIR"] = str(temporary)  # what servers leave there goes with it
    environment["ML_BACKEND_FINETUNE"] = "now"  # within the training: what comes later would come at another round
    places = [temporary / f"worker-{number}" for number in range(count)]
    before = {number: signal.signal(number, _stop) for number in SIGNALS}
    try:
        _reach_this_machine()
        server = start_ml_backend(kept, environment=environment)
        backend = Backend(server.url, poll_seconds=POLL_SECONDS)
        check_classifiers(backend, classifiers)
        prepare(corpus, backend, project, progress)
        backend.close()
        stop_ml_backend(kept)
        for directory in places:
            shutil.copytree(model_directory(kept), model_directory(directory))
        ports: set[int] = set()
        while len(ports) < count:  # a port that was free is so until its server listens
            ports.add(free_port())
        with ThreadPoolExecutor(count) as threads:
            starting = [
                threads.submit(start_ml_backend, directory, port=port, environment=environment, threads=1)
                for directory, port in zip(places, sorted(ports), strict=True)
            ]
        yield [one.result().url for one in starting]
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for directory in (kept, *places):
            stop_ml_backend(directory)
        shutil.rmtree(temporary)
        for number, handler in before.items():
            signal.signal(number, handler)


def check_classifiers(backend: Backend, names: Sequence[str]) -> None:
    """Raises UsageError for a name that the backend does not know, with those that it knows."""
    known = backend.classifiers()
    for name in names:
        if name not in known:
            raise UsageError(f"--classifier {name}: the ML backend knows {', '.join(known)}; choose among them.")


def prepare(corpus: Corpus, backend: Backend, project: str, progress: Count) -> None:
    """Has the backend embed the texts of all tasks, which are numbered from 1 in their order."""
    texts = dict(enumerate(corpus.tasks.values(), start=1))
    item = {task: number for number, task in enumerate(corpus.tasks, start=1)}
    backend.put_items(project, list(texts), [digest(text) for text in texts.values()], lambda ids: texts)
    # A training computes the features of everything; any labels of two texts do.
    labels: dict[int, int] = {}
    for task, rows in corpus.annotations.items():
        position = corpus.classes.index(rows[0][1])
        if position not in labels.values():
            labels[item[task]] = position
    if len(labels) < 2:
        first, second = list(item.values())[:2]
        labels = {first: 0, second: 1}
    backend.train(
        project,
        corpus.classes,
        labels,
        classifier=QUICK_CLASSIFIER,
        progress=lambda stage, share: progress(round(share * len(texts)), len(texts)),
    )
    backend.forget_model(project)  # which another version of the ML backend might not read


def run_all(
    jobs: Sequence[Job],
    replay: Replay,
    corpus: Corpus,
    options: ReplayOptions,
    urls: Sequence[str],
    done: Callable[[Job, list[Round]], None],
    progress: Count,
) -> None:
    """Replays all jobs, one at a time for each of `urls`, and hands each run to `done` as it ends.

    `progress` is told the rounds done. The first failure ends all: TryAgainLater when a worker or its backend is gone,
    else what the replay raised.
    """
    spawn = multiprocessing.get_context("spawn")
    free: SimpleQueue[str] = spawn.SimpleQueue()
    for url in urls:
        free.put(url)
    rounds = spawn.Value("q", 0)
    total = len(jobs) * (options.rounds + 1)
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        len(urls), mp_context=spawn, initializer=_open, initargs=(replay, corpus, options, free, rounds)
    )
    try:
        # Blocked here, Ctrl-C is so in the workers from their first moment on: it is for the one that started them.
        # Threads of libraries take it all the same, and a worker whose start is broken off ends with a traceback.
        with signals_later():
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                running: dict[Future[list[Round]], Job] = {pool.submit(_replay, job): job for job in jobs}
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        while running:
            ended, _ = wait(running, timeout=WATCH_SECONDS, return_when=FIRST_COMPLETED)
            failed = [one for one in ended if one.exception() is not None]
            for one in ended.difference(failed):
                done(running.pop(one), one.result())
            for one in failed:
                one.result()
            progress(min(rounds.value, total), total)
    except BaseException as error:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()  # nobody waits for what they are at
        if isinstance(error, BrokenProcessPool):
            raise TryAgainLater(
                "A worker process died, perhaps for lack of memory (--jobs 1 needs the least). Finished runs are kept: "
                "the same command goes on from there."
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
    """Keeps what all jobs of this process share; called once in it."""
    global _work
    backend = Backend(free.get(), retries=Retries(PATIENCE_SECONDS), poll_seconds=POLL_SECONDS)

    def work(job: Job) -> list[Round]:
        told = 0

        def count(done: int, _: int) -> None:
            nonlocal told
            with rounds.get_lock():
                rounds.value += done - told
            told = done

        made = replay(corpus, job.strategy, job.classifier, job.seed, options, backend, count)
        count(options.rounds + 1, 0)  # however early it ended
        return made

    _work = work


def _replay(job: Job) -> list[Round]:
    assert _work is not None
    try:
        return _work(job)
    except TryAgainLater as error:
        raise TryAgainLater(
            f"The ML backend of a worker failed ({error}) Finished runs are kept: the same command goes on from there."
        ) from None
    except UsageError as error:  # plain ones travel between processes, whatever their class needs to be made
        raise UsageError(str(error)) from None
    except ConnectorError as error:
        raise ConnectorError(str(error)) from None


def _stop(number: int, frame: FrameType | None) -> None:
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)  # ending takes a moment, and nothing may stay behind
    raise Stopped


def _reach_this_machine() -> None:
    """Has this process and its workers reach this machine whatever the proxy, which could not."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = os.environ.get(name, "").split(",")
        if HOST not in hosts:
            os.environ[name] = ",".join(filter(None, [*hosts, HOST]))
