"""The first sync of a project of images, and one with nothing new, on a real Label Studio.

    python benchmarks/images.py --directory DIR [--images 20000] [--encoder efficientnet-lite0]

References, in the same run: a plain loop that gets images one by one and makes their small copies, a plain loop over
the same encoder, and a sync with nothing new of a project with as many texts. The images are drawn, and served by a web
server on this machine. DIR keeps images and projects. The connector's state and what the ML backend has computed are
new in every run.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import requests
from large_project import LOGIN, TASKS_A_CALL, large_project
from PIL import Image
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from connector.backend import Backend
from connector.demo import servers
from connector.demo.images import CLASSES, draw
from connector.demo.project import create_project_of
from connector.label_studio.client import LabelStudio
from connector.media.images import small_copy
from connector.progress import Reporter
from connector.simulation.local_backend import model_directory
from connector.state.project_state import State
from connector.sync.cycle import sync
from connector.sync.options import SyncOptions

SIZE = (640, 480)
LABELLED = 600  # images with one label each
SAMPLE = 2_000  # images of a plain loop
REPEATS = 5
BATCH = 64
MEMORY_EVERY = 10  # seconds


class Watched(Backend):
    """The ML backend's client, which notes how long the backend embeds, and the memory of its processes."""

    def __init__(self, server: servers.Server) -> None:
        super().__init__(server.url)
        self._pid = server.pid
        self._seen: list[float] = []
        self._measure_at = 0.0
        self.megabytes = 0.0

    @property
    def embedding_seconds(self) -> float:
        """From the first to the last time that a training was seen embedding."""
        return self._seen[-1] - self._seen[0] if self._seen else 0.0

    def train(self, *arguments: Any, progress: Callable[[str, float], None] = lambda *_: None, **options: Any) -> str:
        def watch(words: str, share: float) -> None:
            now = time.monotonic()
            if words.startswith("embedding"):
                self._seen.append(now)
            if now >= self._measure_at:  # not at each call: to count memory takes the system some time
                self._measure_at = now + MEMORY_EVERY
                self.megabytes = max(self.megabytes, _megabytes(self._pid))
            progress(words, share)

        return super().train(*arguments, progress=watch, **options)


