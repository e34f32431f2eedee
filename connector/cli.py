"""The command line: options, exit codes, output; the work is done elsewhere."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connector import __version__
from connector.errors import ConnectorError, TryAgainLater

if TYPE_CHECKING:
    from connector.backend import Backend
    from connector.label_studio import LabelStudio
    from connector.settings import Settings
    from connector.state import State

_SERVERS = (
    click.option("--label-studio-url", metavar="URL", help="Address of Label Studio [env LABEL_STUDIO_URL]."),
    click.option("--ml-backend-url", metavar="URL", help="Address of the ML backend [env ML_BACKEND_URL]."),
    click.option(
        "--state", "state_url", metavar="URL", help="State database, an SQLAlchemy URL [env CONNECTOR_STATE]."
    ),
    click.option("--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error, too."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output."),
)


def _servers(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_SERVERS):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Keeps a Label Studio project's label stream in the order of what one more annotation is worth.

    The token comes from LABEL_STUDIO_API_KEY (environment or .env), never from an option.
    """


@cli.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), help="The Label Studio project to take over.")
@click.option("--title", help="Make a new project with this title.")
@click.option("--data", type=click.Path(path_type=Path), help="Texts for the new project: .csv or .jsonl.")
@click.option("--label-config", type=click.Path(path_type=Path), help="The new project's config [label_config.xml].")
@click.option("--control", "control_name", help="Which Choices to serve, where the config has several.")
@click.option("--min-annotations-per-task", type=click.IntRange(min=1), help="Ask for this many on every task.")
@click.option("--connect-backend", is_flag=True, help="Connect the ML backend in Label Studio's settings, too.")
@click.option("--yes", is_flag=True, help="End a rule of several annotations a task without asking.")
@_servers
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
    from connector.adopt import adopt, create
    from connector.progress import Reporter

    if (project_id is None) == (title is None) or (title is None) != (data is None):
        raise click.UsageError("Give --project ID, or --title and --data for a new project.")
    settings, gateway, state = _open(servers)
    if project_id is None:
        config = _label_config(label_config)
        project_id = create(str(title), Path(str(data)), gateway, config)

    def confirm(question: str) -> bool:
        return yes or (sys.stdin.isatty() and click.confirm(question, err=True))

    done = adopt(
        project_id,
        gateway,
        state.project(settings.label_studio_url, project_id),
        control_name=control_name,
        min_annotations_per_task=min_annotations_per_task,
        backend_url=settings.ml_backend_url if connect_backend else None,
        confirm=confirm,
        reporter=Reporter(),
    )
    if as_json:
        click.echo(json.dumps(done))
        return
    state_of = "was set up before" if done["already"] else "is set up"
    changed = f"; set {', '.join(done['changed'])}" if done["changed"] else ""
    click.echo(
        f"Project {project_id} ({done['title']}) {state_of}: '{done['control']}' with "
        f"{', '.join(done['classes'])}{changed}. Next: connector sync --project {project_id}"
    )


@cli.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), required=True, help="The project to sync.")
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
    "--prelabel",
    type=click.Choice(["none", "new"]),
    default="none",
    show_default=True,
    help="Show the model's answer on new tasks (never on second opinions).",
)
@click.option("--dry-run", is_flag=True, help="Say what the next window would be; change nothing.")
@_servers
def sync(
    project_id: int,
    window: int,
    max_annotations_per_task: int,
    train: str,
    prelabel: str,
    dry_run: bool,
    as_json: bool,
    **servers: str | None,
) -> None:
    """Pull annotations, train when it pays, and put the label stream in order: the cron job.

    Example: connector sync --project 7 --json
    """
    from connector.progress import Reporter
    from connector.sync import SyncOptions
    from connector.sync import sync as run

    settings, gateway, state = _open(servers)
    on_exit = click.get_current_context().call_on_close

    def connect() -> Backend:
        from connector.backend import Backend

        backend = Backend(settings.ml_backend_url)
        on_exit(backend.close)
        return backend

    options = SyncOptions(window, max_annotations_per_task, train, prelabel == "new", dry_run)
    done = run(project_id, gateway, connect, state.project(settings.label_studio_url, project_id), options, Reporter())
    if as_json:
        click.echo(json.dumps(done))
        return
    click.echo(_words(done))


def _words(done: dict[str, Any]) -> str:
    """A sync's summary as sentences."""
    size = done["window"]
    trained = f"trained {done['model_version']}" if done["trained"] else f"model {done['model_version'] or 'none yet'}"
    verb = "would hold" if done.get("dry_run") else "holds"
    return (
        f"Project {done['project']}, round {done['round']}: {done['annotations']} annotations by {done['annotators']} "
        f"on {done['tasks']} tasks; {trained}; the window {verb} {size['size']} tasks, {size['new']} new and "
        f"{size['relabel']} for a second opinion."
    )


def _open(servers: dict[str, str | None]) -> tuple[Settings, LabelStudio, State]:
    """Settings, gateway and state, from options before the environment."""
    from connector.label_studio import LabelStudio
    from connector.settings import load_settings
    from connector.state import State

    settings = load_settings(**servers)
    gateway = LabelStudio(settings.label_studio_url, settings.label_studio_api_key.get_secret_value())
    state = State(settings.state_url)
    context = click.get_current_context()
    context.call_on_close(gateway.close)
    context.call_on_close(state.close)
    return settings, gateway, state


def _label_config(path: Path | None) -> str:
    """The labelling config at `path`, or the packaged one."""
    from connector.label_config import packaged_label_config

    if path is None:
        return packaged_label_config()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}.") from error


def main() -> None:
    """Entry point: errors become one sentence and an exit code (0 done, 1 unforeseen, 2 usage, 3 try again later)."""
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr, level=logging.INFO)
    for noisy in ("httpx", "urllib3", "label_studio_sdk"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    verbose = "--verbose" in sys.argv
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if verbose:
            logging.exception("The error in full:")
        known = _as_connector_error(error)
        click.echo(f"Error: {known}", err=True)
        sys.exit(known.exit_code)


def _as_connector_error(error: Exception) -> ConnectorError:
    """The error as one sentence of ours; an unforeseen one is told by its first line."""
    from sqlalchemy.exc import OperationalError

    if isinstance(error, ConnectorError):
        return error
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, OperationalError):
        return TryAgainLater(f"The state database in CONNECTOR_STATE failed: {error.orig or first}.")
    return ConnectorError(f"unforeseen {type(error).__name__}: {first}. Run with --verbose for the details.")


if __name__ == "__main__":
    main()
