"""Publishes labels as predictions of versions of their own: consensus labels, and accepted labels of the model.

The score of a prediction is how probably the label is right. The versions are never the project's, so annotators'
forms, the score column and the queue do not show them. What is published is recorded after Label Studio has it. After
an interruption, the next sync finds either other predictions than recorded, and reads all, or labels to publish that
are there already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from connector._compat import batched
from connector.annotations.questions import Questions
from connector.errors import ConnectorError
from connector.label_studio import LabelStudio
from connector.state import ProjectState
from connector.state.lock import KEEP_SECONDS
from connector.state.pull import since_bookmark

# A quality that changed less is left as it is: every training changes all of them a little, and each costs a call.
QUALITY_STEP = 0.05
# Most qualities that a sync updates, those that changed most. Labels are always updated.
MOST_QUALITIES = 200
ROWS_A_CALL = 1000
ROWS_ONE_BY_ONE = 50  # between two renewals of the lock, where each needs a call

Progress = Callable[[int, int], None]


class Label(NamedTuple):
    """A label and the probability that it is right."""

    label: str
    quality: float


@dataclass(frozen=True)
class Changes:
    """Tasks whose label Label Studio does not have yet, has differently, or must no longer have."""

    new: list[int]
    other: list[int]
    gone: list[int]


def is_up_to_date(state: ProjectState, version: str, versions: Mapping[str, int], tasks: Collection[int]) -> bool:
    """Whether Label Studio has as many predictions of `version` as are recorded of `tasks`, all tasks of the project.

    `forget_if_changed` finds those that were exchanged for as many others.
    """
    return versions.get(version, 0) == sum(task in tasks for task in state.published_labels(version))


def forget_if_changed(
    gateway: LabelStudio, state: ProjectState, project_id: int, version: str, versions: Mapping[str, int]
) -> None:
    """Forgets which labels of a version Label Studio has if someone has exchanged some of them since the last pull.

    It has to be called before a pull, which moves the bookmark. Label Studio renews `updated_at` of a task whose
    prediction is deleted, added or changed by itself. It does not if predictions are imported, nor if an action of the
    Data Manager deletes them: that is found if the number differs, or if something else happened to the tasks.

    Args:
        gateway: Label Studio.
        state: The project's state, whose lock is held.
        project_id: The project in Label Studio.
        version: That of the labels.
        versions: The number of predictions by model version.
    """
    recorded = state.published_labels(version)
    if not recorded or not versions.get(version):
        return  # the numbers tell
    bookmark = state.record().bookmark
    if bookmark is None or _differ(gateway, project_id, version, recorded, bookmark):
        state.forget_published(version)


def _differ(
    gateway: LabelStudio, project_id: int, version: str, recorded: Mapping[int, tuple[str, float]], bookmark: str
) -> bool:
    """Whether a task that was updated since the bookmark has other labels than recorded, by their scores."""
    for page in gateway.tasks(project_id, since_bookmark(bookmark), fields="id,predictions"):
        published = dict(_ours(page, version))
        for raw in page:
            label = recorded.get(raw["id"])
            scores = [row["score"] for row in published.get(raw["id"], ())]
            if scores != ([] if label is None else [_score(label[1])]):
                return True
    return False


def publish_labels(
    gateway: LabelStudio,
    state: ProjectState,
    project_id: int,
    version: str,
    questions: Questions,
    wanted: Mapping[int, Label],
    *,
    tasks: Collection[int],
    versions: Mapping[str, int],
    progress: Progress = lambda done, total: None,
) -> int:
    """Brings the published labels of a version up to `wanted` and returns how many predictions were written or removed.

    New ones take one call per ROWS_A_CALL of them, all others one each.

    Args:
        gateway: Label Studio, with its writes guarded by the project's lock.
        state: The project's state, whose lock is held.
        project_id: The project in Label Studio.
        version: That of the labels.
        questions: The questions that the labels answer.
        wanted: {task: label} to publish.
        tasks: All tasks of the project.
        versions: The number of predictions by model version.
        progress: Called with the number of tasks done so far, and in total.

    Raises:
        StaleTasks: A task was deleted.
        ConnectorError: Label Studio kept fewer predictions than it was sent.
    """
    published = {task: Label(*label) for task, label in state.published_labels(version).items() if task in tasks}
    if is_up_to_date(state, version, versions, tasks):
        changes = changed(published, wanted)
        ids = [*changes.other, *changes.gone]
        changed_tasks = gateway.tasks_by_id(project_id, ids, fields="id,predictions")
        pages: Iterable[list[dict[str, Any]]] = iter([list(changed_tasks)])
        missing = {*changes.new, *changes.other}
    else:
        state.forget_published(version)
        ids, pages, missing = list(wanted), gateway.tasks_with_predictions(project_id), set(wanted)
    written = 0
    for page in pages:
        done: dict[int, Label | None] = {}
        for task, rows in _ours(page, version):
            written += _bring_up_to_date(gateway, questions, rows, wanted.get(task))
            done[task] = wanted.get(task)
            progress(len(done), max(len(done), len(ids)))
        missing -= done.keys()
        state.renew_lock(at_most_every=KEEP_SECONDS)
        state.store_published(version, done)
    state.store_published(version, {task: None for task in ids if task not in wanted})
    for part in batched(sorted(missing), ROWS_A_CALL if questions.imports_in_bulk else ROWS_ONE_BY_ONE):
        rows = [_row(task, version, questions, wanted[task]) for task in part]
        kept = gateway.import_predictions(project_id, rows, singly=not questions.imports_in_bulk)
        if kept != len(part):
            raise ConnectorError(f"Label Studio kept {kept} of {len(part)} labels of {version}: run sync again.")
        state.renew_lock(at_most_every=KEEP_SECONDS)
        state.store_published(version, {task: wanted[task] for task in part})
    return written + len(missing)


def remove_labels(gateway: LabelStudio, state: ProjectState, project_id: int, version: str) -> None:
    """Removes all published labels of a version."""
    gateway.delete_version(project_id, version)
    state.renew_lock()
    state.forget_published(version)


def changed(published: Mapping[int, Label], wanted: Mapping[int, Label]) -> Changes:
    """What differs enough to be published again."""
    moved = {
        task: abs(published[task].quality - wanted[task].quality)
        for task in published.keys() & wanted.keys()
        if published[task].label == wanted[task].label
    }
    most = sorted((task for task in moved if moved[task] >= QUALITY_STEP), key=lambda task: (-moved[task], task))
    relabelled = (published.keys() & wanted.keys()) - moved.keys()
    return Changes(
        sorted(wanted.keys() - published.keys()),
        sorted(relabelled | set(most[:MOST_QUALITIES])),
        sorted(published.keys() - wanted.keys()),
    )


def _ours(page: Sequence[Mapping[str, Any]], version: str) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The tasks of a page with a published label, each with its predictions of that version."""
    for raw in page:
        rows = [row for row in raw["predictions"] if row["model_version"] == version]
        if rows:
            yield raw["id"], rows


def _bring_up_to_date(
    gateway: LabelStudio, questions: Questions, rows: Sequence[Mapping[str, Any]], wanted: Label | None
) -> int:
    """Leaves one of a task's predictions, with the label that is wanted, or none. Returns the number of calls."""
    first, *others = rows
    calls = 0
    if wanted is None:
        others = [first, *others]
    elif (first["result"], first["score"]) != (prediction := _prediction(questions, wanted)):
        gateway.update_prediction(first["id"], result=prediction[0], score=prediction[1])
        calls += 1
    for row in others:
        gateway.delete_prediction(row["id"])
        calls += 1
    return calls


def _row(task: int, version: str, questions: Questions, wanted: Label) -> dict[str, Any]:
    result, score = _prediction(questions, wanted)
    return {"task": task, "result": result, "score": score, "model_version": version}


def _prediction(questions: Questions, wanted: Label) -> tuple[list[dict[str, Any]], float]:
    """The result and the score of a label's prediction."""
    return questions.result(wanted.label), _score(wanted.quality)


def _score(quality: float) -> float:
    """The score of a prediction. Label Studio silently drops one outside [0, 1]."""
    return min(1.0, max(0.0, round(quality, 4)))
