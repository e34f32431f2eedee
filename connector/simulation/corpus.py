"""Texts, images or recordings with the labels of several people, and a test set, from tables."""

from __future__ import annotations

import hashlib
import io
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from connector.annotations.form.data import PAIR_SEPARATOR
from connector.annotations.objects.content import NOUNS
from connector.errors import UsageError
from connector.formatting import count, verb

COLUMNS = {
    "tasks.csv": ("id", "text"),
    "annotations.csv": ("id", "annotator", "label"),
    "test.csv": ("id", "text", "label"),
    "truth.csv": ("id", "label"),
}
SIDES = ("left", "right")  # of a pair: columns instead of `text`, and the labels
MEDIA = ("image", "audio")  # columns instead of `text`, with the path of a file: kinds of content
OPTIONAL = {"annotations.csv": "seconds"}  # a further column, whose fields may be empty
REQUIRED = ("tasks.csv", "annotations.csv", "test.csv")
HELD_OUT = 5  # one of so many tasks is held out if there is no test set

Row = tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """Texts, images or recordings to label, the labels of several people, and more of them to test on.

    `tasks`: {id: text}, or of media {id: path}. `annotations`: {id: [(annotator, label), …]} in their order, at most
    one by an annotator. `test`: [(text, label), …]. `truth`: {id: label} as far as it is known. `notes`: sentences that
    a reader of results on it needs. `kind`: what the contents are, "text", "image" or "audio". `are_copies`: whether
    the files of media are small copies already. `control`: of a project with several questions, the one that was
    replayed. `seconds`: {(id, annotator): how long the answer took}, of those of which it is known.
    """

    tasks: dict[str, str]
    annotations: dict[str, list[tuple[str, str]]]
    test: list[tuple[str, str]]
    truth: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kind: str = "text"
    control: str = ""
    are_copies: bool = False
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)

    def content(self, path: str) -> bytes:
        """The small copy of a medium, as the connector brings it to the ML backend. Raises UsageError."""
        from connector.media.failures import Unusable
        from connector.media.kinds import KINDS
        from connector.media.limits import DEFAULT_LIMITS

        kind = KINDS[self.kind]
        kind.check()
        try:
            content = Path(path).read_bytes()
            return content if self.are_copies else kind.whole([kind.part(content, DEFAULT_LIMITS)])
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
        except Unusable as error:
            raise UsageError(f"{path} cannot be used: it {error.problem}.") from error

    @cached_property
    def test_addresses(self) -> list[str]:
        """Of each test medium, an address that contains its small copy."""
        return [f"data:{self.kind}/*;base64,{b64encode(self.content(path)).decode()}" for path, _ in self.test]

    @cached_property
    def classes(self) -> list[str]:
        """Sorted: ties go by the order of classes, and must not depend on the order of rows."""
        return sorted({label for rows in self.annotations.values() for _, label in rows})

    @cached_property
    def paired(self) -> bool:
        """Whether each text is a pair, and a label is its better side."""
        texts = [*self.tasks.values(), *(text for text, _ in self.test)]
        return set(self.classes) <= set(SIDES) and all(PAIR_SEPARATOR in text for text in texts)

    @cached_property
    def digest(self) -> str:
        """BLAKE2b-128 of everything that a replay depends on, in hexadecimal digits."""
        tasks, test = self.tasks, self.test
        if self.kind != "text":  # the files count, not their names
            tasks = {task: _of_file(path) for task, path in tasks.items()}
            test = [(_of_file(path), label) for path, label in test]
        times = [sorted([*key, value] for key, value in self.seconds.items())] if self.seconds else []
        content = json.dumps([tasks, self.annotations, test, self.truth, *times], ensure_ascii=True)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def without_annotators(self, names: Collection[str]) -> Corpus:
        """The corpus without the labels of these annotators."""
        if not names:
            return self
        kept = {task: [row for row in rows if row[0] not in names] for task, rows in self.annotations.items()}
        return replace(self, annotations=kept)

    def startable(self, labels: int) -> list[str]:
        """The tasks with at least so many labels, in the order of the file: a run can start with them."""
        return [task for task, rows in self.annotations.items() if len(rows) >= labels]

    def available(self, most: int) -> int:
        """How many labels a run can get, at most `most` per task."""
        return sum(min(most, len(rows)) for rows in self.annotations.values())


def read_corpus(directory: Path) -> Corpus:
    """The corpus in a directory with `tasks.csv`, `annotations.csv`, `test.csv` and optionally `truth.csv`.

    Raises UsageError if it is none.
    """
    return _checked(_read(directory, REQUIRED), directory)


def read_or_hold_out(directory: Path) -> Corpus:
    """As `read_corpus`. If `test.csv` is missing, a fifth of the tasks is held out as `hold_out` does."""
    if (directory / "test.csv").exists():
        return read_corpus(directory)
    return hold_out(_checked(_read(directory, ("tasks.csv", "annotations.csv")), directory))


