"""Hostile texts, class names and annotators' names come back from every format and database as they went in."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.adversarial_text import fragments, long_texts, names, short_texts, steady

from connector._compat import long_csv_fields
from connector.annotations.controls import from_json as control_from_json
from connector.annotations.controls.choices import Choices
from connector.annotations.label_config import Control, find_control, packaged_label_config
from connector.annotations.questions import Questions
from connector.annotations.records import Task, digest, read_task, read_text
from connector.cli.options import say
from connector.progress import Reporter
from connector.queue.data_files import read_data_file
from connector.reporting.formats import write
from connector.reporting.rows import Extras, columns, label_studio_task, task_rows
from connector.state.project_state import State
from connector.sync.review import Review
from connector.sync.scoring import Scored

AT = "2026-03-01T10:00:00.000000Z"
class_names = st.lists(names() | fragments.filter(str.strip), min_size=2, max_size=4, unique=True)


@dataclass(frozen=True)
class Story:
    """A few tasks as Label Studio gives them, who labelled them, and what is known of them."""

    control: Control
    raws: list[dict[str, Any]]
    emails: dict[int, str]

    @property
    def texts(self) -> dict[int, str]:
        return {raw["id"]: raw["data"]["text"] for raw in self.raws}

    @property
    def records(self) -> list[Task]:
        return [read_task(raw, self.control) for raw in self.raws]

    @property
    def labels(self) -> dict[tuple[int, int], str]:
        return {(one.task, one.annotator): one.label or "" for task in self.records for one in task.annotations}

    @property
    def review(self) -> Review:
        consensus = {task: label for (task, annotator), label in self.labels.items() if annotator == 1}
        share = np.full(len(self.control.classes), 1 / len(self.control.classes))
        known = {raw["id"]: share for raw in self.raws}
        scores = dict.fromkeys(known, 0.5)
        scored = Scored(self.labels, consensus, scores=scores, predicted=consensus, model_version="v1")
        return Review(scored, dict.fromkeys(consensus, 0.9), known)

    def rows(self) -> Iterator[dict[str, Any]]:
        stored = {raw["id"]: read_text(raw, self.control) for raw in self.raws}
        return task_rows(
            self.records,
            Questions((self.control,)),
            [self.review],
            self.review.scored.scores,
            Extras(emails=self.emails, texts={task: text for task, text in self.texts.items() if not text.strip()}),
            lambda ids: {task: text for task in ids if (text := stored[task]) is not None},
        )


def raw_task(number: int, data: dict[str, str], labels: dict[int, str], control: Control) -> dict[str, Any]:
    """A task as Label Studio gives it, with `labels` {annotator: label}."""
    annotations = [
        {
            "id": 10 * number + annotator,
            "completed_by": annotator,
            "result": control.result(label),
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": AT,
            "updated_at": AT,
            "lead_time": 1.5,
        }
        for annotator, label in labels.items()
    ]
    known = {"is_labeled": True, "overlap": 1, "updated_at": AT, "predictions": []}
    return {"id": number, "data": data, "annotations": annotations, **known}


@st.composite
def stories(draw: st.DrawFn, texts: st.SearchStrategy[str] = short_texts) -> Story:
    classes = tuple(draw(class_names))
    several = draw(st.booleans())
    control = Choices(
        "politeness", "text", "text", classes, {name: name for name in classes}, multiple=several, none_counts=several
    )
    emails = {1: draw(names()), 2: draw(names())}
    raws = []
    for number, text in enumerate(draw(st.lists(texts, min_size=1, max_size=5)), start=1):
        chosen = {one: draw(st.sets(st.sampled_from(classes), max_size=None if several else 1)) for one in emails}
        labels = {one: control.label_of(names) for one, names in chosen.items() if names or several}
        raws.append(raw_task(number, {draw(short_texts): draw(short_texts)} | {"text": text}, labels, control))
    return Story(control, raws, emails)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def shown(story: Story, label: str | None) -> str | list[str] | None:
    """A label as a row tells it."""
    return story.control.classes_of(label) if label is not None and story.control.multiple else label


def expected(story: Story) -> list[dict[str, Any]]:
    """What rows are to tell of texts, classes and people, from the tasks themselves."""
    told = []
    for raw in story.raws:
        said = [
            {
                "annotator": story.emails[one["completed_by"]],
                "label": shown(story, story.labels[raw["id"], one["completed_by"]]),
            }
            for one in raw["annotations"]
        ]
        first = shown(story, story.labels.get((raw["id"], 1)))
        told.append({"text": raw["data"]["text"], "consensus": first, "predicted": first, "annotations": said})
    return told


def narrowed(row: dict[str, Any]) -> dict[str, Any]:
    """The parts of a row that are compared."""
    said = [{"annotator": one["annotator"], "label": one["label"]} for one in row["annotations"]]
    return {**{name: row[name] for name in ("text", "consensus", "predicted")}, "annotations": said}


def unpacked(row: dict[str, Any], story: Story) -> dict[str, Any]:
    """A row of csv: lists are JSON there, and what is missing is an empty text."""
    row = {**row, "annotations": json.loads(row["annotations"])}
    for name in ("consensus", "predicted"):
        row[name] = None if row[name] == "" else json.loads(row[name]) if story.control.multiple else row[name]
    return narrowed(row)


def check_csv(story: Story, path: Path) -> None:
    write("csv", story.rows(), Questions((story.control,)), path)
    with long_csv_fields(), path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        read = list(reader)
    assert list(reader.fieldnames or ()) == columns(Questions((story.control,)))
    assert [unpacked(row, story) for row in read] == expected(story)
    by_name = dict.fromkeys(("text", "consensus", "predicted"), str)
    frame = pd.read_csv(path, converters=by_name)
    assert list(frame.columns) == columns(Questions((story.control,)))
    assert [unpacked({str(name): row[name] for name in row}, story) for row in frame.to_dict("records")] == expected(
        story
    )


def check_jsonl(story: Story, path: Path) -> None:
    write("jsonl", story.rows(), Questions((story.control,)), path)
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    read = [json.loads(line) for line in lines]
    assert [list(row) for row in read] == [columns(Questions((story.control,)))] * len(story.raws)
    assert [narrowed(row) for row in read] == expected(story)


def check_parquet(story: Story, path: Path) -> None:
    write("parquet", story.rows(), Questions((story.control,)), path)
    table = pyarrow.parquet.read_table(path)
    assert table.column_names == columns(Questions((story.control,)))
    assert [narrowed(row) for row in table.to_pylist()] == expected(story)


def check_datasets(story: Story, path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    write("datasets", story.rows(), Questions((story.control,)), path)
    read = datasets.load_from_disk(path)
    assert read.column_names == columns(Questions((story.control,)))
    feature = read.features["consensus"]
    label = feature.feature if story.control.multiple else feature
    assert label.names == list(story.control.classes)

    def named(index: Any) -> Any:
        return None if index is None else label.int2str(index)

    back = [{**row, **{name: named(row[name]) for name in ("consensus", "predicted")}} for row in read]
    assert [narrowed(row) for row in back] == expected(story)


def check_label_studio(story: Story, path: Path) -> None:
    made = (label_studio_task(raw, Questions((story.control,)), story.review.scored) for raw in story.raws)
    write("label-studio", made, Questions((story.control,)), path)
    read = json.loads(path.read_bytes())
    assert [task["data"] for task in read] == [raw["data"] for raw in story.raws]
    assert [task["annotations"] for task in read] == [raw["annotations"] for raw in story.raws]
    told = [story.labels.get((raw["id"], 1)) for raw in story.raws]
    results = [None if label is None else story.control.result(label) for label in told]
    assert [task["predictions"][0]["result"] if task["predictions"] else None for task in read] == results


CHECKS = {
    "csv": check_csv,
    "jsonl": check_jsonl,
    "parquet": check_parquet,
    "label-studio": check_label_studio,
    "datasets": check_datasets,
}


@pytest.mark.parametrize("file_format", CHECKS)
def test_every_format_gives_back_texts_classes_and_people(file_format: str, folder: Path) -> None:
    @steady
    @given(stories())
    def check(story: Story) -> None:
        CHECKS[file_format](story, folder / file_format)

    check()


@pytest.mark.parametrize("file_format", CHECKS)
def test_every_format_gives_back_long_texts(file_format: str, folder: Path) -> None:
    @settings(steady, max_examples=10, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(stories(texts=long_texts))
    def check(story: Story) -> None:
        CHECKS[file_format](story, folder / f"long-{file_format}")

    check()


def test_what_readers_have_to_be_told(folder: Path) -> None:
    """As docs/commands.md says of `connector export`."""
    control = Choices("politeness", "text", "text", ("NA", "007"), {"NA": "NA", "007": "007"})
    texts = ["a" * 131_073, "b\x85c\u2028d"]
    raws = [
        raw_task(number, {"text": text}, {1: control.classes[number]}, control) for number, text in enumerate(texts)
    ]
    story, path = Story(control, raws, {}), folder / "told"
    write("csv", story.rows(), Questions((control,)), path)
    with path.open(encoding="utf-8", newline="") as file:
        with pytest.raises(csv.Error, match="field larger than field limit"):
            list(csv.reader(file))
        file.seek(0)
        with long_csv_fields():
            assert [row["text"] for row in csv.DictReader(file)] == texts
    assert pd.read_csv(path)["consensus"].isna().tolist() == [True, False]
    assert pd.read_csv(path, converters={"consensus": str})["consensus"].tolist() == ["NA", "007"]
    write("jsonl", story.rows(), Questions((control,)), path)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4
    with path.open(encoding="utf-8") as file:
        assert [json.loads(line)["text"] for line in file] == texts


@steady
@given(st.lists(short_texts, min_size=2, max_size=2, unique=True))
def test_the_digest_tells_texts_apart(pair: list[str]) -> None:
    control = Choices("politeness", "text", "text", ("a", "b"), {"a": "a", "b": "b"})
    for text in pair:
        kept = read_text({"data": {"text": text}}, control)
        assert kept == (text if text.strip() else None)
    first, second = map(digest, pair)
    assert first != second
    assert first == hashlib.blake2b(pair[0].encode("utf-8"), digest_size=16).hexdigest()
    assert digest(json.loads(json.dumps(pair[0]))) == first, "as it is after it was sent"


def test_the_state_database_gives_back_texts_labels_and_classes(state_url: str) -> None:
    database = State(state_url)
    state = database.project("http://studio", 7)

    @steady
    @given(stories(), fragments)
    def check(story: Story, title: str) -> None:
        kept = {task: text for task, text in story.texts.items() if text.strip()}
        config = f"<View>{title}</View>"
        state.store_tasks(story.records, kept, span=(0, None), control=story.control.to_json(), label_config=config)
        state.store_trained({1: story.control.classes[0]})
        state.put(last_sync={"at": AT, "result": "failed", "error": title})
        known = state.record()
        assert state.texts(story.texts) == kept
        assert list(state.tasks().values()) == story.records
        assert control_from_json(known.control) == story.control
        assert (known.label_config, known.last_sync["error"]) == (config, title)
        assert state.trained() == {1: story.control.classes[0]}
        assert not state.store_tasks(story.records, kept, span=(0, None)), "what comes back is what was stored"

    @settings(steady, max_examples=5, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(stories(texts=long_texts.filter(str.strip)))
    def check_long(story: Story) -> None:
        state.store_tasks(story.records, story.texts, span=(0, None))
        assert state.texts(story.texts) == story.texts

    check()
    check_long()
    database.close()


def test_a_terminal_is_told_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    @steady
    @given(short_texts)
    def check(title: str) -> None:
        say(title)
        said = capsys.readouterr().out.removesuffix("\n")
        assert said == "".join(letter for letter in title if letter == "\n" or not is_control(letter))

    check()


def is_control(letter: str) -> bool:
    return ord(letter) < 0x20 or 0x7F <= ord(letter) <= 0x9F


def test_the_progress_takes_a_path_for_what_it_is() -> None:
    shown = io.StringIO()
    reporter = Reporter(Console(file=shown, force_terminal=True, width=120))
    with reporter.stage("write", "Writing 5 tasks to [/b]labels[1].csv") as stage:
        stage.count(1, 5)
    assert "[/b]labels[1].csv" in shown.getvalue()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_init_reads_texts_as_they_are(ending: str, folder: Path) -> None:
    path, questions = folder / f"texts.{ending}", Questions((find_control(packaged_label_config()),))

    def check_texts(texts: list[str]) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            if ending == "csv":
                table = csv.writer(file, quoting=csv.QUOTE_ALL)
                table.writerows([["text"], *([text] for text in texts)])
            else:
                file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        assert read_data_file(path, questions).rows == [{"text": text} for text in texts]

    steady(given(st.lists(short_texts.filter(str.strip), min_size=1, max_size=5))(check_texts))()
    check_texts(["a" * 300_000, "é\r\n" * 100_000])
