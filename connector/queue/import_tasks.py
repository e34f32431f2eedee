"""Creates a project from a file of texts."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from connector._compat import long_csv_fields
from connector.annotations import find_control
from connector.annotations.form.data import MISSING, find_value
from connector.errors import UsageError
from connector.label_studio import LabelStudio


def create(title: str, data: Path, gateway: LabelStudio, label_config: str) -> int:
    """Creates a project with `label_config` and the texts of a .csv or .jsonl file, and returns its id.

    Raises UsageError, before anything is created, if the file cannot be used.
    """
    control = find_control(label_config)
    rows = read_rows(data, control.data_key)
    project = gateway.create_project(title, label_config)
    gateway.import_tasks(project["id"], rows)
    return int(project["id"])


def read_rows(path: Path, data_key: str) -> list[dict[str, Any]]:
    """The rows of a .csv or .jsonl file as data of tasks. Raises UsageError if it cannot be used."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file, long_csv_fields():
            if path.suffix == ".csv":
                rows: list[dict[str, Any]] = list(csv.DictReader(file, strict=True))
            elif path.suffix in (".jsonl", ".ndjson"):
                rows = [json.loads(line) for line in file if line.strip()]
            else:
                raise UsageError(f"{path} is neither .csv nor .jsonl.")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    if not rows:
        raise UsageError(f"{path} holds no rows.")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or find_value(row, data_key) is MISSING:
            raise UsageError(f"Row {number} of {path} has no '{data_key}', which the labelling config shows.")
        if None in row:
            raise UsageError(
                f"Row {number} of {path} has more values than columns: put quotes around texts with commas."
            )
        if _cannot_be_stored(row):
            raise UsageError(
                f"Row {number} of {path} holds a NUL character or half a surrogate pair, which Label Studio cannot "
                "keep on every database: take it out."
            )
    return rows


def _cannot_be_stored(value: Any) -> bool:
    """Whether a text in `value` is one that Label Studio refuses on PostgreSQL, or cannot give back on SQLite."""
    if isinstance(value, dict):
        return any(map(_cannot_be_stored, [*value, *value.values()]))
    if isinstance(value, list):
        return any(map(_cannot_be_stored, value))
    return isinstance(value, str) and re.search("[\0\ud800-\udfff]", value) is not None
