"""`connector undo`."""

from __future__ import annotations

import json

import click

from connector.cli.options import open_servers, project_option, say, server_options


@click.command(short_help="Restore the project as init found it. All annotations stay.")
@project_option()
@click.option("--forget", is_flag=True, help="Forget a project that was deleted in Label Studio.")
@server_options
def undo(project_id: int, forget: bool, as_json: bool, **servers: str | None) -> None:
    """Restore the project as init found it. All annotations stay.

    Example: connector undo --project 7
    """
    from connector.progress import Reporter
    from connector.queue import undo as commands
    from connector.state.recognition import open_deleted, open_project

    _, gateway, state = open_servers(servers)
    if forget:
        done = commands.forget(project_id, gateway, open_deleted(project_id, gateway, state))
    else:
        project = open_project(project_id, gateway, state, remember=True)
        done = commands.undo(project_id, gateway, project, Reporter())
    if as_json:
        click.echo(json.dumps(done.to_json()))
    else:
        say(commands.format_undo(done))
