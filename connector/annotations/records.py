"""Label Studio's tasks and annotations as plain records, and the latest valid labels among them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from connector.annotations.controls.control import ReadLabel
from connector.annotations.form.data import CONTENT_SEPARATOR, PAIR_SEPARATOR, Shown
from connector.annotations.objects.linked import with_addresses

# The problem of an annotation whose annotator is left out.
EXCLUDED = "its annotator is left out (connector init --exclude)"
UNSHOWN = "Label Studio cannot show it"


class Reader(Protocol):
    """What reads tasks and annotations: a control, or all questions of a project."""

    def shown(self, data: Any) -> Shown: ...

    def read(self, result: Any) -> ReadLabel: ...


class Annotation(NamedTuple):
    """One row of Label Studio's annotations: an annotator's answer or skip.

    Attributes:
        annotator: 0 if the user was deleted: all deleted users count as one.
        label: As Control.label_of writes it, or a joint label of several questions. None: there is none.
        unknown: A choice that the config no longer has is left out. Other choices of a set are kept, and a single
            choice becomes None.
        lead_time: In seconds. None: unknown.
        problem: Why there is no label, or only a part of it, in words. "": nothing is left out.
    """

    id: int
    task: int
    annotator: int
    label: str | None
    skipped: bool
    ground_truth: bool
    updated_at: str
    unknown: bool = False
    created_at: str = ""
    lead_time: float | None = None
    problem: str = ""

    @property
    def unreadable(self) -> bool:
        """Whether an answer cannot be read at all. One that names a choice of an earlier config can."""
        return bool(self.problem) and not self.unknown and not self.excluded

    @property
    def excluded(self) -> bool:
        """Whether its annotator is left out, so that it gives no label."""
        return self.problem == EXCLUDED


class Task(NamedTuple):
    """A task as Label Studio has it, with its annotations by id.

    `digest` identifies its content. None: it has nothing to label, and `problem` says why.
    """

    id: int
    digest: str | None
    is_labeled: bool
    overlap: int
    updated_at: str
    annotations: tuple[Annotation, ...] = ()
    problem: str = ""


def answers(task: Task) -> tuple[str | None, tuple[Annotation, ...], bool]:
    """The content and the annotations, without the flags that the queue itself sets.

    It sets those of answered tasks. Of others, whether they are marked as complete belongs to it: nobody is asked then.
    """
    return task.digest, task.annotations, task.is_labeled and not is_answered(task.annotations)


def moment(timestamp: str) -> datetime:
    """One of Label Studio's timestamps. As texts they do not sort, because a fraction of zero is left out."""
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00"))


def digest(text: str) -> str:
    """BLAKE2b-128 of the text in UTF-8, in hexadecimal digits: the key under which the ML backend stores it."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_content(raw: Mapping[str, Any], reader: Reader) -> Shown:
    """The content that a task of Label Studio shows, or why there is nothing to label."""
    return reader.shown(raw["data"]) if "data" in raw else Shown(None, UNSHOWN)


def readable(text: str) -> str:
    """A content as people read it: of a pair, both sides with an arrow between them."""
    shown = " | ".join(filter(None, text.split(CONTENT_SEPARATOR))).replace(PAIR_SEPARATOR, " ⇄ ")
    return with_addresses(shown)


def read_text(raw: Mapping[str, Any], reader: Reader) -> str | None:
    """The content that a task of Label Studio shows. None: there is nothing to label."""
    return read_content(raw, reader).text


def read_task(raw: dict[str, Any], reader: Reader) -> Task:
    """A task of `GET /api/tasks?fields=all`, or the answer to a task's PATCH, as a record."""
    text, problem = read_content(raw, reader)
    return Task(
        id=raw["id"],
        digest=None if text is None else digest(text),
        is_labeled=raw["is_labeled"],
        overlap=raw["overlap"],
        updated_at=raw["updated_at"],
        # On PostgreSQL they come in any order.
        annotations=tuple(
            sorted((read_annotation(row, raw["id"], reader) for row in raw["annotations"]), key=lambda row: row.id)
        ),
        problem=problem,
    )


def annotator_of(raw: Mapping[str, Any]) -> int:
    """The annotator of a row of a task's `annotations`. 0: the user was deleted."""
    user = raw["completed_by"]
    if isinstance(user, dict):  # some endpoints expand the user
        user = user["id"]
    return user or 0


def read_annotation(raw: dict[str, Any], task: int, reader: Reader) -> Annotation:
    """A row of a task's `annotations` as a record."""
    skipped = bool(raw["was_cancelled"])
    if skipped:
        label, unknown, problem = None, False, ""
    elif "result" in raw:
        label, unknown, problem = reader.read(raw["result"])
    else:
        label, unknown, problem = None, False, UNSHOWN
    return Annotation(
        id=raw["id"],
        task=task,
        annotator=annotator_of(raw),
        label=label,
        skipped=skipped,
        ground_truth=bool(raw["ground_truth"]),
        updated_at=raw["updated_at"],
        unknown=unknown,
        created_at=raw["created_at"],
        lead_time=raw.get("lead_time"),
        problem=problem,
    )


def latest_labels(annotations: Iterable[Annotation]) -> dict[tuple[int, int], str]:
    """The latest valid label of each annotator on each task: {(task, annotator): label}.

    Skips, controls left unanswered and choices that the config no longer has are not labels. They do not hide an
    earlier label.
    """
    latest: dict[tuple[int, int], str] = {}
    for row in sorted(annotations, key=lambda row: (moment(row.updated_at), row.id)):
        if row.label is not None:
            latest[(row.task, row.annotator)] = row.label
    return latest


def without_labels_of(task: Task, annotators: Collection[int], annotations: Collection[int] = ()) -> Task:
    """The task without labels by these annotators. Their annotations stay, because Label Studio counts them.

    A ground truth stays, too: someone has marked it as right.

    Args:
        task: The task.
        annotators: Whose labels do not count.
        annotations: Their annotations as they were known, since those of a deleted account are nobody's.
    """

    def is_theirs(row: Annotation) -> bool:
        return row.annotator in annotators or (not row.annotator and row.id in annotations)

    if not any(is_theirs(row) for row in task.annotations):
        return task
    rows = (
        row._replace(label=None, unknown=False, problem=EXCLUDED)
        if is_theirs(row) and not row.ground_truth and not row.skipped
        else row
        for row in task.annotations
    )
    return task._replace(annotations=tuple(rows))


def is_answered(annotations: Iterable[Annotation]) -> bool:
    """Whether anyone has submitted an answer, even one that gives no label. Then Label Studio calls the task done."""
    return any(not row.skipped for row in annotations)


def lock_rows(annotations: Iterable[Annotation], skip_queue: str) -> int:
    """How many annotation rows Label Studio counts against a task's overlap for an annotator who has none on it.

    Label Studio serves a task while locks plus these rows are below its overlap. Ground truth never counts. A skip by
    another annotator counts in every mode but REQUEUE_FOR_OTHERS (`Task.has_lock` of Label Studio 1.23.2, checked by
    the tests).
    """
    return sum(
        1 for row in annotations if not row.ground_truth and not (row.skipped and skip_queue == "REQUEUE_FOR_OTHERS")
    )
