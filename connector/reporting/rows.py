"""A project's results task by task: as the row of a table, and as Label Studio's own JSON. Pure: no I/O."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.annotations.label_config import Control
from connector.annotations.questions import Questions
from connector.annotations.records import Annotation, Task, readable
from connector.errors import UsageError
from connector.queue.versions import PUBLISHED_LABELS, is_ours
from connector.state.rows import Accepted, MachineLabel
from connector.state.snapshot import ByMachine

if TYPE_CHECKING:
    from connector.sync.review import Review
    from connector.sync.scoring import Scored

# The model version of consensus labels among a task's predictions. It is not one of our windows, which sync deletes.
CONSENSUS_VERSION = "consensus"
ACCEPTED_VERSION = "accepted"  # and that of accepted labels of the model
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


def columns(questions: Questions, machines: Sequence[str] = ()) -> list[str]:
    """The names of a row's columns in order. Raises UsageError if two would have the same name.

    `machines`: their names.
    """
    names = [
        *("task_id", "text"),
        *(("address",) if questions.has_links else ()),
        *(name for control in questions.controls for name in question_columns(questions, control, machines)),
        *("score", "rank", "second_opinion", "annotations"),
    ]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UsageError(f"Two columns of the export would be called '{twice[0]}'. Rename a question or a class.")
    return names


def question_columns(questions: Questions, control: Control, machines: Sequence[str] = ()) -> list[str]:
    """The columns of a question. If there are several, its name is before each."""
    of_labels = () if control.multiple else ("ambiguous", "settles", *map(soft_column, control.classes))
    names = [
        *(
            "label",
            "source",
            "probability",
            "consensus",
            "quality",
            "agreement",
            "label_count",
            *of_labels,
            "predicted",
        ),
        *map(probability_column, control.classes),
        "model_version",
        *map(machine_column, machines),
    ]
    return [column_of(questions, control, name) for name in names]


def column_of(questions: Questions, control: Control, name: str) -> str:
    """A column of a question: "consensus", or with several questions "topic.consensus"."""
    return f"{control.name}.{name}" if questions.several else name


def probability_column(name: str) -> str:
    """The column with the model's probabilities of class `name`. The prefix keeps it apart from other columns."""
    return f"prob_{name}"


def machine_column(name: str) -> str:
    """The column with the labels of machine `name`."""
    return f"machine_{name}"


def soft_column(name: str) -> str:
    """The column with the probabilities of class `name` by labels and model: the soft label."""
    return f"soft_{name}"


@dataclass(frozen=True)
class Extras:
    """What rows need besides the tasks' records and the review.

    `places`: {task: (rank, whether it is a second opinion)}. `emails`: {annotator: e-mail address}. `texts`: {task: the
    value that is there instead of a text}. `choices`: {annotation: what was chosen by control}, including choices that
    the labelling config no longer has, and those of annotators who are left out. `addresses`: {task: where its texts
    are}, of projects whose texts are in files. `accepted`: {task: the accepted label of the model}. `machines`:
    {machine: {task: its label}}, labels of several questions are joint ones.
    """

    places: Mapping[int, tuple[int, bool]] = field(default_factory=dict)
    emails: Mapping[int, str] = field(default_factory=dict)
    texts: Mapping[int, Any] = field(default_factory=dict)
    choices: Mapping[int, Mapping[str, str | list[str] | None]] = field(default_factory=dict)
    addresses: Mapping[int, str] = field(default_factory=dict)
    accepted: Mapping[int, Accepted] = field(default_factory=dict)
    machines: ByMachine = field(default_factory=dict)


def task_rows(
    tasks: Iterable[Task],
    questions: Questions,
    reviews: Sequence[Review],
    scores: Mapping[int, float],
    extras: Extras,
    texts: Callable[[Iterable[int]], Mapping[int, str]],
) -> Iterator[dict[str, Any]]:
    """One row per task with the keys of `columns`. A missing value is None.

    Args:
        tasks: the project's tasks.
        questions: those of the project.
        reviews: of each question, consensus labels and the model's view.
        scores: {task: score}.
        extras: what else is known.
        texts: gives {task: text} for some tasks. It is called for a part of them at a time.
    """
    of_questions = [
        _Question(questions, control, review, extras)
        for control, review in zip(questions.controls, reviews, strict=True)
    ]
    names = columns(questions, list(extras.machines))
    for task, text in _with_texts(tasks, texts):
        rank, relabel = extras.places.get(task.id, (None, False))
        row = {
            "task_id": task.id,
            "text": extras.texts.get(task.id) if task.digest is None else text and readable(text),
            "address": extras.addresses.get(task.id),
            "score": scores.get(task.id),
            "rank": rank,
            "second_opinion": relabel,
            "annotations": [_annotation(row, questions, extras) for row in task.annotations],
        }
        for question in of_questions:
            row.update(question.values(task.id))
        yield {name: row[name] for name in names}


