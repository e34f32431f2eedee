"""`connector init`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click

from connector.cli.options import annotator_version_option, keys_of, open_servers, project_option, say, server_options
from connector.whole_number import WholeNumber

TITLE_LENGTHS = (3, 50)  # what Label Studio takes


@click.command(short_help="Set up a project, or create one.")
@project_option("The Label Studio project to set up.", required=False)
@click.option("--title", help="Create a new project with this title.")
@click.option("--data", type=click.Path(path_type=Path), help="Texts for the new project: a .csv or .jsonl file.")
@click.option("--label-config", type=click.Path(path_type=Path), help="The new project's config [label_config.xml].")
@click.option(
    "--control", "control_names", multiple=True, metavar="NAME", help="A control to use. Repeat it for several [all]."
)
@click.option(
    "--fields",
    metavar="KEYS",
    help="What models read: keys of the tasks' data, as in title,body [what the form shows].",
)
@click.option(
    "--min-annotations-per-task", type=WholeNumber(), metavar="N", help="Collect this many annotations on every task."
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="EMAIL",
    help="Leave out this annotator's labels. They stay in Label Studio. May be repeated.",
)
@click.option("--include", multiple=True, metavar="EMAIL", help="Count this annotator's labels again. May be repeated.")
@annotator_version_option
@click.option(
    "--no-annotator-version",
    "dropped_versions",
    multiple=True,
    metavar="NAME",
    help="Forget this machine and its labels. May be repeated.",
)
@click.option("--connect-backend", is_flag=True, help="Also connect the ML backend in Label Studio's settings.")
@click.option(
    "--yes", is_flag=True, help="Answer yes to all questions, such as whether to set maximum_annotations to 1."
)
@server_options
def init(
    project_id: int | None,
    title: str | None,
    data: Path | None,
    label_config: Path | None,
    control_names: tuple[str, ...],
    fields: str | None,
    min_annotations_per_task: int | None,
    exclude: tuple[str, ...],
    include: tuple[str, ...],
    annotator_versions: tuple[str, ...],
    dropped_versions: tuple[str, ...],
    connect_backend: bool,
    yes: bool,
    as_json: bool,
    **servers: str | None,
) -> None:
    """Set up a project, or create one.

    Example: connector init --project 7
    """
    from connector.progress import Reporter
    from connector.queue.import_tasks import create
    from connector.queue.init import format_init, initialize
    from connector.state.recognition import open_for_init

    if (project_id is None) == (title is None) or (title is None) != (data is None):
        raise click.UsageError("Give --project ID, or --title and --data for a new project.")
    if project_id is not None and label_config is not None:
        raise click.UsageError(
            "--label-config is for a new project. To change the labelling config of project "
            f"{project_id}, use Settings, Labeling Interface in Label Studio."
        )
    if both := sorted(set(exclude) & set(include)):
        raise click.UsageError(f"--exclude and --include both name {both[0]}.")
    if both := sorted(set(annotator_versions) & set(dropped_versions)):
        raise click.UsageError(f"--annotator-version and --no-annotator-version both name {both[0]}.")
    if title is not None and not TITLE_LENGTHS[0] <= len(title.strip()) <= TITLE_LENGTHS[1]:
        raise click.UsageError("A title has {} to {} characters in Label Studio.".format(*TITLE_LENGTHS))
    keys = keys_of(fields)
    settings, gateway, state = open_servers(servers)
    if project_id is None:
        config = _label_config(label_config, control_names)
        project_id = create(
            str(title), Path(str(data)), gateway, config, Reporter().say, control_names=control_names, fields=keys or ()
        )

    def confirm(question: str) -> bool:
        return yes or (sys.stdin.isatty() and click.confirm(question, err=True))

    done = initialize(
        project_id,
        gateway,
        open_for_init(project_id, gateway, state, confirm),
        control_names=control_names,
        fields=keys,
        min_annotations_per_task=min_annotations_per_task,
        exclude=exclude,
        include=include,
        annotator_versions=annotator_versions,
        dropped_versions=dropped_versions,
        backend_url=settings.ml_backend_url if connect_backend else None,
        credentials=settings.credentials,
        confirm=confirm,
        reporter=Reporter(),
    )
    if as_json:
        click.echo(json.dumps(done))
    else:
        say(format_init(done))


def _label_config(path: Path | None, control_names: tuple[str, ...] = ()) -> str:
    """The labelling config at `path`, which has the controls, or the packaged one."""
    from connector.annotations.label_config import find_questions, packaged_label_config
    from connector.errors import UsageError

    if path is None:
        return packaged_label_config()
    try:
        # Label Studio takes no XML declaration.
        config = re.sub(r"^\s*<\?xml\b[^>]*\?>", "", path.read_text(encoding="utf-8-sig"))
        find_questions(config, control_names)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} cannot be read: it is not in UTF-8.") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return config
