"""The records of jobs, one file per job, so that another server, or the next one, can report their state."""

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

KEPT = 20  # per project
_PROGRESS_SECONDS = 1.0  # between two writes of the progress of a job
_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
SERVER_ENDED = "The server ended during the training. Start it again."

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Job:
    """A job and its state. If `retriable`, the cause of its failure may pass."""

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
        """Whether the job waits or runs."""
        return self.state in ("queued", "running")

    def at(self, update: ProgressUpdate) -> "Job":
        """The same job with this progress."""
        return replace(self, **vars(update))


class ServerLiveness:
    """Shows that this server lives: a lock on a file, which the system releases when the process ends."""

    def __init__(self, directory: Path) -> None:
        """Take a new name in `directory`, and remove the files of servers that were killed."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.name = new_name()
        for path in directory.glob("*.lock"):
            self.is_alive(path.stem)
        self._lock = FileLock(self._path(self.name), thread_local=False)
        self._lock.acquire()

    def is_alive(self, name: str) -> bool:
        """Whether the server of that name lives. If not, its file is removed."""
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
        """Show that this server has ended."""
        self._path(self.name).unlink(missing_ok=True)
        self._lock.release()

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.lock"


class JobRecords:
    """The records of one queue's jobs, in one folder per project."""

    def __init__(self, projects: Path, folder: str, liveness: ServerLiveness) -> None:
        """Keep the records in `projects`/<project>/`folder`. Jobs of servers that have ended are marked as failed."""
        self._projects = projects
        self.folder = folder
        self._liveness = liveness
        self._written: dict[str, float] = {}
        for project in ("*", "*/questions/*"):
            for path in projects.glob(f"{project}/{folder}/*.json"):
                self._read(path)

    def write(self, project: str, job: Job, *, progress: bool = False) -> None:
        """Write a job. If only its `progress` changed, it is written at most once per second.

        If the disk fails, the log reports it. This server knows its own jobs without their records.
        """
        if progress and time.monotonic() - self._written.get(job.job, 0.0) < _PROGRESS_SECONDS:
            return
        directory = self._projects / project / self.folder
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
        """A job, or None if it does not exist or its record was removed."""
        if not _NAME.fullmatch(job):
            return None
        return self._read(self._projects / project / self.folder / f"{job}.json")

    def _read(self, path: Path) -> Job | None:
        try:
            record: dict[str, Any] = json.loads(path.read_text())
            job = Job(**{field.name: record[field.name] for field in fields(Job)})
            server = str(record["server"])
        except (OSError, ValueError, KeyError, TypeError):  # removed meanwhile, or damaged
            return None
        if job.active and not self._liveness.is_alive(server):
            job = replace(job, state="failed", error=SERVER_ENDED, retriable=True, seconds_left=None)
            with suppress(OSError):  # another server may do the same
                self._write(path, job, server)
        return job

    def _write(self, path: Path, job: Job, server: str) -> None:
        write_atomically(path, json.dumps({**asdict(job), "server": server}).encode())
