"""Label Studio's tasks and annotations as plain records, and the latest valid labels among them. Pure: no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from connector.annotations.label_config import Control


class Annotation(NamedTuple):
    """One row of Label Studio's annotations: what somebody answered, or that they skipped.

    `label` is one of the control, as Control.label_of writes it, or None where nothing is said. `unknown`: a choice
    that the config no longer has is not in it; of several choices the others stand, a single one leaves None.
    `annotator` is 0 where the user was deleted: all of them count as one. `lead_time` is in seconds, None
    where Label Studio was not told.
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


class Task(NamedTuple):
    """A task as Label Studio holds it, its annotations by id.

    `digest` tells its text from any other; None where it has none that could be labelled.
    """

    id: int
    digest: str | None
    is_labeled: bool
    overlap: int
    updated_at: str
    annotations: tuple[Annotation, ...] = ()


def answers(task: Task) -> tuple[str | None, tuple[Annotation, ...]]:
    """The text and what people did, without the flags that the queue itself sets."""
    return task.digest, task.annotations


def moment(timestamp: str) -> datetime:
    """One of Label Studio's timestamps; as texts they do not sort, since a fraction of zero is left out."""
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00"))


def digest(text: str) -> str:
    """BLAKE2b-128 of the text in UTF-8, in hexadecimal digits: the key under which the ML backend stores it."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_text(raw: Mapping[str, Any], control: Control) -> str | None:
    """The text that a task of Label Studio shows; None where its data key is missing, empty or not a text."""
    text = raw["data"].get(control.data_key)
    return _storable(text) if isinstance(text, str) and text.strip() else None


def read_task(raw: dict[str, Any], control: Control) -> Task:
    """A task of `GET /api/tasks?fields=all`, or the answer to a task's PATCH, as a record."""
    text = read_text(raw, control)
    return Task(
        id=raw["id"],
        digest=None if text is None else digest(text),
        is_labeled=raw["is_labeled"],
        overlap=raw["overlap"],
        updated_at=raw["updated_at"],
        # On PostgreSQL they come in whatever order the database finds them.
        annotations=tuple(
            sorted((read_annotation(row, raw["id"], control) for row in raw["annotations"]), key=lambda row: row.id)
        ),
    )


def _storable(text: str) -> str:
    """The text without what JSON can hold and others cannot; the rest of it still counts.

    Half a surrogate pair has no UTF-8 form, and PostgreSQL takes no NUL.
    """
    return text.replace("\0", "?").encode(errors="replace").decode()


def annotator_of(raw: Mapping[str, Any]) -> int:
    """Who made a row of a task's `annotations`; 0 where the user was deleted."""
    user = raw["completed_by"]
    if isinstance(user, dict):  # some endpoints expand the user
        user = user["id"]
    return user or 0


def read_annotation(raw: dict[str, Any], task: int, control: Control) -> Annotation:
    """A row of a task's `annotations` as a record."""
    chosen = None if raw["was_cancelled"] else _choices(raw["result"], control)
    known = {control.spellings[name] for name in chosen or [] if name in control.spellings}
    unknown = any(name not in control.spellings for name in chosen or [])
    # Whether somebody whose choices are all gone would choose none of the others, nobody can tell.
    label = None if chosen is None or (unknown and not known) else control.label_of(known)
    return Annotation(
        id=raw["id"],
        task=task,
        annotator=annotator_of(raw),
        label=label,
        skipped=bool(raw["was_cancelled"]),
        ground_truth=bool(raw["ground_truth"]),
        updated_at=raw["updated_at"],
        unknown=unknown,
        created_at=raw["created_at"],
        lead_time=raw.get("lead_time"),
    )


def choice(result: Any, control: Control) -> str | list[str] | None:
    """What was chosen in an annotation's `result`, as it is spelled there: a list where several may be; None: nothing.

    The empty list says that none of the choices was meant, None that the control was not answered.
    """
    chosen = _choices(result, control)
    return chosen if chosen is None or control.multiple else chosen[0]


def _choices(result: Any, control: Control) -> list[str] | None:
    """The choices in a `result`, exactly one where only one may be; None where the control was not answered."""
    regions = [region for region in result or [] if region.get("from_name") == control.name]
    answers = [answer for region in regions if (answer := _answer(region)) is not None]
    if not control.multiple:
        return next((answer for answer in answers if len(answer) == 1), None)
    chosen = [name for answer in answers for name in answer]
    # What cannot be read is of an older config, and not the same as nothing.
    return chosen if chosen or (control.none_counts and len(answers) == len(regions)) else None


def _answer(region: Any) -> list[str] | None:
    """The choices of one region of a `result`, None where it holds something else."""
    if region.get("type", "choices") != "choices":
        return None
    names = region.get("value", {}).get("choices") or []
    return names if all(isinstance(name, str) for name in names) else None


def latest_labels(annotations: Iterable[Annotation]) -> dict[tuple[int, int], str]:
    """The latest valid label of each annotator on each task: {(task, annotator): label}.

    Skips, controls left unanswered and choices that the config no longer has are no labels; they do not hide an earlier
    label.
    """
    latest: dict[tuple[int, int], str] = {}
    for row in sorted(annotations, key=lambda row: (moment(row.updated_at), row.id)):
        if row.label is not None:
            latest[(row.task, row.annotator)] = row.label
    return latest


def lock_rows(annotations: Iterable[Annotation], skip_queue: str) -> int:
    """How many annotation rows Label Studio counts against a task's overlap for somebody who has none on it.

    Label Studio serves a task while locks plus these rows are below its overlap. Ground truth never counts; a skip by
    another counts in every mode but REQUEUE_FOR_OTHERS (`Task.has_lock` of Label Studio 1.23.2, checked by the tests).
    """
    return sum(
        1 for row in annotations if not row.ground_truth and not (row.skipped and skip_queue == "REQUEUE_FOR_OTHERS")
    )


def choice_result(control: Control, label: str) -> list[dict[str, Any]]:
    """The `result` that shows `label` chosen, as the form sends it: empty where the label is none of the classes."""
    chosen = control.classes_of(label)
    value = {"choices": chosen}
    region = {"from_name": control.name, "to_name": control.to_name, "type": "choices", "value": value}
    return [region] if chosen else []
