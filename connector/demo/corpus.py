"""Texts, several noisy labels on each, and test texts with labels to be trusted: what simulated people label."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from connector.errors import UsageError

COLUMNS = {
    "tasks.csv": ("id", "text"),
    "annotations.csv": ("id", "annotator", "label"),
    "test.csv": ("id", "text", "label"),
}
MOST_PEOPLE = 5

Row = tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """Texts to label, what was answered, and texts to test on.

    `tasks` {id: text}; `annotations` {id: [(annotator, label), …]} in the order given; `test` [(text, label), …].
    """

    tasks: dict[str, str]
    annotations: dict[str, list[tuple[str, str]]]
    test: list[tuple[str, str]]

    @cached_property
    def classes(self) -> list[str]:
        return sorted({label for rows in self.annotations.values() for _, label in rows})

    @cached_property
    def labels_a_task(self) -> int:
        """How many labels every task has, at most as many as the demo has people."""
        return min(MOST_PEOPLE, *(len(rows) for rows in self.annotations.values()))

    @cached_property
    def annotators(self) -> list[str]:
        """Who labelled every task, if the same few people did; else nobody."""
        everybody = {annotator for rows in self.annotations.values() for annotator, _ in rows}
        complete = all(len(rows) == len(everybody) for rows in self.annotations.values())
        return sorted(everybody) if complete and len(everybody) <= MOST_PEOPLE else []

    def answer(self, task: str, person: int, seen_by: int) -> str:
        """The label that `person` (0, 1, …) gives to a task that `seen_by` others have labelled before.

        Where the same few annotators labelled every task, each of them is a person. Otherwise the next person to see a
        task gives its next annotation, whoever gave it in the corpus.
        """
        rows = self.annotations[task]
        return dict(rows)[self.annotators[person]] if self.annotators else rows[seen_by][1]


def read(directory: Path) -> Corpus:
    """The corpus in a directory of `tasks.csv`, `annotations.csv` and `test.csv`; raises UsageError if it is none."""
    tables = {name: _table(directory / name, columns) for name, columns in COLUMNS.items()}
    tasks: dict[str, str] = {}
    for task, text in tables["tasks.csv"]:
        if task in tasks:
            raise UsageError(f"{directory / 'tasks.csv'} has the id {task!r} twice.")
        tasks[task] = text
    annotations: dict[str, list[tuple[str, str]]] = {task: [] for task in tasks}
    for task, annotator, label in tables["annotations.csv"]:
        if task not in annotations:
            raise UsageError(f"{directory / 'annotations.csv'} labels {task!r}, an id that tasks.csv does not have.")
        annotations[task].append((annotator, label))
    bare = [task for task, rows in annotations.items() if not rows]
    if bare:
        raise UsageError(
            f"{directory / 'annotations.csv'} has no label for {len(bare)} of the tasks, {bare[0]!r} first."
        )
    corpus = Corpus(tasks, annotations, [(text, label) for _, text, label in tables["test.csv"]])
    if len(corpus.classes) < 2:
        raise UsageError(f"{directory / 'annotations.csv'} has labels of one class only; a model needs two.")
    unknown = {label for _, label in corpus.test} - set(corpus.classes)
    if unknown:
        raise UsageError(f"{directory / 'test.csv'} has the label {min(unknown)!r}, which no annotation has.")
    return corpus


def _table(path: Path, columns: tuple[str, ...]) -> list[Row]:
    """The rows of a CSV file, their fields in the order of `columns`."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(f"{path} has no column {missing[0]!r}; it needs {', '.join(columns)}.")
            rows = [tuple((row[column] or "").strip() for column in columns) for row in reader]
    except FileNotFoundError:
        raise UsageError(f"There is no {path}; the directory needs {', '.join(COLUMNS)}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a CSV file in UTF-8: {error}.") from error
    if not rows:
        raise UsageError(f"{path} has no rows.")
    for number, row in enumerate(rows, start=1):
        if not all(row):
            raise UsageError(f"{path}: row {number} has no {columns[row.index('')]}.")
    return rows
