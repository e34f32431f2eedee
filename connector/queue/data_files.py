"""Reads a file of texts for a new project: .csv in any encoding and with any usual delimiter, or .jsonl."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import charset_normalizer

from connector._compat import long_csv_fields
from connector.annotations.form.data import MISSING, find_value
from connector.annotations.form.regions import quoted
from connector.annotations.questions import Questions
from connector.annotations.records import read_content
from connector.errors import UsageError
from connector.formatting import count, one_line, verb

TABLES, LINES = (".csv", ".tsv"), (".jsonl", ".ndjson")
DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
# What Excel and Windows write besides UTF-8. Others would only win by chance.
ENCODINGS = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("cp874", "cp932", "cp949", "gb18030", "big5", "utf_16", "utf_16_le", "utf_16_be", "utf_32"),
]
SHOWN_LENGTH = 60


@dataclass(frozen=True)
class DataFile:
    """The rows of a file as data of tasks. `assumed`: how it was read, as sentences, if that was a guess."""

    rows: list[dict[str, Any]]
    assumed: str | None = None


def read_data_file(path: Path, questions: Questions) -> DataFile:
    """Reads the file at `path`, whose rows have what `questions` are about. Raises UsageError if it cannot be used."""
    kind = path.suffix.lower()
    if kind not in TABLES + LINES:
        raise UsageError(f"{path} is neither .csv nor .jsonl.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    text, encoding = _decode(data, path)
    delimiter = ","
    if kind in TABLES:
        text, delimiter = _delimiter(text)
        found = list(_table_rows(text, delimiter, path))
    else:
        found = list(_line_rows(text, path))
    if not found:
        raise UsageError(f"{path} holds no rows.")
    for place, row in found:
        _check(row, place, path, [target.field.key for target in questions.targets], is_table=kind in TABLES)
    rows = [row for _, row in found]
    for key in questions.fields:
        if all(find_value(row, key) is MISSING for row in rows):
            raise UsageError(f"{path} has no '{key}', which --fields names. Its columns are: {_columns(rows[0])}.")
    _check_texts(found, path, questions)
    return DataFile(rows, _assumed(path, encoding, delimiter, read_content({"data": rows[0]}, questions).text))


def _decode(data: bytes, path: Path) -> tuple[str, str | None]:
    """The text, and the encoding if it had to be guessed. Everything that can be UTF-8 is taken for it."""
    if data.startswith(b"PK\x03\x04"):
        raise UsageError(f"{path} is a workbook or an archive under another name: save it as CSV.")
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError:
        matches = charset_normalizer.from_bytes(data, cp_isolation=ENCODINGS)
    guess = matches.best()
    if guess is None:
        raise UsageError(f"{path} is not a text file in any known encoding: save it as CSV in UTF-8.")
    # In a short text, several encodings read as well. The first of ENCODINGS is by far the most frequent then.
    western = next((match for match in matches if ENCODINGS[0] in match.could_be_from_charset), None)
    if western is not None and western.coherence >= guess.coherence:
        return str(western), ENCODINGS[0]
    return str(guess), guess.encoding


def _delimiter(text: str) -> tuple[str, str]:
    """What stands between two columns, by the first line, and the text without Excel's line about it."""
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    if stated := re.fullmatch(r'"?sep=(.)"?', first):
        return text[len(first) :].lstrip("\r\n"), stated[1]
    try:
        return text, csv.Sniffer().sniff(first, delimiters="".join(DELIMITERS)).delimiter
    except csv.Error:  # there is one column
        return text, ","


