"""Trains in a thread of the tests' process, without the seconds that a process takes to import PyTorch."""

from collections.abc import Callable

from ml_backend.features.encoder import Encoder
from ml_backend.jobs.worker import TrainingResult, TrainingTask, WorkerDied, run_task
from ml_backend.progress import ProgressUpdate
from ml_backend.project import Projects
from ml_backend.settings import Settings


class InProcessWorker:
    """Does what the real worker's process does, on projects that it opens itself."""

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        self._projects = Projects(settings, encoder)
        self._killed = False

    def run(self, task: TrainingTask, report: Callable[[ProgressUpdate], None]) -> TrainingResult:
        self._killed = False

        def report_unless_killed(update: ProgressUpdate) -> None:
            report(update)
            if self._killed:
                raise WorkerDied("killed")

        return run_task(self._projects.create(task.project), task, report_unless_killed)

    def kill(self) -> None:
        self._killed = True
