"""`connector export`."""

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
    say,
    server_options,
)


@click.command(short_help="Write a table of tasks, annotations and consensus labels.")
@project_option()
@click.option(
    "--out", type=click.Path(path_type=Path), callback=named_output, required=True, help="The file or folder to write."
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "jsonl", "parquet", "label-studio", "datasets"]),
    help="The format. Without it, the ending of --out decides: .csv, .jsonl or .parquet.",
)
@click.option("--media", "with_media", is_flag=True, help="Write images and recordings, too (--format datasets).")
@click.option("--no-model", is_flag=True, help="Do not ask the ML backend: majority votes and no probabilities.")
@media_option
@server_options
def export(
    project_id: int,
    out: Path,
    file_format: str | None,
    with_media: bool,
    no_model: bool,
    as_json: bool,
    **servers: str | None,
) -> None:
    """Write every task with its annotations, consensus label, the model's prediction and its rank.

    Example: connector export --project 7 --out labels.csv
    """
    from connector.formatting import count, verb
    from connector.progress import Reporter
    from connector.reporting.export import export as write
    from connector.reporting.export import format_of
    from connector.state.recognition import open_project

    chosen = file_format or format_of(out)
    settings, gateway, state = open_servers(servers)
    backend = None if no_model else open_backend(click.get_current_context(), settings, gateway)
    project = open_project(project_id, gateway, state)
    done = write(
        project_id,
        gateway,
        backend,
        project,
        out,
        chosen,
        Reporter(),
        settings.scorer,
        with_media=with_media,
        media_hosts=settings.allowed_hosts,
    )
    if as_json:
        click.echo(json.dumps(done))
        return
    sentences = [
        f"Wrote {count(done['tasks'], 'task')} with {count(done['annotations'], 'annotation')} to {out}.",
        f"{count(done['consensus'], 'task')} {verb(done['consensus'], 'has', 'have')} a consensus label.",
        f"{count(accepted, 'task')} {verb(accepted, 'has', 'have')} an accepted label of the model."
        if (accepted := done["accepted"])
        else "",
        done["note"],
        f"{count(missing, 'medium', 'media')} could not be fetched. connector doctor --project {project_id} says why."
        if (missing := done.get("media_missing"))
        else "",
        *(f"Left out: {left_out}." for left_out in done["left_out"]),
    ]
    say(" ".join(filter(None, sentences)))
