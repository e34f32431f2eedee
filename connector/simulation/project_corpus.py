"""The labels of a Label Studio project as a corpus for a replay."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from connector.annotations.form.regions import quoted
from connector.annotations.ground_truth import TEST_SHARE, ground_truths
from connector.annotations.label_config import Control, find_control, servable
from connector.annotations.left_out import with_causes
from connector.annotations.objects.content import NOUNS
from connector.annotations.objects.linked import links_in
from connector.annotations.records import Task, latest_labels, moment, read_task, read_text
from connector.errors import UsageError
from connector.formatting import count, listed, verb, with_article
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.simulation.corpus import Corpus, hold_out, require_trainable

GROUND_TRUTH_TASKS = 50  # fewer are no test set


def read_project(
    project_id: int,
    gateway: LabelStudio,
    reporter: Reporter,
    control_name: str | None = None,
    fields: Sequence[str] = (),
    *,
    media: Path,
    media_hosts: Collection[str] = (),
) -> Corpus:
    """The corpus of a project, whether `init` has set it up or not.

    The tasks with a ground truth are its test set, if they are at least GROUND_TRUTH_TASKS. Otherwise a fifth of the
    tasks is held out. If more than TEST_SHARE of the labelled tasks have a ground truth, an import has left that mark,
    and they are labels like any other.

    Args:
        project_id: Label Studio's id of the project.
        gateway: Label Studio.
        reporter: shows the stages.
        control_name: the control, if the labelling config has several.
        fields: keys of the tasks' data that models read. Without any, they read what the form shows.
        media: the folder of small copies of the media of labelled tasks. Tasks whose medium cannot be fetched are left
            out, and a note counts them.
        media_hosts: private hosts from which media may be fetched.

    Raises:
        UsageError: the labels cannot be replayed, or no image can be fetched.
        TryAgainLater: Label Studio is unavailable.
    """
    config = gateway.get_project(project_id)["label_config"]
    control = find_control(config, control_name).with_fields(fields)
    tasks: dict[int, Task] = {}
    texts: dict[int, str] = {}
    with reporter.stage("read", "Reading the data") as stage:
        for page in gateway.tasks(project_id, None, stage.count):
            for raw in page:
                tasks[raw["id"]] = read_task(raw, control)
                texts[raw["id"]] = read_text(raw, control) or ""
    tasks = dict(sorted(tasks.items()))
    if control.kind == "text":
        corpus = corpus_of(project_id, control, tasks, texts)
    else:
        corpus = _corpus_of_media(project_id, gateway, reporter, control, tasks, texts, media, media_hosts)
    others = [name for name in servable(config) if name != control.name]
    if not others:
        return corpus
    note = f"Only the question {quoted(control.name)} was replayed, without {listed(list(map(quoted, others)))}."
    return replace(corpus, control=control.name, notes=(note, *corpus.notes))


def _corpus_of_media(
    project_id: int,
    gateway: LabelStudio,
    reporter: Reporter,
    control: Control,
    tasks: Mapping[int, Task],
    addresses: Mapping[int, str],
    directory: Path,
    hosts: Collection[str],
) -> Corpus:
    """The corpus of a project of media, whose small copies are fetched into the directory."""
    from connector.media.kinds import KINDS
    from connector.simulation.project_media import bring_copies
    from connector.sync.media import open_fetcher

    noun = NOUNS[control.kind]
    rows = [row for task in tasks.values() if task.digest is not None for row in task.annotations]
    labelled = {task: addresses[task] for task in sorted({task for task, _ in latest_labels(rows)})}
    with reporter.stage("media", f"Fetching {noun}s") as stage, open_fetcher(gateway, hosts) as fetcher:
        paths, failed = bring_copies(labelled, fetcher, KINDS[control.kind], directory, stage.count)
    if failed and not paths:
        raise UsageError(
            f"Project {project_id}: no {noun} of a labelled task can be fetched, of task {with_causes(failed)}. Run "
            f"connector doctor --project {project_id}."
        )
    corpus = corpus_of(project_id, control, {task: tasks[task] for task in paths}, paths)
    if not failed:
        return corpus
    note = (
        f"{count(len(failed), 'labelled task')} {verb(len(failed))} left out, without {with_article(noun)}: "
        f"{with_causes(failed)}."
    )
    return replace(corpus, notes=(note, *corpus.notes))


def corpus_of(project_id: int, control: Control, tasks: Mapping[int, Task], texts: Mapping[int, str]) -> Corpus:
    """The labelled tasks by id, with each annotator's latest label, the earliest of these first.

    Skips are left out. `texts`: {task: its text, or the path of a small copy of its image}. `read_project` describes
    the test set, ground truth and errors.
    """
    name = f"Project {project_id}"
    if control.kind == "text" and any(map(links_in, texts.values())):
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
    contents = {task: texts[int(task)] for task in kept}
    seconds = {
        (str(row.task), str(row.annotator)): row.lead_time
        for row in sorted(rows, key=lambda row: (moment(row.updated_at), row.id))
        if str(row.task) in kept and row.label is not None and row.lead_time and (notes or not row.ground_truth)
    }
    are_copies = control.kind != "text"
    corpus = Corpus(contents, kept, test, kept_truth, notes, control.kind, are_copies=are_copies, seconds=seconds)
    if not test:
        return hold_out(corpus)
    note = f"Accuracy is measured on the {len(test)} tasks with a ground truth, which are used for nothing else."
    return require_trainable(replace(corpus, notes=(note,)), name)
