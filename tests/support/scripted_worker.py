"""A worker whose tasks end as a test orders."""

from collections.abc import Callable
from queue import Queue

from ml_backend.jobs.worker import TrainingResult, TrainingTask, WorkerDied
from ml_backend.progress import ProgressUpdate


class ScriptedWorker:
    """Work that follows `orders`: an update is reported, a result is returned, an exception is raised."""

    def __init__(self) -> None:
        self.begun: Queue[TrainingTask] = Queue()
        self.orders: Queue[TrainingResult | Exception | ProgressUpdate] = Queue()

    def run(self, task: TrainingTask, report: Callable[[ProgressUpdate], None]) -> TrainingResult:
        self.begun.put(task)
        while True:
            order = self.orders.get(timeout=10)
            if isinstance(order, ProgressUpdate):
                report(order)
            elif isinstance(order, TrainingResult):
                return order
            else:
                raise order

    def kill(self) -> None:
        if self.begun.qsize():
            self.orders.put(WorkerDied("killed"))
