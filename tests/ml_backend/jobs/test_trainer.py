"""What follows a training and a fine-tuning, and which request waits."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.scripted_worker import ScriptedWorker

from ml_backend.features.encoder import Encoder
from ml_backend.jobs.queue import SUPERSEDED
from ml_backend.jobs.records import Job
from ml_backend.jobs.trainer import Trainer
from ml_backend.jobs.worker import TrainingResult, TrainingTask
from ml_backend.project import Projects
from ml_backend.settings import Settings
from ml_backend.training.request import TrainingRequest

REQUEST = TrainingRequest(("a", "b"), (b"1" * 16, b"2" * 16), (0, 1), 2, 0, 1.0)
LATER = dataclasses.replace(REQUEST, labels=(1, 0))


class Harness:
    """A trainer whose workers are scripted: `models` trains, `encoders` fine-tunes."""

    def __init__(self, directory: Path) -> None:
        settings = Settings(model_dir=directory)
        workers: list[ScriptedWorker] = []

        def make_worker(_: Settings) -> ScriptedWorker:
            workers.append(ScriptedWorker())
            return workers[-1]

        self.trainer = Trainer(settings, Projects(settings, Encoder("none")), make_worker)
        self.models, self.encoders = workers

    def start(self, request: TrainingRequest, *, from_connector: bool = False) -> Job:
        return self.trainer.start(TrainingTask("7", request, from_connector=from_connector))

    def until(self, job: str, state: str) -> Job:
        deadline = time.monotonic() + 10
        while (current := self.trainer.get("7", job)).state != state:
            assert time.monotonic() < deadline, current
            time.sleep(0.005)
        return current


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path)
    yield made
    made.trainer.close(5)


def test_what_the_connector_sent_keeps_its_place_and_encoders_are_followed_by_the_newest_labels(
    harness: Harness,
) -> None:
    harness.models.orders.put(TrainingResult("v1", finetuning_due=True))
    harness.until(harness.start(REQUEST, from_connector=True).job, "done")
    assert harness.encoders.begun.get(timeout=10).finetune
    harness.models.begun.get(timeout=10)

    running = harness.start(LATER, from_connector=True)
    assert harness.models.begun.get(timeout=10).request == LATER
    harness.encoders.orders.put(TrainingResult())
    while not (waiting := harness.trainer._trainings._waiting.get("7")):
        time.sleep(0.005)
    assert waiting[1].request == LATER  # not those that the encoders were made for
    newest = harness.start(REQUEST, from_connector=True)
    assert harness.trainer.get("7", waiting[0].job).error == SUPERSEDED
    assert harness.start(LATER) == newest  # as Start Training does
    harness.models.orders.put(TrainingResult("v2"))
    harness.until(running.job, "done")
    harness.until(newest.job, "running")
    pressed = [harness.start(request) for request in (REQUEST, LATER)]
    assert harness.trainer.get("7", pressed[0].job).error == SUPERSEDED


def test_a_training_without_due_encoders_is_followed_by_nothing(harness: Harness) -> None:
    harness.models.orders.put(TrainingResult("v1"))
    harness.until(harness.start(REQUEST).job, "done")
    assert not harness.trainer.is_active("7")
    assert harness.encoders.begun.empty()
