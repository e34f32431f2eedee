"""Each kind of control, and several kinds of content, from init to undo: on a real Label Studio with the real model."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from support.command_runner import Commands
from support.doctor_helpers import not_fine
from support.project_driver import ProjectDriver, StartProject

from connector.annotations.label_config import find_control
from connector.annotations.records import read_annotation

TEXT = '<Text name="t" value="$text"/>'
TREE = '<Choice value="Food"><Choice value="Fish"/><Choice value="Fruit"/></Choice><Choice value="Travel"/>'
SAID = (("a salmon from the sea", "a trout"), ("an apple from the tree", "a pear"), ("a train to the city", "a plane"))
# The config's tags, and the labels of texts about fish, fruit and travel.
KINDS: dict[str, tuple[str, tuple[str, str, str]]] = {
    "taxonomy": (
        f'{TEXT}<Taxonomy name="c" toName="t" maxUsages="1">{TREE}</Taxonomy>',
        ("Food / Fish", "Food / Fruit", "Travel"),
    ),
    "nested choices": (
        f'{TEXT}<Choices name="c" toName="t" allowNested="true">{TREE}</Choices>',
        ("Food / Fish", "Food / Fruit", "Travel"),
    ),
    "rating": (f'{TEXT}<Rating name="c" toName="t" maxRating="3"/>', ("1", "2", "3")),
    "number": (f'{TEXT}<Number name="c" toName="t" min="0" max="1" step="0.5"/>', ("0", "0.5", "1")),
    "page": (
        '<HyperText name="t" value="$page"/><Choices name="c" toName="t"><Choice value="1"/><Choice value="2"/>'
        '<Choice value="3"/></Choices>',
        ("1", "2", "3"),
    ),
    "pairwise": (
        f'<Pairwise name="c" toName="t,u"/>{TEXT}<Text name="u" value="$other"/>',
        ("left", "right", "left"),
    ),
    "turns": (
        '<Paragraphs name="t" value="$turns"/><Rating name="c" toName="t" maxRating="3"/>',
        ("1", "2", "3"),
    ),
}
COUNT, LABELLED = 45, 30


def tasks(config: str, labels: tuple[str, str, str]) -> list[dict[str, Any]]:
    """Tasks of three topics, most of them with a label."""
    control = find_control(config)
    made = []
    for number in range(COUNT):
        topic = number % 3
        text = f"{number}: {SAID[topic][0]} and {SAID[topic][1]}"
        other = f"{number}: {SAID[1 - topic % 2][0]} and {SAID[1 - topic % 2][1]}"
        left = f"{number}: {SAID[topic % 2][0]} and {SAID[topic % 2][1]}"
        if "Pairwise" in config:
            text = left  # a fish on the left is the better side
        data = {"text": text, "other": other, "page": f"<p>{text}</p>", "turns": [{"author": "Anna", "text": text}]}
        annotations = [{"result": control.result(labels[topic]), "ground_truth": False}] if number < LABELLED else []
        made.append({"data": data, "annotations": annotations})
    return made


def consensus(loop: ProjectDriver, commands: Commands) -> list[str]:
    assert commands.run(loop, "export").code == 0
    (file,) = commands.folder.glob("*.csv")
    with file.open(newline="", encoding="utf-8") as rows:
        return [row["consensus"] for row in csv.DictReader(rows)]


@pytest.mark.parametrize(
    "name",
    [
        "rating",
        "nested choices",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in KINDS if name not in ("rating", "nested choices")),
    ],
)
def test_labels_are_learnt_predicted_published_exported_and_taken_back(
    commands: Commands, start: StartProject, name: str
) -> None:
    tags, labels = KINDS[name]
    config = f"<View>{tags}</View>"
    control = find_control(config)
    loop = start(tasks(config, labels), config=config, adopted=False)
    before = loop.dump()

    assert "set up: 'c' with" in commands.run(loop, "init").out
    synced = commands.run(loop, "sync", "--train", "always", "--prelabel", "new", "--publish-consensus")
    assert synced.code == 0, synced.said
    assert "Trained model" in synced.out
    assert f"Labels      {LABELLED} by 1 annotator" in commands.run(loop, "status").out
    assert not_fine(loop) == {}
    expected = [labels[number % 3] for number in range(LABELLED)]
    assert consensus(loop, commands) == [*expected, *[""] * (COUNT - LABELLED)]
    assert commands.run(loop, "report").code == 0

    predicted = {row["task"]: read(row, control) for row in loop.served() if row["result"]}
    assert set(predicted) == set(loop.tasks[LABELLED:])
    truth = {task: labels[number % 3] for number, task in enumerate(loop.tasks)}
    right = [label == truth[task] for task, label in predicted.items()]
    assert sum(right) > 0.8 * len(right)
    published = [row for row in loop.predictions() if row["model_version"] == "activelab-consensus"]
    assert {row["task"]: read(row, control) for row in published} == dict(zip(loop.tasks, expected, strict=False))

    assert commands.run(loop, "undo").code == 0
    assert loop.predictions() == []
    assert loop.dump()["project"]["model_version"] == before["project"]["model_version"]


def read(row: dict[str, Any], control: Any) -> str | None:
    """The label that a prediction shows, as an annotation of it would be read."""
    annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "ground_truth": False}
    times = {"created_at": "", "updated_at": ""}
    label: str | None = read_annotation({**annotation, **times, "result": row["result"]}, row["task"], control).label
    return label
