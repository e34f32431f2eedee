"""The command `connector`: its commands, and how it ends."""

from __future__ import annotations

import logging
import os
import sys
from io import TextIOWrapper

import click

from connector import __version__
from connector.cli.doctor import doctor
from connector.cli.export import export
from connector.cli.finish import finish
from connector.cli.init import init
from connector.cli.label_with import label_with
from connector.cli.options import explain, open_backend, open_servers, say
from connector.cli.report import report
from connector.cli.simulate import simulate
from connector.cli.status import status
from connector.cli.sync import sync
from connector.cli.undo import undo
from connector.errors import UsageError


class _InOrderOfUse(click.Group):
    """Lists its commands in the order in which they were added, each with its whole `short_help`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrderOfUse, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(__version__)
@click.pass_context
def cli(context: click.Context) -> None:
    """Keeps a Label Studio project's label stream in the order of what one more annotation is worth.

    Without a command, it shows your servers and projects, and what to do next.

    The token comes from LABEL_STUDIO_API_KEY (environment or .env), never from an option.

    Example: connector init --project 7, then connector sync --project 7 from cron.
    """
    if context.invoked_subcommand is None:
        context.exit(show_overview())


for command in (init, sync, label_with, status, doctor, report, finish, export, simulate, undo):
    cli.add_command(command)


def show_overview() -> int:
    """Prints one line per server and project, and returns the exit code."""
    from connector.diagnostics.overview import not_connected, overview
    from connector.errors import gravest_exit_code
    from connector.formatting import now_here
    from connector.settings import load_settings

    try:
        load_settings()
    except UsageError as error:
        lines = not_connected(error)
    else:
        settings, gateway, state = open_servers({}, quick=True)
        backend = open_backend(click.get_current_context(), settings, gateway)
        lines = overview(gateway, backend, state, now_here())
    codes = []
    for line in lines:
        say(str(line))
        codes.append(line.exit_code)
    click.echo("All commands  connector --help")
    return gravest_exit_code(codes)


def main() -> None:
    """Runs the command. An error becomes one sentence and an exit code.

    0: done. 1: unforeseen. 2: an option, a setting or the project has to be changed. 3: try again later.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal need not know all letters of a title or a text
    # Of libraries, errors only: the first report would show what matplotlib does with its fonts.
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr, level=logging.ERROR)
    logging.getLogger("connector").setLevel(logging.INFO)
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
        explained = explain(error)
        say(f"Error: {explained}", err=True)
        sys.exit(explained.exit_code)


if __name__ == "__main__":
    main()
