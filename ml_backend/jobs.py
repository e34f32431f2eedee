"""Work outside the request: one job a project at a time, its progress and its end."""

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread
from typing import Literal

from ml_backend.errors import BackendError, Cancelled, NotFound

_KEPT_JOBS = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Where a job stands; `progress` from 0 to 1, `seconds_left` None where nobody can tell."""

    job: str
    state: Literal["queued", "running", "done", "failed", "cancelled"] = "queued"
    stage: str = "waiting"
    progress: float = 0.0
    seconds_left: float | None = None
    model_version: str | None = None
    error: str | None = None

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("queued", "running")


class Progress:
    """Where the work of a job says how far it is."""

    def __init__(self, update: Callable[[str, float, float | None], None], cancelled: Event) -> None:
        """Call `update(stage, progress, seconds_left)` at every report; stop the work once `cancelled` is set."""
        self._update = update
        self._cancelled = cancelled
        self._started = time.monotonic()
        self._costs: dict[str, float] = {}

    def plan(self, costs: dict[str, float]) -> None:
        """State the stages in order, each with its estimated seconds."""
        self._costs = costs

    def report(self, stage: str, done: float = 0, total: float = 1) -> None:
        """Say that `done` of `total` steps of a planned stage are behind us; raises Cancelled when the server stops."""
        if self._cancelled.is_set():
            raise Cancelled("The training was stopped because the server is stopping; start it again.")
        stages = list(self._costs)
        before = sum(self._costs[name] for name in stages[: stages.index(stage)])
        share = self._costs[stage] * (done / total if total else 1.0)
        progress = (before + share) / sum(self._costs.values())
        elapsed = time.monotonic() - self._started
        self._update(stage, progress, elapsed * (1 - progress) / progress if progress > 0.02 else None)


class Jobs:
    """The jobs of this server, in memory; all run one after the other, so that memory is that of one training."""

    def __init__(self) -> None:
        """Start with none."""
        self._lock = Lock()
        self._turn = Lock()
        self._cancelled = Event()
        self._jobs: dict[str, dict[str, Job]] = {}
        self._threads: list[Thread] = []

    def start(self, project: str, work: Callable[[Progress], str]) -> tuple[Job, bool]:
        """Start `work`, which returns a model version, unless a job of the project runs: the job, and if it is new."""
        with self._lock:
            jobs = self._jobs.setdefault(project, {})
            running = next((job for job in jobs.values() if job.active), None)
            if running is not None:
                return running, False
            job = Job(uuid.uuid4().hex)
            jobs[job.job] = job
            for old in list(jobs)[:-_KEPT_JOBS]:
                del jobs[old]
            # A daemon: where the work cannot be interrupted in time, the process ends without it.
            thread = Thread(target=self._run, args=(project, job.job, work), name=f"training-{project}", daemon=True)
            self._threads = [*(old for old in self._threads if old.is_alive()), thread]
        thread.start()
        return job, True

    def get(self, project: str, job: str) -> Job:
        """A job; raises NotFound for one that this server did not start."""
        with self._lock:
            found = self._jobs.get(project, {}).get(job)
        if found is None:
            raise NotFound("There is no such job; jobs are forgotten when the server restarts, so start a new one.")
        return found

    def is_running(self, project: str) -> bool:
        """Whether a job of the project runs or waits."""
        with self._lock:
            return any(job.active for job in self._jobs.get(project, {}).values())

    def close(self, seconds: float) -> None:
        """Ask all work to stop and wait for it, `seconds` at most."""
        self._cancelled.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, project: str, job: str, work: Callable[[Progress], str]) -> None:
        def update(stage: str, progress: float, seconds_left: float | None) -> None:
            self._set(project, job, stage=stage, progress=round(progress, 4), seconds_left=seconds_left)

        with self._turn:
            self._set(project, job, state="running", stage="starting")
            try:
                version = work(Progress(update, self._cancelled))
            except Cancelled as error:
                self._set(project, job, state="cancelled", seconds_left=None, error=str(error))
            except BackendError as error:
                log.warning("Training of project %s failed: %s", project, error)
                self._set(project, job, state="failed", seconds_left=None, error=str(error))
            except Exception as error:
                log.exception("Training of project %s failed.", project)
                sentence = f"Training failed unexpectedly ({type(error).__name__}); the server's log says why."
                self._set(project, job, state="failed", seconds_left=None, error=sentence)
            else:
                done = {"progress": 1.0, "seconds_left": 0.0, "model_version": version}
                self._set(project, job, state="done", stage="done", **done)

    def _set(self, project: str, job: str, **changes: object) -> None:
        with self._lock:
            self._jobs[project][job] = replace(self._jobs[project][job], **changes)  # type: ignore[arg-type]
