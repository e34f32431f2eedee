"""Rows of results and the files they are written to, without a server: what is in them, what comes back, what fails."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from support.drawn_images import png
from support.made_recordings import as_bytes, make
from support.made_recordings import read as read_sound

from connector.active_learning.window import Slot, open_places
from connector.annotations.controls.choices import Choices
from connector.annotations.label_config import Control, find_questions
from connector.annotations.questions import Questions
from connector.annotations.records import Task, read_task, read_text, without_labels_of
from connector.errors import TryAgainLater, UsageError
from connector.queue.versions import ACCEPTED_LABELS
from connector.reporting.atomic_output import translate_os_errors
from connector.reporting.formats import ENDINGS, format_of, require, write
from connector.reporting.rows import (
    ACCEPTED_VERSION,
    CONSENSUS_VERSION,
    Extras,
    columns,
    flat,
    label_studio_task,
    task_rows,
)
from connector.state.rows import Accepted
from connector.sync.differing import Differing
from connector.sync.review import Review
from connector.sync.scoring import Scored

ODD = ("label", "text", "", "a,b;c", 'quo"ted', "line\nbreak", "é", "É", "_type", "a.b", "1", "prob_1", "consensus")
CONTROL = Choices("politeness", "text", "text", ("Polite", "Impolite"), {"Polite": "Polite", "Impolite": "Impolite"})
EXTRAS = Extras()
AT = "2026-03-01T10:00:00.000000Z"


def annotation(number: int, annotator: int | None, label: str | None, **more: Any) -> dict[str, Any]:
    result = [] if label is None else [{"from_name": "politeness", "type": "choices", "value": {"choices": [label]}}]
    return {
        "id": number,
        "completed_by": annotator,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": AT,
        "updated_at": AT,
        "lead_time": 1.5,
        "created_username": "somebody",
        "created_ago": "a minute",
        **more,
    }


def task(number: int, *annotations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "data": {"text": f"Text {number}"},
        "is_labeled": bool(annotations),
        "overlap": 1,
        "updated_at": AT,
        "annotations": list(annotations),
        "predictions": [],
        "annotators": [1],
        **more,
    }


def control_of(classes: Sequence[str]) -> Control:
    return Choices("politeness", "text", "text", tuple(classes), {name: name for name in classes})


def record(raw: dict[str, Any], control: Control = CONTROL) -> Task:
    return read_task(raw, control)


def shown_by(raws: list[dict[str, Any]], control: Control = CONTROL) -> Callable[[Iterable[int]], dict[int, str]]:
    found = {raw["id"]: read_text(raw, control) for raw in raws}
    return lambda ids: {task: text for task in ids if (text := found[task]) is not None}


def reviewed(**known: Any) -> Review:
    """A review with what is `known`: labels, consensus, scores, predicted, quality, pred_probs."""
    told = {name: known.get(name, {}) for name in ("labels", "consensus", "scores", "predicted", "differing")}
    scored = Scored(**told, quality=known.get("quality", {}), model_version="v1")
    return Review(scored, scored.quality, known.get("pred_probs", {}))


def row(raw: dict[str, Any], control: Control = CONTROL, extras: Extras = EXTRAS, **known: Any) -> dict[str, Any]:
    """The row of the one task `raw`."""
    known_review = reviewed(**known)
    scores = known_review.scored.scores
    questions = Questions((control,))
    (made,) = task_rows([record(raw, control)], questions, [known_review], scores, extras, shown_by([raw], control))
    return made


# -- rows --------------------------------------------------------------------------------------------------------------


def test_a_row_says_all_there_is() -> None:
    told = row(
        task(7, annotation(2, 2, "Impolite"), annotation(1, 1, "Polite")),
        labels={(7, 1): "Polite", (7, 2): "Impolite", (7, 3): "Polite", (8, 1): "Impolite"},
        consensus={7: "Polite"},
        quality={7: 0.9},
        scores={7: 0.4},
        predicted={7: "Impolite"},
        pred_probs={7: np.array([0.3, 0.7])},
        differing={7: Differing(0.8, ambiguous=True, hopeless=False, settles=0.1, soft=[0.6, 0.4])},
        extras=Extras(places={7: (4, True)}, emails={1: "one@example.com"}),
    )
    annotations = told.pop("annotations")
    assert told == {
        "task_id": 7,
        "text": "Text 7",
        "label": "Polite",
        "source": "consensus",
        "probability": 0.9,
        "consensus": "Polite",
        "quality": 0.9,
        "agreement": 2 / 3,
        "label_count": 3,
        "ambiguous": True,
        "settles": 0.1,
        "soft_Polite": 0.6,
        "soft_Impolite": 0.4,
        "predicted": "Impolite",
        "prob_Polite": 0.3,
        "prob_Impolite": 0.7,
        "model_version": "v1",
        "score": 0.4,
        "rank": 4,
        "second_opinion": True,
    }
    assert annotations[0] == {
        "id": 1,
        "annotator": "one@example.com",
        "annotator_id": 1,
        "label": "Polite",
        "unknown_choice": False,
        "unreadable": None,
        "created_at": AT,
        "updated_at": AT,
        "lead_time": 1.5,
        "skipped": False,
        "ground_truth": False,
        "excluded": False,
    }
    assert [one["annotator"] for one in annotations] == ["one@example.com", "2"]


def test_what_an_annotator_who_is_left_out_chose_is_there_as_label_studio_has_it() -> None:
    read = record(task(7, annotation(1, 1, "Polite"), annotation(2, 2, "Impolite")))
    (told,) = task_rows(
        [without_labels_of(read, {2})],
        Questions((CONTROL,)),
        [Review(Scored({(7, 1): "Polite"}, {7: "Polite"}))],
        {},
        Extras(choices={2: {"politeness": "Impolite"}}),
        lambda ids: {7: "Text 7"},
    )
    found = [(row["annotator_id"], row["label"], row["excluded"]) for row in told["annotations"]]
    assert found == [(1, "Polite", False), (2, "Impolite", True)]


def test_where_nothing_is_known_a_row_is_empty() -> None:
    told = row(task(7))
    assert list(told) == columns(Questions((CONTROL,)))
    held = {"task_id": 7, "text": "Text 7", "label_count": 0, "second_opinion": False, "annotations": []}
    assert {name: value for name, value in told.items() if value is not None} == held


def test_a_choice_that_the_config_no_longer_has_is_told_as_it_stands() -> None:
    control = Choices("politeness", "text", "text", ("p", "i"), {"p": "p", "i": "i", "Polite": "p"})
    raw = task(
        7,
        annotation(1, 1, "Polite"),
        annotation(2, 1, "Spam"),
        annotation(3, 1, "Spam", was_cancelled=True),
        annotation(4, 1, None),
        annotation(5, None, "i"),
    )
    choices = {one["id"]: {control.name: control.answer(one["result"])} for one in raw["annotations"]}
    told = row(raw, control, Extras(choices=choices))["annotations"]
    assert [one["label"] for one in told] == ["p", "Spam", None, None, "i"], "the alias names the class"
    assert [one["unknown_choice"] for one in told] == [False, True, False, False, False]
    assert (told[4]["annotator"], told[4]["annotator_id"]) == (None, None), "a user who was deleted"


def test_no_class_name_takes_another_columns_place() -> None:
    names = columns(Questions((control_of(ODD),)))
    assert len(set(names)) == len(names) == len(columns(Questions((control_of(()),)))) + 2 * len(ODD)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", ""),
        (" \n", " \n"),
        ("=1+1", "=1+1"),
        (None, None),
        ({"a": 5}, '{"a":5}'),
        ([], "[]"),
        ([{}, "é"], '[{},"é"]'),
    ],
)
def test_a_text_stays_as_it_is_and_a_value_without_a_text_is_told_in_json(value: Any, told: str | None) -> None:
    made = row(task(7, data={"text": value}), extras=Extras(texts={7: value}))
    assert made["text"] == value
    assert type(made["text"]) is type(value)
    assert flat(made)["text"] == told


def test_a_missing_text_is_empty() -> None:
    assert row(task(7, data={"note": "x"}), extras=Extras(texts={7: None}))["text"] is None
    assert row(task(7, data={"note": "x"}))["text"] is None


def test_places_are_open_until_somebody_answers() -> None:
    raws = [task(1), task(2, annotation(1, 1, "Polite")), task(3, annotation(2, 1, "Polite")), task(4), task(6)]
    tasks = {raw["id"]: record(raw) for raw in raws}
    window = [Slot(4, False), Slot(3, True), Slot(5, False), Slot(2, True), Slot(1, False), Slot(6, False)]
    # 3 was answered since, 5 is gone, 6 came with a window that is newer than the answers.
    answers = {4: 0, 3: 0, 5: 0, 2: 1, 1: 0}
    assert open_places(window, answers, tasks) == {4: (1, False), 2: (4, True), 1: (5, False)}


# -- Label Studio's own JSON -------------------------------------------------------------------------------------------


def prediction(version: str | None, result: list[Any]) -> dict[str, Any]:
    return {"id": 5, "model_version": version, "result": result, "score": 0.5, "created_ago": "a minute"}


def test_label_studio_gets_the_consensus_among_other_peoples_predictions() -> None:
    theirs, old = [{"value": {"choices": ["Polite"]}}], [{"value": {"choices": ["Impolite"]}}]
    raw = task(
        7,
        annotation(1, 1, "Polite"),
        predictions=[
            prediction("theirs", theirs),
            prediction(None, []),
            prediction("activelab-20260301-100000-000000", []),
            prediction("activelab-20260301-100000-000000", theirs),
            prediction(CONSENSUS_VERSION, old),
        ],
    )
    told = label_studio_task(raw, Questions((CONTROL,)), reviewed(consensus={7: "Polite"}, quality={7: 0.8}).scored)
    assert [one["model_version"] for one in told["predictions"]] == ["theirs", None, "consensus"]
    (region,) = told["predictions"][-1].pop("result")
    assert region == {
        "from_name": "politeness",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": ["Polite"]},
    }
    assert told["predictions"][-1] == {"score": 0.8, "model_version": "consensus"}
    assert told["total_predictions"] == 3
    assert told.keys() == {"id", "data", "updated_at", "annotations", "predictions", "total_predictions"}
    assert "created_ago" not in told["annotations"][0]
    assert told["annotations"][0]["result"] == raw["annotations"][0]["result"]


def test_an_accepted_label_of_the_model_stands_where_there_is_no_consensus() -> None:
    accepted = {7: Accepted("Impolite", 0.97, "digest"), 8: Accepted("Impolite", 0.97, "digest")}
    extras = Extras(accepted=accepted)
    told = row(task(7), extras=extras)
    assert [told[name] for name in ("label", "source", "probability", "consensus")] == ["Impolite", "model", 0.97, None]
    told = row(task(8), extras=extras, consensus={8: "Polite"}, quality={8: 0.6}, labels={(8, 1): "Polite"})
    assert [told[name] for name in ("label", "source", "probability")] == ["Polite", "consensus", 0.6]
    told = row(task(9), extras=extras)
    assert [told[name] for name in ("label", "source", "probability")] == [None, None, None]
    ours = {"result": [], "score": 0.9, "model_version": ACCEPTED_LABELS}
    (found,) = label_studio_task(task(7, predictions=[ours]), Questions((CONTROL,)), reviewed().scored, accepted)[
        "predictions"
    ]
    assert (found["model_version"], found["score"]) == (ACCEPTED_VERSION, 0.97)
    assert found["result"][0]["value"]["choices"] == ["Impolite"]


def test_label_studio_gets_no_consensus_where_there_is_none_and_no_score_without_a_model() -> None:
    raw = task(7)
    assert label_studio_task(raw, Questions((CONTROL,)), reviewed().scored)["predictions"] == []
    (told,) = label_studio_task(raw, Questions((CONTROL,)), reviewed(consensus={7: "Polite"}).scored)["predictions"]
    assert told["score"] is None


# -- files -------------------------------------------------------------------------------------------------------------


def many(count: int, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of tasks 1 to `count`, each with probabilities that tell it and the class apart."""
    control = Choices("politeness", "text", "text", classes, {name: name for name in classes})
    consensus = {number: classes[number % len(classes)] for number in range(1, count + 1) if number % 3}
    known = reviewed(
        consensus=consensus,
        labels={(number, 1): label for number, label in consensus.items()},
        pred_probs={number: np.arange(len(classes)) + number / 10_000 for number in range(1, count + 1)},
    )
    raws = [task(number) for number in range(1, count + 1)]
    records, questions = (record(raw, control) for raw in raws), Questions((control,))
    return list(task_rows(records, questions, [known], known.scored.scores, EXTRAS, shown_by(raws, control)))


