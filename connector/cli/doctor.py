"""`connector doctor`."""

from __future__ import annotations

import json

import click

from connector.cli.options import media_option, open_servers, project_option, say, server_options


@click.command(short_help="Find what breaks the queue, and name the remedy.")
@project_option()
@media_option
@server_options
def doctor(project_id: int, as_json: bool, **servers: str | None) -> None:
    """Find what breaks the queue, and name the remedy. Changes nothing.

    Example: connector doctor --project 7

    Exit code 2 if something has to be changed, 3 if a server is unavailable, 0 otherwise.
    """
    from connector.diagnostics.doctor import examine, exit_code, format_findings
    from connector.errors import ConnectorError
    from connector.state.recognition import open_project

    settings, gateway, state = open_servers(servers, quick=True)
    failure: ConnectorError | None = None
    try:
        project = open_project(project_id, gateway, state)
    except ConnectorError as error:
        project, failure = state.project(settings.label_studio_url, project_id), error
    findings = examine(project_id, gateway, project, settings)
    # A server that does not answer, or refuses the token, is a finding. An address in doubt is not.
    if failure and not any(finding.check == "label_studio" and finding.level == "problem" for finding in findings):
        raise failure
    if as_json:
        click.echo(json.dumps({"project": project_id, "checks": [finding.to_json() for finding in findings]}))
    else:
        say(format_findings(project_id, findings))
    click.get_current_context().exit(exit_code(findings))
