"""`connector undo`."""

from __future__ import annotations

import json

import click

from connector.cli.options import open_servers, project_option, server_options


@click.command(short_help="Restore the project as init found it. All annotations stay.")
@project_option()
@server_options
def undo(project_id: int, as_json: bool, **servers: str | None) -> None:
    """Restore the project as init found it. All annotations stay.

    Example: connector undo --project 7
    """
    from connector.progress import Reporter
    from connector.queue.undo import format_undo
    from connector.queue.undo import undo as undo_project

    settings, gateway, state = open_servers(servers)
    done = undo_project(project_id, gateway, state.project(settings.label_studio_url, project_id), Reporter())
    click.echo(json.dumps(done) if as_json else format_undo(done))
