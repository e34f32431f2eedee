"""What is known of each job, in a file a job, so that another server, or the next one, can say how it stands."""

import json
import logging
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from ml_backend.progress import ProgressUpdate
from ml_backend.storage.atomic_files import new_name, write_atomically

KEPT = 20  # of a project
_PROGRESS_SECONDS = 1.0  # between two writes of how far a job is
_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
GONE = "The server ended during the training; start it again."

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Job:
    """A job and where it stands; `retriable`: it failed for a reason that may pass."""

    job: str
    state: State = "queued"
    stage: str = "waiting"
    fold: int | None = None
    step: int = 0
    steps: int = 0
    progress: float = 0.0
    seconds_left: float | None = None
    model_version: str | None = None
    error: str | None = None
    retriable: bool = False

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("queued", "running")

    def at(self, update: ProgressUpdate) -> "Job":
        """The same, so far."""
        return replace(self, **vars(update))


class ServerLiveness:
    """That this server lives: a lock on a file, which the system releases when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Take a name of its own in `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.name = new_name()
        for path in directory.glob("*.lock"):
            self.is_alive(path.stem)  # removes what the killed have left
        self._lock = FileLock(self._path(self.name), thread_local=False)
        self._lock.acquire()

    def is_alive(self, name: str) -> bool:
        """Whether the server of that name lives, on whatever machine shares the directory."""
        if name == self.name:
            return True
        if not _NAME.fullmatch(name) or not self._path(name).exists():
            return False
        lock = FileLock(self._path(name), thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        self._path(name).unlink(missing_ok=True)
        lock.release()
        return False

    def end(self) -> None:
        """Live no longer."""
        self._path(self.name).unlink(missing_ok=True)
        self._lock.release()

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.lock"


class JobRecords:
    """The records of all projects' jobs of one kind, each project's in a folder of its own."""

    def __init__(self, projects: Path, kind: str, liveness: ServerLiveness) -> None:
        """Keep them in `projects`/<project>/`kind`; jobs of servers that have ended are marked as failed."""
        self._projects = projects
        self.kind = kind
        self._liveness = liveness
        self._written: dict[str, float] = {}
        for path in projects.glob(f"*/{kind}/*.json"):
            self._read(path)

    def write(self, project: str, job: Job, *, progress: bool = False) -> None:
        """Write a job down; of its `progress` alone, not more than once a second.

        A disk that fails is told of in the log: this server knows its jobs without it.
        """
        if progress and time.monotonic() - self._written.get(job.job, 0.0) < _PROGRESS_SECONDS:
            return
        directory = self._projects / project / self.kind
        try:
            if job.job not in self._written:
                directory.mkdir(parents=True, exist_ok=True)
                for old in sorted(directory.glob("*.json"))[: -KEPT + 1]:
                    old.unlink(missing_ok=True)
            self._write(directory / f"{job.job}.json", job, self._liveness.name)
        except OSError as error:
            log.error("The record of job %s cannot be written: %s.", job.job, error.strerror)
        self._written[job.job] = time.monotonic()
        if not job.active:
            del self._written[job.job]

    def read(self, project: str, job: str) -> Job | None:
        """A job; None where there is none, or none any more."""
        if not _NAME.fullmatch(job):
            return None
        return self._read(self._projects / project / self.kind / f"{job}.json")

    def _read(self, path: Path) -> Job | None:
        try:
            told: dict[str, Any] = json.loads(path.read_text())
            job = Job(**{field.name: told[field.name] for field in fields(Job)})
            server = str(told["server"])
        except (OSError, ValueError, KeyError, TypeError):  # gone meanwhile, or of another version of this server
            return None
        if job.active and not self._liveness.is_alive(server):
            job = replace(job, state="failed", error=GONE, retriable=True, seconds_left=None)
            with suppress(OSError):  # somebody else may be doing the same
                self._write(path, job, server)
        return job

    def _write(self, path: Path, job: Job, server: str) -> None:
        write_atomically(path, json.dumps({**asdict(job), "server": server}).encode())
