"""What a sync costs, beside Label Studio's own full export in the same run.

    python benchmarks/sync.py [--data DIR]

Starts a real Label Studio (SQLite) and the ML backend, gives 200 labels, and measures whole `connector sync` commands
as cron would run them, start of Python included: the first, one with nothing new, one with 25 new annotations and a
training.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from connector.backend import Backend
from connector.demo import corpus, servers, texts
from connector.demo.people import Person
from connector.demo.project import Connector, Project, create_project
from connector.demo.rounds import Crowd, label_batch, label_start
from connector.label_studio import LabelStudio
from connector.progress import Reporter
from connector.state import State
from connector.sync import SyncOptions
from connector.sync import sync as sync_in_process

LOGIN = servers.Login("admin@example.com", "label-studio", "0123456789abcdef0123456789abcdef01234567")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="A directory in the long format [generated texts].")
def main(data: Path | None) -> None:
    """Print the table."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = servers.HOST
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        try:
            rows = measure(directory, texts.generate(seed=0) if data is None else corpus.read(data))
        finally:
            for server in (servers.LABEL_STUDIO, servers.ML_BACKEND):
                servers.stop(directory, server)
    export = rows[0]["seconds"]
    table = Table("", "seconds", "x export", "calls to Label Studio", "stages", title="One sync, whole command")
    for row in rows:
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in row["stages"].items())
        table.add_row(row["what"], f"{row['seconds']:.2f}", f"{row['seconds'] / export:.2f}", row["calls"], stages)
    Console().print(table)


def measure(directory: Path, data: corpus.Corpus) -> list[dict[str, Any]]:
    """The rows of the table; the first is the reference."""
    label_studio = servers.start_label_studio(directory, LOGIN)
    ml_backend = servers.start_ml_backend(directory)
    project = create_project(label_studio, LOGIN, data)
    connector = Connector(label_studio.url, LOGIN.token, ml_backend.url, directory / "state.sqlite")
    people = [Person.sign_up(label_studio.url, f"annotator{number}@example.com") for number in range(3)]
    crowd = Crowd(people, project, data)

    connector.run("init", project, "--yes")
    first = timed("first sync (nothing labelled)", connector, project)
    label_start(crowd, lambda done, total: None)
    trained = timed("200 labels, first training", connector, project)
    time.sleep(65)  # what was read less than a minute ago is read again: let the tasks' import fall behind
    connector.run("sync", project)
    nothing = timed("nothing new", connector, project)
    label_batch(crowd, 25, lambda done, total: None)
    again = timed("25 new annotations, training", connector, project, "--train", "always")

    with servers.local_session() as api:
        api.headers["Authorization"] = f"Token {LOGIN.token}"
        started = time.monotonic()
        query = {"exportType": "JSON", "download_all_tasks": "true"}
        answer = api.get(f"{label_studio.url}/api/projects/{project.id}/export", params=query, timeout=600)
        answer.raise_for_status()
        seconds = time.monotonic() - started
    export = {"what": f"full export of {len(answer.json())} tasks", "seconds": seconds, "calls": "1", "stages": {}}
    gateway = LabelStudio(label_studio.url, LOGIN.token)
    state = State(f"sqlite:///{connector.state}").project(label_studio.url, project.id)
    sync_in_process(project.id, gateway, lambda: Backend(ml_backend.url), state, SyncOptions(), Reporter())
    nothing["calls"] = str(gateway.calls)
    return [export, first, trained, nothing, again]


def timed(what: str, connector: Connector, project: Project, *options: str) -> dict[str, Any]:
    """One `connector sync` as a command, by the clock on the wall."""
    started = time.monotonic()
    summary = connector.run("sync", project, *options)
    return {"what": what, "seconds": time.monotonic() - started, "calls": "", "stages": summary["seconds"]}


if __name__ == "__main__":
    main()
