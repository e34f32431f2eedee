"""Run training in a separate process, so that a crash (for example out of memory) cannot affect requests."""

import atexit
import logging
import multiprocessing
import os
import signal
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock
from typing import TYPE_CHECKING

from ml_backend.errors import BackendError
from ml_backend.memory import release_memory
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.settings import Settings
from ml_backend.storage import locks

if TYPE_CHECKING:
    from ml_backend.project import Project
    from ml_backend.training.request import TrainingRequest

_NICENESS = 10  # requests come first if both need the processor
_WAITING = ProgressUpdate("waiting for another server", None, 0, 0, 0.0, None)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class TrainingTask:
    """What a training process is to do.

    If `finetune`, it fine-tunes encoders for later trainings instead of training a model. `fingerprint` is that of the
    encoder, if the server has loaded it. Then the process loads the weights only to embed texts.
    `from_connector`: the labels come from the connector, which knows the annotators.
    """

    project: str
    request: "TrainingRequest"
    finetune: bool = False
    fingerprint: str | None = None
    from_connector: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """The result of a task: the model version, and whether encoders are to be fine-tuned on the same labels."""

    version: str | None = None
    finetuning_due: bool = False


class WorkerDied(Exception):
    """The process ended during its task."""


class UnexpectedFailure(Exception):
    """An error of any other kind, as its name and its traceback in the other process."""


class _ServerGone(Exception):
    """The server has ended."""


class Worker:
    """A process that trains. It is started on first need, and again if it has ended."""

    def __init__(self, settings: Settings) -> None:
        """Start nothing yet."""
        self._settings = settings
        self._lock = Lock()
        self._process: BaseProcess | None = None
        # Runs before the handlers of our owners, because Python calls the last registered handler first.
        atexit.register(_kill, weakref.ref(self))
        self._connection: Connection | None = None

    def run(self, task: TrainingTask, report: Callable[[ProgressUpdate], None]) -> TrainingResult:
        """Do a task, and call `report` at each update. Only one thread at a time may call it.

        Raises BackendError, WorkerDied, or UnexpectedFailure.
        """
        process, connection = self._started()
        try:
            connection.send(task)
        except OSError as error:
            raise self._died(process) from error
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError) as error:
                raise self._died(process) from error
            if isinstance(message, TrainingResult):
                return message
            if not isinstance(message, ProgressUpdate):
                raise message
            try:
                report(message)
            except BaseException:
                self.kill()  # its later messages would be mistaken for those of the next task
                raise

    def kill(self) -> None:
        """End the process at once. Everything that it writes is either complete or absent."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.join()
            self._process = None

    def _died(self, process: BaseProcess) -> WorkerDied:
        process.join(5)
        self.kill()
        return WorkerDied(_cause_of_death(process.exitcode))

    def _started(self) -> tuple[BaseProcess, Connection]:
        with self._lock:
            if self._process is None or not self._process.is_alive():
                # Neither PyTorch's threads nor ours survive a fork.
                context = multiprocessing.get_context("spawn")
                ours, theirs = context.Pipe()
                # Not a daemon, because a daemon may start no processes. `atexit` ends it with the server.
                process = context.Process(target=_main, args=(theirs, self._settings), name="training")
                process.start()
                theirs.close()  # so that the pipe ends with the process
                self._process, self._connection = process, ours
            assert self._connection is not None
            return self._process, self._connection


def _cause_of_death(code: int | None) -> str:
    if code == -getattr(signal, "SIGKILL", 9):
        return (
            "The training process was killed, as the system does when memory runs out. Give the machine more memory,"
            " or train a smaller model."
        )
    return f"The training process ended during the training (exit code {code}). The server's log may have the reason."


def _kill(reference: "weakref.ref[Worker]") -> None:
    worker = reference()
    if worker is not None:
        worker.kill()


def _main(connection: Connection, settings: Settings) -> None:
    try:
        _serve(connection, settings)
    except _ServerGone:
        os._exit(0)  # does not wait for our own processes, which end after this one


def _serve(connection: Connection, settings: Settings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles Ctrl-C and ends this process
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    from ml_backend.features.encoder import Encoder
    from ml_backend.project import Projects

    def send(message: object) -> None:
        try:
            connection.send(message)
        except OSError as error:
            raise _ServerGone from error

    projects = Projects(settings, Encoder(settings.encoder, settings.threads))
    while True:
        try:
            task: TrainingTask = connection.recv()
        except (EOFError, OSError) as error:
            raise _ServerGone from error
        try:
            project = projects.create(task.project)
            if task.fingerprint is not None:
                project.features.expect(task.fingerprint)
            send(run_task(project, task, send))
        except _ServerGone:
            raise
        except BackendError as error:
            send(error)
        except Exception as error:
            send(UnexpectedFailure(type(error).__name__, traceback.format_exc()))
        release_memory()


def run_task(project: "Project", task: TrainingTask, report: Callable[[ProgressUpdate], None]) -> TrainingResult:
    """Do a task in this process, and call `report` at each update. Raises BackendError."""
    work: locks.Work = "finetuning" if task.finetune else "training"
    with locks.hold(project.directory, work, lambda: report(_WAITING)):
        progress = Progress(report)
        if task.finetune:
            project.finetune(task.request, progress)
            return TrainingResult()
        version = project.train(task.request, progress)
        return TrainingResult(version, project.finetuning_is_due(task.request))