def _table_rows(text: str, delimiter: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its place in the file."""
    number = 1
    with long_csv_fields():
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
        while True:
            try:
                if number == 1 and (twice := _repeated(reader.fieldnames or ())):
                    raise UsageError(f"{path} has two columns {twice}: rename one of them.")
                row = next(reader, None)
            except csv.Error as error:
                reason = "a quotation mark is never closed" if "end of data" in str(error) else str(error)
                raise UsageError(f"Row {number} of {path} cannot be read: {reason}.") from error
            if row is None:
                return
            yield f"Row {number}", dict(row)
            number += 1


def _line_rows(text: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line that is not blank, with its number in the file."""
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_number)
        except (ValueError, RecursionError) as error:
            reason = (
                f"{error.msg}, at character {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            )
            raise UsageError(f"Line {number} of {path} is not JSON: {reason}.") from error
        if not isinstance(row, dict):
            raise UsageError(f'Line {number} of {path} is not an object such as {{"text": "…"}}.')
        yield f"Line {number}", row


def _repeated(names: Iterable[str]) -> str:
    """The first name that comes twice, in quotes, or ""."""
    return next((f"'{one_line(name)}'" for name, times in Counter(names).items() if times > 1), "")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := _repeated(name for name, _ in pairs):
        raise ValueError(f"it has two values for {twice}")
    return dict(pairs)


def _number(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits)


def _no_number(digits: str) -> NoReturn:
    raise ValueError(f"{digits} is no number that JSON can hold")


def _check(row: Mapping[Any, Any], place: str, path: Path, data_keys: Sequence[str], *, is_table: bool) -> None:
    """Raises UsageError if the row cannot become a task."""
    if None in row:
        raise UsageError(
            f"{place} of {path} has more values than columns: put quotes around texts that contain the delimiter."
        )
    if is_table and None in row.values():
        raise UsageError(
            f"{place} of {path} has fewer values than columns: put quotes around texts that contain a line break."
        )
    data_key = next((key for key in data_keys if find_value(row, key) is MISSING), None)
    if data_key is not None:
        near = next((name for name in row if str(name).strip().lower() == data_key.lower()), None)
        rename = f" Rename {quoted(str(near))} to '{data_key}'." if near is not None else ""
        raise UsageError(
            f"{place} of {path} has no '{data_key}', which the labelling config shows. Its columns are: "
            f"{_columns(row)}.{rename}"
        )
    if _cannot_be_stored(row):
        raise UsageError(
            f"{place} of {path} holds a NUL character or half a surrogate pair, which Label Studio cannot keep on "
            "every database: take it out."
        )


def _columns(row: Mapping[Any, Any]) -> str:
    return ", ".join(quoted(str(name)) for name in row) or "none"


def _check_texts(found: Iterable[tuple[str, Mapping[str, Any]]], path: Path, questions: Questions) -> None:
    """Raises UsageError if a row would become a task without a text, which a sync would leave out."""
    shown = [(place, read_content({"data": row}, questions)) for place, row in found]
    without = [(place, content.problem) for place, content in shown if content.text is None]
    if without:
        place, problem = without[0]
        more = len(without) - 1
        also = f" {count(more, 'more row')} {verb(more, 'has', 'have')} none." if more else ""
        raise UsageError(f"{place} of {path} has no text, because {problem}: give it one, or take the row out.{also}")


def _cannot_be_stored(value: Any) -> bool:
    """Whether a text in `value` is one that Label Studio refuses on PostgreSQL, or cannot give back on SQLite."""
    if isinstance(value, dict):
        return any(map(_cannot_be_stored, [*value, *value.values()]))
    if isinstance(value, list):
        return any(map(_cannot_be_stored, value))
    return isinstance(value, str) and re.search("[\0\ud800-\udfff]", value) is not None


def _assumed(path: Path, encoding: str | None, delimiter: str, text: object) -> str | None:
    guesses = [f"the encoding {encoding}"] * (encoding is not None)
    if delimiter != ",":
        guesses.append(f"{DELIMITERS.get(delimiter, repr(delimiter))} between columns")
    if not guesses:
        return None
    shown = one_line(str(text))
    short = shown if len(shown) <= SHOWN_LENGTH else shown[: SHOWN_LENGTH - 1] + "…"
    return (
        f"{path} was read with {' and '.join(guesses)}. Its first text is '{short}'. If this is wrong, save the file "
        "as CSV in UTF-8 with commas."
    )
