"""Projects that cannot be served, or not all of them: other configs, tasks without a text, choices that are gone."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from support.command_runner import COMMANDS, Commands, assert_all_fail
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

TEXT = '<Text name="text" value="$text"/>'
SINGLE = '<Choices name="politeness" toName="text"{}><Choice value="Polite"/><Choice value="Impolite"/></Choices>'


def config(*tags: str) -> str:
    return "<View>" + "".join(tags) + "</View>"


# -- a labelling config that was served, and is not to be served any more ----------------------------------------------


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        pytest.param(
            config(TEXT, SINGLE.format(' perItem="true"')),
            "Found: Choices 'politeness' (perItem=\"true\").",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            config(TEXT, SINGLE.format(' perRegion="true"')),
            "Found: Choices 'politeness' (perRegion=\"true\").",
            marks=pytest.mark.nightly,
        ),
        (
            config(TEXT, SINGLE.format("").replace("politeness", "tone")),
            "called 'politeness' that can be served. Found: Choices 'tone' (can be served).",
        ),
        pytest.param(
            config(TEXT, '<Choices name="politeness" toName="text"><Choice value="Polite"/></Choices>'),
            "Found: Choices 'politeness' (fewer than two choices).",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            config('<Video name="text" value="$text"/>', SINGLE.format("")),
            "Found: Choices 'politeness' (on Video).",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            config(TEXT, '<TextArea name="politeness" toName="text"/>'),
            "Found: TextArea 'politeness' (another kind of control).",
            marks=pytest.mark.nightly,
        ),
        (config(TEXT), "Found: no control at all."),
    ],
    ids=["per item", "per region", "renamed", "one choice", "another object", "another control", "no control"],
)
def test_a_config_that_cannot_be_served_any_more_stops_all_but_undo(
    commands: Commands, start: StartProject, changed: str, found: str
) -> None:
    loop = start(texts(8))
    loop.sync()
    loop.set(label_config=changed)
    names = [name for name in COMMANDS if name != "undo"]
    assert_all_fail(commands, loop, 2, found, names=names)
    told = commands.run(loop, "status", "--json")
    assert json.loads(told.out)["queue"]["size"] == 8, "what the last sync knew"
    assert commands.run(loop, "undo").code == 0
    assert loop.project()["label_config"] == changed


# -- tasks whose text is missing, empty or no text ---------------------------------------------------------------------


def odd_project(start: StartProject) -> ProjectDriver:
    """Three tasks with a text, the others without; Label Studio takes such tasks before it has a labelling config."""
    odd: list[dict[str, Any]] = [
        {"text": ""},
        {"text": "  \n"},
        {"text": None},
        {"text": {"a": 5}},
        {"text": []},
        {"b": "a"},
    ]
    loop = start([{"text": text} for text in texts(3)] + odd, config="<View></View>", adopted=False)
    loop.set(label_config="<View>" + TEXT + SINGLE.format("") + "</View>")
    loop.adopt()
    return loop


def test_tasks_without_a_text_are_left_out_and_told(
    commands: Commands, start: StartProject, people: Annotators
) -> None:
    loop = odd_project(start)
    first, other = people(2)
    with_text, without = loop.tasks[:3], loop.tasks[3:]
    for person, task in ((first, loop.tasks[0]), (other, loop.tasks[0]), (first, without[0]), (other, without[1])):
        loop.label(person, task, "Impolite" if task == without[1] else "Polite")
    annotations = loop.annotations()

    done = commands.run(loop, "sync", "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["tasks"], summary["without_text"], summary["unknown_choices"]) == (9, 6, 0)
    assert sorted(loop.window) == with_text[1:]
    first_id, second_id, third, fourth, fifth, sixth = without
    named = (
        f"Left out: 6 tasks without a text, 2 of them with annotations: {first_id}, {second_id}, {fifth} ('text' is "
        f"blank), {third} ('text' is null), {fourth} ('text' is an object), {sixth} (it has no 'text')."
    )
    assert named in commands.run(loop, "sync").out
    told = commands.run(loop, "status")
    assert "9: 1 labelled, 2 unlabelled, 6 without content" in told.out
    assert json.loads(commands.run(loop, "status", "--json").out)["tasks"]["without_text"] == 6

    exported = json.loads(commands.run(loop, "export", "--json").out)
    assert (exported["tasks"], exported["without_text"]) == (9, 6)
    with (commands.folder / "out.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 9
    doctor = commands.run(loop, "doctor")
    assert doctor.code == 0
    assert "6" in next(line for line in doctor.out.splitlines() if "texts" in line)
    assert loop.annotations() == annotations


# -- choices that the config no longer has -----------------------------------------------------------------------------


def test_choices_that_are_gone_are_left_out_and_told(
    commands: Commands, start: StartProject, people: Annotators
) -> None:
    loop = start(texts(10))
    first, other = people(2)
    for number, task in enumerate(loop.tasks[:4]):
        loop.label(first, task, "Impolite" if number % 2 else "Polite")
    loop.label(other, loop.tasks[0], "Rude")
    loop.label(other, loop.tasks[5], "Rude")
    loop.sync()
    assert loop.state.trained().keys() == set(loop.tasks[:4])

    renamed = loop.project()["label_config"].replace('value="Impolite"', 'value="Unkind"')
    loop.set(label_config=renamed)
    annotations = loop.annotations()
    done = commands.run(loop, "sync", "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["annotations"], summary["unknown_choices"]) == (6, 4)
    labels = {row.label for task in loop.state.tasks().values() for row in task.annotations}
    assert labels == {"Polite", None}
    assert "Left out: 4 annotations with an answer that the config no longer has: " in commands.run(loop, "sync").out
    found = json.loads(commands.run(loop, "status", "--json").out)
    assert (found["labels"]["total"], found["labels"]["unknown_choices"]) == (2, 4)
    assert json.loads(commands.run(loop, "export", "--json").out)["unknown_choices"] == 4
    assert "4" in next(line for line in commands.run(loop, "doctor").out.splitlines() if "choices" in line)
    assert loop.annotations() == annotations
    assert set(loop.tasks[6:]) <= set(loop.window)
    assert loop.project()["model_version"] == summary["queue_version"] != ""

    # An alias keeps the labels of a choice that was renamed, as doctor says.
    remedy = next(line for line in commands.run(loop, "doctor").out.splitlines() if "choices" in line)
    assert 'give the new one its old name as alias, such as <Choice value="New name" alias="Old name"/>' in remedy
    loop.set(label_config=renamed.replace('value="Unkind"', 'value="Unkind" alias="Impolite"'))
    assert json.loads(commands.run(loop, "sync", "--json").out)["unknown_choices"] == 2

    # Back again, they are labels as before.
    loop.set(label_config=renamed.replace('value="Unkind"', 'value="Impolite"'))
    assert json.loads(commands.run(loop, "sync", "--json").out)["unknown_choices"] == 2


# -- labels that no model can learn from -------------------------------------------------------------------------------


def test_labels_on_one_text_alone_give_no_model_and_a_window_as_at_the_start(
    commands: Commands, start: StartProject, people: Annotators
) -> None:
    loop = start(["thanks"] * 4 + texts(6))
    (person,) = people(1)
    same, others = loop.tasks[:4], loop.tasks[4:]
    for number, task in enumerate(same):
        loop.label(person, task, "Impolite" if number % 2 else "Polite")
    done = commands.run(loop, "sync", "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["trained"], summary["model_version"]) == (False, None)
    assert summary["window"] == {"size": 6, "new": 6, "relabel": 0}
    assert sorted(loop.window) == others
    always = commands.run(loop, "sync", "--train", "always")
    assert always.code == 0, always.err
    assert "No model yet. " in always.out

    loop.label(person, others[0], "Polite")
    assert json.loads(commands.run(loop, "sync", "--json").out)["trained"]