def hold_out(corpus: Corpus, seed: int = 0) -> Corpus:
    """The corpus with a fifth of its tasks as its test set, with their true or majority labels.

    Tasks without a majority are not drawn. Tasks with the same text as a test task are left out, so that no test text
    is labelled. Raises UsageError if too few tasks remain.
    """
    import numpy as np

    sure = {task: label for task in corpus.annotations if (label := _consensus(corpus, task)) is not None}
    drawn = np.random.default_rng(seed).permutation(np.array(list(corpus.tasks), dtype=object)).tolist()
    held = set([task for task in drawn if task in sure][: len(corpus.tasks) // HELD_OUT])
    if not held:
        raise UsageError(
            f"There is no test set. {count(len(corpus.tasks), 'task')} {verb(len(corpus.tasks))} too few to hold some "
            "of them out as one."
        )
    tested = {corpus.tasks[task] for task in held}
    kept = {task: text for task, text in corpus.tasks.items() if text not in tested}
    if not kept:
        raise UsageError(
            f"There is no test set, and no task is left beside one: all {count(len(corpus.tasks), 'task')} have the "
            "text of a held-out task."
        )
    # A model cannot learn a label that no remaining task has.
    learnable = {label for task in kept for _, label in corpus.annotations[task]}
    held = {task for task in held if sure[task] in learnable}
    with_truth = sum(task in corpus.truth for task in held)
    labels = f"the true label if it is known ({with_truth} of them), else " if with_truth else ""
    note = (
        f"There is no test set: accuracy is measured on {count(len(held), 'held-out task')}, against {labels}the label "
        "of most annotators. It cannot be higher than annotators agree."
    )
    smaller = replace(
        corpus,
        tasks=kept,
        annotations={task: corpus.annotations[task] for task in kept},
        seconds={key: seconds for key, seconds in corpus.seconds.items() if key[0] in kept},
        test=[(text, sure[task]) for task, text in corpus.tasks.items() if task in held],
        truth={task: label for task, label in corpus.truth.items() if task in kept},
        notes=(*corpus.notes, note),
    )
    return require_trainable(smaller, "The data without the held-out fifth of the tasks")


def _consensus(corpus: Corpus, task: str) -> str | None:
    """The true label, or the one of most annotators, None if there is a tie."""
    if task in corpus.truth:
        return corpus.truth[task]
    (best, votes), *second = Counter(label for _, label in corpus.annotations[task]).most_common(2)
    return None if second and second[0][1] == votes else best


def _read(directory: Path, required: tuple[str, ...]) -> Corpus:
    """The tables as a corpus. `truth.csv` is the only optional file."""
    names = [*required, *(["truth.csv"] if (directory / "truth.csv").exists() else [])]
    read = {name: _table(directory / name, required) for name in names}
    tables = {name: table.rows for name, table in read.items()}
    tasks: dict[str, str] = {}
    for task, text in tables["tasks.csv"]:
        if task in tasks:
            raise UsageError(f"{directory / 'tasks.csv'} has the id {task!r} twice.")
        tasks[task] = text
    labels_of: dict[str, dict[str, str]] = {task: {} for task in tasks}
    seconds: dict[tuple[str, str], float] = {}
    for number, (task, annotator, label, *times) in enumerate(tables["annotations.csv"], start=1):
        if task not in labels_of:
            raise UsageError(f"{directory / 'annotations.csv'} labels {task!r}, an id that tasks.csv does not have.")
        labels_of[task][annotator] = label
        seconds.pop((task, annotator), None)  # of an earlier label
        for written in filter(None, times):
            seconds[task, annotator] = _seconds(written, f"{directory / 'annotations.csv'}: row {number}")
    truth: dict[str, str] = {}
    for task, label in tables.get("truth.csv", []):
        if task not in tasks:
            raise UsageError(f"{directory / 'truth.csv'} has {task!r}, an id that tasks.csv does not have.")
        truth[task] = label
    test = [(text, label) for _, text, label in tables.get("test.csv", [])]
    notes = []
    if repeated := len(tables["annotations.csv"]) - sum(len(rows) for rows in labels_of.values()):
        notes.append(f"Annotations left out because the same annotator labelled the task again later: {repeated}.")
    texts = set(tasks.values())
    if known := sum(text in texts for text, _ in test):
        notes.append(
            f"{count(known, 'text')} of test.csv {verb(known)} also in tasks.csv, so the accuracy on "
            f"{verb(known, 'it', 'them')} says nothing about new texts."
        )
    kinds = {read[name].kind for name in tables if "text" in COLUMNS[name]}
    if len(kinds) > 1:
        one, other = (NOUNS[kind] for kind in sorted(kinds))
        raise UsageError(f"{directory} has {one}s in one of its tables and {other}s in the other.")
    kind = kinds.pop()
    if kind in MEDIA:
        tasks = {task: str(_inside(directory, path)) for task, path in tasks.items()}
        test = [(str(_inside(directory, path)), label) for path, label in test]
    return Corpus(
        tasks,
        {task: list(rows.items()) for task, rows in labels_of.items()},
        test,
        truth,
        tuple(notes),
        kind,
        seconds=seconds,
    )


def _seconds(written: str, place: str) -> float:
    """How long an answer took. Raises UsageError, which begins with `place`, if it is no number above 0."""
    try:
        seconds = float(written)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{place} has the seconds {written!r}, which are no number above 0.")
    return seconds


def _inside(directory: Path, path: str) -> Path:
    """The file of a medium. Raises UsageError if there is none, or if it is not in the folder."""
    file = directory / path
    if not file.resolve().is_relative_to(directory.resolve()):
        raise UsageError(f"{path} is not in {directory}: put the files into that folder.")
    if not file.is_file():
        raise UsageError(f"There is no {file}.")
    return file


def _of_file(path: str) -> str:
    """BLAKE2b-128 of a file, in hexadecimal digits."""
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


def _checked(corpus: Corpus, directory: Path) -> Corpus:
    """The corpus. Raises UsageError if a model could not learn from it, or not be tested on it."""
    annotations = directory / "annotations.csv"
    bare = [task for task, rows in corpus.annotations.items() if not rows]
    if bare:
        raise UsageError(f"{annotations} has no label for {len(bare)} of the tasks, {bare[0]!r} first.")
    sets = [label for label in corpus.classes if _is_list(label)]
    if sets:
        raise UsageError(
            f"{annotations} has the label {sets[0]!r}, a set of classes. Only texts with one class can be replayed."
        )
    require_trainable(corpus, str(annotations))
    texts = [*corpus.tasks.values(), *(text for text, _ in corpus.test)]
    if not corpus.paired and any(PAIR_SEPARATOR in text for text in texts):
        raise UsageError(
            f"{directory} has pairs. They need the columns {' and '.join(SIDES)} in tasks.csv and in test.csv, "
            f"and no other labels than {' and '.join(map(repr, SIDES))}."
        )
    for name, labels in (("test.csv", {label for _, label in corpus.test}), ("truth.csv", set(corpus.truth.values()))):
        unknown = labels - set(corpus.classes)
        if unknown:
            raise UsageError(f"{directory / name} has the label {min(unknown)!r}, which no annotation has.")
    return corpus


def require_trainable(corpus: Corpus, name: str) -> Corpus:
    """The corpus. Raises UsageError, which begins with `name`, if no model can learn from it."""
    if len(corpus.classes) < 2:
        raise UsageError(f"{name} has labels of one class only, but a model needs two.")
    if len(set(corpus.tasks.values())) < 2:
        raise UsageError(f"{name}: all tasks have the same text, but a model needs two.")
    return corpus


def _is_list(label: str) -> bool:
    if not label.startswith("["):
        return False
    try:
        return isinstance(json.loads(label), list)
    except ValueError:
        return False


class _Table(NamedTuple):
    """The rows of a table, their fields in the order of its columns, and the kind of what it is about."""

    rows: list[Row]
    kind: str


def _table(path: Path, required: tuple[str, ...]) -> _Table:
    """Reads a CSV file. It is about media if it has the column of such a kind in place of texts."""
    import pandas as pd  # which takes half a second

    columns = COLUMNS[path.name]
    try:
        content = path.read_bytes()
        if b"\0" in content:  # where pandas would end the field
            raise ValueError("it contains a NUL character")
        # The header is read as a row, or a first row with too many values would name its rows.
        table = pd.read_csv(io.BytesIO(content), header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        header, *lines = table.itertuples(index=False, name=None)
    except FileNotFoundError:
        raise UsageError(f"There is no {path}. The directory needs {', '.join(required)}.") from None
    except pd.errors.EmptyDataError:
        header, lines = (), []
    except (OSError, ValueError) as error:  # of which UnicodeDecodeError and ParserError are kinds
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise UsageError(f"{path} cannot be read as a CSV file in UTF-8: {reason}.") from error
    paired = "text" in columns and "text" not in header and set(SIDES) <= set(header)
    if paired:
        columns = tuple(part for column in columns for part in (SIDES if column == "text" else (column,)))
    kind = "text"
    if "text" in columns and "text" not in header:
        kind = next((medium for medium in MEDIA if medium in header), "text")
    if kind != "text":
        columns = tuple(kind if column == "text" else column for column in columns)
    missing = [column for column in columns if column not in header]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]!r}. It needs {', '.join(columns)}.")
    further = OPTIONAL.get(path.name)
    read = [*columns, further] if further in header else columns
    places = [header.index(column) for column in read]
    rows = [tuple(line[place].strip() for place in places) for line in lines]
    if not rows:
        raise UsageError(f"{path} has no rows.")
    for number, row in enumerate(rows, start=1):
        if not all(row[: len(columns)]):
            raise UsageError(f"{path}: row {number} has no {columns[row.index('')]}.")
    if paired:
        rows = [(row[0], PAIR_SEPARATOR.join(row[1:3]), *row[3:]) for row in rows]
    return _Table(rows, kind)
