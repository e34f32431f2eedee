"""`connector simulate`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.active_learning import DEFAULT_MAX_ANNOTATIONS, DEFAULT_STRATEGY, STRATEGY_NAMES
from connector.cli.options import (
    audit_option,
    cost_option,
    keys_of,
    label_studio_options,
    media_option,
    named_output,
    open_label_studio,
    project_option,
)
from connector.whole_number import WholeNumber

if TYPE_CHECKING:
    from connector.progress import Reporter
    from connector.simulation.corpus import Corpus
    from connector.simulation.simulate import SimulationResult
    from connector.sync.options import Cost

WIDTH_IN_A_FILE = 200


def _names_of_machines(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """The names in values of the form machine=NAME."""
    for value in values:
        if not value.startswith("machine=") or value == "machine=":
            raise click.BadParameter(f"{value!r} is not of the form machine=NAME.")
    return tuple(dict.fromkeys(value.removeprefix("machine=") for value in values))


@click.command(short_help="Replay the loop on labelled data, and compare strategies.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with tasks.csv, annotations.csv and test.csv.")
@project_option("Instead: replay this project.", required=False)
@click.option("--control", "control_name", help="The control to use, if the config has several.")
@click.option("--fields", metavar="KEYS", help="With --project, as of init: keys of the tasks' data that models read.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=named_output,
    required=True,
    help="Folder for results and finished runs.",
)
@click.option("--strategy", "strategies", multiple=True, metavar="NAME", help="Strategy to compare [all]. Repeatable.")
@click.option(
    "--classifier",
    "classifiers",
    multiple=True,
    metavar="NAME",
    default=["logistic"],
    show_default=True,
    help="A classifier of the ML backend. Repeatable.",
)
@click.option(
    "--rounds", type=WholeNumber(), metavar="N", default=25, show_default=True, help="Rounds after the start."
)
@click.option("--batch", type=WholeNumber(), metavar="N", default=25, show_default=True, help="Labels per round.")
@click.option(
    "--initial",
    metavar="TASKSxLABELS",
    default="100x2",
    show_default=True,
    help="The start: tasks, labels on each.",
)
@click.option(
    "--seeds",
    type=WholeNumber(),
    metavar="N",
    default=5,
    show_default=True,
    help="Number of repetitions with different random seeds.",
)
@click.option(
    "--max-annotations-per-task",
    type=WholeNumber(),
    metavar="N",
    default=DEFAULT_MAX_ANNOTATIONS,
    show_default=True,
    help="Never ask for more annotations of a task.",
)
@audit_option
@cost_option
@click.option(
    "--annotator-kind",
    "machines",
    multiple=True,
    metavar="machine=NAME",
    callback=_names_of_machines,
    help="This annotator of the data is a machine: its labels are all there at the start. May be repeated.",
)
@click.option(
    "--jobs",
    type=WholeNumber(),
    metavar="N",
    help="Processes, each with its own ML backend [one per core, at most 8].",
)
@click.option("--no-plot", is_flag=True, help="Do not draw a plot. matplotlib is not needed then.")
@media_option
@label_studio_options
def simulate(
    data: Path | None,
    project_id: int | None,
    control_name: str | None,
    fields: str | None,
    out: Path,
    strategies: tuple[str, ...],
    classifiers: tuple[str, ...],
    rounds: int,
    batch: int,
    initial: str,
    seeds: int,
    max_annotations_per_task: int,
    audit: float,
    cost: Cost,
    machines: tuple[str, ...],
    jobs: int | None,
    no_plot: bool,
    as_json: bool,
    **servers: str | None,
) -> None:
    """Replay the loop offline on data that several people have labelled, and compare strategies.

    It starts its own ML backends. Finished runs are kept in --out: the same command continues from there.

    Example: connector simulate --data politeness --out simulated --strategy random --strategy activelab
    """
    if (data is None) == (project_id is None):
        raise click.UsageError("Give --data DIR, or --project ID for what a project's people have labelled.")
    if data is not None and (control_name is not None or fields is not None):
        raise click.UsageError(
            "--control and --fields are for --project: --data has one question and one text per task."
        )
    from connector.progress import Reporter
    from connector.simulation.replay import ReplayOptions, replay
    from connector.simulation.simulate import Plan
    from connector.simulation.simulate import simulate as run

    start = re.fullmatch(r"([1-9]\d{,8})x([1-9]\d{,8})", initial)
    if start is None:
        raise click.UsageError(f"--initial {initial} is not of the form 100x2: 100 tasks with 2 labels each.")
    options = ReplayOptions(rounds, batch, int(start[1]), int(start[2]), max_annotations_per_task, audit=audit)
    options = replace(options, machines=machines, cost=cost)
    if project_id is not None:  # results.json then names the project
        options = replace(options, project=str(project_id))
    plan = Plan(_checked(strategies) or STRATEGY_NAMES, classifiers, DEFAULT_STRATEGY, seeds, options)
    reporter = Reporter()
    corpus = _corpus(data, project_id, control_name, keys_of(fields) or (), out / "media", servers, reporter)
    if strange := sorted(set(machines) - {name for rows in corpus.annotations.values() for name, _ in rows}):
        raise click.UsageError(f"--annotator-kind machine={strange[0]}: the data have no annotator of that name.")
    done = run(corpus, plan, out, replay, reporter, jobs=jobs, with_plot=not no_plot)
    click.echo(json.dumps(done.to_json()) if as_json else _words(done), nl=as_json)


def _checked(strategies: Sequence[str]) -> Sequence[str]:
    """The names. Raises UsageError if there is no such strategy."""
    for name in strategies:
        if name not in STRATEGY_NAMES:
            raise click.UsageError(f"There is no strategy {name!r}: choose among {', '.join(STRATEGY_NAMES)}.")
    return strategies


def _corpus(
    data: Path | None,
    project_id: int | None,
    control_name: str | None,
    fields: Sequence[str],
    media: Path,
    servers: dict[str, str | None],
    reporter: Reporter,
) -> Corpus:
    """The corpus of a folder or a project. `media`: the folder of copies of a project's media."""
    from connector.simulation.corpus import read_or_hold_out
    from connector.simulation.project_corpus import read_project

    if project_id is None:
        with reporter.stage("read", "Reading the data"):
            return read_or_hold_out(Path(str(data)))
    settings, gateway = open_label_studio(servers)
    hosts = settings.allowed_hosts
    return read_project(project_id, gateway, reporter, control_name, fields, media=media, media_hosts=hosts)


def _words(done: SimulationResult) -> str:
    """The table, what should be known with it, and where the files are."""
    import io
    import sys

    from rich.console import Console

    from connector.cli.simulate_table import format_table
    from connector.simulation.metrics import format_advice

    terminal = sys.stdout.isatty()
    shown = io.StringIO()
    console = Console(file=shown, width=None if terminal else WIDTH_IN_A_FILE, force_terminal=terminal)
    console.print(format_table(done.summary))
    for sentence in filter(None, [*done.notes, format_advice(done.advice), f"Wrote {', '.join(done.files)}."]):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    return shown.getvalue()
