"""The same work in one process, in several, and on a Ray cluster: equal probabilities, and the seconds of each.

    python benchmarks/scale.py [folds] [score] [embed] [--processes N] [--ray ADDRESS] [--items N] [--labels N]

`folds`: training logistic-cv on generated embeddings of six classes, with six penalties for each of three folds.
`score`: the out-of-sample probabilities of a data set. `embed`: texts embedded by the default encoder. These are not
divided among processes of this machine, because one uses all cores. Without --ray, it starts a local cluster. A first
run, which is not measured, starts processes and connects. The exit code is 1 if probabilities differ.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import ray
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ml_backend.features.encoder import Encoder
from ml_backend.features.encoders import Encoders
from ml_backend.features.feature_spec import FeatureSpec
from ml_backend.features.lru_cache import LruCache
from ml_backend.models.out_of_sample import out_of_sample
from ml_backend.progress import Progress
from ml_backend.project import Project
from ml_backend.settings import DEFAULT_ENCODER, Settings
from ml_backend.storage.dataset import digest
from ml_backend.training.request import TrainingRequest
from ml_backend.training.train import train

# As ml-backend serve has it, before PyTorch is loaded: threads that wait do not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

NAMES = ("folds", "score", "embed")
CLASSES = ("a", "b", "c", "d", "e", "f")
DIMENSIONS = 384
LARGEST_DIFFERENCE = 1e-6

console = Console(width=None if sys.stdout.isatty() else 120)

Floats = NDArray[np.floating[Any]]
Found = dict[str, tuple[float, Floats]]


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--processes", default=2, show_default=True, help="How many, on this machine and of the cluster.")
@click.option("--ray", "address", help="The cluster [default: one on this machine, for the time of the benchmark].")
@click.option("--items", default=300_000, show_default=True, help="Texts of `score`.")
@click.option("--labels", default=10_000, show_default=True, help="Labels of `folds`.")
@click.option("--texts", default=4_000, show_default=True, help="Texts of `embed`.")
def main(names: Sequence[str], processes: int, address: str | None, items: int, labels: int, texts: int) -> None:
    """Measure what dividing work brings."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    measured: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as name, cluster(address, processes) as place:
        for part in names or NAMES:
            run = {"folds": folds, "score": score, "embed": embed}[part]
            size = {"folds": labels, "score": items, "embed": texts}[part]
            found: Found = {}
            ways: dict[str, dict[str, Any]] = {
                "here": {"processes": 1},
                **({"processes": {"processes": processes}} if part != "embed" else {}),
                "Ray": {"processes": processes, "ray": place},
            }
            for where, settings in ways.items():
                found[where] = run(
                    Path(name) / part, Settings(threads=1, lexical_dims=0, divide_seconds=0, **settings), size
                )
            measured[f"{part} ({size:,})"] = found
    table = Table("", "here, s", "processes, s", "Ray, s", "here / processes", "here / Ray", "largest difference")
    worst = 0.0
    for part, found in measured.items():
        seconds = {where: value[0] for where, value in found.items()}
        difference = max(float(np.abs(value - found["here"][1]).max()) for _, value in found.values())
        worst = max(worst, difference)
        of = [f"{seconds[where]:.1f}" if where in seconds else "" for where in ("here", "processes", "Ray")]
        times = [
            f"{seconds['here'] / seconds[where]:.2f}" if where in seconds else "" for where in ("processes", "Ray")
        ]
        table.add_row(part, *of, *times, f"{difference:.1e}")
    console.print(table)
    sys.exit(0 if worst <= LARGEST_DIFFERENCE else f"Probabilities differ by {worst:.1e}.")


@contextmanager
def cluster(address: str | None, processes: int) -> Iterator[str]:
    """The address of the cluster, started where there is none."""
    quiet = {"log_to_driver": False, "configure_logging": False}
    if address is not None:
        ray.init(address=address, **quiet)
        yield address
    else:
        yield ray.init(address="local", num_cpus=processes, include_dashboard=False, **quiet).address_info["address"]
    ray.shutdown()


def folds(directory: Path, settings: Settings, size: int) -> tuple[float, Floats]:
    project, texts = made_up(directory, settings, size)
    random = np.random.default_rng(1)
    truth = random.integers(len(CLASSES), size=size)
    request = TrainingRequest(
        classes=CLASSES,
        digests=tuple(map(digest, texts)),
        labels=tuple(truth.tolist()),
        folds=3,
        seed=0,
        c=10.0,
        classifier="logistic-cv",
    )
    return timed(lambda: trained(project, request, settings))


def trained(project: Project, request: TrainingRequest, settings: Settings) -> Floats:
    model = train(request, project.features, None, Progress(lambda update: None))
    return out_of_sample(model, project.dataset, settings)[1]


def score(directory: Path, settings: Settings, size: int) -> tuple[float, Floats]:
    project, texts = made_up(directory, settings, size)
    labels = tuple(np.random.default_rng(1).integers(len(CLASSES), size=2_000).tolist())
    keys = tuple(map(digest, texts[:2_000]))
    request = TrainingRequest(classes=CLASSES, digests=keys, labels=labels, folds=3, seed=0, c=10.0)
    model = train(request, project.features, None, Progress(lambda update: None))
    return timed(lambda: out_of_sample(model, project.dataset, settings)[1])


def embed(directory: Path, settings: Settings, size: int) -> tuple[float, Floats]:
    # Here with all cores, as a training does it; each process of the cluster has one.
    encoder = Encoder(DEFAULT_ENCODER, 1 if settings.ray else os.cpu_count() or 1)
    texts = [f"would you please look at the {number} pages of this article again" for number in range(size)]

    def embedded() -> Floats:
        place = directory / str(time.perf_counter_ns())
        project = Project(place, Encoders.with_text(encoder, settings), LruCache(), settings)
        hold(project, texts)
        project.features.embed(lambda done, total: None)
        keys = [digest(text) for text in texts]
        return project.features.matrix(FeatureSpec(encoder.fingerprint, encoder.fingerprint), keys)[0]

    return timed(embedded)


def made_up(directory: Path, settings: Settings, size: int) -> tuple[Project, list[str]]:
    """A project of texts with random embeddings, made once."""
    encoder = Encoder(DEFAULT_ENCODER, 1)
    project = Project(directory, Encoders.with_text(encoder, settings), LruCache(), settings)
    texts = [f"text {number}" for number in range(size)]
    if project.dataset.count_texts() < size:
        hold(project, texts)
        random = np.random.default_rng(0)
        for start in range(0, size, 5_000):
            keys = [digest(text) for text in texts[start : start + 5_000]]
            vectors = random.normal(size=(len(keys), DIMENSIONS)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            project.dataset.add_features(encoder.fingerprint, keys, vectors)
    return project, texts


def hold(project: Project, texts: list[str]) -> None:
    project.dataset.set_items(range(len(texts)), [digest(text) for text in texts])
    project.dataset.add_texts(texts)


def timed(work: Callable[[], Floats]) -> tuple[float, Floats]:
    """Seconds of a second run, and what came of it."""
    work()
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


if __name__ == "__main__":
    main()
