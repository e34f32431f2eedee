"""What commands share: the options that name the servers, opening them, and errors as one sentence."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from unicodedata import category

import click

from connector.active_learning import DEFAULT_AUDIT
from connector.cli.share import Share
from connector.errors import ConnectorError, TryAgainLater
from connector.whole_number import WholeNumber

if TYPE_CHECKING:
    from pathlib import Path

    from connector.backend import Backend
    from connector.label_studio.client import LabelStudio
    from connector.settings import Settings
    from connector.state.project_state import State

MAX_FIELDS = 100  # that the ML backend takes

_Command = TypeVar("_Command", bound=Callable[..., Any])

_LABEL_STUDIO = click.option(
    "--label-studio-url", metavar="URL", help="Address of Label Studio [env LABEL_STUDIO_URL]."
)
_ML_BACKEND = click.option("--ml-backend-url", metavar="URL", help="Address of the ML backend [env ML_BACKEND_URL].")
_STATE = click.option(
    "--state", "state_url", metavar="URL", help="State database, an SQLAlchemy URL [env CONNECTOR_STATE]."
)
_VERBOSE = click.option("--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error, too.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")


def project_option(
    words: str = "The project in Label Studio.", *, required: bool = True
) -> Callable[[_Command], _Command]:
    """The option `--project ID`, as the parameter `project_id`."""
    return click.option("--project", "project_id", type=WholeNumber(), metavar="ID", required=required, help=words)


def named_output(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """The callback of an option for output. Refuses "-", which means standard output in other programs."""
    if path is not None and str(path) == "-":
        raise click.BadParameter("The output cannot go to standard output: name a file or a folder instead of '-'.")
    return path


def media_option(command: _Command) -> _Command:
    """Adds the option `--media-host HOST`, as the parameter `media_hosts`: one string, or None."""

    def joined(context: click.Context, parameter: click.Parameter, hosts: tuple[str, ...]) -> str | None:
        return ",".join(hosts) or None

    return click.option(
        "--media-host",
        "media_hosts",
        metavar="HOST",
        multiple=True,
        callback=joined,
        help="Fetch files from this host though its address is private. May be repeated [env CONNECTOR_MEDIA_HOSTS].",
    )(command)


def target_option(command: _Command) -> _Command:
    """Adds the option `--target SHARE`, as the parameter `target`."""
    return click.option(
        "--target",
        type=Share(0.95, above_0=True),
        metavar="SHARE",
        help="Share of the labels that are to be right, such as 0.95: tells how many more labels and hours it takes. "
        "It needs an audit (connector sync --audit).",
    )(command)


annotator_version_option = click.option(
    "--annotator-version",
    "annotator_versions",
    multiple=True,
    metavar="NAME",
    help="Count the predictions of this model version as labels of a machine. May be repeated. It is remembered.",
)


def audit_option(command: _Command) -> _Command:
    """Adds the option `--audit SHARE`, as the parameter `audit`."""
    return click.option(
        "--audit",
        type=Share(0.05),
        metavar="SHARE",
        default=DEFAULT_AUDIT,
        show_default=True,
        help="Share of a window that is drawn at random, whatever the scores. How many labels are right is estimated "
        "from these tasks. 0: none.",
    )(command)


def cost_option(command: _Command) -> _Command:
    """Adds the option `--cost labels|time`, as the parameter `cost`."""
    return click.option(
        "--cost",
        type=click.Choice(["labels", "time"]),
        default="labels",
        show_default=True,
        help="What an answer costs: a label, or the seconds that it is expected to take by the length of the text. "
        "Tasks are chosen by what they are worth per second then.",
    )(command)


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that every command on a project takes."""
    return _LABEL_STUDIO(_ML_BACKEND(_STATE(_VERBOSE(_JSON(command)))))


def label_studio_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a command that only talks to Label Studio and stores nothing."""
    return _LABEL_STUDIO(_VERBOSE(_JSON(command)))


def open_servers(servers: dict[str, str | None], *, quick: bool = False) -> tuple[Settings, LabelStudio, State]:
    """Opens Label Studio and the state database. Options take precedence over the environment.

    `quick`: a person waits for the answer, so servers that do not answer are not tried for long.
    """
    from connector.state.database import require_file
    from connector.state.project_state import State

    settings, gateway = open_label_studio(servers, quick=quick)
    require_file(settings.state_url)
    state = State(settings.state_url)
    click.get_current_context().call_on_close(state.close)
    return settings, gateway, state


def open_label_studio(servers: dict[str, str | None], *, quick: bool = False) -> tuple[Settings, LabelStudio]:
    """Settings and gateway, as `open_servers`."""
    from connector.label_studio.client import LabelStudio
    from connector.retry import LOOK_AGAIN_SECONDS, Retries
    from connector.settings import load_settings

    parameters = click.get_current_context().command.params
    flags = {str(one.name): one.opts[0] for one in parameters if one.name in servers}
    settings = load_settings(flags, **servers)
    patience = min(settings.retry_seconds, LOOK_AGAIN_SECONDS) if quick else settings.retry_seconds
    token = settings.label_studio_api_key.get_secret_value()
    gateway = LabelStudio(settings.label_studio_url, token, retries=Retries(patience))
    click.get_current_context().call_on_close(gateway.close)
    return settings, gateway


def open_backend(context: click.Context, settings: Settings, gateway: LabelStudio) -> Backend:
    """The ML backend, tried again as long as Label Studio is. It is closed when the command of the context ends."""
    from connector.backend import Backend

    backend = Backend.of(settings, gateway.retries)
    context.call_on_close(backend.close)
    return backend


def keys_of(fields: str | None) -> list[str] | None:
    """The keys in the value of --fields. None: it was not given. Raises UsageError."""
    keys = None if fields is None else list(dict.fromkeys(filter(None, map(str.strip, fields.split(",")))))
    if keys and len(keys) > MAX_FIELDS:
        raise click.UsageError(f"--fields takes at most {MAX_FIELDS} keys.")
    return keys


def say(text: str, *, err: bool = False) -> None:
    """Prints `text` without what a terminal would take for a command.

    Titles, classes and e-mail addresses come from other people, and Label Studio lets them hold any control character.
    """
    click.echo("".join(letter for letter in text if letter == "\n" or category(letter) != "Cc"), err=err)


def explain(error: Exception) -> ConnectorError:
    """The error as one sentence of ours, with --verbose logged in full. An unforeseen one keeps its first line."""
    if "--verbose" in sys.argv:
        logging.error("The error in full:", exc_info=error)
    if isinstance(error, ConnectorError):
        return error
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return TryAgainLater("There is no room left on the disk that the output goes to: free some space.")
    return ConnectorError(f"unforeseen {type(error).__name__}: {first}. Run with --verbose for the details.")
