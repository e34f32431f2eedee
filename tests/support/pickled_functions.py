"""What tests have other processes do: quickly imported there, for it needs no PyTorch."""

import os
import signal
import time

from ml_backend.errors import InvalidRequest
from ml_backend.parallel import ParallelRunner
from ml_backend.settings import Settings


def whereabouts(number: int) -> tuple[int, int]:
    return number, os.getpid()


def refuse(number: int) -> int:
    if number == 3:
        raise InvalidRequest("Not 3.")
    return number


def sleeping(number: int) -> tuple[int, int]:
    time.sleep(0.2)
    return whereabouts(number)


def perish(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def divide() -> None:
    """Tell the processes that work is divided among, without an end."""
    for _, process in ParallelRunner(Settings(processes=2, divide_seconds=0)).run(
        sleeping, zip(range(1000)), 1000, seconds=0
    ):
        print(process, flush=True)


def refuse_training(directory: str, seconds: float) -> None:
    """Start a training process, whose number is told, and stay for so long."""
    from pathlib import Path

    from ml_backend.jobs.worker import TrainingTask, Worker
    from ml_backend.training.request import TrainingRequest

    request = TrainingRequest(("a", "b"), (b"1" * 16, b"2" * 16), (0, 1), 2, 0, 1.0)
    worker = Worker(Settings(model_dir=Path(directory), processes=2))
    try:
        worker.run(TrainingTask("1", request, fingerprint="0" * 32), lambda update: None)
    except InvalidRequest:
        assert worker._process is not None
        print(worker._process.pid, flush=True)
    time.sleep(seconds)
