"""`connector export`: every task with its annotations, its consensus label, the model's view and its rank."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.active_learning.window import open_places
from connector.annotations.form.data import MISSING, find_value
from connector.annotations.left_out import LeftOut
from connector.annotations.objects.linked import Link, links_in
from connector.annotations.records import Task, read_task, read_text
from connector.backend import Backend
from connector.errors import UsageError
from connector.formatting import count
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.reporting.atomic_output import (
    check_file,
    check_writable,
    keep_permissions,
    replace,
    resolve_output,
    staging_directory,
    translate_os_errors,
)
from connector.reporting.formats import format_of, require, write
from connector.reporting.no_model import no_model_note, suggest_no_model
from connector.reporting.rows import Extras, label_studio_task, task_rows, to_json
from connector.state.project_state import ProjectState
from connector.state.pull import Progress, fetched, questions_of, read_snapshot
from connector.state.rows import Accepted
from connector.state.snapshot import ProjectSnapshot
from connector.sync.accepted import still_accepted
from connector.sync.review import reviews, shown_reviews

if TYPE_CHECKING:
    from connector.reporting.media import MediaColumns

__all__ = ["export", "format_of"]

# The files in a folder that `datasets` wrote.
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
    *,
    with_media: bool = False,
    media_hosts: Collection[str] = (),
) -> dict[str, Any]:
    """Writes the project's results to `out` and returns counts, the object that `--json` prints.

    It only reads Label Studio and the state, and takes no lock. `out` is replaced as a whole or left as it was.

    Args:
        project_id: Label Studio's id of the project.
        gateway: Label Studio.
        backend: the ML backend. Without it, consensus labels are majority votes and the model's columns are empty.
        state: the project's rows of the state database.
        out: the file, or for the format "datasets" the folder.
        file_format: "csv", "jsonl", "parquet", "label-studio" or "datasets".
        reporter: shows the progress.
        scorer: a key of SCORERS.
        with_media: whether small copies of images and recordings are written, too. Only for "datasets".
        media_hosts: private hosts from which media may be fetched.

    Raises:
        UsageError: the project is not set up, it has no media to write, or `out` cannot be written.
        TryAgainLater: a server is unavailable or the disk is full.
    """
    state.require_initialized()
    require(file_format)
    if with_media and file_format != "datasets":
        raise UsageError(f"--media needs --format datasets. {file_format} has the addresses of images and recordings.")
    with translate_os_errors(out):
        target = _target(out, file_format)
    if backend is not None:
        with suggest_no_model("export"):
            backend.check()  # reading Label Studio takes minutes if there are many tasks, so ask the backend first
    with staging_directory(target, out, "export") as folder:
        new, spool = folder / "new", folder / "tasks"
        whole = file_format == "label-studio"
        with reporter.stage("read", "Reading the project in Label Studio") as stage:
            if whole:
                pulled = _read_whole(project_id, gateway, state, out, spool, stage.count)
            else:
                pulled = read_snapshot(project_id, gateway, state, stage.count)
        if file_format == "datasets" and not pulled.tasks:  # load_from_disk fails on such a folder
            raise UsageError(f"Project {project_id} has no tasks, and a datasets folder without rows cannot be read.")
        if with_media and not pulled.questions.has_media:
            raise UsageError(f"Project {project_id} has texts only. Run the command without --media.")
        with suggest_no_model("export"):
            found = reviews(pulled, backend, reporter, state, scorer)
            reviewed, joined = shown_reviews(pulled.questions, *found)
        accepted = still_accepted(pulled, state.accepted())
        with (
            reporter.stage("write", f"Writing {count(len(pulled.tasks), 'task')} to {out}") as stage,
            _media_columns(pulled, gateway, media_hosts, with_media) as media,
        ):
            rows: Iterable[dict[str, Any]]
            if whole:
                rows = (label_studio_task(raw, pulled.questions, joined, accepted) for raw in _spooled(spool))
            else:
                extras = _extras(pulled, gateway, state, accepted)
                tasks = pulled.tasks.values()
                rows = task_rows(tasks, pulled.questions, reviewed, joined.scores, extras, pulled.texts)
            if media is not None:
                rows = media.added_to(rows)
            counted = _counted(rows, len(pulled.tasks), stage.count)
            with translate_os_errors(out):
                kinds, machines = media.kinds if media is not None else None, list(pulled.machine_labels)
                write(file_format, counted, pulled.questions, new, kinds, machines)
                _replace(target, new, folder / "old", out)
    answers = [row for task in pulled.tasks.values() for row in task.annotations if not row.skipped]
    model_version = joined.model_version
    return {
        "project": project_id,
        "out": str(out),
        "format": file_format,
        "tasks": len(pulled.tasks),
        "annotations": len(answers),
        "consensus": len(joined.consensus),
        "accepted": len(accepted),
        "without_text": sum(task.digest is None for task in pulled.tasks.values()),
        "unknown_choices": sum(row.unknown for row in answers),
        "unreadable_annotations": sum(row.unreadable for row in answers),
        "left_out": pulled.left_out_sentences(LeftOut.of(pulled.tasks.values())),
        "model_version": model_version,
        **({"media_missing": media.missing} if media is not None else {}),
        "note": no_model_note(project_id, state.record()) if backend is not None and model_version is None else "",
    }


@contextlib.contextmanager
def _media_columns(
    pulled: ProjectSnapshot, gateway: LabelStudio, hosts: Collection[str], wanted: bool
) -> Iterator[MediaColumns | None]:
    """What adds images and recordings to rows. None: they are not wanted."""
    if not wanted:
        yield None
        return
    from connector.reporting.media import MediaColumns
    from connector.sync.media import open_fetcher

    with open_fetcher(gateway, hosts) as fetcher:
        yield MediaColumns(pulled, fetcher)


def _extras(
    pulled: ProjectSnapshot, gateway: LabelStudio, state: ProjectState, accepted: Mapping[int, Accepted]
) -> Extras:
    """Places and names, and Label Studio's values if a record has no text or lacks a choice."""
    incomplete = [
        task.id
        for task in pulled.tasks.values()
        if task.digest is None or any(row.unknown or row.excluded for row in task.annotations)
    ]
    texts: dict[int, Any] = {}
    choices: dict[int, dict[str, str | list[str] | None]] = {}
    controls = pulled.questions.controls
    for raw in gateway.tasks_by_id(pulled.project["id"], incomplete):
        value = find_value(raw.get("data"), controls[0].data_key)
        texts[raw["id"]] = None if value is MISSING else value
        for row in raw["annotations"]:
            choices[row["id"]] = {control.name: control.answer(row.get("result")) for control in controls}
    places = open_places(state.window(), state.answers_at_publishing(), pulled.tasks)
    return Extras(
        places, gateway.emails(), texts, choices, _addresses(pulled), accepted, machines=pulled.machine_labels
    )


