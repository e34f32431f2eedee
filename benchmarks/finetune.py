"""What a milestone of the classifier `auto` costs: fine-tuning encoders, and embedding all texts with the result.

    python benchmarks/finetune.py [--labels N]… [--texts N] [--classifier NAME] [--data DIR]

For each number of labelled texts, a new process trains once on the frozen embeddings. Then it trains again and
fine-tunes within the training, which is measured: seconds on the clock, CPU seconds of it and all its processes, and
its largest memory. The reference is the same training without fine-tuning. With more `--texts` than DIR has, the rest
are generated, and their frozen embeddings are made up.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from generated import generate
from rich.console import Console
from rich.table import Table

POLITENESS = Path(__file__).resolve().parents[2] / "shared" / "data" / "politeness"
CLASSES = ("one", "two")

# As the server has them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

console = Console(width=None if sys.stdout.isatty() else 160)


@click.command()
@click.option("--labels", "numbers", multiple=True, type=int, default=(100, 400, 1600), show_default=True)
@click.option("--texts", type=int, help="Texts of the project [those of DIR].")
@click.option("--classifier", default="auto", show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=POLITENESS, help="A folder with tasks.csv.")
def main(numbers: Sequence[int], texts: int | None, classifier: str, data: Path) -> None:
    """Print the table."""
    with (data / "tasks.csv").open(newline="") as file:
        real = [row["text"] for row in csv.DictReader(file)]
    made_up = list(generate(2, tasks=texts - len(real), test=0).tasks.values()) if texts else []
    table = Table("labelled texts", "texts", "seconds", "CPU seconds", "MB", "x training without")
    spawn = multiprocessing.get_context("spawn")
    for labels in numbers:
        with spawn.Pool(1) as pool:
            found = pool.apply(measure, (real, made_up, labels, classifier))
        table.add_row(
            f"{labels:,}",
            f"{len(real) + len(made_up):,}",
            f"{found['seconds']:.1f}",
            f"{found['cpu']:.1f}",
            f"{found['mb']:,.0f}",
            f"{found['seconds'] / found['reference']:.1f}",
        )
        console.print(table)


def measure(real: list[str], made_up: list[str], labels: int, classifier: str) -> dict[str, float]:
    """The costs of one milestone. Another process calls it."""
    from ml_backend.features.encoder import Encoder
    from ml_backend.features.encoders import Encoders
    from ml_backend.features.lru_cache import LruCache
    from ml_backend.progress import Progress
    from ml_backend.project import Project
    from ml_backend.settings import Settings
    from ml_backend.storage.dataset import digest
    from ml_backend.training.request import TrainingRequest

    texts = [*real, *made_up]
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(model_dir=Path(directory))
        encoder = Encoder(settings.encoder)
        encoders = Encoders.with_text(encoder, settings)
        project = Project(Path(directory) / "project", encoders, LruCache(), settings)
        project.dataset.set_items(range(len(texts)), [digest(text) for text in texts])
        project.dataset.add_texts(texts)
        rng = np.random.default_rng(0)
        for start in range(0, len(made_up), 10_000):
            part = [digest(text) for text in made_up[start : start + 10_000]]
            vectors = rng.normal(size=(len(part), 384)).astype(np.float32)
            project.dataset.add_features(encoder.fingerprint, part, vectors)
        # Longer texts are of the first class, so that there is something to learn.
        chosen = rng.permutation(len(real))[:labels]
        middle = np.median([len(real[place]) for place in chosen])

        def train(finetune: str) -> tuple[float, float]:
            request: Any = TrainingRequest(
                CLASSES,
                tuple(digest(real[place]) for place in chosen),
                tuple(int(len(real[place]) <= middle) for place in chosen),
                folds=settings.folds,
                seed=0,
                c=settings.c,
                classifier=classifier,  # type: ignore[arg-type]
                finetune=finetune,  # type: ignore[arg-type]
            )
            started, cpu = time.perf_counter(), _cpu_seconds()
            project.train(request, Progress(lambda update: None))
            return time.perf_counter() - started, _cpu_seconds() - cpu

        train("background")
        reference, _ = train("background")
        seconds, cpu = train("now")
    return {
        "reference": reference,
        "seconds": seconds,
        "cpu": cpu,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _cpu_seconds() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


if __name__ == "__main__":
    main()
