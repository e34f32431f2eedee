"""Brings the mirror of a project up to date: the first step of every sync."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from connector.annotations.label_config import find_questions
from connector.annotations.questions import Questions, questions_from_json
from connector.annotations.records import Task, annotator_of, answers, digest, moment, read_task, read_text
from connector.label_studio.client import PAGE_SIZE, LabelStudio
from connector.state.lock import KEEP_SECONDS
from connector.state.predictions import read_machines
from connector.state.project_state import ProjectState
from connector.state.recognition import explain_deleted
from connector.state.rows import FullRead, ProjectRecord
from connector.state.snapshot import ProjectSnapshot

# Tasks updated this long before the last sync began are read again: clocks differ a little between servers, and a
# transaction may end after one that began later.
OVERLAP = timedelta(seconds=60)

# How often tasks are counted to find out which were deleted, before all are read.
MOST_COUNTS = 100

Progress = Callable[[int, int], None]
Span = tuple[int, int | None]


@dataclass(frozen=True)
class ProjectReading:
    """A project's settings, and how many predictions each model version has.

    `at`: the server's clock when the settings were read. None: unknown.
    """

    project: dict[str, Any]
    versions: dict[str, int]
    at: datetime | None


def read_project(project_id: int, gateway: LabelStudio) -> ProjectReading:
    """Reads the project's settings, then its model versions."""
    project = gateway.get_project(project_id)
    at = gateway.server_time
    return ProjectReading(project, gateway.model_versions(project_id), at)


def pull(
    reading: ProjectReading,
    gateway: LabelStudio,
    state: ProjectState,
    *,
    everything: bool = False,
    progress: Progress = lambda done, total: None,
) -> ProjectSnapshot:
    """Reads what changed since the bookmark into the mirror, or `everything`. Writes nothing to Label Studio.

    Each page is stored when it is read, and the bookmark moves at the end. If a pull is killed, the next one reads the
    same changes again.
    """
    record, project = state.record(), reading.project
    # What happens from now on is for the next sync. By the server's clock, because tasks have its time.
    asked_at = reading.at
    config_changed = project["label_config"] != record.label_config
    questions = questions_of(project, record)
    if everything:
        state.put(full_read=None)
    bookmark = None if everything or _all_differ(project, record) else state.record().bookmark
    if bookmark is None:
        changed = read_all(project, gateway, state, questions, asked_at, progress)
    else:
        changed = _read_changes(project, gateway, state, questions, bookmark, progress)
        if asked_at is not None:
            state.put(bookmark=asked_at.isoformat())
    if config_changed:
        state.put(control=questions.to_json(), label_config=project["label_config"])
    tasks = state.tasks()
    state.remember_annotations_of_excluded(tasks)
    if asked_at is None:
        state.put(bookmark=_latest(tasks).isoformat())
    changed |= read_machines(project, gateway, state, questions, tasks, reading.versions, everything=everything)
    snapshot = ProjectSnapshot(
        project,
        questions,
        tasks,
        reading.versions,
        config_changed or changed,
        state.texts,
        read_machine_labels=state.machine_labels,
    )
    return fetched(snapshot, state)


def read_all(
    project: Mapping[str, Any],
    gateway: LabelStudio,
    state: ProjectState,
    questions: Questions,
    asked_at: datetime | None,
    progress: Progress,
) -> bool:
    """Reads every task into the mirror and sets the bookmark. Returns whether a text or an annotation differs.

    A reading that was killed goes on after its last page. The bookmark is when it began, so that the next pull reads
    what has changed since in the pages before.
    """
    under = digest(project["skip_queue"] + project["label_config"])
    unfinished = state.record().full_read
    if unfinished is not None and unfinished["under"] == under:
        reading = unfinished
    else:
        reading = FullRead(under=under, since=asked_at.isoformat() if asked_at else None, after=0)
    state.put(bookmark=None, full_read=reading)
    changed, after = False, reading["after"]
    for page in gateway.tasks(project["id"], progress=progress, span=(after, None)):
        span = (after, page[-1]["id"])
        after = page[-1]["id"]
        changed |= _store(page, state, questions, span, full_read={**reading, "after": after})
        state.renew_lock(at_most_every=KEEP_SECONDS)
    return state.store_tasks([], {}, span=(after, None), bookmark=reading["since"], full_read=None) or changed


