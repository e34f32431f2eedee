"""What the people of a Label Studio project answered, as a corpus to replay on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from connector.annotations.ground_truth import TEST_SHARE, ground_truths
from connector.annotations.label_config import Control, find_control
from connector.annotations.records import Task, latest_labels, read_task, read_text
from connector.errors import UsageError
from connector.label_studio.client import LabelStudio
from connector.simulation.corpus import Corpus, hold_out
from connector.state.pull import Progress

GROUND_TRUTH_TASKS = 50  # fewer are no test set


def read_project(
    project_id: int,
    gateway: LabelStudio,
    control_name: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Corpus:
    """The corpus of a project, whether `init` has set it up or not; `control_name` where several could be served.

    Its test are the tasks with a ground truth, if they are GROUND_TRUTH_TASKS; else a fifth of the tasks is held out.
    Where more than TEST_SHARE of the labelled tasks have one it is a mark that an import left: labels like any other.
    Raises UsageError where the labels cannot be replayed; TryAgainLater when Label Studio is away.
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

    Skips are left out. The test, what ground truth is, and errors are as `read_project` says.
    """
    name = f"Project {project_id}"
    if control.multiple:
        raise UsageError(f"{name} is multiple choice; only one class a text can be replayed.")
    rows = [row for task in tasks.values() if task.digest is not None for row in task.annotations]
    truth = {str(task): label for task, label in ground_truths(rows).items()}
    notes: tuple[str, ...] = ()
    if len(truth) > TEST_SHARE * len({task for task, _ in latest_labels(rows)}):
        truth = {}
        notes = (
            "More than a fifth of the labelled tasks are marked as ground truth, as Label Studio marks every imported "
            "annotation: they are taken for labels like any other.",
        )
    annotations: dict[str, list[tuple[str, str]]] = {}
    for (task, annotator), label in latest_labels(row for row in rows if notes or not row.ground_truth).items():
        annotations.setdefault(str(task), []).append((str(annotator), label))
    held = truth.keys() if len(truth) >= GROUND_TRUTH_TASKS else set()
    tested = {texts[int(task)] for task in held}  # a text may have been imported twice
    kept = {
        str(task): annotations[str(task)]
        for task in tasks
        if str(task) in annotations.keys() - held and texts[task] not in tested
    }
    classes = {label for given in kept.values() for _, label in given}
    if len(classes) < 2:
        raise UsageError(f"{name} has labels of fewer than two classes; there is nothing to replay yet.")
    test = [(texts[int(task)], label) for task, label in truth.items() if task in held and label in classes]
    known = {task: label for task, label in truth.items() if task in kept and label in classes}
    corpus = Corpus({task: texts[int(task)] for task in kept}, kept, test, known, notes)
    if not test:
        return hold_out(corpus)
    note = f"Accuracy is measured on the {len(test)} tasks with a ground truth, which are left out otherwise."
    return replace(corpus, notes=(note,))
