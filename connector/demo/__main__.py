"""`python -m connector.demo`: the loop from end to end, and `python -m connector.demo stop`."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import shutil
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from connector.backend import Backend
from connector.demo import images as drawings
from connector.demo import servers, texts
from connector.demo.dataset import Corpus, read_corpus
from connector.demo.measure import Measure
from connector.demo.people import Person
from connector.demo.project import Connector, Project, address, create_project
from connector.demo.random_baseline import replay_at_random
from connector.demo.rounds import Crowd, Round, label_batch, label_start, sync
from connector.errors import ConnectorError, UsageError
from connector.formatting import count
from connector.progress import Reporter
from connector.simulation.workers import QUICK_CLASSIFIER
from connector.whole_number import WholeNumber

# The ports that the README names, if they are free.
LABEL_STUDIO_PORT, ML_BACKEND_PORT = 8080, 9090
DIRECTORY = Path(".demo")
ROUNDS, ROUNDS_WITH_DATA = 10, 25
EMAIL, PASSWORD = "admin@example.com", "label-studio"
MARK = "This directory was made by connector.demo, which empties it when it starts.\n"

log = logging.getLogger("connector")

_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where it runs.",
)


@click.group(invoke_without_command=True)
@click.option(
    "--data", type=click.Path(path_type=Path), help="tasks.csv, annotations.csv and test.csv [generated texts]."
)
@click.option("--images", is_flag=True, help="Label drawn images instead of texts.")
@_directory
@click.option("--rounds", type=WholeNumber(0), help=f"Rounds [{ROUNDS}, with --data {ROUNDS_WITH_DATA}].")
@click.option("--batch", type=WholeNumber(), default=25, show_default=True, help="Labels in a round.")
@click.option(
    "--seed", type=WholeNumber(0), default=0, show_default=True, help="Seed of the texts and of random order."
)
@click.option("--exit", "end", is_flag=True, help="Stop both servers at the end.")
@click.pass_context
def demo(
    context: click.Context,
    data: Path | None,
    images: bool,
    directory: Path,
    rounds: int | None,
    batch: int,
    seed: int,
    end: bool,
) -> None:
    """Label with simulated people in a real Label Studio, sync between batches, and print a table of rounds."""
    if context.invoked_subcommand is not None:
        return
    started = time.monotonic()
    # A proxy from the environment could not reach the servers on this machine.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = servers.HOST
    if images and data is not None:
        raise click.UsageError("Give --images or --data, not both.")
    to_label = texts.generate(seed=seed) if data is None else read_corpus(data)
    rounds = rounds if rounds is not None else (ROUNDS if data is None else ROUNDS_WITH_DATA)
    _stop(directory)
    _empty(directory)
    if images:
        to_label = drawings.generate(directory / "images", seed=seed)
    login = servers.Login(EMAIL, PASSWORD, secrets.token_hex(20))
    keep = False
    try:
        label_studio, ml_backend = _start(directory, login)
        run = _Run(directory, to_label, label_studio, ml_backend, login)
        rows, random_order = run.rounds(rounds, batch, seed)
        keep = not end
    finally:
        if not keep:
            _stop(directory)
    out = Console()
    out.print(_table(rows, random_order))
    out.print(f"It took {time.monotonic() - started:.0f} s, including the start of the servers.")
    if keep:
        out.print(
            f"\nLabel Studio is still running at {address(label_studio, login, run.project)} "
            f"(login {login.email}, password {login.password}), the ML backend at {ml_backend.url}.\n"
            f"Stop both with: {stop_command(directory)}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )


@demo.command()
@_directory
def stop(directory: Path) -> None:
    """Stop the servers that a demo left running."""
    if not _stop(directory):
        click.echo(f"No server of a demo in {directory} is running.")


def stop_command(directory: Path) -> str:
    """What to type to stop the servers of the demo in `directory`."""
    if directory == DIRECTORY:
        return "make demo-stop"
    return f"python -m connector.demo stop --dir {shlex.quote(str(directory))}"


class _Run:
    """One demo: a project, its people, the connector and the ML backend."""

    def __init__(
        self,
        directory: Path,
        corpus: Corpus,
        label_studio: servers.Server,
        ml_backend: servers.Server,
        login: servers.Login,
    ) -> None:
        self.reporter = Reporter()
        with self.reporter.stage("project", "Creating a project and signing people up"):
            self.project: Project = create_project(label_studio, login, corpus)
            size = len(corpus.annotators) or corpus.labels_a_task
            people = [Person.sign_up(label_studio.url, f"annotator{n + 1}@example.com") for n in range(size)]
        self.crowd = Crowd(people, self.project, corpus)
        self.measure = Measure(ml_backend.url, self.project.config, corpus.test_data)
        self.connector = Connector(label_studio.url, login.token, ml_backend.url, directory / "connector.sqlite")
        self.backend = Backend(ml_backend.url, poll_seconds=0.05)

    def rounds(self, rounds: int, batch: int, seed: int) -> tuple[list[Round], list[float]]:
        """A row for the start and one per round, and the accuracy of random order for each row."""
        with self.reporter.stage("init", "connector init and the first connector sync"):
            self.connector.run("init", self.project, "--connect-backend", "--yes")
            sync(self.connector, self.crowd, self.measure)
        with self.reporter.stage("start", "People label the start, two labels per task") as stage:
            label_start(self.crowd, stage.count)
        start = dict(self.crowd.labels)
        rows = [self._sync(0)]
        for number in range(1, rounds + 1):
            words = f"Round {number} of {rounds}: people label {count(batch, 'task')}"
            with self.reporter.stage("label", words) as stage:
                labels = label_batch(self.crowd, batch, stage.count)
            if labels == 0:
                log.info("No one is served a task any more: all tasks have all their labels.")
                break
            rows.append(self._sync(number))
        with self.reporter.stage("random", "The same labels in random order") as stage:
            counts = [row.labels for row in rows]
            random_order = replay_at_random(
                self.project, self.crowd.corpus, self.backend, self.measure, start, counts, seed, stage.count
            )
        return rows, random_order

    def _sync(self, number: int) -> Round:
        with self.reporter.stage("sync", f"Round {number}: connector sync"):
            row = sync(self.connector, self.crowd, self.measure)
        log.info(
            "Round %d: %s, a window of %s and %s, accuracy %.3f",
            number,
            count(row.labels, "label"),
            count(row.new, "new task"),
            count(row.second_opinions, "second opinion"),
            row.accuracy,
        )
        return row


def _start(directory: Path, login: servers.Login) -> tuple[servers.Server, servers.Server]:
    with Reporter().stage("servers", "Starting Label Studio (most of a minute) and the ML backend"):
        label_studio = servers.start_label_studio(directory, login, port=servers.free_port(LABEL_STUDIO_PORT))
        # Without the default's fine-tuning in the background: the demo would end before it does.
        # Drawn images need no encoder that has seen photographs.
        quick = {"ML_BACKEND_CLASSIFIER": QUICK_CLASSIFIER, "ML_BACKEND_IMAGE_ENCODER": "pixels"}
        port = servers.free_port(ML_BACKEND_PORT)
        ml_backend = servers.start_ml_backend(directory, port=port, environment=quick)
    return label_studio, ml_backend


def _stop(directory: Path) -> bool:
    """Stops all servers of a demo in `directory`. False if none was running."""
    names = [name for name in (servers.LABEL_STUDIO, servers.ML_BACKEND) if servers.stop(directory, name)]
    if names:
        log.info("Stopped %s.", " and ".join(names))
    return bool(names)


def _empty(directory: Path) -> None:
    """Makes `directory` empty. Raises UsageError if it has files and no demo made it."""
    mark = directory / "made-by-the-demo.txt"
    if directory.exists() and any(directory.iterdir()) and not mark.exists():
        raise UsageError(f"{directory} has files that no demo made. Name another directory with --dir.")
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    mark.write_text(MARK)


def _table(rows: list[Round], random_order: list[float]) -> Table:
    table = Table(title="Accuracy on test tasks, by number of labels", caption="random: mean of three offline replays")
    for heading in ("round", "labels", "window: new", "second opinions", "accuracy", "random order"):
        table.add_column(heading, justify="right")
    for number, (row, random) in enumerate(zip(rows, random_order, strict=True)):
        cells = (number, row.labels, row.new, row.second_opinions, f"{row.accuracy:.3f}", f"{random:.3f}")
        table.add_row(*map(str, cells))
    table.add_section()
    means = (sum(row.accuracy for row in rows) / len(rows), sum(random_order) / len(rows))
    table.add_row("mean", "", "", "", *(f"{mean:.3f}" for mean in means))
    return table


def main() -> None:
    """Entry point: errors become one sentence and an exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.ERROR)
    log.setLevel(logging.INFO)  # of libraries, errors only
    try:
        demo()
    except ConnectorError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
