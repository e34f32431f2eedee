"""A project's results, task by task: as a row, and as Label Studio's own JSON. Pure: no I/O."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.annotations.label_config import Control
from connector.annotations.records import Annotation, Task, choice_result
from connector.queue.versions import PUBLISHED_CONSENSUS, is_ours

if TYPE_CHECKING:
    from connector.sync.scoring import Review

# The model version that consensus labels have among a task's predictions; none of ours, which sync deletes.
CONSENSUS_VERSION = "consensus"
TEXTS_AT_ONCE = 1000  # they may be long

# What Label Studio's own export says of a task; the rest are columns of its Data Manager.
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
    """The names of a row's columns in order; the prefix keeps classes apart from all other columns."""
    return [
        *("task_id", "text", "consensus", "quality", "agreement", "label_count", "predicted"),
        *map(probability_column, classes),
        *("model_version", "score", "rank", "second_opinion", "annotations"),
    ]


def probability_column(name: str) -> str:
    """The column of the probabilities of class `name`."""
    return f"prob_{name}"


@dataclass(frozen=True)
class Extras:
    """What is told of tasks beside their records and the review.

    `places` as `selection.open_places` gives them; `emails` {annotator: e-mail address}; `texts` {task: what stands
    where its text should be} and `choices` {annotation: what was chosen}, where the record has no text, or lacks a
    choice that the config no longer has.
    """

    places: Mapping[int, tuple[int, bool]] = field(default_factory=dict)
    emails: Mapping[int, str] = field(default_factory=dict)
    texts: Mapping[int, Any] = field(default_factory=dict)
    choices: Mapping[int, str | list[str] | None] = field(default_factory=dict)


def rows(
    tasks: Iterable[Task],
    control: Control,
    review: Review,
    extras: Extras,
    texts: Callable[[Iterable[int]], Mapping[int, str]],
) -> Iterator[dict[str, Any]]:
    """A row for each task, by `columns`; None where there is nothing to say. `texts` is asked for some at a time."""
    heard: dict[int, list[str]] = {}
    for (number, _), label in review.scored.labels.items():
        heard.setdefault(number, []).append(label)
    for task, text in _with_texts(tasks, texts):
        labels, consensus = heard.get(task.id, []), review.scored.consensus.get(task.id)
        probabilities = review.pred_probs.get(task.id)
        rank, relabel = extras.places.get(task.id, (None, False))
        row = {
            "task_id": task.id,
            "text": extras.texts.get(task.id) if task.digest is None else text,
            "consensus": _shown(consensus, control),
            "quality": review.quality.get(task.id),
            "agreement": labels.count(consensus) / len(labels) if consensus is not None else None,
            "label_count": len(labels),
            "predicted": _shown(review.scored.predicted.get(task.id), control),
            "model_version": None if probabilities is None else review.scored.model_version,
            "score": review.scored.scores.get(task.id),
            "rank": rank,
            "second_opinion": relabel,
            "annotations": [_annotation(one, control, extras) for one in task.annotations],
        }
        for index, name in enumerate(control.classes):
            row[probability_column(name)] = None if probabilities is None else float(probabilities[index])
        yield {name: row[name] for name in columns(control.classes)}


def _with_texts(
    tasks: Iterable[Task], texts: Callable[[Iterable[int]], Mapping[int, str]]
) -> Iterator[tuple[Task, str | None]]:
    left = iter(tasks)
    while part := list(itertools.islice(left, TEXTS_AT_ONCE)):
        found = texts(task.id for task in part)
        yield from ((task, found.get(task.id)) for task in part)


def _shown(label: str | None, control: Control) -> str | list[str] | None:
    """A label as a person reads it: of a multiple control, the list of its classes."""
    return control.classes_of(label) if label is not None and control.multiple else label


def _annotation(one: Annotation, control: Control, extras: Extras) -> dict[str, Any]:
    return {
        "id": one.id,
        "annotator": extras.emails.get(one.annotator, str(one.annotator)) if one.annotator else None,
        "annotator_id": one.annotator or None,
        "label": extras.choices.get(one.id) if one.unknown else _shown(one.label, control),
        "unknown_choice": one.unknown,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "lead_time": one.lead_time,
        "skipped": one.skipped,
        "ground_truth": one.ground_truth,
    }


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """The row for formats whose columns have one type each: a text that is another value as JSON."""
    text = row["text"]
    return row if text is None or isinstance(text, str) else {**row, "text": to_json(text)}


def label_studio_task(raw: Mapping[str, Any], control: Control, review: Review) -> dict[str, Any]:
    """A task of `GET /api/tasks?fields=all` as Label Studio's import takes it, its consensus among the predictions.

    Label Studio's own export names predictions by their ids alone, and its import fails on them. Left out are the
    windows of ours, and the consensus of an earlier export.
    """
    predictions = [
        _exported(one)
        for one in raw["predictions"]
        if not is_ours(one["model_version"]) and one["model_version"] not in (CONSENSUS_VERSION, PUBLISHED_CONSENSUS)
    ]
    consensus = review.scored.consensus.get(raw["id"])
    if consensus is not None:
        quality, result = review.quality.get(raw["id"]), choice_result(control, consensus)
        predictions.append({"result": result, "score": quality, "model_version": CONSENSUS_VERSION})
    return {
        **{name: raw[name] for name in _TASK_KEYS if name in raw},
        "annotations": [_exported(one) for one in raw["annotations"]],
        "predictions": predictions,
        "total_predictions": len(predictions),
    }


def _exported(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in _NOT_EXPORTED}


def to_json(value: Any) -> str:
    """The value as JSON in one line, letters of all scripts as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
