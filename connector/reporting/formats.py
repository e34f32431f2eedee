"""The file formats of an export. pyarrow and datasets are imported only if they are needed."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

from connector.annotations.questions import Questions
from connector.errors import UsageError
from connector.reporting.rows import (
    column_of,
    columns,
    flat,
    machine_column,
    nested,
    probability_column,
    soft_column,
    to_json,
)

Rows = Iterable[dict[str, Any]]

ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
BATCH = 1000  # rows in memory at a time
_MEDIA_BATCH = 50  # with their images or recordings
_NEEDED = {"parquet": ("pyarrow",), "datasets": ("pyarrow", "datasets")}


def format_of(out: Path) -> str:
    """The format that the ending of `out` names. Raises UsageError if it names none."""
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"The ending of {out} names no format: use {', '.join(ENDINGS)}, or give --format (label-studio "
            "writes a .json file, datasets a folder)."
        )
    return ENDINGS[out.suffix.lower()]


def require(file_format: str) -> None:
    """Raises UsageError if a package that the format needs is missing."""
    missing = [name for name in _NEEDED.get(file_format, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--format {file_format} needs {' and '.join(missing)}: pip install 'label-studio-activelab[export]'."
        )


def write(
    file_format: str,
    rows: Rows,
    questions: Questions,
    path: Path,
    media: Mapping[str, str] | None = None,
    machines: Sequence[str] = (),
) -> None:
    """Writes rows to the file `path`, or for "datasets" to the folder `path`.

    Args:
        file_format: a key of _WRITERS.
        rows: as `task_rows` gives them, or for "label-studio" as `label_studio_task` does.
        questions: those of the project.
        path: where to write.
        media: columns of the rows with the bytes of media, {column: "image" or "audio"}. Only for "datasets".
        machines: their names.
    """
    if media:
        _datasets(rows, questions, path, machines, media)
    else:
        _WRITERS[file_format](rows, questions, path, machines)


def _open(path: Path) -> IO[str]:
    # A lone surrogate has no UTF-8 table. It becomes a question mark, as in the mirror.
    return path.open("w", encoding="utf-8", errors="replace", newline="")


def _csv(rows: Rows, questions: Questions, path: Path, machines: Sequence[str]) -> None:
    with _open(path) as file:
        # Everything but numbers is quoted. Otherwise readers take a lone carriage return for the end of a line.
        writer = csv.DictWriter(file, columns(questions, machines), quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            second = "true" if row["second_opinion"] else "false"
            lists = {name: to_json(value) for name, value in row.items() if isinstance(value, list)}
            writer.writerow({**flat(row), **lists, "second_opinion": second})


def _jsonl(rows: Rows, questions: Questions, path: Path, machines: Sequence[str]) -> None:
    with _open(path) as file:
        file.writelines(to_json(nested(row, questions, machines)) + "\n" for row in rows)


def _label_studio(rows: Rows, questions: Questions, path: Path, machines: Sequence[str]) -> None:
    with _open(path) as file:
        file.write("[")
        for number, row in enumerate(rows):
            file.write((",\n" if number else "\n") + to_json(row))
        file.write("\n]\n")


def _parquet(rows: Rows, questions: Questions, path: Path, machines: Sequence[str]) -> None:
    import pyarrow.parquet

    schema = _schema(questions, machines)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(map(flat, rows), schema):
            writer.write_batch(batch)


def _datasets(
    rows: Rows, questions: Questions, path: Path, machines: Sequence[str], media: Mapping[str, str] | None = None
) -> None:
    import datasets
    import pyarrow

    from connector.media.recordings import SAMPLE_RATE

    features = datasets.Features.from_arrow_schema(_schema(questions, machines))
    positions: dict[str, dict[str, int]] = {}
    for control in questions.controls:
        feature = datasets.ClassLabel(names=list(control.classes))
        for name in ("label", "consensus", "predicted", *map(machine_column, machines)):
            column = column_of(questions, control, name)
            features[column] = datasets.Sequence(feature) if control.multiple else feature
            positions[column] = {class_: index for index, class_ in enumerate(control.classes)}

    # To decode sound, datasets needs torchcodec, which not everyone has. The bytes are there in any case.
    of_media = {"image": datasets.Image(), "audio": datasets.Audio(sampling_rate=SAMPLE_RATE, decode=False)}
    media = media or {}
    features.update({column: of_media[kind] for column, kind in media.items()})

    def number(label: str | list[str] | None, position: Mapping[str, int]) -> int | list[int] | None:
        if label is None:
            return None
        return position[label] if isinstance(label, str) else [position[name] for name in label]

    def numbered(row: dict[str, Any]) -> dict[str, Any]:
        labels = {name: number(row[name], position) for name, position in positions.items()}
        files = {column: row[column] and {"bytes": row[column], "path": None} for column in media}
        return {**flat(row), **labels, **files}

    # Through a file that is mapped into memory, so that at most one batch is held.
    stream, schema = path.with_name(path.name + ".arrow"), features.arrow_schema
    with pyarrow.OSFile(str(stream), "wb") as file, pyarrow.ipc.new_stream(file, schema) as writer:
        for batch in _batches(map(numbered, rows), schema, _MEDIA_BATCH if media else BATCH):
            writer.write_batch(batch)
    progress_bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        datasets.Dataset.from_file(str(stream)).save_to_disk(path)
    finally:
        if progress_bars:
            datasets.enable_progress_bars()
    stream.unlink()


_WRITERS: Mapping[str, Callable[[Rows, Questions, Path, Sequence[str]], None]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "label-studio": _label_studio,
    "datasets": _datasets,
}


def _schema(questions: Questions, machines: Sequence[str]) -> Any:
    """The columns' types as an Arrow schema."""
    import pyarrow as pa

    labels = {
        control.name: pa.list_(pa.string()) if control.multiple else pa.string() for control in questions.controls
    }
    annotation = pa.struct(
        {
            "id": pa.int64(),
            "annotator": pa.string(),
            "annotator_id": pa.int64(),
            "label": pa.struct(labels) if questions.several else labels[questions.names[0]],
            "unknown_choice": pa.bool_(),
            "unreadable": pa.string(),
            "created_at": pa.string(),
            "updated_at": pa.string(),
            "lead_time": pa.float64(),
            "skipped": pa.bool_(),
            "ground_truth": pa.bool_(),
            "excluded": pa.bool_(),
        }
    )
    types = {
        "task_id": pa.int64(),
        "score": pa.float64(),
        "rank": pa.int64(),
        "second_opinion": pa.bool_(),
        "annotations": pa.list_(annotation),
    }
    for control in questions.controls:
        of_question = {
            "label": labels[control.name],
            "label_count": pa.int64(),
            "consensus": labels[control.name],
            "predicted": labels[control.name],
            "ambiguous": pa.bool_(),
            **dict.fromkeys(("probability", "quality", "agreement", "settles"), pa.float64()),
            **dict.fromkeys(map(probability_column, control.classes), pa.float64()),
            **dict.fromkeys(map(soft_column, control.classes), pa.float64()),
            **dict.fromkeys(map(machine_column, machines), labels[control.name]),
        }
        types.update({column_of(questions, control, name): kind for name, kind in of_question.items()})
    return pa.schema([(name, types.get(name, pa.string())) for name in columns(questions, machines)])


def _batches(rows: Rows, schema: Any, size: int = BATCH) -> Iterator[Any]:
    import pyarrow

    rest = iter(rows)
    while part := list(islice(rest, size)):
        yield pyarrow.RecordBatch.from_pylist(part, schema=schema)
