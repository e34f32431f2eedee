"""Creates a project from a file of texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from connector.annotations import find_control
from connector.label_studio import LabelStudio
from connector.queue.data_files import read_data_file


def create(
    title: str, data: Path, gateway: LabelStudio, label_config: str, say: Callable[[str], None] = lambda sentence: None
) -> int:
    """Creates a project with `label_config` and the texts of a .csv or .jsonl file, and returns its id.

    Calls `say` with what was assumed about the file. Raises UsageError, before anything is created, if the file cannot
    be used.
    """
    control = find_control(label_config)
    read = read_data_file(data, control.data_key)
    if read.assumed is not None:
        say(read.assumed)
    project = gateway.create_project(title, label_config)
    gateway.import_tasks(project["id"], read.rows)
    return int(project["id"])
