"""`connector report`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from connector.cli.options import (
    media_option,
    named_output,
    open_backend,
    open_servers,
    project_option,
    server_options,
    target_option,
)


@click.command(short_help="Write a page on progress, doubtful labels and annotators.")
@project_option()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=named_output,
    metavar="FILE",
    help="The HTML file to write [report-ID.html].",
)
@click.option("--no-model", is_flag=True, help="Do not ask the ML backend: majority votes and no doubtful labels.")
@click.option(
    "--simulated",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Results folder of connector simulate, for the learning curve.",
)
@target_option
@media_option
@server_options
def report(
    project_id: int,
    out: Path | None,
    no_model: bool,
    simulated: Path | None,
    target: float | None,
    as_json: bool,
    **servers: str | None,
) -> None:
    """Write one page on what the project learned, what it asks next, and which labels and annotators to check.

    Changes nothing, and works while a sync runs. The page contains texts and e-mail addresses.

    Example: connector report --project 7
    """
    from connector.progress import Reporter
    from connector.reporting import html
    from connector.reporting.report import format_report_result
    from connector.reporting.report import report as write_report
    from connector.state.recognition import open_project

    html.require()
    settings, gateway, state = open_servers(servers)
    result = write_report(
        project_id,
        gateway,
        None if no_model else open_backend(click.get_current_context(), settings, gateway),
        open_project(project_id, gateway, state),
        out or Path.cwd() / f"report-{project_id}.html",
        Reporter(),
        html.page,
        scorer=settings.scorer,
        simulated=simulated,
        target=target,
        media_hosts=settings.allowed_hosts,
    )
    click.echo(json.dumps(result) if as_json else format_report_result(result))
