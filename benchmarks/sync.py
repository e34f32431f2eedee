"""The time of a sync and a report on a large project, relative to Label Studio's own full export in the same run.

    python benchmarks/sync.py --directory DIR [--tasks 100000] [--annotations 60000] [--questions 1]
                              [--quick-import]

It builds the project on a real Label Studio (SQLite) in DIR, or uses the one in DIR. It measures whole `connector`
commands as cron runs them, including the start of Python. DIR keeps Label Studio's data and the ML backend's
embeddings, so that only the first run computes them. The connector's state is new in every run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from large_project import LOGIN, LargeProject, large_project
from rich.console import Console
from rich.table import Table

from connector.backend import Backend
from connector.demo import servers
from connector.demo.people import Person
from connector.demo.texts import IMPOLITE, POLITE
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.queue.publish import QUICK_IMPORT
from connector.state.project_state import State
from connector.sync.cycle import sync
from connector.sync.options import SyncOptions

NEW = 100  # annotations
REPEATS = 3
# The stages of a sync that count as reading and as scoring. Training and publishing are reported separately.
READING_AND_SCORING = ("pull", "texts", "probabilities", "score", "select")


@dataclass
class Row:
    """A row of the table. `seconds`: wall clock. `megabytes`: the largest memory."""

    what: str
    seconds: float
    calls: str = ""
    megabytes: float | None = None
    stages: dict[str, float] = field(default_factory=dict)


class Timed(LabelStudio):
    """The gateway, which says how long the import of a window took and how many tasks were opened or closed."""

    def __init__(self, url: str) -> None:
        super().__init__(url, LOGIN.token)
        self.import_seconds = 0.0
        self.tasks_changed = 0

    def import_predictions(self, project: int, rows: Sequence[dict[str, Any]], *, singly: bool = False) -> int:
        started = time.monotonic()
        kept = super().import_predictions(project, rows, singly=singly)
        self.import_seconds += time.monotonic() - started
        return kept

    def update_task(self, task: int, *, overlap: int, is_labeled: bool) -> dict[str, Any]:
        self.tasks_changed += 1
        return super().update_task(task, overlap=overlap, is_labeled=is_labeled)


class Bench:
    """The servers, the project and the connector's settings."""

    def __init__(self, directory: Path, n_tasks: int, n_annotations: int, questions: int, quick_import: bool) -> None:
        self.directory = directory
        environment = dict([QUICK_IMPORT.split("=")]) if quick_import else {}
        self.label_studio = servers.start_label_studio(directory, LOGIN, environment=environment)
        self.project: LargeProject = large_project(directory, self.label_studio, n_tasks, n_annotations, questions)
        self.ml_backend = servers.start_ml_backend(directory)
        state = directory / "state.sqlite"
        state.unlink(missing_ok=True)
        self.state_url = f"sqlite:///{state.resolve()}"

    def command(self, what: str, *arguments: str) -> Row:
        """Runs `connector ARGUMENTS --project ID --json`."""
        environment = os.environ | {
            "LABEL_STUDIO_URL": self.label_studio.url,
            "LABEL_STUDIO_API_KEY": LOGIN.token,
            "ML_BACKEND_URL": self.ml_backend.url,
            "CONNECTOR_STATE": self.state_url,
        }
        command = [sys.executable, "-m", "connector.cli", *arguments, "--project", str(self.project.id), "--json"]
        started = time.monotonic()
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            printed = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise click.ClickException(f"{' '.join(command)} failed")
        kilobytes = used.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
        return Row(what, time.monotonic() - started, "", kilobytes / 1000, json.loads(printed).get("seconds", {}))

    def sync_in_process(self) -> tuple[dict[str, Any], Timed]:
        """A sync through a gateway that counts."""
        with closing(Timed(self.label_studio.url)) as gateway, closing(State(self.state_url)) as state:
            project = state.project(self.label_studio.url, self.project.id)
            connect = lambda: Backend(self.ml_backend.url)  # noqa: E731
            done = sync(self.project.id, gateway, connect, project, SyncOptions(), Reporter())
            return done.to_json(), gateway

    def annotate(self, count: int) -> None:
        """People take `count` tasks from the label stream and label them."""
        people = [Person.log_in(self.label_studio.url, email) for email, _ in self.project.people[:5]]
        for number in range(count):
            person = people[number % len(people)]
            task = person.next_task(self.project.id)
            assert task is not None, "the label stream is empty"
            label = POLITE if number % 3 else IMPOLITE
            person.submit({"id": task["id"], "predictions": task.get("predictions")}, "politeness", "text", label)
        for person in people:
            person.close()

    def export(self) -> Row:
        """Label Studio's own export of all tasks as JSON."""
        with servers.local_session() as api:
            api.headers["Authorization"] = f"Token {LOGIN.token}"
            query = {"exportType": "JSON", "download_all_tasks": "true"}
            started = time.monotonic()
            answer = api.get(
                f"{self.label_studio.url}/api/projects/{self.project.id}/export", params=query, timeout=3600
            )
            answer.raise_for_status()
            return Row(f"Label Studio's export of {len(answer.json()):,} tasks", time.monotonic() - started, "1")


