"""The labels of a Label Studio project as a corpus for a replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from connector.annotations.form.regions import quoted
from connector.annotations.ground_truth import TEST_SHARE, ground_truths
from connector.annotations.label_config import Control, find_control, servable
from connector.annotations.objects.content import NOUNS
from connector.annotations.objects.linked import links_in
from connector.annotations.records import Task, latest_labels, read_task, read_text
from connector.errors import UsageError
from connector.formatting import listed
from connector.label_studio.client import LabelStudio
from connector.simulation.corpus import Corpus, hold_out, require_trainable
from connector.state.pull import Progress

GROUND_TRUTH_TASKS = 50  # fewer are no test set


def read_project(
    project_id: int,
    gateway: LabelStudio,
    control_name: str | None = None,
    progress: Progress = lambda done, total: None,
    fields: Sequence[str] = (),
) -> Corpus:
    """The corpus of a project, whether `init` has set it up or not.

    The tasks with a ground truth are its test set, if they are at least GROUND_TRUTH_TASKS. Otherwise a fifth of the
    tasks is held out. If more than TEST_SHARE of the labelled tasks have a ground truth, an import has left that mark,
    and they are labels like any other.

    Args:
        project_id: Label Studio's id of the project.
        gateway: Label Studio.
        control_name: the control, if the labelling config has several.
        progress: called with the number of tasks read and of all tasks.
        fields: keys of the tasks' data that models read. Without any, they read what the form shows.

    Raises:
        UsageError: the labels cannot be replayed.
        TryAgainLater: Label Studio is unavailable.
    """
    config = gateway.get_project(project_id)["label_config"]
    control = find_control(config, control_name).with_fields(fields)
    tasks: dict[int, Task] = {}
    texts: dict[int, str] = {}
    for page in gateway.tasks(project_id, None, progress):
        for raw in page:
            tasks[raw["id"]] = read_task(raw, control)
            texts[raw["id"]] = read_text(raw, control) or ""
    corpus = corpus_of(project_id, control, dict(sorted(tasks.items())), texts)
    others = [name for name in servable(config) if name != control.name]
    if not others:
        return corpus
    note = f"Only the question {quoted(control.name)} was replayed, without {listed(list(map(quoted, others)))}."
    return replace(corpus, control=control.name, notes=(note, *corpus.notes))


def corpus_of(project_id: int, control: Control, tasks: Mapping[int, Task], texts: Mapping[int, str]) -> Corpus:
    """The labelled tasks by id, with each annotator's latest label, the earliest of these first.

    Skips are left out. `read_project` describes the test set, ground truth and errors.
    """
    name = f"Project {project_id}"
    if control.kind != "text":
        raise UsageError(
            f"{name} has {NOUNS[control.kind]}s. Such a project cannot be replayed: put its files into a folder with a "
            f"tasks.csv that has the column {control.kind}, and use --data."
        )
    if any(map(links_in, texts.values())):
        raise UsageError(
            f"{name} has its texts in files. Such a project cannot be replayed: write the texts into a folder with "
            "tasks.csv, annotations.csv and test.csv, and use --data. connector export has them in the column text."
        )
    if control.multiple:
        raise UsageError(f"{name} is multiple choice. Only projects with one class per text can be replayed.")
    rows = [row for task in tasks.values() if task.digest is not None for row in task.annotations]
    truth = {str(task): label for task, label in ground_truths(rows).items()}
    notes: tuple[str, ...] = ()
    if len(truth) > TEST_SHARE * len({task for task, _ in latest_labels(rows)}):
        truth = {}
        notes = (
            "More than a fifth of the labelled tasks are marked as ground truth, as Label Studio marks every imported "
            "annotation. They count as labels like any other.",
        )
    annotations: dict[str, list[tuple[str, str]]] = {}
    for (task, annotator), label in latest_labels(row for row in rows if notes or not row.ground_truth).items():
        annotations.setdefault(str(task), []).append((str(annotator), label))
    held = truth.keys() if len(truth) >= GROUND_TRUTH_TASKS else set()
    tested = {texts[int(task)] for task in held}  # the same text may have been imported twice
    kept = {
        str(task): annotations[str(task)]
        for task in tasks
        if str(task) in annotations.keys() - held and texts[task] not in tested
    }
    classes = {label for annotations in kept.values() for _, label in annotations}
    if len(classes) < 2:
        raise UsageError(f"{name} has labels of fewer than two classes, so there is nothing to replay yet.")
    test = [(texts[int(task)], label) for task, label in truth.items() if task in held and label in classes]
    kept_truth = {task: label for task, label in truth.items() if task in kept and label in classes}
    corpus = Corpus({task: texts[int(task)] for task in kept}, kept, test, kept_truth, notes)
    if not test:
        return hold_out(corpus)
    note = f"Accuracy is measured on the {len(test)} tasks with a ground truth, which are used for nothing else."
    return require_trainable(replace(corpus, notes=(note,)), name)
