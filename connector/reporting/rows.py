"""A project's results task by task: as the row of a table, and as Label Studio's own JSON. Pure: no I/O."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.annotations.label_config import Control
from connector.annotations.records import Annotation, Task, readable
from connector.queue.versions import PUBLISHED_CONSENSUS, is_ours

if TYPE_CHECKING:
    from connector.sync.review import Review

# The model version of consensus labels among a task's predictions. It is not one of our windows, which sync deletes.
CONSENSUS_VERSION = "consensus"
TEXTS_AT_ONCE = 1000  # they may be long

# The keys of a task in Label Studio's own export. The others are columns of its Data Manager.
_TASK_KEYS = (
    "id",
    "file_upload",
    "drafts",
    "data",
    "meta",
    "created_at",
    "updated_at",
    "inner_id",
    "total_annotations",
    "cancelled_annotations",
    "comment_count",
    "unresolved_comment_count",
    "last_comment_updated_at",
    "project",
    "comment_authors",
)
_NOT_EXPORTED = ("created_username", "created_ago")  # of an annotation or a prediction


def columns(classes: Sequence[str]) -> list[str]:
    """The names of a row's columns in order."""
    return [
        *("task_id", "text", "consensus", "quality", "agreement", "label_count", "predicted"),
        *map(probability_column, classes),
        *("model_version", "score", "rank", "second_opinion", "annotations"),
    ]


def probability_column(name: str) -> str:
    """The column with the probabilities of class `name`. The prefix keeps it apart from other columns."""
    return f"prob_{name}"


@dataclass(frozen=True)
class Extras:
    """What rows need besides the tasks' records and the review.

    `places`: {task: (rank, whether it is a second opinion)}. `emails`: {annotator: e-mail address}. `texts`: {task: the
    value that is there instead of a text}. `choices`: {annotation: what was chosen}, including choices that the
    labelling config no longer has.
    """

    places: Mapping[int, tuple[int, bool]] = field(default_factory=dict)
    emails: Mapping[int, str] = field(default_factory=dict)
    texts: Mapping[int, Any] = field(default_factory=dict)
    choices: Mapping[int, str | list[str] | None] = field(default_factory=dict)


def task_rows(
    tasks: Iterable[Task],
    control: Control,
    review: Review,
    extras: Extras,
    texts: Callable[[Iterable[int]], Mapping[int, str]],
) -> Iterator[dict[str, Any]]:
    """One row per task with the keys of `columns`. A missing value is None.

    Args:
        tasks: the project's tasks.
        control: the control that is served.
        review: consensus labels and the model's view.
        extras: what else is known.
        texts: gives {task: text} for some tasks. It is called for a part of them at a time.
    """
    labels_of: dict[int, list[str]] = {}
    for (number, _), label in review.scored.labels.items():
        labels_of.setdefault(number, []).append(label)
    for task, text in _with_texts(tasks, texts):
        labels, consensus = labels_of.get(task.id, []), review.scored.consensus.get(task.id)
        probabilities = review.pred_probs.get(task.id)
        rank, relabel = extras.places.get(task.id, (None, False))
        row = {
            "task_id": task.id,
            "text": extras.texts.get(task.id) if task.digest is None else text and readable(text),
            "consensus": _shown(consensus, control),
            "quality": review.quality.get(task.id),
            "agreement": labels.count(consensus) / len(labels) if consensus is not None else None,
            "label_count": len(labels),
            "predicted": _shown(review.scored.predicted.get(task.id), control),
            "model_version": None if probabilities is None else review.scored.model_version,
            "score": review.scored.scores.get(task.id),
            "rank": rank,
            "second_opinion": relabel,
            "annotations": [_annotation(row, control, extras) for row in task.annotations],
        }
        for index, name in enumerate(control.classes):
            row[probability_column(name)] = None if probabilities is None else float(probabilities[index])
        yield {name: row[name] for name in columns(control.classes)}


def _with_texts(
    tasks: Iterable[Task], texts: Callable[[Iterable[int]], Mapping[int, str]]
) -> Iterator[tuple[Task, str | None]]:
    left = iter(tasks)
    while part := list(itertools.islice(left, TEXTS_AT_ONCE)):
        text_of = texts(task.id for task in part)
        yield from ((task, text_of.get(task.id)) for task in part)


def _shown(label: str | None, control: Control) -> str | list[str] | None:
    """A label as it is exported: for multiple choice, the list of its classes."""
    return control.classes_of(label) if label is not None and control.multiple else label


def _annotation(row: Annotation, control: Control, extras: Extras) -> dict[str, Any]:
    return {
        "id": row.id,
        "annotator": extras.emails.get(row.annotator, str(row.annotator)) if row.annotator else None,
        "annotator_id": row.annotator or None,
        "label": extras.choices.get(row.id) if row.unknown else _shown(row.label, control),
        "unknown_choice": row.unknown,
        "unreadable": row.problem if row.unreadable else None,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "lead_time": row.lead_time,
        "skipped": row.skipped,
        "ground_truth": row.ground_truth,
    }


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """The row for formats whose columns have one type: a value that is not a text becomes JSON."""
    text = row["text"]
    return row if text is None or isinstance(text, str) else {**row, "text": to_json(text)}


def label_studio_task(raw: Mapping[str, Any], control: Control, review: Review) -> dict[str, Any]:
    """A task of `GET /api/tasks?fields=all` for Label Studio's import, with its consensus among the predictions.

    Label Studio's own export has only the ids of predictions, and its import fails on them. Our windows and the
    consensus of an earlier export are left out.
    """
    predictions = [
        _exported(prediction)
        for prediction in raw["predictions"]
        if not is_ours(version := prediction["model_version"])
        and version not in (CONSENSUS_VERSION, PUBLISHED_CONSENSUS)
    ]
    consensus = review.scored.consensus.get(raw["id"])
    if consensus is not None:
        quality, result = review.quality.get(raw["id"]), control.result(consensus)
        predictions.append({"result": result, "score": quality, "model_version": CONSENSUS_VERSION})
    return {
        **{name: raw[name] for name in _TASK_KEYS if name in raw},
        "annotations": [_exported(annotation) for annotation in raw["annotations"]],
        "predictions": predictions,
        "total_predictions": len(predictions),
    }


def _exported(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in _NOT_EXPORTED}


def to_json(value: Any) -> str:
    """The value as JSON in one line. Letters of all scripts stay as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
