"""The ML backend under load: predictions alone and during a training, and a large project scored again.

    python benchmarks/backend.py [predict] [rescore] [--seconds N] [--items N]

`predict`: POST /predict of a warm default model with new texts, one and 100 per call, in turn with a plain loop over
the same encoder in this process. Then single texts while trainings run, compared with the same without trainings.
`rescore`: two trainings on 100,000 texts with generated embeddings. It compares the time of the second model's
probabilities with that of sending the items again, and measures the largest memory of the server's processes. The exit
code is 1 if a promise is not kept.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import requests
from rich.console import Console
from rich.table import Table

from connector.annotations.records import digest
from connector.backend import Backend
from connector.simulation.local_backend import model_directory, start_ml_backend, stop_ml_backend
from ml_backend.features.encoder import Encoder
from ml_backend.settings import DEFAULT_ENCODER
from ml_backend.storage.dataset import Dataset

NAMES = ("predict", "rescore")
CLASSES = ("Polite", "Impolite")
CONFIG = (Path(__file__).parents[1] / "label_config.xml").read_text()
WORDS = re.findall(
    r"\w+",
    "article page source edit please thank revert image table could you nonsense template wrong discuss agree remove"
    " section sentence why would anybody the a this that there history user policy link again still sorry already done",
)
BATCH = 100
DIMENSIONS = 384

# What is promised.
THROUGHPUT, SLOWDOWN, RESCORE_SECONDS, MEMORY_MB = 0.9, 3.0, 20.0, 2000

console = Console(width=None if sys.stdout.isatty() else 160)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--seconds", default=30.0, show_default=True, help="How long each part of `predict` measures.")
@click.option("--items", default=100_000, show_default=True, help="Texts of `rescore`.")
def main(names: Sequence[str], seconds: float, items: int) -> None:
    """Measure the ML backend, on the cores there are."""
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names or NAMES:
            directory = Path(folder) / name
            directory.mkdir()
            kept += predict(directory, seconds) if name == "predict" else rescore(directory, items)
    for words, held in kept:
        console.print(f"{'kept' if held else 'NOT KEPT'}: {words}", markup=False)
    sys.exit(0 if all(held for _, held in kept) else 1)


def predict(directory: Path, seconds: float) -> list[tuple[str, bool]]:
    """Latency and throughput of /predict. A milestone is the fine-tuning of encoders on 400 labelled texts."""
    fresh = texts(seed=1)
    with serving(directory) as (backend, _):
        train(backend, "1", [next(fresh) for _ in range(400)])
        while finetunes(backend, "1"):
            time.sleep(1)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the server has it
        encoder = Encoder(DEFAULT_ENCODER)
        encoder.encode([next(fresh)])
        ask = predicting(backend.url, "1", fresh)
        for _ in range(20):
            ask(1)
        alone = [ask(1) for _ in until(seconds)]
        batches, loop = [], []
        for _ in until(2 * seconds):  # turn about, so that what else runs on the machine meets both
            some = [next(fresh) for _ in range(BATCH)]
            batches.append(ask(BATCH, some))
            started = time.perf_counter()
            encoder.encode(some)
            loop.append(time.perf_counter() - started)
        with trainings(backend, fresh) as count:
            beside = [ask(1) for _ in until(2 * seconds)]
        while finetunes(backend, "2"):
            time.sleep(1)
        train(backend, "3", [next(fresh) for _ in range(400)])
        milestone = [ask(1) for _ in itertools.takewhile(lambda _: finetunes(backend, "3"), itertools.count())]
    share, slower, slowest = sum(loop) / sum(batches), p99(beside) / p99(alone), p99(milestone) / p99(alone)
    table = Table("texts a call", "calls", "p50, ms", "p99, ms", "texts a second", "x reference")
    for words, times, size, ratio in (
        ("1", alone, 1, "reference"),
        ("1, beside trainings", beside, 1, f"{slower:.2f} (p99)"),
        ("1, beside a milestone", milestone, 1, f"{slowest:.2f} (p99)"),
        ("100", batches, BATCH, f"{share:.2f} (throughput)"),
        ("100, a plain loop in this process", loop, BATCH, "reference"),
    ):
        row = f"{1e3 * np.median(times):.1f}", f"{1e3 * p99(times):.1f}", f"{size / np.median(times):.0f}"
        table.add_row(words, str(len(times)), *row, ratio)
    console.print(table)
    console.print(f"{count[0]} trainings ended meanwhile, each on 1,000 texts that were to be embedded.")
    return [
        (
            f"throughput at {BATCH} texts a call is {share:.0%} of a plain loop's ({THROUGHPUT:.0%})",
            share >= THROUGHPUT,
        ),
        (f"p99 beside a training is {slower:.2f} times that without ({SLOWDOWN:.0f})", slower <= SLOWDOWN),
        (f"p99 beside a milestone is {slowest:.2f} times that without ({SLOWDOWN:.0f})", slowest <= SLOWDOWN),
    ]


def rescore(directory: Path, items: int) -> list[tuple[str, bool]]:
    """Probabilities of a large project after a retraining."""
    many = [text for text, _ in zip(texts(seed=2), range(items), strict=False)]
    ids = list(range(items))
    by_id = dict(zip(ids, many, strict=True))
    hashes = [digest(text) for text in many]
    with serving(directory) as (backend, pid):
        backend.put_items("1", ids, hashes, lambda some: {item: by_id[item] for item in some})
        made_up(directory, hashes)
        seconds, peak = {}, Memory(pid)
        for name in ("first", "second"):
            started = time.perf_counter()
            labels = {item: int(item % 7 in (0, 3) if name == "first" else item % 7 in (0, 4)) for item in ids[:2000]}
            backend.train("1", CLASSES, labels)
            trained = time.perf_counter()
            probabilities = backend.probabilities("1")
            seconds[name] = trained - started, time.perf_counter() - trained
            assert probabilities is not None
            assert len(probabilities.ids) == items
        started = time.perf_counter()
        backend.put_items("1", ids, hashes, lambda some: {})
        reference = time.perf_counter() - started
        server, training = peak.megabytes()
    table = Table(f"{items:,} texts, 2,000 labels", "training, s", "probabilities, s", "x stating the items again")
    for name, (training_s, scoring_s) in seconds.items():
        table.add_row(f"{name} training", f"{training_s:.1f}", f"{scoring_s:.1f}", f"{scoring_s / reference:.2f}")
    console.print(table)
    console.print(
        f"Stating the items again took {reference:.1f} s. At most {server:.0f} MB in the server and {training:.0f} MB"
        f" in its training process, {peak.together:.0f} MB in both at a time."
    )
    scoring = seconds["second"][1]
    return [
        (f"scoring again took {scoring:.1f} s ({RESCORE_SECONDS:.0f})", scoring <= RESCORE_SECONDS),
        (f"memory stayed at {peak.together:.0f} MB ({MEMORY_MB:,})", peak.together < MEMORY_MB),
    ]


class Memory:
    """The memory (RSS) of a server and its training process, looked at several times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most = [0.0, 0.0]
        self.together = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def megabytes(self) -> tuple[float, float]:
        """The most of each."""
        return self._most[0], self._most[1]

    def _watch(self) -> None:
        while True:
            now = resident(self._pid), sum(map(resident, children(self._pid)))
            self._most = [max(pair) for pair in zip(self._most, now, strict=True)]
            self.together = max(self.together, sum(now))
            time.sleep(0.1)


