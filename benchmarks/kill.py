"""Kills the training process and the server at random moments, and checks which version serves after the restart.

    python benchmarks/kill.py [--times 50] [--seed 0]

In turn it kills (SIGKILL) the training process and the whole server within the time of a training, and restarts the
server. Then the earlier version must serve, or the new one if the training had published it. The answers must be those
of that version, and every version on disk must be complete. Otherwise the exit code is 1.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import requests
from backend import CLASSES, CONFIG, children, texts

from connector.annotations.records import digest
from connector.backend import Backend
from connector.errors import ConnectorError
from connector.retry import Retries
from connector.simulation.local_backend import model_directory, start_ml_backend, stop_ml_backend
from connector.simulation.processes import Server
from ml_backend.errors import CorruptModel
from ml_backend.models.registry import Registry

PROJECT = "1"


@click.command()
@click.option("--times", default=50, show_default=True, help="How many kills.")
@click.option("--seed", default=0, show_default=True)
def main(times: int, seed: int) -> None:
    """Kill, start again, look."""
    with tempfile.TemporaryDirectory() as folder:
        found = Kills(Path(folder), seed).run(times, lambda words: click.echo(words, err=True))
    click.echo(", ".join(f"{words}: {count}" for words, count in found.items()))
    sys.exit(1 if found["wrong"] else 0)


class Kills:
    """A server on `directory` with one project, which is trained and killed in turn."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._directory = directory
        self._random = np.random.default_rng(seed)
        fresh = texts(seed)
        self._texts = [next(fresh) for _ in range(600)]
        self._answers: dict[str, list[float]] = {}
        self._server: Server | None = None
        self._seconds = 0.0

    def run(self, times: int, say: Callable[[str], None] = lambda words: None) -> Counter[str]:
        """What was found after each of so many kills: the `old` version or the `new` one, or something `wrong`."""
        found: Counter[str] = Counter(wrong=0)
        try:
            self._start()
            self._train(self._backend)
            self._seconds = self._timed()
            version = self._serving()
            for number in range(times):
                whole_server = number % 2 == 1
                self._kill(whole_server)
                now, wrong = self._look(version)
                found["wrong" if wrong else "old" if now == version else "new"] += 1
                say(f"{number + 1}: {'server' if whole_server else 'training process'} killed, {wrong or now}")
                version = now
        finally:
            stop_ml_backend(self._directory)
        return found

    @property
    def _backend(self) -> Backend:
        assert self._server is not None
        return Backend(self._server.url, retries=Retries(0), poll_seconds=0.02)

    def _start(self) -> None:
        self._server = start_ml_backend(self._directory)

    def _train(self, backend: Backend) -> None:
        by_id = dict(enumerate(self._texts))
        backend.put_items(
            PROJECT, list(by_id), list(map(digest, by_id.values())), lambda ids: {i: by_id[i] for i in ids}
        )
        labels = self._random.integers(0, 2, len(by_id))
        backend.train(PROJECT, CLASSES, {item: int(label) for item, label in enumerate(labels)})

    def _timed(self) -> float:
        """How long a training takes whose process is there already."""
        started = time.monotonic()
        self._train(self._backend)
        return time.monotonic() - started

    def _kill(self, whole_server: bool) -> None:
        """Kill at any moment, in a quarter of cases of the process's start, else of the training itself."""
        assert self._server is not None
        backend, moment = self._backend, float(self._random.uniform(0, 1.2 * self._seconds))
        labels = self._random.integers(0, 2, len(self._texts)).tolist()
        body = {"classes": CLASSES, "ids": list(range(len(labels))), "labels": labels}
        job = requests.post(f"{self._server.url}/api/projects/{PROJECT}/train", json=body, timeout=30).json()["job"]
        while not training_processes(self._server.pid) and not self._begun(job):
            time.sleep(0.01)
        if self._random.random() < 0.75:
            while not self._begun(job):
                time.sleep(0.005)
        time.sleep(moment)
        if whole_server:
            os.kill(self._server.pid, signal.SIGKILL)
            stop_ml_backend(self._directory)
            self._start()
        else:
            for child in training_processes(self._server.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ConnectorError):  # how it ended is not what we ask
            backend = self._backend
            backend._wait(PROJECT, job, lambda words, share: None)

    def _look(self, before: str) -> tuple[str, str]:
        """The version that serves, and what is wrong with it."""
        registry = Registry(model_directory(self._directory) / "projects" / PROJECT, keep=3)
        for version in registry.versions():
            try:
                registry.read(version)
            except CorruptModel as error:
                return before, f"a version that is not whole: {error}"
        now, known = self._serving(), set(self._answers)
        answers = self._predict()
        if now != before and now in known:
            return now, "an older version serves"
        if min(answers) < 0:
            return now, "a prediction is empty"
        if not np.allclose(answers, self._answers.setdefault(now, answers)):
            return now, "the version answers otherwise than before"
        return now, ""

    def _begun(self, job: str) -> bool:
        """Whether a job trains, or has ended: one whose process was killed before is failed without having begun."""
        assert self._server is not None
        answer = requests.get(f"{self._server.url}/api/projects/{PROJECT}/jobs/{job}", timeout=30).json()
        return answer["stage"] not in ("waiting", "starting") or answer["state"] in ("done", "failed", "cancelled")

    def _serving(self) -> str:
        model = self._backend.model(PROJECT)
        assert model is not None
        return str(model["model_version"])

    def _predict(self) -> list[float]:
        texts = [*self._texts[:5], "a text that is no item"]
        entries = self._backend.predict(PROJECT, [{"text": text} for text in texts], CONFIG)
        return [entry["score"] if entry["result"] else -1.0 for entry in entries]


def training_processes(server: int) -> list[int]:
    """The training processes of a server, without the one that multiprocessing starts for itself."""
    found = []
    for child in children(server):
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


if __name__ == "__main__":
    main()