def read(file_format: str, path: Path) -> list[dict[str, Any]]:
    if file_format == "csv":
        return pd.read_csv(path, float_precision="round_trip", keep_default_na=False, na_values=[""]).to_dict("records")
    if file_format == "jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    if file_format == "parquet":
        frame = pd.read_parquet(path).astype(object)
        return frame.where(frame.notna(), None).to_dict("records")
    loaded = datasets.load_from_disk(path)
    names = loaded.features["consensus"].names
    return [{**one, "consensus": None if one["consensus"] is None else names[one["consensus"]]} for one in loaded]


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet", "datasets"])
def test_odd_class_names_and_many_rows_come_back(file_format: str, tmp_path: Path) -> None:
    written = many(2500, ODD)
    write(file_format, iter(written), Questions((control_of(ODD),)), tmp_path / "new")
    found = read(file_format, tmp_path / "new")
    assert [one["task_id"] for one in found] == list(range(1, 2501))
    for name in ODD:
        assert [one[f"prob_{name}"] for one in found] == [one[f"prob_{name}"] for one in written]
    if file_format != "csv":  # where an empty class and no class look the same
        assert [one["consensus"] for one in found] == [one["consensus"] for one in written]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_dataset_has_images_and_recordings_if_they_are_given(tmp_path: Path) -> None:
    picture, sound = png(1), as_bytes(make(1), "FLAC")
    written = [{**row, "image": picture, "audio": sound} for row in many(120, ODD)]
    written[1] |= {"image": None, "audio": None}
    questions = Questions((control_of(ODD),))
    write("datasets", iter(written), questions, tmp_path / "new", {"image": "image", "audio": "audio"})
    loaded = datasets.load_from_disk(tmp_path / "new")
    assert loaded.features["audio"] == datasets.Audio(sampling_rate=16_000, decode=False)
    assert (loaded.num_rows, loaded[1]["image"], loaded[1]["audio"]) == (120, None, None)
    assert loaded[119]["image"].size == (48, 48)
    assert read_sound(loaded[119]["audio"]["bytes"])[1] == 16_000
    assert loaded[0]["consensus"] is not None


