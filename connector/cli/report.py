"""`connector report`, the command."""

from __future__ import annotations

import json
from pathlib import Path

import click

from connector.cli.options import open_backend, open_servers, server_options


@click.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), required=True, help="The project.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The HTML file to write.")
@click.option("--no-model", is_flag=True, help="Leave the ML backend alone: labels and majority, no suspects.")
@click.option(
    "--simulated", type=click.Path(path_type=Path), metavar="FOLDER", help="What connector simulate has written."
)
@server_options
def report(
    project_id: int, out: Path, no_model: bool, simulated: Path | None, as_json: bool, **servers: str | None
) -> None:
    """Write one page about a project: what it learned, what it asks next, which labels and whom to look at.

    Changes nothing, and works while a sync runs. Texts and e-mail addresses are in it.

    Example: connector report --project 7 --out report.html
    """
    from connector.progress import Reporter
    from connector.reporting import html
    from connector.reporting.report import format_report_result
    from connector.reporting.report import report as write_report

    html.require()
    settings, gateway, state = open_servers(servers)
    result = write_report(
        project_id,
        gateway,
        None if no_model else open_backend(click.get_current_context(), settings, gateway),
        state.project(settings.label_studio_url, project_id),
        out,
        Reporter(),
        html.page,
        scorer=settings.scorer,
        simulated=simulated,
    )
    click.echo(json.dumps(result) if as_json else format_report_result(result))