def _read_changes(
    project: Mapping[str, Any],
    gateway: LabelStudio,
    state: ProjectState,
    questions: Questions,
    bookmark: str,
    progress: Progress,
) -> bool:
    """Reads the tasks updated since the bookmark into the mirror, and more where the project's counters do not fit it.

    Whether a text or an answer differs.
    """
    changed, is_account_deleted = False, False
    for page in gateway.tasks(project["id"], since_bookmark(bookmark), progress):
        is_account_deleted = is_account_deleted or _lost_an_annotator(page, state.tasks([raw["id"] for raw in page]))
        changed |= _store(page, state, questions)
        state.renew_lock(at_most_every=KEEP_SECONDS)
    if _fit(project, gateway, state.counts()) and not is_account_deleted:
        return changed
    changed |= _read_where_counts_differ(project["id"], gateway, state, questions)
    project = gateway.get_project(project["id"])
    asked_at = gateway.server_time
    if is_account_deleted or not _fit(project, gateway, state.counts()):
        state.put(full_read=None)
        changed |= read_all(project, gateway, state, questions, asked_at, progress)
    return changed


def _lost_an_annotator(page: Iterable[Mapping[str, Any]], known: Mapping[int, Task]) -> bool:
    """Whether an annotation of the page had an annotator in the `known` tasks, whose account was deleted since.

    Label Studio does not say which other tasks that concerns: it leaves their updated_at as it is.
    """
    ownerless = {row["id"] for raw in page for row in raw["annotations"] if not annotator_of(row)}
    return any(row.annotator and row.id in ownerless for task in known.values() for row in task.annotations)