class _Question:
    """The columns of one question."""

    def __init__(self, questions: Questions, control: Control, review: Review, extras: Extras) -> None:
        self._questions, self._control, self._review = questions, control, review
        self._accepted, self._machines = extras.accepted, extras.machines
        self._columns = question_columns(questions, control, list(extras.machines))
        self._labels: dict[int, list[str]] = {}
        for (task, _), label in review.scored.labels.items():
            self._labels.setdefault(task, []).append(label)

    def values(self, task: int) -> dict[str, Any]:
        """{column: value} of a task, in the order of `question_columns`."""
        review, labels = self._review, self._labels.get(task, [])
        consensus, probabilities = review.scored.consensus.get(task), review.pred_probs.get(task)
        without_model = [None] * len(self._control.classes)
        values = [
            *self._label(task, consensus),
            _shown(consensus, self._control),
            review.quality.get(task),
            labels.count(consensus) / len(labels) if consensus is not None else None,
            len(labels),
            *self._differing(task),
            _shown(review.scored.predicted.get(task), self._control),
            *(without_model if probabilities is None else map(float, probabilities)),
            None if probabilities is None else review.scored.model_version,
            *(self._of_machine(labels, task) for labels in self._machines.values()),
        ]
        return dict(zip(self._columns, values, strict=True))

    def _label(self, task: int, consensus: str | None) -> list[Any]:
        """The label of a task, where it comes from, and how probably it is right."""
        if consensus is not None:
            return [_shown(consensus, self._control), "consensus", self._review.quality.get(task)]
        one = self._accepted.get(task)
        if one is None:
            return [None, None, None]
        return [self._questions.labels_of(one.label)[self._control.name], "model", one.probability]

    def _of_machine(self, labels: Mapping[int, MachineLabel], task: int) -> str | list[str] | None:
        """A machine's label of a task."""
        if task not in labels:
            return None
        return _shown(self._questions.labels_of(labels[task].label or "").get(self._control.name), self._control)

    def _differing(self, task: int) -> list[Any]:
        """The columns on how people differ on a task."""
        if self._control.multiple:
            return []
        one = self._review.scored.differing.get(task)
        if one is None:
            return [None] * (2 + len(self._control.classes))
        return [one.ambiguous, None if math.isnan(one.settles) else one.settles, *one.soft]


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


def _annotation(row: Annotation, questions: Questions, extras: Extras) -> dict[str, Any]:
    labels = {} if row.label is None else questions.labels_of(row.label)
    read_again = row.unknown or row.excluded
    chosen = extras.choices.get(row.id, {}) if read_again else {}
    label = {
        control.name: chosen.get(control.name) if read_again else _shown(labels.get(control.name), control)
        for control in questions.controls
    }
    return {
        "id": row.id,
        "annotator": extras.emails.get(row.annotator, str(row.annotator)) if row.annotator else None,
        "annotator_id": row.annotator or None,
        "label": label if questions.several else label[questions.names[0]],
        "unknown_choice": row.unknown,
        "unreadable": row.problem if row.unreadable else None,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "lead_time": row.lead_time,
        "skipped": row.skipped,
        "ground_truth": row.ground_truth,
        "excluded": row.excluded,
    }


def nested(row: Mapping[str, Any], questions: Questions, machines: Sequence[str] = ()) -> dict[str, Any]:
    """The row for JSON: with several questions, the columns of each are an object under `questions`."""
    if not questions.several:
        return dict(row)
    rest = dict(row)
    by_name = {
        control.name: {
            column.removeprefix(f"{control.name}."): rest.pop(column)
            for column in question_columns(questions, control, machines)
        }
        for control in questions.controls
    }
    return {"task_id": rest.pop("task_id"), "text": rest.pop("text"), "questions": by_name, **rest}


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """The row for formats whose columns have one type: a value that is not a text becomes JSON."""
    text = row["text"]
    return row if text is None or isinstance(text, str) else {**row, "text": to_json(text)}


def label_studio_task(
    raw: Mapping[str, Any], questions: Questions, scored: Scored, accepted: Mapping[int, Accepted] | None = None
) -> dict[str, Any]:
    """A task of `GET /api/tasks?fields=all` for Label Studio's import, with its label among the predictions.

    That is the consensus, or else the accepted label of the model (`accepted`: {task: label}).

    Label Studio's own export has only the ids of predictions, and its import fails on them. Our windows, our
    published labels and those of an earlier export are left out.
    """
    predictions = [
        _exported(prediction)
        for prediction in raw["predictions"]
        if not is_ours(version := prediction["model_version"])
        and version not in (CONSENSUS_VERSION, ACCEPTED_VERSION, *PUBLISHED_LABELS)
    ]
    consensus = scored.consensus.get(raw["id"])
    if consensus is not None:
        quality, result = scored.quality.get(raw["id"]), questions.result(consensus)
        predictions.append({"result": result, "score": quality, "model_version": CONSENSUS_VERSION})
    elif accepted and (one := accepted.get(raw["id"])) is not None:
        result = questions.result(one.label)
        predictions.append({"result": result, "score": one.probability, "model_version": ACCEPTED_VERSION})
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
