"""`connector export`: every task with its annotations, consensus label, the model's view and its rank, as a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from connector.active_learning.window import open_places
from connector.annotations.records import Task, choice, read_task, read_text
from connector.backend import Backend
from connector.errors import UsageError
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.reporting import atomic_output as output
from connector.reporting import rows as table
from connector.reporting.formats import format_of, require, write
from connector.reporting.no_model import suggest_no_model
from connector.reporting.rows import Extras, label_studio_task, to_json
from connector.state.project_state import ProjectState
from connector.state.pull import Progress, Pulled, control_of, look
from connector.sync.scoring import SCORERS, review

__all__ = ["export", "format_of"]

# What `datasets` keeps in a folder that it wrote.
_OF_DATASETS = re.compile(r"dataset_info\.json|state\.json|(data|cache)-.*\.arrow")


def export(
    project_id: int,
    gateway: LabelStudio,
    backend: Backend | None,
    state: ProjectState,
    out: Path,
    file_format: str,
    reporter: Reporter,
    scorer: str = "activelab",
) -> dict[str, Any]:
    """Writes the project's results to `out` in one of the formats and returns counts (what `--json` prints).

    Without a backend, consensus labels are majority votes and the model's columns are empty. Nothing is changed in
    Label Studio or the state, and no lock is taken. `out` is replaced as a whole or left as it was. Raises UsageError
    when the project is not adopted, or `out` cannot be written; TryAgainLater when a server is away, or the disk full.
    """
    state.require_initialized()
    require(file_format)
    with output.explaining(out):
        target = _target(out, file_format)
    if backend is not None:
        with suggest_no_model("export"):
            backend.check()  # before Label Studio is read, which takes minutes where there are many tasks
    with output.workshop(target, out, "export") as folder:
        new, spool = folder / "new", folder / "tasks"
        whole = file_format == "label-studio"
        with reporter.stage("read", "Reading the project in Label Studio") as stage:
            if whole:
                pulled = _read_whole(project_id, gateway, state, out, spool, stage.count)
            else:
                pulled = look(project_id, gateway, state, stage.count)
        if file_format == "datasets" and not pulled.tasks:  # load_from_disk fails on such a folder
            raise UsageError(f"Project {project_id} has no tasks, and a datasets folder without rows cannot be read.")
        with suggest_no_model("export"):
            reviewed = review(pulled, backend, reporter, SCORERS[scorer])
        with reporter.stage("write", f"Writing {len(pulled.tasks)} tasks to {out}") as stage:
            rows: Iterable[dict[str, Any]]
            if whole:
                rows = (label_studio_task(raw, pulled.control, reviewed) for raw in _spooled(spool))
            else:
                extras = _extras(pulled, gateway, state)
                rows = table.rows(pulled.tasks.values(), pulled.control, reviewed, extras, pulled.texts)
            counted, control = _counted(rows, len(pulled.tasks), stage.count), pulled.control
            with output.explaining(out):
                write(file_format, counted, control.classes, new, multiple=control.multiple)
                _replace(target, new, folder / "old", out)
    answers = [row for task in pulled.tasks.values() for row in task.annotations if not row.skipped]
    return {
        "project": project_id,
        "out": str(out),
        "format": file_format,
        "tasks": len(pulled.tasks),
        "annotations": len(answers),
        "consensus": len(reviewed.scored.consensus),
        "without_text": sum(task.digest is None for task in pulled.tasks.values()),
        "unknown_choices": sum(row.unknown for row in answers),
        "model_version": reviewed.scored.model_version,
    }


def _extras(pulled: Pulled, gateway: LabelStudio, state: ProjectState) -> Extras:
    """What rows tell beside the records, and what Label Studio holds where a record holds nothing."""
    untold = [
        task.id for task in pulled.tasks.values() if task.digest is None or any(row.unknown for row in task.annotations)
    ]
    texts: dict[int, Any] = {}
    choices: dict[int, str | list[str] | None] = {}
    for raw in gateway.tasks_by_id(pulled.project["id"], untold):
        texts[raw["id"]] = raw["data"].get(pulled.control.data_key)
        choices.update({row["id"]: choice(row["result"], pulled.control) for row in raw["annotations"]})
    places = open_places(state.window(), state.answers_at_publishing(), pulled.tasks)
    return Extras(places, gateway.emails(), texts, choices)


def _read_whole(
    project_id: int, gateway: LabelStudio, state: ProjectState, out: Path, spool: Path, progress: Progress
) -> Pulled:
    """Every task as a record, and whole in the file `spool`, one a line: memory need not hold them.

    All of it in one reading, so that the consensus is that of the annotations beside it.
    """
    project = gateway.get_project(project_id)
    control = control_of(project, state.record())
    tasks: dict[int, Task] = {}
    spool.touch()
    for page in gateway.tasks(project_id, progress=progress, fields=None):
        tasks.update((raw["id"], read_task(raw, control)) for raw in page)
        # A lone surrogate has no UTF-8 form: a question mark stands for it, as in the mirror.
        with output.explaining(out), spool.open("a", encoding="utf-8", errors="replace", newline="") as file:
            file.writelines(to_json(raw) + "\n" for raw in page)

    def texts(ids: Iterable[int]) -> dict[int, str]:
        found = ((raw["id"], read_text(raw, control)) for raw in gateway.tasks_by_id(project_id, list(ids)))
        return {task: text for task, text in found if text is not None}

    return Pulled(project, control, tasks, versions={}, changed=False, texts=texts)


def _spooled(spool: Path) -> Iterator[dict[str, Any]]:
    with spool.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)


def _counted(rows: Iterable[dict[str, Any]], total: int, progress: Progress) -> Iterator[dict[str, Any]]:
    for done, row in enumerate(rows, start=1):
        yield row
        progress(done, total)


# -- the place of the file ---------------------------------------------------------------------------------------------


def _target(out: Path, file_format: str) -> Path:
    """The file or folder that `out` leads to; raises UsageError where it may not be written or replaced."""
    target = output.place_of(out)
    if file_format != "datasets":
        output.check_file(target, out, f"--format {file_format}")
    elif target.is_dir():
        _check_datasets_folder(target, out)
    elif target.exists():
        raise UsageError(f"{out} is a file, and --format datasets writes a folder: give another --out.")
    output.check_writable(target, out)
    return target


def _check_datasets_folder(target: Path, out: Path) -> None:
    """Raises UsageError unless the folder is empty or holds what `datasets` wrote and nothing else."""
    names = sorted(entry.name for entry in target.iterdir())
    others = [name for name in names if not _OF_DATASETS.fullmatch(name)]
    if others or (names and not {"dataset_info.json", "state.json"} <= set(names)):
        raise UsageError(
            f"{out} is there and is no folder that --format datasets wrote (it holds {(others or names)[0]}): nothing "
            "was deleted; give another --out."
        )


def _replace(target: Path, new: Path, old: Path, out: Path) -> None:
    """Puts `new` in the place of `target` with its rights; a folder that stands there goes to `old` first."""
    if not target.is_dir():
        output.replace(target, new)
        return
    output.keep_rights(target, new)
    _check_datasets_folder(target, out)  # once more: the export took its time
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
