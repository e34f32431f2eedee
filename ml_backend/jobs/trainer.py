"""The trainings of this server: models in one queue, and the fine-tuning of encoders behind them in another."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from ml_backend.jobs.queue import JobQueue, TrainingWorker
from ml_backend.jobs.records import Job, JobRecords, ServerLiveness
from ml_backend.jobs.worker import TrainingResult, TrainingTask, Worker
from ml_backend.project import Projects, directory_of
from ml_backend.settings import Settings

log = logging.getLogger(__name__)


class Trainer:
    """Owns both queues, and decides what follows a job. Safe to share between threads."""

    def __init__(
        self, settings: Settings, projects: Projects, make_worker: Callable[[Settings], TrainingWorker] = Worker
    ) -> None:
        """Start both queues. Their workers come from `make_worker`, and new models are loaded in `projects`."""
        self._projects = projects
        self._latest: dict[str, TrainingTask] = {}  # the last task of each project since the server started
        self._liveness = ServerLiveness(settings.model_dir / "servers")

        def queue(folder: str) -> JobQueue:
            records = JobRecords(directory_of(settings), folder, self._liveness)
            return JobQueue(make_worker(settings), records, self._follow_up)

        self._trainings = queue("jobs")
        self._finetunings = queue("finetunings")

    def start(self, task: TrainingTask) -> Job:
        """Start a training behind those that run. It replaces one that waits.

        But a waiting request of the connector, which knows the annotators, is replaced only by another one of it.
        """
        self._latest[task.project] = task
        return self._trainings.start(task, unless=lambda waiting: waiting.from_connector and not task.from_connector)

    def get(self, project: str, job: str) -> Job:
        """A training. Raises NotFound."""
        return self._trainings.get(project, job)

    def cancel(self, project: str, job: str) -> Job:
        """Cancel a training that runs or waits. Raises NotFound, or Conflict if another server has it."""
        return self._trainings.cancel(project, job)

    def is_active(self, project: str) -> bool:
        """Whether a training or a fine-tuning of the project runs or waits here."""
        return self._trainings.is_active(project) or self._finetunings.is_active(project)

    def counts(self) -> Counter[tuple[str, str]]:
        """The number of trainings since the server started, by project and state."""
        return self._trainings.counts()

    def close(self, seconds: float) -> None:
        """Fail all jobs, and wait for each queue at most `seconds`."""
        self._finetunings.close(seconds)
        self._trainings.close(seconds)
        self._liveness.end()

    def _follow_up(self, task: TrainingTask, result: TrainingResult) -> None:
        """Load a new model before its job is done, and start what follows it.

        A training is followed by a fine-tuning if that is due. A fine-tuning is followed by a training on the newest
        labels, unless one waits.
        """
        if task.finetune:
            self._trainings.start(self._latest[task.project], unless=lambda waiting: True)
            return
        model = self._projects.create(task.project).model
        if model is None or model.version != result.version:
            log.warning("Project %s: another model than the one just trained serves.", task.project)
        if result.finetuning_due:
            self._finetunings.start(replace(task, finetune=True))
