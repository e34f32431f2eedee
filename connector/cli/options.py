"""What all commands share: the options that name the servers, opening them, and errors as one sentence."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from unicodedata import category

import click

from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.formatting import now_here

if TYPE_CHECKING:
    from connector.backend import Backend
    from connector.label_studio.client import LabelStudio
    from connector.settings import Settings
    from connector.state.project_state import State

_LABEL_STUDIO = click.option(
    "--label-studio-url", metavar="URL", help="Address of Label Studio [env LABEL_STUDIO_URL]."
)
_ML_BACKEND = click.option("--ml-backend-url", metavar="URL", help="Address of the ML backend [env ML_BACKEND_URL].")
_STATE = click.option(
    "--state", "state_url", metavar="URL", help="State database, an SQLAlchemy URL [env CONNECTOR_STATE]."
)
_VERBOSE = click.option("--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error, too.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that every command on a project takes."""
    return _LABEL_STUDIO(_ML_BACKEND(_STATE(_VERBOSE(_JSON(command)))))


def label_studio_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a command that asks no server but Label Studio and remembers nothing."""
    return _LABEL_STUDIO(_VERBOSE(_JSON(command)))


def open_servers(servers: dict[str, str | None], *, looking: bool = False) -> tuple[Settings, LabelStudio, State]:
    """Settings, gateway and state, from options before the environment.

    `looking`: somebody waits to be told whether the servers are there, and is not kept waiting long.
    """
    from connector.state.project_state import State

    settings, gateway = open_label_studio(servers, looking=looking)
    state = State(settings.state_url)
    click.get_current_context().call_on_close(state.close)
    return settings, gateway, state


def open_label_studio(servers: dict[str, str | None], *, looking: bool = False) -> tuple[Settings, LabelStudio]:
    """Settings and gateway, as `open_servers`."""
    from connector.label_studio.client import LabelStudio
    from connector.retry import LOOK_AGAIN_SECONDS, Retries
    from connector.settings import load_settings

    settings = load_settings(**servers)
    patience = min(settings.retry_seconds, LOOK_AGAIN_SECONDS) if looking else settings.retry_seconds
    token = settings.label_studio_api_key.get_secret_value()
    gateway = LabelStudio(settings.label_studio_url, token, retries=Retries(patience))
    click.get_current_context().call_on_close(gateway.close)
    return settings, gateway


def open_backend(context: click.Context, settings: Settings, gateway: LabelStudio) -> Backend:
    """The ML backend, tried again as long as Label Studio is; closed when the command of the context ends."""
    from connector.backend import Backend

    backend = Backend.of(settings, gateway.retries)
    context.call_on_close(backend.close)
    return backend


def say(words: str, *, err: bool = False) -> None:
    """Prints `words` for a person, without what a terminal would take for a command.

    Titles, classes and e-mail addresses are others' words, and Label Studio lets them hold any control character.
    """
    click.echo("".join(letter for letter in words if letter == "\n" or category(letter) != "Cc"), err=err)


def show_overview() -> int:
    """Prints one line per server and project, and returns the exit code."""
    from connector.diagnostics.overview import not_connected, overview
    from connector.errors import gravest_exit_code
    from connector.settings import load_settings

    try:
        load_settings()
    except UsageError as error:
        lines = not_connected(error)
    else:
        settings, gateway, state = open_servers({}, looking=True)
        backend = open_backend(click.get_current_context(), settings, gateway)
        lines = overview(gateway, backend, state, now_here())
    codes = []
    for line in lines:
        say(str(line))
        codes.append(line.exit_code)
    click.echo("All commands  connector --help")
    return gravest_exit_code(codes)


def run(cli: click.Group) -> None:
    """Runs the command: errors become one sentence and an exit code.

    0 done, 1 unforeseen, 2 somebody has to change something, 3 try again later.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr, level=logging.INFO)
    for noisy in ("httpx", "urllib3", "label_studio_sdk"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)  # a command's own exit code comes back as a value
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
        known = explain(error)
        say(f"Error: {known}", err=True)
        sys.exit(known.exit_code)


def explain(error: Exception) -> ConnectorError:
    """The error as one sentence of ours, with --verbose logged in full; an unforeseen one is told by its first line."""
    if "--verbose" in sys.argv:
        logging.error("The error in full:", exc_info=error)

    if isinstance(error, ConnectorError):
        return error
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return TryAgainLater("There is no room left on the disk that the output goes to: free some space.")
    return ConnectorError(f"unforeseen {type(error).__name__}: {first}. Run with --verbose for the details.")
