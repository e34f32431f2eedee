"""`connector finish`."""

from __future__ import annotations

import json

import click

from connector.cli.options import media_option, open_backend, open_servers, project_option, say, server_options
from connector.cli.share import Share


@click.command(short_help="Accept the model's labels where few are wrong. Ask for the rest.")
@project_option()
@click.option(
    "--max-error",
    type=Share(0.02, above_0=True, below_most=True),
    metavar="SHARE",
    help="Most of the accepted labels that may be wrong, such as 0.02.",
)
@click.option("--reopen", is_flag=True, help="Give up the accepted labels, and ask people for all tasks again.")
@click.option("--dry-run", is_flag=True, help="Show what would be accepted, and change nothing.")
@media_option
@server_options
def finish(
    project_id: int,
    max_error: float | None,
    reopen: bool,
    dry_run: bool,
    as_json: bool,
    **servers: str | None,
) -> None:
    """Accept the model's labels of tasks that nobody has labelled, as far as few enough are wrong.

    By how much they are wrong is known from the tasks that connector sync --audit drew at random. People are asked for
    the other tasks. Accepted labels are predictions, never annotations.

    Example: connector finish --project 7 --max-error 0.02
    """
    if (max_error is not None) == reopen:
        raise click.UsageError("Give --max-error SHARE, or --reopen to give up the labels that were accepted.")

    from connector.progress import Reporter
    from connector.state.recognition import open_project
    from connector.sync.accepted import format_finish
    from connector.sync.finish_cycle import finish as accept

    context = click.get_current_context()
    settings, gateway, state = open_servers(servers)
    done = accept(
        project_id,
        gateway,
        lambda: open_backend(context, settings, gateway),
        open_project(project_id, gateway, state, remember=True),
        Reporter(),
        max_error,
        dry_run=dry_run,
        media_hosts=settings.allowed_hosts,
    )
    if as_json:
        click.echo(json.dumps(done.to_json()))
    else:
        say(format_finish(done))
