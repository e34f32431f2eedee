"""A queue of trainings: they run one after the other, in a process of their own, outside of any request."""

import logging
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from threading import Condition, Thread
from typing import Protocol

from ml_backend.errors import BackendError, Conflict, NotFound
from ml_backend.jobs.records import Job, JobRecords, State
from ml_backend.jobs.worker import TrainingResult, TrainingTask, UnexpectedFailure, WorkerDied
from ml_backend.progress import ProgressUpdate
from ml_backend.storage.atomic_files import new_name

_IDLE_SECONDS = 600.0  # a process without work ends after this time, and frees its memory
_PAST = 100

SUPERSEDED = "A newer request replaced this one before it began."
STOPPED = "The server was stopped during the training. Start it again."
CANCELLED = "The training was cancelled."

log = logging.getLogger(__name__)


class TrainingWorker(Protocol):
    """Does the work of a queue (ml_backend.jobs.worker.Worker)."""

    def run(self, task: TrainingTask, report: Callable[[ProgressUpdate], None]) -> TrainingResult: ...

    def kill(self) -> None: ...


class JobQueue:
    """Jobs of this server that run one after the other, so that they need the memory of one training.

    Per project, one job runs and at most one waits. A newer request replaces the one that waits.
    """

    def __init__(
        self, worker: TrainingWorker, records: JobRecords, on_done: Callable[[TrainingTask, TrainingResult], None]
    ) -> None:
        """Start the thread of the queue.

        Args:
            worker: Does the work.
            records: Stores the jobs.
            on_done: Called when a task is done, before its job is. If it raises, the job fails.
        """
        self._worker = worker
        self._records = records
        self._on_done = on_done
        self._condition = Condition()
        self._waiting: dict[str, tuple[Job, TrainingTask]] = {}  # by project, the longest waiting first
        self._running: tuple[str, Job] | None = None
        self._stop_reason: str | None = None  # why the running job is to end
        self._past: dict[tuple[str, str], Job] = {}  # the last jobs that ended, in case their records were not written
        self._counts: Counter[tuple[str, str]] = Counter()
        self._closed = False
        self._thread = Thread(target=self._loop, name=records.folder, daemon=True)
        self._thread.start()

    def start(self, task: TrainingTask, *, unless: Callable[[TrainingTask], bool] = lambda waiting: False) -> Job:
        """Add a job to the end of the queue.

        If a task of the project waits and `unless` is true for it, returns the job of that one instead.
        """
        project = task.project
        with self._condition:
            if project in self._waiting:
                waiting_job, waiting_task = self._waiting[project]
                if unless(waiting_task):
                    return waiting_job
                self._end(project, self._waiting.pop(project)[0], "cancelled", SUPERSEDED, retriable=True)
            job = Job(new_name())
            self._waiting[project] = job, task
            self._records.write(project, job)
            self._condition.notify_all()
        return job

    def get(self, project: str, job: str) -> Job:
        """A job. Raises NotFound."""
        with self._condition:
            if self._running is not None and self._running[1].job == job and self._running[0] == project:
                return self._running[1]
            if project in self._waiting and self._waiting[project][0].job == job:
                return self._waiting[project][0]
            past = self._past.get((project, job)) or self._records.read(project, job)
        if past is None:
            raise NotFound("There is no such job. The last ones of a project are kept, so start a new one.")
        return past

    def cancel(self, project: str, job: str) -> Job:
        """Cancel a job that runs or waits. A job that has ended stays the same.

        Raises NotFound, or Conflict if another server on the model directory has the job.
        """
        with self._condition:
            current = self.get(project, job)
            if project in self._waiting and self._waiting[project][0].job == job:
                return self._end(project, self._waiting.pop(project)[0], "cancelled", CANCELLED, retriable=True)
            if self._running is None or self._running[1].job != job:
                if current.active:
                    raise Conflict("Another server on this model directory has the job. Cancel it there.")
                return current
            self._stop_reason = CANCELLED
            self._worker.kill()
            self._condition.wait_for(lambda: self._running is None or self._running[1].job != job, timeout=10)
        return self.get(project, job)

    def is_active(self, project: str) -> bool:
        """Whether a job of the project runs or waits here."""
        with self._condition:
            return project in self._waiting or (self._running is not None and self._running[0] == project)

    def counts(self) -> Counter[tuple[str, str]]:
        """The number of jobs since the server started, by project and state."""
        with self._condition:
            active = [(project, "queued") for project in self._waiting]
            active += [(self._running[0], "running")] if self._running is not None else []
            return self._counts + Counter(active)

    def close(self, seconds: float) -> None:
        """Fail all jobs and end the worker, and wait at most `seconds`."""
        with self._condition:
            self._closed = True
            for project, (job, _) in self._waiting.items():
                self._end(project, job, "failed", STOPPED, retriable=True)
            self._waiting.clear()
            if self._running is not None:
                self._stop_reason = STOPPED
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
                if self._stop_reason is not None:  # it was set before there was a process to kill
                    self._worker.kill()

        error, retriable, result = None, False, TrainingResult()
        try:
            result = self._worker.run(task, report)
            self._on_done(task, result)
        except WorkerDied as death:
            error, retriable = str(death), True
        except BackendError as refusal:
            error = str(refusal)
        except UnexpectedFailure as failure:
            error = _log_failure(project, *failure.args)
        except Exception as failure:
            error = _log_failure(project, type(failure).__name__, "".join(traceback.format_exception(failure)))
        with self._condition:
            assert self._running is not None
            job = self._running[1]
            stop_reason, self._stop_reason, self._running = self._stop_reason, None, None
            if error is None:
                job = replace(job, stage="done", progress=1.0, seconds_left=0.0, model_version=result.version)
                self._end(project, job, "done", None)
            elif stop_reason is not None:
                state: State = "cancelled" if stop_reason == CANCELLED else "failed"
                self._end(project, job, state, stop_reason, retriable=True)
            else:
                log.warning("Training of project %s failed: %s", project, error)
                self._end(project, job, "failed", error, retriable=retriable)
            self._condition.notify_all()

    def _end(self, project: str, job: Job, state: State, error: str | None, *, retriable: bool = False) -> Job:
        """Record how a job has ended. The caller holds the lock."""
        seconds_left = job.seconds_left if state == "done" else None
        ended = replace(job, state=state, error=error, retriable=retriable, seconds_left=seconds_left)
        self._records.write(project, ended)
        self._past[project, job.job] = ended
        for old in list(self._past)[:-_PAST]:
            del self._past[old]
        self._counts[project, state] += 1
        return ended


def _log_failure(project: str, name: str, traceback_text: str) -> str:
    log.error("Training of project %s failed unexpectedly.\n%s", project, traceback_text)
    return f"Training failed unexpectedly ({name}). The server's log has the reason."
