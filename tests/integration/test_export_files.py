"""What `connector export` writes, read back by what people read it with, equals what a real Label Studio holds."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import pandas as pd
import pytest
import sqlalchemy as sa
from support.label_studio_server import Annotators, MakeProject
from support.project_driver import ProjectDriver, on_both_databases, texts

from connector.annotations.left_out import LeftOut
from connector.backend import Backend
from connector.demo.people import Person
from connector.label_studio.client import LabelStudio as Gateway
from connector.progress import Reporter
from connector.reporting.export import export
from connector.state import schema
from connector.state.project_state import State
from connector.sync.review import review
from connector.sync.scoring import score

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio

pytestmark = on_both_databases

CLASSES = ("Polite", "Impolite", 'Neither, or "both"', "ほか")
CONFIG = """<View><Text name="text" value="$text"/><Choices name="politeness" toName="text">
<Choice value="Polite"/><Choice value="Downright rude" alias="Impolite"/><Choice value="Neither, or &quot;both&quot;"/>
<Choice value="ほか"/>{more}</Choices></View>"""
NO_LONGER = '<Choice value="Spam"/>'

# What breaks files that are written or read without care, and values that a Text may have beside texts.
TEXTS: list[Any] = [
    "two lines\nand a third\r\nand\ra fourth\n",
    'She said "hi", \'hi\' and ""; a,b;c\td',
    "👍🏽 👨‍👩‍👧 naïve e\u0301 日本語",
    '<b>bold</b> &amp; <script>alert("x")</script><!-- -->',
    "שלום, עולם \u202eabc\u202c مرحبا بالعالم",
    "  spaces before and after  ",
    "control \x01\x08\x0b\x0c\x1b[31m\x7f\x85\u2028\u2029\ufeff",
    "=1+1",
    "@SUM(A1:A9)",
    "-3",
    "007",
    "NA",
    "null",
    "True",
    "1e5",
    "back\\slash \\n \\N %s {x}",
    "A long text, " * 30_000,
    "",
    "   ",
    "\n",
    5,
    1.5,
    True,
    ["a", 'list "of" texts'],
    [],
    "a carriage return\ralone",
]
# What the form shows of those that are no strings.
SHOWN = {"5": "5", "1.5": "1.5", "true": "true", '["a", "list \\"of\\" texts"]': 'a,list "of" texts'}
# Texts that Label Studio joins from rows which it also gives one by one.
IN_ANY_ORDER = ("annotations_ids", "annotations_results", "predictions_results", "predictions_model_versions")
OTHER_DATA = {"id": "row-1", "nested": {"of": [1, None, "é\n"]}, "consensus": "a name of ours"}


@dataclass
class Story:
    """A project with a past, exported in every format; `dumps` of Label Studio and state before and after."""

    loop: ProjectDriver
    files: dict[str, Path]
    done: dict[str, dict[str, Any]]
    dumps: list[Any]
    emails: dict[int, str]
    answered: list[int]


@pytest.fixture(scope="module")
def story(
    label_studio: LabelStudio,
    make_project: MakeProject,
    people: Annotators,
    backend: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("export")
    tasks = [{"text": text} for text in [*TEXTS, *texts(40)]]
    tasks[0] |= OTHER_DATA
    project = make_project(tasks, config=CONFIG.format(more=NO_LONGER))
    url = f"sqlite:///{folder}/state.sqlite"
    database, gateway = State(url), Gateway(label_studio.url, label_studio.token)
    state = database.project(gateway.url, project.id)
    loop = ProjectDriver(label_studio, project.id, project.tasks, gateway, state, url, backend, [gateway])
    loop.adopt()
    answered = live_through(loop, people(4))

    before = (loop.dump(), everything(url))
    files = {name: folder / f"labels.{name}" for name in ("csv", "jsonl", "parquet")}
    files |= {"label-studio": folder / "labels.json", "datasets": folder / "labels"}
    served = Backend(backend)
    done = {name: export(loop.id, gateway, served, state, path, name, Reporter()) for name, path in files.items()}
    served.close()
    after = (loop.dump(), everything(url))
    emails = {row["id"]: row["email"] for row in loop.call("GET", "/api/users/")}
    yield Story(loop, files, done, [before, after], emails, answered)
    gateway.close()
    database.close()


def live_through(loop: ProjectDriver, team: list[Person]) -> list[int]:
    """Several annotators, a skip, second thoughts, deletions, a choice and a text that go, and a window half answered.

    Returns the tasks of the window that were answered.
    """
    first, second, third, fourth = team
    odd, plain = loop.tasks[: len(TEXTS)], loop.tasks[len(TEXTS) :]
    for index, task in enumerate(plain[:16]):
        loop.label(first, task, CLASSES[index % 2])
    for task in plain[:6]:
        loop.label(second, task, "Polite")
    loop.label(third, plain[0], "ほか")
    for task in odd[:3]:
        loop.label(first, task, 'Neither, or "both"')
    loop.label(second, odd[18], "Polite")  # a label on a text of spaces alone
    first.skip({"id": plain[16]})
    second.update(loop.label(second, plain[17], "Polite"), "politeness", "text", "Impolite")
    third.delete(loop.label(third, plain[1], "Polite"))
    loop.label(third, plain[2], "Spam")
    loop.label(first, plain[18], "Spam")
    given = loop.label(second, plain[19], "Polite")
    loop.call("PATCH", f"/api/annotations/{given}", json={"ground_truth": True})
    first.submit({"id": plain[20]}, "politeness", "text", "Polite", lead_time_s=12.345)
    loop.call("PATCH", f"/api/tasks/{plain[21]}", json={"data": {"note": "no text any more"}})
    loop.set(label_config=CONFIG.format(more=""))

    loop.sync(window=30)
    slots = loop.state.window()
    answered = [
        *[slot.task for slot in slots if slot.relabel][:2],
        *[slot.task for slot in slots if not slot.relabel][:2],
    ]
    for task in answered:
        loop.label(fourth, task, "Polite")
    theirs = [
        {"task": plain[0], "result": choice("Polite"), "score": 0.25, "model_version": "theirs"},
        {"task": plain[30], "result": choice("ほか"), "score": 1.0, "model_version": "theirs"},
        {"task": plain[31], "result": [], "score": 0.5, "model_version": "theirs, empty"},
        {"task": plain[0], "result": choice("Impolite"), "score": 0.1, "model_version": "consensus"},
    ]
    loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=theirs)
    return answered


def choice(label: str) -> list[dict[str, Any]]:
    value = {"choices": [label]}
    return [{"from_name": "politeness", "to_name": "text", "type": "choices", "value": value}]


def everything(url: str) -> dict[str, list[Any]]:
    """Every row of a state database."""
    engine = sa.create_engine(url)
    with engine.connect() as db:
        tables = schema.metadata.tables
        found = {name: [tuple(row) for row in db.execute(sa.select(table))] for name, table in tables.items()}
    engine.dispose()
    return found


def timeless(dump: Any) -> Any:
    """What Label Studio holds without how long ago it was, in an order of its own: PostgreSQL answers in any."""
    if isinstance(dump, dict):
        return {name: timeless(value) for name, value in dump.items() if name not in ("created_ago", *IN_ANY_ORDER)}
    if isinstance(dump, list):
        return sorted(map(timeless, dump), key=lambda one: one["id"] if isinstance(one, dict) and "id" in one else 0)
    return dump


# -- what is to be read, from Label Studio, the backend and sync's own scoring -----------------------------------------


@pytest.fixture(scope="module")
def expected(story: Story) -> list[dict[str, Any]]:
    """The rows by task, floats and all, as a reader without losses should find them."""
    loop, served = story.loop, Backend(story.loop.backend)
    pulled = loop.read()
    scored = score(pulled, served, loop.state, Reporter(), train="never")
    quality = review(pulled, served, Reporter()).quality
    known = served.probabilities(str(loop.id))
    served.close()
    assert known is not None
    assert known.model_version == scored.model_version
    assert set(known.classes) == set(CLASSES)
    columns = [known.classes.index(name) for name in CLASSES]
    probabilities = {int(task): row[columns] for task, row in zip(known.ids, known.pred_probs, strict=True)}
    ranks = {task: rank for rank, task in enumerate(loop.window, start=1) if task not in story.answered}
    second = {slot.task for slot in loop.state.window() if slot.relabel}

    def differing(task: int) -> tuple[bool | None, float | None, Sequence[float | None]]:
        one = scored.differing.get(task)
        if one is None:
            return None, None, [None] * len(CLASSES)
        return one.ambiguous, None if math.isnan(one.settles) else one.settles, one.soft

    rows = []
    for raw in sorted(loop.rows(), key=lambda raw: int(raw["id"])):
        task = raw["id"]
        annotations = [annotation(one, story.emails) for one in raw["annotations"]]
        annotations.sort(key=lambda one: int(one["id"]))
        latest: dict[int, str] = {}
        for one in sorted(annotations, key=lambda one: datetime.fromisoformat(one["updated_at"][:-1] + "+00:00")):
            if one["label"] in CLASSES:
                latest[one["annotator_id"]] = one["label"]
        text = raw["data"].get("text")
        shown = SHOWN.get(json.dumps(text), text)
        readable = isinstance(shown, str) and bool(shown.strip())
        labels = list(latest.values()) if readable else []
        consensus = scored.consensus.get(task)
        assert (consensus is None) == (not labels)
        rows.append(
            {
                "task_id": task,
                "text": shown,
                "label": consensus,
                "source": None if consensus is None else "consensus",
                "probability": quality.get(task),
                "consensus": consensus,
                "quality": quality.get(task),
                "agreement": labels.count(str(consensus)) / len(labels) if labels else None,
                "label_count": len(labels),
                "ambiguous": differing(task)[0],
                "settles": differing(task)[1],
                **{f"soft_{name}": soft for name, soft in zip(CLASSES, differing(task)[2], strict=True)},
                "predicted": scored.predicted.get(task),
                **{
                    f"prob_{name}": pytest.approx(probabilities[task][place], abs=1e-6) if readable else None
                    for place, name in enumerate(CLASSES)
                },
                "model_version": scored.model_version if readable else None,
                "score": scored.scores.get(task),
                "rank": ranks.get(task),
                "second_opinion": task in ranks and task in second,
                "annotations": annotations,
            }
        )
    return rows


def annotation(raw: dict[str, Any], emails: dict[int, str]) -> dict[str, Any]:
    label = raw["result"][0]["value"]["choices"][0] if raw["result"] else None
    return {
        "id": raw["id"],
        "annotator": emails[raw["completed_by"]],
        "annotator_id": raw["completed_by"],
        "label": label,
        "unknown_choice": label is not None and label not in CLASSES,
        "unreadable": None,
        "created_at": raw["created_at"],
        "updated_at": raw["updated_at"],
        "lead_time": raw["lead_time"],
        "skipped": raw["was_cancelled"],
        "ground_truth": raw["ground_truth"],
        "excluded": False,
    }


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """The row where a column has one type: a text that is none comes as JSON."""
    text = row["text"]
    return row if text is None or isinstance(text, str) else row | {"text": json.dumps(text, separators=(",", ":"))}


def unframed(frame: pd.DataFrame, *, of_json: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The frame's rows without NaN, arrays and NumPy's numbers; columns `of_json` are read."""
    rows = []
    for row in frame.to_dict("records"):
        values: dict[str, Any] = {str(name): plain(value) for name, value in row.items()}
        rows.append(values | {name: json.loads(values[name]) for name in of_json})
    return rows


def plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    return None if isinstance(value, float) and math.isnan(value) else value


# -- the story itself --------------------------------------------------------------------------------------------------


def test_the_project_holds_all_that_can_go_wrong(story: Story, expected: list[dict[str, Any]]) -> None:
    by_task = {row["task_id"]: row for row in expected}
    assert [row["text"] for row in expected[: len(TEXTS)]] == [SHOWN.get(json.dumps(text), text) for text in TEXTS]
    rows = [one for row in expected for one in row["annotations"]]
    assert len({one["annotator_id"] for one in rows}) == 4
    assert sum(one["skipped"] for one in rows) == 1
    assert sum(one["ground_truth"] for one in rows) == 1
    assert sum(one["unknown_choice"] for one in rows) == 2
    assert any(one["updated_at"] > one["created_at"] and one["label"] == "Impolite" for one in rows)
    assert any(row["agreement"] is not None and row["agreement"] < 1 for row in expected)
    assert [by_task[task]["rank"] for task in story.answered] == [None] * 4
    assert any(row["second_opinion"] for row in expected)
    assert sorted(row["rank"] for row in expected if row["rank"]) == [
        rank for rank, task in enumerate(story.loop.window, start=1) if task not in story.answered
    ]
    assert "text" not in story.loop.call("GET", f"/api/tasks/{story.loop.tasks[len(TEXTS) + 21]}")["data"]