class Bench:
    """The servers, a project of images, and one of as many texts."""

    def __init__(self, directory: Path, count: int, encoder: str, address: str) -> None:
        self.label_studio = servers.start_label_studio(directory, LOGIN)
        shutil.rmtree(model_directory(directory), ignore_errors=True)
        # Nothing is fine-tuned in the background of what is measured.
        settings = {"ML_BACKEND_IMAGE_ENCODER": encoder, "ML_BACKEND_CLASSIFIER": "logistic"}
        backend = servers.start_ml_backend(directory, environment=settings)
        self.watched = Watched(backend)
        state = directory / "state.sqlite"
        state.unlink(missing_ok=True)
        self.state_url = f"sqlite:///{state.resolve()}"
        self.media_host = address.removeprefix("http://")
        self._environment = os.environ | {
            "LABEL_STUDIO_URL": self.label_studio.url,
            "LABEL_STUDIO_API_KEY": LOGIN.token,
            "ML_BACKEND_URL": backend.url,
            "CONNECTOR_STATE": self.state_url,
            "CONNECTOR_MEDIA_HOSTS": self.media_host,
        }
        self.images = _project(directory / "images.json", self.label_studio, count, address)
        of_texts = directory / "texts"
        of_texts.mkdir(exist_ok=True)
        self.texts = large_project(of_texts, self.label_studio, count, LABELLED).id

    def command(self, name: str, project: int) -> float:
        """Runs `connector NAME --project ID`, start of Python included. Returns the seconds."""
        yes = ["--yes"] if name == "init" else []
        command = [sys.executable, "-m", "connector.cli", name, "--project", str(project), *yes]
        started = time.monotonic()
        subprocess.run(command, env=self._environment, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - started

    def first_sync(self) -> dict[str, float]:
        """The first sync of the images, in this process. Returns the seconds of its stages."""
        reporter = Reporter()
        with (
            closing(LabelStudio(self.label_studio.url, LOGIN.token)) as gateway,
            closing(State(self.state_url)) as state,
        ):
            project = state.project(self.label_studio.url, self.images)
            options = SyncOptions(media_hosts=(self.media_host,))
            sync(self.images, gateway, lambda: self.watched, project, options, reporter)
        return reporter.seconds


def measure(directory: Path, count: int, encoder: str) -> None:
    """Run it all, and print what it gave beside what is wanted."""
    files = _drawn(directory / "images", count)
    with _web_server(directory / "images") as address:
        bench = Bench(directory, count, encoder, address)
        for project in (bench.images, bench.texts):
            bench.command("init", project)
        sample = [files[place] for place in np.random.default_rng(0).permutation(count)[:SAMPLE]]
        # Before and after, because the machine's speed changes within minutes.
        plain = [_in_a_process(address, sample, encoder)]
        stages = bench.first_sync()
        plain.append(_in_a_process(address, sample, encoder))
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        bench.command("sync", bench.texts)
        time.sleep(65)  # what was read less than a minute ago is read again: let all that came before fall behind
        nothing: dict[int, list[float]] = {bench.images: [], bench.texts: []}
        for _ in range(REPEATS + 1):
            for project, measured in nothing.items():
                measured.append(bench.command("sync", project))

    table = Table("", "images a second", "plain loop", "ratio", title=f"{count:,} images, {encoder}")
    seconds = {"fetching": stages["media"], "encoding": bench.watched.embedding_seconds}
    for words, loops in zip(seconds, zip(*plain, strict=True), strict=True):
        ours, reference = count / seconds[words], len(loops) / sum(1 / loop for loop in loops)
        both = " and ".join(f"{loop:.1f}" for loop in loops)
        table.add_row(words, f"{ours:.1f}", both, f"{ours / reference:.2f}")
    Console(width=100).print(table)
    print(
        f"First sync: {sum(stages.values()):.0f} s, {', '.join(f'{name} {took:.1f}' for name, took in stages.items())}"
    )
    print(f"Memory: connector {megabytes:.0f} MB, ML backend with its worker {bench.watched.megabytes:.0f} MB")
    images, texts = (median(nothing[project][1:]) for project in (bench.images, bench.texts))
    print(f"Nothing new: images {images:.2f} s, texts {texts:.2f} s, ratio {images / texts:.2f} (wanted: 1.2)")


def _in_a_process(address: str, names: list[str], encoder: str) -> tuple[float, float]:
    """The result of `_plain_loops`, whose memory ends with its process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_plain_loops, (address, names, encoder))


def _plain_loops(address: str, names: list[str], encoder: str) -> tuple[float, float]:
    """Images a second that are fetched and made small one after the other, and that are encoded in batches."""
    from ml_backend.features.image_encoder import ImageEncoder

    started = time.monotonic()
    with servers.local_session() as session:
        copies = [small_copy([session.get(f"{address}/{name}", timeout=60).content]) for name in names]
    fetched = len(copies) / (time.monotonic() - started)
    model = ImageEncoder(encoder, 0)
    model.encode(copies[:BATCH])
    started = time.monotonic()
    rest = iter(copies)
    while batch := list(islice(rest, BATCH)):
        model.encode(batch)
    return fetched, len(copies) / (time.monotonic() - started)


def _drawn(directory: Path, count: int) -> list[str]:
    """The names of `count` images in a folder, of which those that are not there are drawn."""
    directory.mkdir(parents=True, exist_ok=True)
    names = [f"{number:06d}.jpg" for number in range(count)]
    for number, name in enumerate(tqdm(names, desc="Drawing", unit="image")):
        if not (directory / name).exists():
            image = draw(CLASSES[number % len(CLASSES)], np.random.default_rng(number))
            image.resize(SIZE, Image.Resampling.BICUBIC).save(directory / name, quality=85)
    return names


def _project(note: Path, label_studio: servers.Server, count: int, address: str) -> int:
    """The project of images that the note is about, made now if there is none. Their addresses are those of now."""
    with servers.local_session() as api:
        api.headers["Authorization"] = f"Token {LOGIN.token}"
        if note.exists():
            known = json.loads(note.read_text())
            if (known["count"], known["address"]) == (count, address):
                return int(known["project"])
        project = create_project_of(label_studio, LOGIN, CLASSES, "image").id
        rows = [_row(number, address) for number in range(count)]
        for start in tqdm(range(0, count, TASKS_A_CALL), desc="Importing", unit_scale=TASKS_A_CALL, unit="task"):
            path = f"{label_studio.url}/api/projects/{project}/import"
            api.post(path, json=rows[start : start + TASKS_A_CALL], timeout=3600).raise_for_status()
    note.write_text(json.dumps({"project": project, "count": count, "address": address}))
    return project


def _row(number: int, address: str) -> dict[str, Any]:
    label = {"from_name": "label", "to_name": "image", "type": "choices"}
    annotation = {"result": [label | {"value": {"choices": [CLASSES[number % len(CLASSES)]]}}]}
    row: dict[str, Any] = {"data": {"image": f"{address}/{number:06d}.jpg"}}
    return row | {"annotations": [annotation]} if number < LABELLED else row


@contextmanager
def _web_server(directory: Path) -> Iterator[str]:
    """Serves a folder, and yields the address. The port is the same in every run: it is in the tasks."""
    port = 18_923
    command = [sys.executable, "-m", "http.server", str(port), "--bind", servers.HOST, "--protocol", "HTTP/1.1"]
    with subprocess.Popen([*command, "--directory", str(directory)], stderr=subprocess.DEVNULL) as process:
        try:
            address = f"http://{servers.HOST}:{port}"
            for _ in range(100):
                try:
                    requests.head(address, timeout=5)
                    break
                except requests.ConnectionError:
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()


def _megabytes(pid: int) -> float:
    """The present memory of a process and its descendants, in MB. What they share counts once, as Linux divides it."""
    total = 0.0
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1.024 / 1000
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return total
    return total + sum(_megabytes(int(child)) for child in children)


@click.command()
@click.option("--directory", type=click.Path(path_type=Path), required=True, help="Where images and projects are kept.")
@click.option("--images", "count", default=20_000, show_default=True)
@click.option("--encoder", default="efficientnet-lite0", show_default=True, help="As ML_BACKEND_IMAGE_ENCODER.")
def main(directory: Path, count: int, encoder: str) -> None:
    """Print the table."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = servers.HOST
    try:
        measure(directory, count, encoder)
    finally:
        for server in (servers.LABEL_STUDIO, servers.ML_BACKEND):
            servers.stop(directory, server)


if __name__ == "__main__":
    main()
