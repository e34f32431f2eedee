"""A project's results, task by task: as a row, and as Label Studio's own JSON. Pure: no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from connector.annotations import Annotation, Task, choice, choice_result
from connector.label_config import Control
from connector.queue import VERSION_PREFIX
from connector.selection import Slot

if TYPE_CHECKING:
    from connector.scoring import Review

# The model version that consensus labels have among a task's predictions; none of ours, which sync deletes.
CONSENSUS_VERSION = "consensus"

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
        *("model_version", "score", "rank", "second_opinion", "annotations", "data"),
    ]


def probability_column(name: str) -> str:
    """The column of the probabilities of class `name`."""
    return f"prob_{name}"


def open_places(
    window: Sequence[Slot], answers: Mapping[int, int], tasks: Mapping[int, Task]
) -> dict[int, tuple[int, bool]]:
    """{task: (rank in the window, 1 is the first; whether it is a second opinion)} where nobody has answered since.

    `answers`: how many annotations and skips each task of the window had when it was published; tasks that it lacks are
    of a newer window.
    """
    return {
        slot.task: (rank, slot.relabel)
        for rank, slot in enumerate(window, start=1)
        if slot.task in tasks and len(tasks[slot.task].annotations) <= answers.get(slot.task, -1)
    }


class Table:
    """What is known of a project's tasks beside Label Studio's JSON of them.

    `places` as `open_places` gives them; `emails` {annotator: e-mail address}.
    """

    def __init__(
        self,
        control: Control,
        tasks: Mapping[int, Task],
        review: Review,
        places: Mapping[int, tuple[int, bool]],
        emails: Mapping[int, str],
    ) -> None:
        self._control = control
        self._tasks = tasks
        self._review = review
        self._places = places
        self._emails = emails
        self._heard: dict[int, list[str]] = {}
        for (task, _), label in review.scored.labels.items():
            self._heard.setdefault(task, []).append(label)

    def row(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The task `raw` (of `GET /api/tasks?fields=all`) by `columns`; None where there is nothing to say."""
        number, key = raw["id"], self._control.data_key
        scored = self._review.scored
        heard, consensus = self._heard.get(number, []), scored.consensus.get(number)
        probabilities = self._review.pred_probs.get(number)
        rank, relabel = self._places.get(number, (None, False))
        result = {entry["id"]: entry["result"] for entry in raw["annotations"]}
        row = {
            "task_id": number,
            "text": raw["data"].get(key),
            "consensus": consensus,
            "quality": self._review.quality.get(number),
            "agreement": heard.count(consensus) / len(heard) if consensus is not None else None,
            "label_count": len(heard),
            "predicted": None if probabilities is None else self._control.classes[int(probabilities.argmax())],
            "model_version": None if probabilities is None else scored.model_version,
            "score": scored.scores.get(number),
            "rank": rank,
            "second_opinion": relabel,
            "annotations": [self._annotation(one, result[one.id]) for one in self._tasks[number].annotations],
            "data": {name: value for name, value in raw["data"].items() if name != key},
        }
        for index, name in enumerate(self._control.classes):
            row[probability_column(name)] = None if probabilities is None else float(probabilities[index])
        return {name: row[name] for name in columns(self._control.classes)}

    def _annotation(self, one: Annotation, result: Any) -> dict[str, Any]:
        return {
            "id": one.id,
            "annotator": self._emails.get(one.annotator, str(one.annotator)) if one.annotator else None,
            "annotator_id": one.annotator or None,
            "label": choice(result, self._control) if one.unknown else one.label,
            "unknown_choice": one.unknown,
            "created_at": one.created_at,
            "updated_at": one.updated_at,
            "lead_time": one.lead_time,
            "skipped": one.skipped,
            "ground_truth": one.ground_truth,
        }

    def label_studio(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The task `raw` as Label Studio's own import takes it, its consensus label among the predictions.

        Label Studio's own export names predictions by their ids alone, and its import then fails. Left out are the
        windows of ours, and the consensus of an earlier export.
        """
        number = raw["id"]
        predictions = [
            _exported(one)
            for one in raw["predictions"]
            if not (one["model_version"] or "").startswith(VERSION_PREFIX) and one["model_version"] != CONSENSUS_VERSION
        ]
        consensus = self._review.scored.consensus.get(number)
        if consensus is not None:
            predictions.append(
                {
                    "result": choice_result(self._control, consensus),
                    "score": self._review.quality.get(number),
                    "model_version": CONSENSUS_VERSION,
                }
            )
        return {
            **{name: raw[name] for name in _TASK_KEYS if name in raw},
            "annotations": [_exported(one) for one in raw["annotations"]],
            "predictions": predictions,
            "total_predictions": len(predictions),
        }


def _exported(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in _NOT_EXPORTED}


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row for formats whose columns have one type each: other data, and a text that is none, as JSON."""
    text = row["text"]
    return {
        **row,
        "text": text if text is None or isinstance(text, str) else to_json(text),
        "data": to_json(row["data"]),
    }


def to_json(value: Any) -> str:
    """The value as JSON in one line, letters of all scripts as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