def _read_where_counts_differ(project_id: int, gateway: LabelStudio, state: ProjectState, questions: Questions) -> bool:
    """Reads those spans of tasks again whose numbers of tasks or annotations differ in Label Studio.

    Spans are halved until they fit on a page. Stops after MOST_COUNTS: then reading all is quicker.
    """
    changed, asked = False, 1
    spans: list[tuple[Span, tuple[int, int]]] = [((0, None), gateway.count_tasks(project_id))]
    while spans:
        span, theirs = spans.pop()
        n_tasks, n_annotations, _ = state.counts(span)
        if (n_tasks, n_annotations) == theirs:
            continue
        if n_tasks <= PAGE_SIZE:
            page = [raw for rows in gateway.tasks(project_id, span=span) for raw in rows]
            changed |= _store(page, state, questions, span=span)
            continue
        if asked == MOST_COUNTS:
            break
        asked += 1
        middle = state.nth_task(span, (n_tasks - 1) // 2)
        lower = gateway.count_tasks(project_id, (span[0], middle))
        upper = (theirs[0] - lower[0], theirs[1] - lower[1])
        spans += [((span[0], middle), lower), ((middle, span[1]), upper)]
    return changed


def _store(
    page: Sequence[dict[str, Any]], state: ProjectState, questions: Questions, span: Span | None = None, **columns: Any
) -> bool:
    """Stores raw tasks as ProjectState.store_tasks does."""
    texts = ((raw["id"], read_text(raw, questions)) for raw in page)
    return state.store_tasks(
        [read_task(raw, questions) for raw in page],
        {task: text for task, text in texts if text is not None},
        span=span,
        **columns,
    )


def read_snapshot(
    project_id: int, gateway: LabelStudio, state: ProjectState, progress: Progress = lambda done, total: None
) -> ProjectSnapshot:
    """The project as it is now. Stores nothing, restores nothing, and needs no lock."""
    with explain_deleted(project_id, gateway):
        return _read_snapshot(project_id, gateway, state, progress)


def _read_snapshot(project_id: int, gateway: LabelStudio, state: ProjectState, progress: Progress) -> ProjectSnapshot:
    record = state.record()
    project = gateway.get_project(project_id)
    state.require_same(project)
    questions = questions_of(project, record)
    before = state.tasks()
    fresh: dict[int, str] = {}
    is_account_deleted = False

    def read(since: str | None) -> dict[int, Task]:
        nonlocal is_account_deleted
        tasks = {}
        for page in gateway.tasks(project_id, since, progress):
            is_account_deleted = is_account_deleted or _lost_an_annotator(page, before)
            for raw in page:
                tasks[raw["id"]] = read_task(raw, questions)
                fresh[raw["id"]] = read_text(raw, questions) or ""
        return tasks

    def texts(ids: Iterable[int]) -> dict[int, str]:
        wanted = list(ids)
        known_texts = state.texts(task for task in wanted if task not in fresh)
        return known_texts | {task: fresh[task] for task in wanted if fresh.get(task)}

    bookmark = None if _all_differ(project, record) else record.bookmark
    tasks = before | read(since_bookmark(bookmark)) if bookmark is not None else {}
    if bookmark is None or is_account_deleted or not _fit(project, gateway, _count(tasks)):
        tasks = read(None)
    tasks = dict(sorted(tasks.items()))
    changed = before.keys() != tasks.keys() or any(answers(before[task]) != answers(tasks[task]) for task in tasks)
    changed = changed or project["label_config"] != record.label_config
    versions = gateway.model_versions(project_id)
    # Machines' labels are those of the last sync.
    snapshot = ProjectSnapshot(
        project, questions, tasks, versions, changed, texts, read_machine_labels=state.machine_labels
    )
    return fetched(snapshot, state)


def fetched(snapshot: ProjectSnapshot, state: ProjectState, failed: Mapping[str, str] | None = None) -> ProjectSnapshot:
    """The snapshot with the texts that were fetched, without what could not be, and without excluded labels.

    Args:
        snapshot: As the tasks describe the project.
        state: Remembers both.
        failed: {digest of a medium's address, or of a link: why it could not be fetched}. None: as the state remembers.
    """
    record = state.record()
    snapshot = snapshot.without_annotators(record.excluded, record.annotations_of_excluded)
    known = state.linked() if snapshot.questions.has_links else {}
    return snapshot.without_failed(_failed(state) if failed is None else failed).with_linked(known, state.linked_texts)


def _failed(state: ProjectState) -> dict[str, str]:
    """{digest of a medium's address, or of a link: why it could not be fetched}."""
    return {key: failure.problem for key, failure in state.media_failures().items()}


def _all_differ(project: Mapping[str, Any], record: ProjectRecord) -> bool:
    """Whether every task may differ from the mirror, whenever it was updated.

    Another labelling config has other texts or labels. With another rule for skipped tasks, Label Studio changes the
    flags of all tasks, but not their updated_at.
    """
    rule = (record.window_options or {}).get("skip_queue", project["skip_queue"])
    return bool(project["label_config"] != record.label_config or project["skip_queue"] != rule)


def questions_of(project: Mapping[str, Any], record: ProjectRecord) -> Questions:
    """The questions that are served, read again if the labelling config has changed."""
    if record.control is None:
        raise ValueError("init has not been run: the state has no control.")
    questions = questions_from_json(record.control)
    if project["label_config"] == record.label_config:
        return questions
    names = questions.order or questions.names
    return find_questions(project["label_config"], names, missing_allowed=True).with_fields(questions.fields)


def since_bookmark(bookmark: str) -> str:
    """From when on to read tasks that were updated since the bookmark. For Label Studio's filters."""
    return (datetime.fromisoformat(bookmark) - OVERLAP).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _fit(project: Mapping[str, Any], gateway: LabelStudio, mirrored: tuple[int, int, int]) -> bool:
    """Whether the project's counters fit the mirror: they alone show that tasks or annotations were deleted."""
    counted = _counters(project)
    if any(mine < theirs for mine, theirs in zip(mirrored, counted, strict=True)):
        return False
    if mirrored == counted:
        return True
    # There is an annotation since the project was read, or something was deleted.
    counted = _counters(gateway.get_project(project["id"]))
    return not any(mine > theirs for mine, theirs in zip(mirrored, counted, strict=True))


def _count(tasks: Mapping[int, Task]) -> tuple[int, int, int]:
    """Tasks, annotations and skips among those tasks."""
    skips = sum(row.skipped for task in tasks.values() for row in task.annotations)
    return len(tasks), sum(len(task.annotations) for task in tasks.values()) - skips, skips


def _counters(project: Mapping[str, Any]) -> tuple[int, int, int]:
    """Tasks, annotations and skips as Label Studio counts them."""
    return project["task_number"], project["total_annotations_number"], project["skipped_annotations_number"]


def _latest(tasks: Mapping[int, Task]) -> datetime:
    """The latest change of a task, for a server, or a proxy before it, that sends no Date header."""
    return max((moment(task.updated_at) for task in tasks.values()), default=datetime.fromtimestamp(0, timezone.utc))