@click.command()
@click.option("--directory", type=click.Path(path_type=Path), required=True, help="Where the project is kept.")
@click.option("--tasks", "n_tasks", default=100_000, show_default=True)
@click.option("--annotations", "n_annotations", default=60_000, show_default=True)
@click.option("--questions", default=1, show_default=True, help="Controls of the config, all answered alike.")
@click.option("--quick-import", is_flag=True, help=f"Start Label Studio with {QUICK_IMPORT}.")
def main(directory: Path, n_tasks: int, n_annotations: int, questions: int, quick_import: bool) -> None:
    """Print the table."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = servers.HOST
    directory.mkdir(parents=True, exist_ok=True)
    try:
        measure(Bench(directory, n_tasks, n_annotations, questions, quick_import))
    finally:
        for server in (servers.LABEL_STUDIO, servers.ML_BACKEND):
            servers.stop(directory, server)


def measure(bench: Bench) -> None:
    """Runs it all and prints what it gave, beside what is wanted."""
    rows = [bench.command("init", "init", "--yes"), bench.command("first sync", "sync")]
    time.sleep(65)  # what was read less than a minute ago is read again: let all that came before fall behind
    bench.command("", "sync")
    nothing = [bench.command("nothing new", "sync") for _ in range(REPEATS)]
    _, counted = bench.sync_in_process()
    nothing[0].calls = str(counted.calls)
    bench.annotate(NEW)
    summary, gateway = bench.sync_in_process()
    seconds = summary["seconds"]
    new = Row(f"{NEW} new annotations", sum(seconds.values()), str(gateway.calls), None, seconds)
    page = Path(bench.directory, "report.html")
    report = bench.command("report", "report", "--out", str(page))
    export = bench.export()
    slowest = max(nothing, key=lambda row: row.seconds)
    slowest.calls = nothing[0].calls
    show([export, *rows, slowest, new, report], export.seconds)

    reading = sum(seconds.get(stage, 0.0) for stage in READING_AND_SCORING)
    bound = gateway.import_seconds + 1 + 0.25 * gateway.tasks_changed
    memory = max(row.megabytes or 0.0 for row in [*rows, *nothing])
    print(f"Report: {report.seconds:.2f} s (wanted: 20 with 50,000 tasks), {page.stat().st_size / 1e6:.2f} MB (5)")
    print(f"Nothing new: {slowest.seconds:.2f} s, the slowest of {REPEATS} (wanted: 3), {slowest.calls} calls (6)")
    print(f"{NEW} new: reading and scoring {reading:.2f} s, 1/{export.seconds / reading:.0f} of the export (1/20)")
    print(f"{NEW} new: publishing {seconds['publish']:.2f} s, of it {gateway.import_seconds:.2f} s one import call,")
    print(f"  {gateway.tasks_changed} tasks opened or closed (wanted: {bound:.2f} s)")
    print(f"{NEW} new: training {seconds.get('train', 0.0):.2f} s")
    print(f"Memory of the connector at the most: {memory:.0f} MB (600)")


def show(rows: list[Row], export: float) -> None:
    """The table."""
    table = Table("", "seconds", "x export", "calls to Label Studio", "MB", "stages", title="One sync, whole command")
    for row in rows:
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in row.stages.items())
        memory = "" if row.megabytes is None else f"{row.megabytes:.0f}"
        table.add_row(row.what, f"{row.seconds:.2f}", f"{row.seconds / export:.3f}", row.calls, memory, stages)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
