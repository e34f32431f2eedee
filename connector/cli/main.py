"""The command line: commands, options, output; the work is done elsewhere."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from pathlib import Path

import click

from connector import __version__
from connector.active_learning import DEFAULT_STRATEGY, STRATEGY_NAMES
from connector.cli import options as console
from connector.cli.options import open_backend, open_servers, say, server_options
from connector.cli.report import report
from connector.cli.simulate import simulate


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(__version__)
@click.pass_context
def cli(context: click.Context) -> None:
    """Keeps a Label Studio project's label stream in the order of what one more annotation is worth.

    Without a command: where you stand, and what comes next.

    The token comes from LABEL_STUDIO_API_KEY (environment or .env), never from an option.

    Example: connector init --project 7, then connector sync --project 7 from cron.
    """
    if context.invoked_subcommand is None:
        context.exit(console.show_overview())


@cli.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), help="The Label Studio project to take over.")
@click.option("--title", help="Make a new project with this title.")
@click.option("--data", type=click.Path(path_type=Path), help="Texts for the new project: .csv or .jsonl.")
@click.option("--label-config", type=click.Path(path_type=Path), help="The new project's config [label_config.xml].")
@click.option("--control", "control_name", help="Which Choices to serve, where the config has several.")
@click.option("--min-annotations-per-task", type=click.IntRange(min=1), help="Ask for this many on every task.")
@click.option("--connect-backend", is_flag=True, help="Connect the ML backend in Label Studio's settings, too.")
@click.option("--yes", is_flag=True, help="End a rule of several annotations a task without asking.")
@server_options
def init(
    project_id: int | None,
    title: str | None,
    data: Path | None,
    label_config: Path | None,
    control_name: str | None,
    min_annotations_per_task: int | None,
    connect_backend: bool,
    yes: bool,
    as_json: bool,
    **servers: str | None,
) -> None:
    """Take over a project, or make one, for our queue.

    Example: connector init --project 7
    """
    from connector.progress import Reporter
    from connector.queue import initialize
    from connector.queue.import_tasks import create

    if (project_id is None) == (title is None) or (title is None) != (data is None):
        raise click.UsageError("Give --project ID, or --title and --data for a new project.")
    settings, gateway, state = open_servers(servers)
    if project_id is None:
        config = _label_config(label_config)
        project_id = create(str(title), Path(str(data)), gateway, config)

    def confirm(question: str) -> bool:
        return yes or (sys.stdin.isatty() and click.confirm(question, err=True))

    done = initialize(
        project_id,
        gateway,
        state.project(settings.label_studio_url, project_id),
        control_name=control_name,
        min_annotations_per_task=min_annotations_per_task,
        backend_url=settings.ml_backend_url if connect_backend else None,
        credentials=settings.credentials,
        confirm=confirm,
        reporter=Reporter(),
    )
    if as_json:
        click.echo(json.dumps(done))
        return
    state_of = "was set up before" if done["already"] else "is set up"
    changed = f"; set {', '.join(done['changed'])}" if done["changed"] else ""
    say(
        f"Project {project_id} ({done['title']}) {state_of}: '{done['control']}' with "
        f"{', '.join(done['classes'])}{changed}. Next: connector sync --project {project_id}"
    )


@cli.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), help="The project to sync.")
@click.option("--all", "all_projects", is_flag=True, help="Sync every project that init has set up, one after another.")
@click.option(
    "--every",
    type=click.IntRange(5, 86_400),
    metavar="SECONDS",
    help="Stay, and sync again this many seconds after each sync (at least 5), or as soon as half of the window is "
    "used up; SIGTERM or Ctrl-C ends it.",
)
@click.option("--window", type=click.IntRange(1, 5000), default=100, show_default=True, help="Tasks to put in order.")
@click.option(
    "--max-annotations-per-task", type=click.IntRange(min=1), default=5, show_default=True, help="Never ask for more."
)
@click.option(
    "--train",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Train the model when labels changed enough, at every sync, or not at all.",
)
@click.option(
    "--strategy",
    type=click.Choice(STRATEGY_NAMES),
    default=DEFAULT_STRATEGY,
    show_default=True,
    metavar="NAME",
    help=f"How to choose: {', '.join(STRATEGY_NAMES)}.",
)
@click.option(
    "--ground-truth",
    is_flag=True,
    help="Tasks with a ground truth are a test set: never trained on, never asked for; the model's accuracy on them is "
    "told. Label Studio marks all imported annotations so.",
)
@click.option(
    "--prelabel",
    type=click.Choice(["none", "new"]),
    default="none",
    show_default=True,
    help="Show the model's answer on new tasks (never on second opinions).",
)
@click.option(
    "--publish-consensus",
    is_flag=True,
    help="Show consensus labels in the Data Manager, as predictions of a version of their own.",
)
@click.option("--dry-run", is_flag=True, help="Say what the next window would be; change nothing.")
@server_options
def sync(
    project_id: int | None,
    all_projects: bool,
    every: int | None,
    window: int,
    max_annotations_per_task: int,
    train: str,
    strategy: str,
    ground_truth: bool,
    prelabel: str,
    publish_consensus: bool,
    dry_run: bool,
    as_json: bool,
    **servers: str | None,
) -> None:
    """Pull annotations, train when it pays, and put the label stream in order: the cron job, or with --every a service.

    Example: connector sync --project 7 --json

    Exit code with --all: that of the gravest error, 1 before 2 before 3.
    """
    from connector.sync.signals import Stopped, StopSignals

    if (project_id is not None) == all_projects:
        raise click.UsageError("Give --project ID, or --all for every project that init has set up.")
    if every is not None and dry_run:
        raise click.UsageError("Give --dry-run without --every: nothing would change from one sync to the next.")
    context = click.get_current_context()
    if every is not None:
        stop = context.with_resource(StopSignals())

    from connector.progress import Reporter
    from connector.sync.cycle import SyncOptions
    from connector.sync.cycle import sync as run
    from connector.sync.projects import words

    settings, gateway, state = open_servers(servers)
    options = SyncOptions(
        window,
        max_annotations_per_task,
        train,
        prelabel == "new",
        dry_run,
        settings.scorer,
        strategy,
        ground_truth,
        publish_consensus,
    )
    if every is not None or project_id is None:
        from connector.cli.sync_all import SyncCommand

        command = SyncCommand(settings, gateway, state, options, project_id, as_json)
        if every is None:
            context.exit(command.once())
        with contextlib.suppress(Stopped):
            command.on_and_on(every, stop)
        return

    connect = functools.partial(open_backend, context, settings, gateway)
    done = run(project_id, gateway, connect, state.project(settings.label_studio_url, project_id), options, Reporter())
    click.echo(json.dumps(done) if as_json else words(done))


_project = click.option("--project", "project_id", type=click.IntRange(min=1), required=True, help="The project.")


@cli.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), help="One project; without it, all of them.")
@server_options
def status(project_id: int | None, as_json: bool, **servers: str | None) -> None:
    """Show the last sync, the queue, the labels and the model, and what comes next.

    Changes nothing, and works while a sync runs.

    Example: connector status --project 7

    Exit code 3 when Label Studio does not answer, and 2 when it refuses: then this is what the last sync knew.
    """
    from connector.diagnostics.status import status as status_of
    from connector.diagnostics.status_text import format_status
    from connector.errors import gravest_exit_code

    settings, gateway, state = open_servers(servers, looking=True)
    url = settings.label_studio_url
    wanted = state.adopted(url) if project_id is None else [project_id]
    statuses = [status_of(project, gateway, state.project(url, project)) for project in wanted]
    if as_json:
        objects = [each.to_json() for each in statuses]
        click.echo(json.dumps({"projects": objects} if project_id is None else objects[0]))
    elif statuses:
        say("\n\n".join(map(format_status, statuses)))
    else:
        click.echo(f"No project of {url} is set up yet: connector init --project ID takes one over.")
    click.get_current_context().exit(gravest_exit_code(each.exit_code for each in statuses))


@cli.command()
@_project
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file, or folder, to write.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "jsonl", "parquet", "label-studio", "datasets"]),
    help="Read from the ending of --out where it is .csv, .jsonl or .parquet.",
)
@click.option("--no-model", is_flag=True, help="Leave the ML backend alone: labels and majority, no probabilities.")
@server_options
def export(
    project_id: int, out: Path, file_format: str | None, no_model: bool, as_json: bool, **servers: str | None
) -> None:
    """Write every task with its annotations, consensus label, the model's view and its rank.

    Example: connector export --project 7 --out labels.csv
    """
    from connector.progress import Reporter
    from connector.reporting.export import export as write
    from connector.reporting.export import format_of

    chosen = file_format or format_of(out)
    settings, gateway, state = open_servers(servers)
    backend = None if no_model else open_backend(click.get_current_context(), settings, gateway)
    project = state.project(settings.label_studio_url, project_id)
    done = write(project_id, gateway, backend, project, out, chosen, Reporter(), settings.scorer)
    if as_json:
        click.echo(json.dumps(done))
        return
    click.echo(
        f"Wrote {done['tasks']} tasks with {done['annotations']} annotations, "
        f"{done['consensus']} of them with a consensus label, to {out}."
    )


@cli.command()
@_project
@server_options
def undo(project_id: int, as_json: bool, **servers: str | None) -> None:
    """Give the project back as init found it; all annotations stay.

    Example: connector undo --project 7
    """
    from connector.progress import Reporter
    from connector.queue.undo import undo as give_back
    from connector.queue.undo import words

    settings, gateway, state = open_servers(servers)
    done = give_back(project_id, gateway, state.project(settings.label_studio_url, project_id), Reporter())
    click.echo(json.dumps(done) if as_json else words(done))


@cli.command()
@_project
@server_options
def doctor(project_id: int, as_json: bool, **servers: str | None) -> None:
    """Name what breaks the queue, and the remedy; change nothing.

    Example: connector doctor --project 7

    Exit code 2 when somebody has to change something, 3 when a server is away, 0 otherwise.
    """
    from connector.diagnostics.doctor import examine, exit_code, format_findings

    settings, gateway, state = open_servers(servers, looking=True)
    findings = examine(project_id, gateway, state.project(settings.label_studio_url, project_id), settings)
    if as_json:
        click.echo(json.dumps({"project": project_id, "checks": [finding.to_json() for finding in findings]}))
    else:
        say(format_findings(project_id, findings))
    click.get_current_context().exit(exit_code(findings))


cli.add_command(report)
cli.add_command(simulate)


def _label_config(path: Path | None) -> str:
    """The labelling config at `path`, or the packaged one."""
    from connector.annotations.label_config import packaged_label_config

    if path is None:
        return packaged_label_config()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}.") from error


def main() -> None:
    """Entry point."""
    console.run(cli)


if __name__ == "__main__":
    main()
