"""What the people of a Label Studio project answered, as a corpus to replay on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from connector.annotations import Task, latest_labels, read_task, read_text
from connector.corpus import Corpus, hold_out
from connector.errors import UsageError
from connector.label_config import Control, find_control
from connector.label_studio import LabelStudio
from connector.mirror import Progress

GROUND_TRUTH_TASKS = 50  # fewer are no test set


def read_project(
    project_id: int,
    gateway: LabelStudio,
    control_name: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Corpus:
    """The corpus of a project, whether `init` has set it up or not; `control_name` where several could be served.

    Its test are the tasks with a ground truth, if they are GROUND_TRUTH_TASKS and at most half of all; else a fifth of
    the tasks is held out. Raises UsageError where the labels cannot be replayed; TryAgainLater when Label Studio is
    away.
    """
    control = find_control(gateway.get_project(project_id)["label_config"], control_name)
    tasks: dict[int, Task] = {}
    texts: dict[int, str] = {}
    for page in gateway.tasks(project_id, None, progress):
        for raw in page:
            tasks[raw["id"]] = read_task(raw, control)
            texts[raw["id"]] = read_text(raw, control) or ""
    return corpus_of(project_id, control, dict(sorted(tasks.items())), texts)


def corpus_of(project_id: int, control: Control, tasks: Mapping[int, Task], texts: Mapping[int, str]) -> Corpus:
    """The labelled tasks, by id: the latest label of each annotator, those they gave first before others.

    Skips are left out; ground truth is the truth and nobody's answer. The test and errors are as `read_project` says.
    """
    name = f"Project {project_id}"
    if control.multiple:
        raise UsageError(f"{name} is multiple choice; only one class a text can be replayed.")
    annotations: dict[str, list[tuple[str, str]]] = {}
    truth: dict[str, str] = {}
    for task in tasks.values():
        if task.digest is None:
            continue
        given = latest_labels(row for row in task.annotations if not row.ground_truth)
        if given:
            annotations[str(task.id)] = [(str(annotator), label) for (_, annotator), label in given.items()]
        for label in latest_labels(row for row in task.annotations if row.ground_truth).values():
            truth[str(task.id)] = label
    held = truth.keys() if GROUND_TRUTH_TASKS <= len(truth) <= len(truth.keys() | annotations) / 2 else set()
    kept = {task: rows for task, rows in annotations.items() if task not in held}
    classes = {label for rows in kept.values() for _, label in rows}
    if len(classes) < 2:
        raise UsageError(f"{name} has labels of fewer than two classes; there is nothing to replay yet.")
    test = [(texts[int(task)], truth[task]) for task in truth if task in held and truth[task] in classes]
    known = {task: label for task, label in truth.items() if task in kept and label in classes}
    corpus = Corpus({task: texts[int(task)] for task in kept}, kept, test, known)
    if not test:
        return hold_out(corpus)
    note = f"Accuracy is measured on the {len(test)} tasks with a ground truth, which are left out otherwise."
    return replace(corpus, notes=(note,))