TWO = find_questions(
    '<View><Text name="text" value="$text"/>'
    '<Choices name="topic" toName="text"><Choice value="fish"/><Choice value="bikes"/></Choices>'
    '<Choices name="tags" toName="text" choice="multiple"><Choice value="old"/><Choice value="new"/></Choices></View>'
)


def rows_of_two(*results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a project with two questions. Each task has one annotation, which is its consensus."""
    raws = [task(number, {**annotation(number, 1, None), "result": result}) for number, result in enumerate(results, 1)]
    records = [read_task(raw, TWO) for raw in raws]
    reviews = []
    for name in TWO.names:
        labels = {
            one.id: found[name]
            for one in records
            if (label := one.annotations[0].label) is not None and name in (found := TWO.labels_of(label))
        }
        probs = {one.id: np.array([0.25, 0.75]) for one in records}
        given = {(number, 1): label for number, label in labels.items()}
        reviews.append(reviewed(labels=given, consensus=labels, predicted=labels, pred_probs=probs))
    scores = {one.id: one.id / 10 for one in records}
    return list(
        task_rows(records, TWO, reviews, scores, EXTRAS, lambda ids: {number: f"Text {number}" for number in ids})
    )


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet", "datasets"])
def test_each_of_several_questions_has_its_columns(file_format: str, tmp_path: Path) -> None:
    fish = TWO.result('{"topic": "fish", "tags": "[\\"old\\", \\"new\\"]"}')
    written = rows_of_two(fish, TWO.controls[0].result("bikes"))
    assert list(written[0]) == columns(TWO)
    assert [one["tags.consensus"] for one in written] == [["old", "new"], []]
    path = tmp_path / "new"
    write(file_format, written, TWO, path)
    if file_format == "datasets":
        found = list(datasets.load_from_disk(path))
        assert [one["topic.consensus"] for one in found] == [0, 1]
        assert [list(one["tags.consensus"]) for one in found] == [[0, 1], []]
        return
    first, second = read(file_format, path)
    if file_format == "jsonl":
        assert list(first) == ["task_id", "text", "questions", "score", "rank", "second_opinion", "annotations"]
        assert first["questions"]["tags"]["consensus"] == ["old", "new"]
        assert second["questions"]["topic"]["prob_bikes"] == 0.75
        assert first["annotations"][0]["label"] == {"topic": "fish", "tags": ["old", "new"]}
        return
    assert list(first) == columns(TWO)
    assert (first["topic.consensus"], second["topic.consensus"]) == ("fish", "bikes")
    expected = '["old","new"]' if file_format == "csv" else ["old", "new"]
    tags = first["tags.consensus"]
    assert (tags if file_format == "csv" else list(tags)) == expected
    assert second["topic.prob_bikes"] == 0.75


def test_two_columns_of_one_name_are_refused() -> None:
    names = {"a": ("x.consensus", "y"), "a.prob_x": ("p", "q")}
    controls = [
        Choices(name, "text", "text", classes, {one: one for one in classes}) for name, classes in names.items()
    ]
    with pytest.raises(UsageError, match=r"called 'a\.prob_x\.consensus'\. Rename"):
        columns(Questions(tuple(controls)))


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet", "label-studio"])
def test_a_project_without_tasks_is_a_file_without_rows(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / "new"
    write(file_format, [], Questions((CONTROL,)), path)
    if file_format == "label-studio":
        assert json.loads(path.read_text()) == []
        return
    assert read(file_format, path) == []
    if file_format == "csv":
        assert next(csv.reader([path.read_text()])) == columns(Questions((CONTROL,)))


def test_a_lone_surrogate_leaves_the_rest(tmp_path: Path) -> None:
    made = row(task(7, data={"text": ["a\ud800b"]}), extras=Extras(texts={7: ["a\ud800b"]}))
    for file_format in ("csv", "jsonl"):
        write(file_format, [made], Questions((CONTROL,)), tmp_path / file_format)
        assert "a?b" in (tmp_path / file_format).read_text(encoding="utf-8")


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet", "label-studio"])
def test_a_full_disk_is_for_later(file_format: str) -> None:
    full = Path("/dev/full")
    with pytest.raises(TryAgainLater) as told, translate_os_errors(Path("labels")):
        write(file_format, many(2500, CONTROL.classes), Questions((CONTROL,)), full)
    assert str(told.value) == "labels cannot be written: No space left on device. Free some space."


def test_csv_quotes_all_that_a_reader_may_take_for_the_end_of_a_line(tmp_path: Path) -> None:
    odd = ["a\rb", "\rc", "a\nb", "a\r\nb\r\n", ' "a", b ', "x\x85\u2028"]
    made = [row(task(number, data={"text": text})) for number, text in enumerate(odd)]
    write("csv", made, Questions((CONTROL,)), tmp_path / "new")
    found = pd.read_csv(tmp_path / "new", converters={"text": str})["text"]
    assert list(found) == odd


# -- formats by name ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_ending_says_the_format(ending: str) -> None:
    assert format_of(Path(f"a/b.c{ending}")) == ending[1:]
    assert format_of(Path(f"LABELS{ending.upper()}")) == ending[1:]


@pytest.mark.parametrize("name", ["labels", "labels.json", "labels.xlsx", ".csv", "labels.csv.gz", "a.csv/labels"])
def test_another_ending_is_told_what_there_is(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        format_of(Path(name))
    said = str(raised.value)
    assert all(word in said for word in (name, ".csv", ".jsonl", ".parquet", "--format", "label-studio", "datasets"))


def test_a_package_that_is_missing_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for file_format in ("csv", "jsonl", "label-studio", "parquet", "datasets"):
        require(file_format)
    monkeypatch.setitem(sys.modules, "datasets", None)
    require("parquet")
    with pytest.raises(UsageError, match=r"needs datasets: pip install 'label-studio-activelab\[export\]'"):
        require("datasets")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"parquet needs pyarrow: pip install 'label-studio-activelab\[export\]'"):
        require("parquet")
    with pytest.raises(UsageError, match="needs pyarrow and datasets"):
        require("datasets")
    for file_format in ("csv", "jsonl", "label-studio"):
        require(file_format)
