"""Creates a project from a file of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from connector.annotations.label_config import find_questions
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.label_studio import LabelStudio
from connector.queue.data_files import read_data_file


def create(
    title: str,
    data: Path,
    gateway: LabelStudio,
    label_config: str,
    say: Callable[[str], None] = lambda sentence: None,
    *,
    control_names: Sequence[str] = (),
    fields: Sequence[str] = (),
) -> int:
    """Creates a project with `label_config` and the texts of a .csv or .jsonl file, and returns its id.

    Calls `say` with what was assumed about the file. `control_names`: the controls to serve, without any all. `fields`:
    what models read. Raises UsageError, before anything is created, if the file or the config cannot be used. If the
    import fails, the project is deleted again.
    """
    read = read_data_file(data, find_questions(label_config, control_names).with_fields(fields))
    if read.assumed is not None:
        say(read.assumed)
    try:
        project = gateway.create_project(title, label_config)
    except ConnectorError as error:
        if type(error) is ConnectorError:  # Label Studio's words about the config
            raise UsageError(f"The labelling config cannot be used. {error}") from error
        raise
    try:
        gateway.import_tasks(project["id"], read.rows)
    except BaseException as error:
        try:
            gateway.delete_project(project["id"])
        except ConnectorError:
            if isinstance(error, ConnectorError):
                kind = UsageError if isinstance(error, UsageError) else TryAgainLater
                left = f"Project {project['id']}, made for these tasks, lacks some or all: delete it in Label Studio."
                raise kind(f"{error} {left}") from error
        if type(error) is ConnectorError:  # Label Studio's words about a row
            raise UsageError(f"{data} cannot be imported. {error}") from error
        raise
    return int(project["id"])