def test_an_export_leaves_no_trace_in_label_studio_or_the_state(story: Story) -> None:
    (held, state), (held_after, state_after) = story.dumps
    assert timeless(held_after) == timeless(held)
    assert state_after == state


def test_the_summary_counts_what_was_written(story: Story, expected: list[dict[str, Any]]) -> None:
    rows = [one for row in expected for one in row["annotations"] if not one["skipped"]]
    for name, path in story.files.items():
        assert story.done[name] == {
            "project": story.loop.id,
            "out": str(path),
            "format": name,
            "tasks": len(expected),
            "annotations": len(rows),
            "consensus": sum(row["consensus"] is not None for row in expected),
            "accepted": 0,
            "without_text": sum(row["model_version"] is None for row in expected),
            "unknown_choices": 2,
            "unreadable_annotations": 0,
            "left_out": LeftOut.of(story.loop.state.tasks().values()).sentences(["politeness"]),
            "model_version": story.loop.state.record().model_version,
            "note": "",
        }


# -- read back ---------------------------------------------------------------------------------------------------------


def test_csv_by_pandas(story: Story, expected: list[dict[str, Any]]) -> None:
    frame = pd.read_csv(story.files["csv"], converters={"text": str}, float_precision="round_trip")
    assert list(frame.columns) == list(expected[0])
    read = unframed(frame, of_json=("annotations",))
    assert read == [flat(row) | {"text": flat(row)["text"] or ""} for row in expected]