def resident(pid: int) -> float:
    """The memory of a process in MB, 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1000


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return []


def texts(seed: int) -> Iterator[str]:
    """Texts of 5 to 40 words, none twice."""
    random = np.random.default_rng(seed)
    number = 0
    while True:
        words = random.choice(WORDS, random.integers(5, 40))
        yield f"{' '.join(words)} {seed}-{number}"
        number += 1


def made_up(directory: Path, hashes: Sequence[str]) -> None:
    """Random embeddings for texts, in the places of the encoder's."""
    fingerprint, random = Encoder(DEFAULT_ENCODER).fingerprint, np.random.default_rng(0)
    dataset = Dataset(model_directory(directory) / "projects" / "1" / "pool.sqlite")
    for start in range(0, len(hashes), 5000):
        part = [bytes.fromhex(text_hash) for text_hash in hashes[start : start + 5000]]
        vectors = random.normal(size=(len(part), DIMENSIONS)).astype(np.float32)
        dataset.add_features(fingerprint, part, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@contextmanager
def serving(directory: Path) -> Iterator[tuple[Backend, int]]:
    """Runs a server and gives its client and its process id."""
    server = start_ml_backend(directory)
    backend = Backend(server.url, poll_seconds=0.05)
    try:
        yield backend, server.pid
    finally:
        backend.close()
        stop_ml_backend(directory)


def train(backend: Backend, project: str, some: Sequence[str]) -> None:
    """One training on labels by chance."""
    by_id = dict(enumerate(some))
    backend.put_items(project, list(by_id), list(map(digest, some)), lambda ids: {item: by_id[item] for item in ids})
    backend.train(project, CLASSES, {item: item % 2 for item in by_id})


def finetunes(backend: Backend, project: str) -> bool:
    """Whether the project's encoders are being fine-tuned."""
    model = backend.model(project)
    return model is not None and bool(model["in_training"])


@contextmanager
def trainings(backend: Backend, fresh: Iterator[str]) -> Iterator[list[int]]:
    """Runs one training after the other on new texts. Counts those that have ended."""
    ended, count = threading.Event(), [0]
    client = Backend(backend.url, poll_seconds=0.05)

    def run() -> None:
        seed = 100
        while not ended.is_set():
            new = texts(seed)
            train(client, "2", [next(new) for _ in range(1000)])
            seed, count[0] = seed + 1, count[0] + 1

    thread = threading.Thread(target=run)
    train(client, "2", [next(fresh) for _ in range(50)])  # the training process is there
    thread.start()
    try:
        yield count
    finally:
        ended.set()
        thread.join()
        client.close()


def predicting(url: str, project: str, fresh: Iterator[str]) -> Callable[..., float]:
    """A function that calls /predict like Label Studio, over one connection, and returns the seconds it took.

    It takes a number of new texts, or the texts themselves.
    """
    session = requests.Session()

    def ask(count: int, some: Sequence[str] | None = None) -> float:
        some = some or [next(fresh) for _ in range(count)]
        tasks = [{"id": number, "data": {"text": text}} for number, text in enumerate(some)]
        body = {"tasks": tasks, "project": f"{project}.1700000000", "label_config": CONFIG}
        started = time.perf_counter()
        answer = session.post(f"{url}/predict", json=body, timeout=100)
        took = time.perf_counter() - started
        assert all(entry["result"] for entry in answer.json()["results"])
        return took

    return ask


def until(seconds: float) -> Iterator[None]:
    """Again and again, until so much time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


def p99(times: Sequence[float]) -> float:
    """The 99th percentile."""
    return float(np.percentile(times, 99))


if __name__ == "__main__":
    main()