def _addresses(pulled: ProjectSnapshot) -> dict[int, str]:
    """{task: the addresses of its texts, with spaces between them}. Empty if its data have the texts themselves."""
    if not pulled.questions.has_links:
        return {}
    contents = pulled.complete.texts(pulled.tasks)
    found = {task: [Link.of(marked).address for marked in links_in(text)] for task, text in contents.items()}
    return {task: " ".join(dict.fromkeys(addresses)) for task, addresses in found.items() if addresses}


def _read_whole(
    project_id: int, gateway: LabelStudio, state: ProjectState, out: Path, spool: Path, progress: Progress
) -> ProjectSnapshot:
    """Reads every task as a record, and whole into the file `spool`, one per line, to save memory.

    One reading gives both, so that the consensus fits the annotations in the file.
    """
    project = gateway.get_project(project_id)
    questions = questions_of(project, state.record())
    tasks: dict[int, Task] = {}
    spool.touch()
    for page in gateway.tasks(project_id, progress=progress, fields=None):
        tasks.update((raw["id"], read_task(raw, questions)) for raw in page)
        # A lone surrogate has no UTF-8 form. It becomes a question mark, as in the mirror.
        with translate_os_errors(out), spool.open("a", encoding="utf-8", errors="replace", newline="") as file:
            file.writelines(to_json(raw) + "\n" for raw in page)

    def texts(ids: Iterable[int]) -> dict[int, str]:
        read = ((raw["id"], read_text(raw, questions)) for raw in gateway.tasks_by_id(project_id, list(ids)))
        return {task: text for task, text in read if text is not None}

    snapshot = ProjectSnapshot(
        project,
        questions,
        tasks,
        versions={},
        changed=False,
        texts=texts,
        read_machine_labels=state.machine_labels,
    )
    return fetched(snapshot, state)


def _spooled(spool: Path) -> Iterator[dict[str, Any]]:
    with spool.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)


def _counted(rows: Iterable[dict[str, Any]], total: int, progress: Progress) -> Iterator[dict[str, Any]]:
    for done, row in enumerate(rows, start=1):
        yield row
        progress(done, total)


# -- the output ------------------------------------------------------------------------------------------------------


def _target(out: Path, file_format: str) -> Path:
    """The file or folder that `out` leads to. Raises UsageError if it may not be written or replaced."""
    target = resolve_output(out)
    if file_format != "datasets":
        check_file(out, f"--format {file_format}")
    elif target.is_dir():
        _check_datasets_folder(target, out)
    elif out.exists():
        kind = "a file" if out.is_file() else "no folder"
        raise UsageError(f"{out} is {kind}, and --format datasets writes a folder: give another --out.")
    check_writable(target, out)
    return target


def _check_datasets_folder(target: Path, out: Path) -> None:
    """Raises UsageError unless the folder is empty or has only files that `datasets` wrote."""
    names = sorted(entry.name for entry in target.iterdir())
    foreign = [name for name in names if not _OF_DATASETS.fullmatch(name)]
    if foreign or (names and not {"dataset_info.json", "state.json"} <= set(names)):
        raise UsageError(
            f"{out} is a folder that --format datasets did not write (it has {(foreign or names)[0]}). Nothing was "
            "deleted. Give another --out."
        )


def _replace(target: Path, new: Path, old: Path, out: Path) -> None:
    """Moves `new` to `target` with the permissions of `target`. A folder that is there goes to `old` first."""
    if not target.is_dir():
        replace(target, new)
        return
    keep_permissions(target, new)
    _check_datasets_folder(target, out)  # again: someone may have written into it since
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