def test_csv_by_the_standard_library(story: Story, expected: list[dict[str, Any]]) -> None:
    before = csv.field_size_limit(10_000_000)
    try:
        with story.files["csv"].open(encoding="utf-8", newline="") as file:
            read = list(csv.DictReader(file, strict=True))
    finally:
        csv.field_size_limit(before)
    assert [row["text"] for row in read] == [flat(row)["text"] or "" for row in expected]
    assert [row["consensus"] for row in read] == [row["consensus"] or "" for row in expected]
    assert {row["second_opinion"] for row in read} == {"true", "false"}


def test_jsonl_by_json(story: Story, expected: list[dict[str, Any]]) -> None:
    lines = story.files["jsonl"].read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == expected


def test_jsonl_by_pandas(story: Story, expected: list[dict[str, Any]]) -> None:
    frame = pd.read_json(story.files["jsonl"], lines=True, precise_float=True)
    assert list(frame.columns) == list(expected[0])
    assert unframed(frame) == [
        {name: pytest.approx(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in expected
    ]


def test_parquet_by_pandas(story: Story, expected: list[dict[str, Any]]) -> None:
    frame = pd.read_parquet(story.files["parquet"])
    assert list(frame.columns) == list(expected[0])
    assert unframed(frame) == [flat(row) for row in expected]


def test_datasets_folder_by_load_from_disk(story: Story, expected: list[dict[str, Any]]) -> None:
    read = datasets.load_from_disk(story.files["datasets"])
    assert read.column_names == list(expected[0])
    for name in ("label", "consensus", "predicted"):
        assert read.features[name] == datasets.ClassLabel(names=list(CLASSES))
    rows = []
    for row in read:
        named = {name: row[name] for name in ("label", "consensus", "predicted")}
        for name, index in named.items():
            named[name] = None if index is None else read.features[name].int2str(index)
        rows.append({**row, **named})
    assert rows == [flat(row) for row in expected]


# -- Label Studio's own import -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["the page's upload", "one call with a file", "one call with JSON"])
def test_label_studio_takes_its_file(
    story: Story, expected: list[dict[str, Any]], make_project: MakeProject, way: str
) -> None:
    call = story.loop.call
    written = json.loads(story.files["label-studio"].read_bytes())
    # A task whose text is gone is refused by Label Studio under this config, from whatever file.
    tasks = [task for task in written if "text" in task["data"]]
    assert len(tasks) == len(written) - 1
    other = make_project([], config=CONFIG.format(more="")).id
    file = {"file": ("labels.json", json.dumps(tasks, ensure_ascii=False).encode())}
    path = f"/api/projects/{other}/import"
    if way == "the page's upload":
        uploaded = call("POST", path, params={"commit_to_project": "false"}, files=file)
        body = {"file_upload_ids": uploaded["file_upload_ids"], "files_as_tasks_list": False}
        call("POST", f"/api/projects/{other}/reimport", json=body)
    elif way == "one call with a file":
        call("POST", path, files=file)
    else:
        call("POST", path, json=tasks)

    query = {"project": other, "fields": "all", "page_size": 500}
    imported = sorted(call("GET", "/api/tasks", params=query)["tasks"], key=lambda raw: int(raw["id"]))
    held = [raw for raw in sorted(story.loop.rows(), key=lambda raw: int(raw["id"])) if "text" in raw["data"]]
    assert [raw["data"] for raw in imported] == [raw["data"] for raw in held]
    assert [work(raw) for raw in imported] == [work(raw) for raw in held]
    by_task = {row["task_id"]: row for row in expected}
    for raw, kept in zip(imported, held, strict=True):
        row = by_task[kept["id"]]
        wanted = [answer(one) for one in kept["predictions"] if one["model_version"].startswith("theirs")]
        if row["consensus"] is not None:
            wanted.append(("consensus", row["quality"], choice(row["consensus"])))
        assert sorted(map(answer, raw["predictions"]), key=str) == sorted(wanted, key=str)


def work(raw: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What people did on a task, without the ids that an import gives anew."""
    names = ("result", "completed_by", "was_cancelled", "ground_truth", "lead_time")
    return sorted((tuple(one[name] for name in names) for one in raw["annotations"]), key=str)


def answer(prediction: dict[str, Any]) -> tuple[str, Any, Any]:
    return prediction["model_version"], prediction["score"], prediction["result"]


def test_the_file_for_label_studio_is_its_own_export_with_the_consensus(story: Story) -> None:
    written = json.loads(story.files["label-studio"].read_bytes())
    query = {"exportType": "JSON", "download_all_tasks": "true"}
    own = {task["id"]: task for task in story.loop.call("GET", f"/api/projects/{story.loop.id}/export", params=query)}
    assert [task["id"] for task in written] == sorted(own)
    ours = {"predictions", "total_predictions"}
    for task in written:
        theirs = own[task["id"]]
        assert {"id", "data", "annotations", "predictions"} <= task.keys() <= theirs.keys() | {"file_upload"}
        for name in task.keys() - ours - {"annotations", "drafts", "file_upload"}:
            assert task[name] == theirs[name], name
        exported = {one["id"]: one for one in theirs["annotations"]}
        for one in task["annotations"]:
            assert one.items() <= exported[one["id"]].items()
        assert len(task["annotations"]) == len(exported)
        assert task["total_predictions"] == len(task["predictions"])
