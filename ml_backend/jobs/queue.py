"""Trainings outside the request: one after the other in a process of their own, their progress and how they end."""

import logging
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from threading import Condition, Thread
from typing import Protocol

from ml_backend.errors import BackendError, Conflict, NotFound
from ml_backend.jobs.records import Job, JobRecords
from ml_backend.jobs.worker import TrainingResult, TrainingTask, UnexpectedFailure, WorkerDied
from ml_backend.progress import ProgressUpdate
from ml_backend.storage.atomic_files import new_name

_IDLE_SECONDS = 600.0  # after so long without work the process goes, and its memory with it
_PAST = 100

SUPERSEDED = "A newer request took its place before it began."
STOPPED = "The server was stopped during the training; start it again."
CANCELLED = "The training was cancelled."

log = logging.getLogger(__name__)


class TrainingWorker(Protocol):
    """What does the work (ml_backend.jobs.worker.Worker)."""

    def run(self, task: TrainingTask, report: Callable[[ProgressUpdate], None]) -> TrainingResult: ...

    def kill(self) -> None: ...


class JobQueue:
    """The jobs of this server, one after the other, so that memory is that of one training.

    A project has one that runs and one that waits at most: a newer request takes the place of the one that waits.
    """

    def __init__(
        self, worker: TrainingWorker, records: JobRecords, ended: Callable[[TrainingTask, TrainingResult], None]
    ) -> None:
        """Do the work in `worker` and keep `records`; `ended` is called when a task is done, before its job is."""
        self._worker = worker
        self._records = records
        self._ended = ended
        self._condition = Condition()
        self._waiting: dict[str, tuple[Job, TrainingTask]] = {}  # by project, the longest waiting first
        self._running: tuple[str, Job] | None = None
        self._stopping: str | None = None  # why the job that runs is to end
        self._past: dict[tuple[str, str], Job] = {}  # the last that have ended, should the disk have failed them
        self._counts: Counter[tuple[str, str]] = Counter()
        self._closed = False
        self._thread = Thread(target=self._loop, name=records.kind, daemon=True)
        self._thread.start()

    def start(self, task: TrainingTask, *, unless: Callable[[TrainingTask], bool] = lambda waiting: False) -> Job:
        """A new job, behind those that run or wait; `unless` the project's task that waits already will do: its job."""
        project = task.project
        with self._condition:
            if project in self._waiting:
                before, waiting = self._waiting[project]
                if unless(waiting):
                    return before
                self._end(project, self._waiting.pop(project)[0], "cancelled", SUPERSEDED, retriable=True)
            job = Job(new_name())
            self._waiting[project] = job, task
            self._records.write(project, job)
            self._condition.notify_all()
        return job

    def get(self, project: str, job: str) -> Job:
        """A job; raises NotFound."""
        with self._condition:
            if self._running is not None and self._running[1].job == job and self._running[0] == project:
                return self._running[1]
            if project in self._waiting and self._waiting[project][0].job == job:
                return self._waiting[project][0]
            found = self._past.get((project, job)) or self._records.read(project, job)
        if found is None:
            raise NotFound("There is no such job; the last ones of a project are kept, so start a new one.")
        return found

    def cancel(self, project: str, job: str) -> Job:
        """End a job that runs or waits; one that has ended stays as it is.

        Raises NotFound, and Conflict where another server on the model directory has the job.
        """
        with self._condition:
            found = self.get(project, job)
            if project in self._waiting and self._waiting[project][0].job == job:
                return self._end(project, self._waiting.pop(project)[0], "cancelled", CANCELLED, retriable=True)
            if self._running is None or self._running[1].job != job:
                if found.active:
                    raise Conflict("Another server on this model directory has the job; cancel it there.")
                return found
            self._stopping = CANCELLED
            self._worker.kill()
            self._condition.wait_for(lambda: self._running is None or self._running[1].job != job, timeout=10)
        return self.get(project, job)

    def is_active(self, project: str) -> bool:
        """Whether a job of the project runs or waits here."""
        with self._condition:
            return project in self._waiting or (self._running is not None and self._running[0] == project)

    def counts(self) -> Counter[tuple[str, str]]:
        """How many jobs there were since the server started, by project and state."""
        with self._condition:
            active = [(project, "queued") for project in self._waiting]
            active += [(self._running[0], "running")] if self._running is not None else []
            return self._counts + Counter(active)

    def close(self, seconds: float) -> None:
        """End all jobs as failed, and the process; waits `seconds` at most."""
        with self._condition:
            self._closed = True
            for project, (job, _) in self._waiting.items():
                self._end(project, job, "failed", STOPPED, retriable=True)
            self._waiting.clear()
            if self._running is not None:
                self._stopping = STOPPED
            self._worker.kill()
            self._condition.notify_all()
        self._thread.join(seconds)

    def _loop(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._closed:
                    if not self._condition.wait(_IDLE_SECONDS):
                        self._worker.kill()
                if self._closed:
                    return
                project = next(iter(self._waiting))
                job, task = self._waiting.pop(project)
                job = replace(job, state="running", stage="starting")
                self._running = project, job
                self._records.write(project, job)
            self._run(project, task)

    def _run(self, project: str, task: TrainingTask) -> None:
        def report(update: ProgressUpdate) -> None:
            with self._condition:
                assert self._running is not None
                self._running = project, self._running[1].at(update)
                self._records.write(project, self._running[1], progress=True)
                if self._stopping is not None:  # it was asked for before there was a process to kill
                    self._worker.kill()

        error, retriable, result = None, False, TrainingResult()
        try:
            result = self._worker.run(task, report)
            self._ended(task, result)
        except WorkerDied as death:
            error, retriable = str(death), True
        except BackendError as refusal:
            error = str(refusal)
        except UnexpectedFailure as unexpected:
            error = _unforeseen(project, *unexpected.args)
        except Exception as unexpected:
            error = _unforeseen(project, type(unexpected).__name__, "".join(traceback.format_exception(unexpected)))
        with self._condition:
            assert self._running is not None
            job = self._running[1]
            stopped, self._stopping, self._running = self._stopping, None, None
            if error is None:
                job = replace(job, stage="done", progress=1.0, seconds_left=0.0, model_version=result.version)
                self._end(project, job, "done", None)
            elif stopped is not None:
                self._end(project, job, "cancelled" if stopped == CANCELLED else "failed", stopped, retriable=True)
            else:
                log.warning("Training of project %s failed: %s", project, error)
                self._end(project, job, "failed", error, retriable=retriable)
            self._condition.notify_all()

    def _end(self, project: str, job: Job, state: str, error: str | None, *, retriable: bool = False) -> Job:
        """Writes how a job has ended; the caller holds the lock."""
        seconds_left = job.seconds_left if state == "done" else None
        ended = replace(job, state=state, error=error, retriable=retriable, seconds_left=seconds_left)  # type: ignore[arg-type]
        self._records.write(project, ended)
        self._past[project, job.job] = ended
        for old in list(self._past)[:-_PAST]:
            del self._past[old]
        self._counts[project, state] += 1
        return ended


def _unforeseen(project: str, name: str, words: str) -> str:
    log.error("Training of project %s failed unexpectedly.\n%s", project, words)
    return f"Training failed unexpectedly ({name}); the server's log says why."
