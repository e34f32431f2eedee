"""`connector status`."""

from __future__ import annotations

import json

import click

from connector.cli.options import open_servers, project_option, say, server_options, target_option


@click.command(short_help="Show the last sync, queue, labels, model, and what comes next.")
@project_option("The project in Label Studio. Without it, all of them.", required=False)
@target_option
@server_options
def status(project_id: int | None, target: float | None, as_json: bool, **servers: str | None) -> None:
    """Show the last sync, the queue, the labels, the model and what comes next.

    Changes nothing, and works while a sync runs.

    Example: connector status --project 7

    Exit code 3 if Label Studio does not answer, and 2 if it refuses: then this shows what the last sync found.
    """
    from connector.diagnostics.status import status as status_of
    from connector.diagnostics.status_text import format_status
    from connector.errors import gravest_exit_code
    from connector.state.recognition import not_set_up, open_project, set_up_projects

    settings, gateway, state = open_servers(servers, quick=True)
    if project_id is None:
        projects = set_up_projects(gateway, state)
    else:
        projects = {project_id: open_project(project_id, gateway, state)}
    statuses = [status_of(number, gateway, project, target=target) for number, project in projects.items()]
    if as_json:
        objects = [each.to_json() for each in statuses]
        click.echo(json.dumps({"projects": objects} if project_id is None else objects[0]))
    elif statuses:
        say("\n\n".join(format_status(each, target) for each in statuses))
    else:
        click.echo(not_set_up(settings.label_studio_url, state))
    click.get_current_context().exit(gravest_exit_code(each.exit_code for each in statuses))
