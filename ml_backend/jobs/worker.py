"""Training in a process of its own: what happens to it, running out of memory included, happens to no request."""

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
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.settings import Settings
from ml_backend.storage import locks

if TYPE_CHECKING:
    from ml_backend.project import Project
    from ml_backend.training.train import TrainingRequest

_NICER = 10  # requests are answered first where both want the processor
_WAITING = ProgressUpdate("waiting for another server", None, 0, 0, 0.0, None)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class TrainingTask:
    """What a training process is to do.

    `finetune`: encoders for the trainings to come, instead of a model. `fingerprint`: the sentence encoder's, where it
    is known already: then weights are loaded only where there is something to embed. `stated`: by the connector,
    which knows the annotators.
    """

    project: str
    request: "TrainingRequest"
    finetune: bool = False
    fingerprint: str | None = None
    stated: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """What came of a task: the model version, and whether encoders are due to be fine-tuned on the same labels."""

    version: str | None = None
    due: bool = False


class WorkerDied(Exception):
    """The process ended in the middle of its task."""


class UnexpectedFailure(Exception):
    """An error that nobody foresaw, by its name and its traceback in the other process."""


class _ServerGone(Exception):
    """The server has ended."""


class Worker:
    """A process that trains, started when it is first needed and anew when it has ended."""

    def __init__(self, settings: Settings) -> None:
        """Start nothing yet."""
        self._settings = settings
        self._lock = Lock()
        self._process: BaseProcess | None = None
        # Ahead of those that close whoever has us: at the end of Python the last registered is first.
        atexit.register(_kill, weakref.ref(self))
        self._connection: Connection | None = None

    def run(self, task: TrainingTask, report: Callable[[ProgressUpdate], None]) -> TrainingResult:
        """Do a task, calling `report` with each update; raises BackendError, WorkerDied. For one thread at a time."""
        process, connection = self._started()
        try:
            connection.send(task)
        except OSError as error:
            raise self._died(process) from error
        while True:
            try:
                told = connection.recv()
            except (EOFError, OSError) as error:
                raise self._died(process) from error
            if isinstance(told, TrainingResult):
                return told
            if not isinstance(told, ProgressUpdate):
                raise told
            try:
                report(told)
            except BaseException:
                self.kill()  # what it has yet to tell is of no task that comes
                raise

    def kill(self) -> None:
        """End the process at once, in whatever it does; nothing it writes can be half there."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.join()
            self._process = None

    def _died(self, process: BaseProcess) -> WorkerDied:
        process.join(5)
        self.kill()
        return WorkerDied(_of_death(process.exitcode))

    def _started(self) -> tuple[BaseProcess, Connection]:
        with self._lock:
            if self._process is None or not self._process.is_alive():
                # Neither PyTorch's threads nor ours survive a fork.
                context = multiprocessing.get_context("spawn")
                ours, theirs = context.Pipe()
                # No daemon: those may start no processes. But like one it must not be waited for when the server ends.
                process = context.Process(target=_main, args=(theirs, self._settings), name="training")
                process.start()
                theirs.close()  # so that its end is the pipe's end
                self._process, self._connection = process, ours
            assert self._connection is not None
            return self._process, self._connection


def _of_death(code: int | None) -> str:
    if code == -getattr(signal, "SIGKILL", 9):
        return (
            "The training process was killed, as the system does where memory runs out: give the machine more, or train"
            " a smaller model."
        )
    return f"The training process ended in the middle (exit code {code}); the server's log may say why."


def _kill(reference: "weakref.ref[Worker]") -> None:
    worker = reference()
    if worker is not None:
        worker.kill()


def _main(connection: Connection, settings: Settings) -> None:
    try:
        _serve(connection, settings)
    except _ServerGone:
        os._exit(0)  # without waiting for processes of ours that wait for more to do: they follow


def _serve(connection: Connection, settings: Settings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's business, and so are we
    if hasattr(os, "nice"):
        os.nice(_NICER)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    from ml_backend.features.encoder import Encoder
    from ml_backend.project import Projects

    def send(told: object) -> None:
        try:
            connection.send(told)
        except OSError as error:
            raise _ServerGone from error

    encoder = Encoder(settings.encoder, settings.threads)
    projects = Projects(settings, encoder)
    while True:
        try:
            task: TrainingTask = connection.recv()
        except (EOFError, OSError) as error:
            raise _ServerGone from error
        if task.fingerprint is not None:
            encoder.expect(task.fingerprint)
        try:
            send(_do(projects.create(task.project), task, send))
        except _ServerGone:
            raise
        except BackendError as error:
            send(error)
        except Exception as error:
            send(UnexpectedFailure(type(error).__name__, traceback.format_exc()))


def _do(project: "Project", task: TrainingTask, send: Callable[[ProgressUpdate], None]) -> TrainingResult:
    work: locks.Work = "finetuning" if task.finetune else "training"
    with locks.hold(project.directory, work, lambda: send(_WAITING)):
        progress = Progress(send)
        if task.finetune:
            project.finetune(task.request, progress)
            return TrainingResult()
        version = project.train(task.request, progress)
        return TrainingResult(version, project.finetuning_is_due(task.request))
