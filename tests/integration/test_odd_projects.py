"""Projects with odd tasks, annotations and configs on a real Label Studio: nothing stops, and all is named."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from support.command_runner import Commands
from support.doctor_helpers import findings, follow, not_fine
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

NO_CONFIG = "<View></View>"
CHOICES = '<Choices name="politeness" toName="text"{}><Choice value="Polite"/><Choice value="Impolite"/>{}</Choices>'
FIRST = ("init", "sync", "status")


def config(text: str = 'value="$text"', choices: str = CHOICES.format("", "")) -> str:
    return f'<View><Text name="text" {text}/>{choices}</View>'


def region(value: Any) -> dict[str, Any]:
    return {"from_name": "politeness", "to_name": "text", "type": "choices", "value": value}


# Values of a region that Label Studio stores, and why they give no label.
BROKEN: list[tuple[Any, str]] = [
    (None, "its value is null"),
    ("Polite", "its value is a string"),
    (["Polite"], "its value is a list"),
    (5, "its value is a number"),
    (True, "its value is true"),
    ({"choices": 5}, "its choices are a number"),
    ({"choices": True}, "its choices are true"),
    ({"choices": ["Polite", None]}, "one of its choices is null"),
]


def annotated(text: str, value: Any) -> dict[str, Any]:
    """A task as it is imported, with an annotation whose region has this value."""
    return {"data": {"text": text}, "annotations": [{"result": [region(value)], "ground_truth": False}]}


def runs(commands: Commands, loop: ProjectDriver, *names: str) -> dict[str, str]:
    """What the first commands and these print. None of them fails."""
    printed = {}
    for name in (*FIRST, *names):
        done = commands.run(loop, name)
        assert done.code == 0, f"{name}: {done.said}"
        printed[name] = done.out
    return printed


def test_answers_that_cannot_be_read_stop_nothing_and_are_named(commands: Commands, start: StartProject) -> None:
    readable = [{"choices": "Polite"}, {"choices": ["Impolite"]}, {"choices": "Impolite"}, {"choices": ["Polite"]}]
    values = [*readable, *(value for value, _ in BROKEN)]
    loop = start(
        [annotated(text, value) for text, value in zip(texts(len(values)), values, strict=True)], adopted=False
    )
    broken = {row["task"]: row["id"] for row in loop.annotations().values()}
    lost = dict(zip(loop.tasks[len(readable) :], (cause for _, cause in BROKEN), strict=True))

    printed = runs(commands, loop, "export", "report")
    first, second = (broken[task] for task in loop.tasks[4:6])
    named = f"Left out: 8 annotations with an answer that cannot be read: {first} (its value is null), {second} (its"
    assert named in printed["sync"]
    assert "Labels      4 by 1 annotator" in printed["status"]
    assert "8 that cannot be read" in printed["status"]
    labels = {task.id: task.annotations[0].label for task in loop.state.tasks().values()}
    assert list(labels.values())[:5] == ["Polite", "Impolite", "Impolite", "Polite", None]
    with (commands.folder / "out.csv").open(newline="") as file:
        exported = {int(row["task_id"]): json.loads(row["annotations"])[0] for row in csv.DictReader(file)}
    assert {task: row["unreadable"] for task, row in exported.items() if row["unreadable"]} == lost
    found = findings(loop)["answers"]
    assert found.level == "warning"
    assert found.cause.startswith(
        "4 of 12 annotations give a label. 8 annotations have an answer that cannot be read: "
    )
    assert f"Delete annotation {first} at {loop.gateway.url}/projects/{loop.id}/data?task=" in found.remedy


def test_nested_choices_that_are_flat_and_a_choice_without_a_value(commands: Commands, start: StartProject) -> None:
    """With allowNested, the form submits paths."""
    paths = [[["Polite"]], [["Impolite"]], [["Polite"]], [["Impolite"]], [[""]]]
    tasks = [annotated(text, {"choices": path}) for text, path in zip(texts(6), paths, strict=False)]
    choices = CHOICES.format(' allowNested="true"', '<Choice value=""/>')
    loop = start([*tasks, {"data": {"text": texts(6)[5]}}], config=config(choices=choices), adopted=False)
    annotation = max(loop.annotations())

    printed = runs(commands, loop)
    assert "A Choice without a value is left out: give it a value or an alias." in printed["init"]
    assert f"1 annotation with an answer that the config no longer has: {annotation} ('')" in printed["sync"]
    assert "Trained model" in printed["sync"]
    assert "Labels      4 by 1 annotator" in printed["status"]
    assert not_fine(loop) == {"choices": "warning"}
    assert commands.run(loop, "sync", "--prelabel", "new").code == 0
    chosen = [row["result"][0]["value"]["choices"] for row in loop.served() if row["result"]]
    assert chosen in ([[["Polite"]]], [[["Impolite"]]])  # of the one task that nobody has labelled


def test_texts_are_read_as_the_form_shows_them(commands: Commands, start: StartProject, people: Annotators) -> None:
    shown: list[Any] = ["Could you look?", 4711, 0.5, ["a", "b"], True, "https://example.com/a"]
    hidden: list[Any] = [None, "", {"a": 1}, "s3://bucket/a.txt", "/data/local-files/?d=a.txt"]
    tasks = [{"llm": {"outputs": [value]}} for value in [*shown, *hidden]] + [{"llm": {}}]
    loop = start(tasks, config=NO_CONFIG, adopted=False)
    loop.set(label_config=config('value="$llm.outputs[0]"'))
    first = people(1)[0]
    for number, task in enumerate([*loop.tasks[:2], loop.tasks[-1]]):
        loop.label(first, task, ("Polite", "Impolite")[number % 2])

    printed = runs(commands, loop)
    without = loop.tasks[len(shown) :]
    assert f"Left out: 6 tasks without a text, 1 of them with annotations: {without[0]} (" in printed["sync"]
    texts_read = loop.state.texts(loop.tasks)
    assert list(texts_read.values()) == ["Could you look?", "4711", "0.5", "a,b", "true", "https://example.com/a"]
    assert set(loop.window) == set(loop.tasks[2 : len(shown)])
    found = findings(loop)["texts"]
    assert f"1 task of them has annotations ({without[-1]})." in found.cause
    assert "elete" not in found.remedy


def test_where_no_task_has_the_text_init_names_the_keys(commands: Commands, start: StartProject) -> None:
    loop = start([{"body": "Thanks", "title": "A"}, {"body": "Now", "title": "B"}], config=NO_CONFIG, adopted=False)
    loop.set(label_config=config())
    before = loop.dump()
    done = commands.fail(loop, "init")
    assert done.code == 2
    ids = ", ".join(map(str, loop.tasks))
    assert (
        f"Nothing was changed: no task of project {loop.id} has a text under 'text', which the labelling config shows: "
        f"{ids} (it has no 'text'). The tasks have 'body', 'title'. In Settings, Labeling Interface, let the Text show "
        'one of these, such as value="$body".'
    ) in " ".join(done.err.split())
    assert loop.dump() == before
    loop.set(label_config=config('value="$body"'))
    assert commands.run(loop, "init").code == 0


@pytest.mark.parametrize(
    ("accepted", "found"),
    [
        (config('value="$text" valuetype="Url"'), 'its Text has valueType="Url"'),
        (
            f'<View><Text name="text" value="$text"/><Repeater on="$list">{CHOICES.format("", "")}</Repeater></View>',
            "inside a Repeater",
        ),
        pytest.param(
            config('value="$text for labeling"'), "of which the form reads $text alone", marks=pytest.mark.nightly
        ),
        pytest.param(config('value="$text" resolver="csv"'), "its Text shows another file", marks=pytest.mark.nightly),
        pytest.param(
            config(choices=CHOICES.format(' perregion="true"', "")), 'perRegion="true"', marks=pytest.mark.nightly
        ),
    ],
    ids=["url", "repeater", "words", "resolver", "per region"],
)
def test_what_the_form_shows_otherwise_is_refused(
    commands: Commands, start: StartProject, accepted: str, found: str
) -> None:
    loop = start([], config=accepted, adopted=False)
    done = commands.fail(loop, "init")
    assert done.code == 2
    assert found in " ".join(done.err.split())


def test_tags_in_small_letters_are_served(commands: Commands, start: StartProject) -> None:
    loop = start(texts(2), config=config().replace("Choices", "choices").replace("<Text", "<text"), adopted=False)
    assert commands.run(loop, "init").code == 0
    assert commands.run(loop, "sync").code == 0


def test_tasks_whose_answers_give_no_label_are_asked_of_others(
    commands: Commands, start: StartProject, people: Annotators
) -> None:
    """Left blank, and with a choice that is taken out of the config later."""
    third = CHOICES.format("", '<Choice value="Other"/>')
    loop = start([{"data": {"text": text}} for text in texts(6)], config=config(choices=third), adopted=False)
    first, other = people(2)
    for task, label in zip(loop.tasks[:3], ("Polite", "Impolite", "Other"), strict=True):
        loop.label(first, task, label)
    first.submit({"id": loop.tasks[3]}, "politeness", "text", [])
    loop.label(other, loop.tasks[0])
    loop.set(label_config=config())

    printed = runs(commands, loop)
    asked = {slot.task: slot.relabel for slot in loop.state.window()}
    assert asked == {**dict.fromkeys(loop.tasks[1:4], True), **dict.fromkeys(loop.tasks[4:], False)}
    assert loop.flags(loop.tasks[3]) == [(2, False)]
    assert "(second opinion)" in printed["status"]
    given = {task for _ in asked if (task := loop.turn(other)) is not None}
    assert given == set(asked)
    assert loop.sync()["labels_changed"] > 0
    assert "6 labelled, 0 unlabelled" in runs(commands, loop)["status"]


@pytest.mark.parametrize("by", ["config", "data"])
def test_a_model_learns_anew_from_tasks_whose_texts_were_corrected(
    start: StartProject, people: Annotators, by: str
) -> None:
    """The form shows another key of the tasks, or their texts are patched. The labels stay as they are."""
    tasks = [{"data": {"text": f"Number {n}", "body": text}} for n, text in enumerate(texts(30))]
    loop = start(tasks)
    person = people(1)[0]
    for place, task in enumerate(loop.tasks[:12]):
        loop.label(person, task, "Impolite" if place % 2 else "Polite")
    assert loop.sync()["trained"]
    assert not loop.sync()["trained"]
    if by == "config":
        loop.set(label_config=config('value="$body"'))
    else:
        for task, row in zip(loop.tasks[:12], tasks, strict=False):
            loop.call("PATCH", f"/api/tasks/{task}/", json={"data": {"text": row["data"]["body"]}})
    learned = loop.sync()
    assert (learned["trained"], learned["labels_changed"]) == (True, 12)
    assert learned["model_agreement"] is not None
    assert not loop.sync(train="auto")["trained"]


def test_tasks_that_were_imported_as_skipped_are_named_and_asked_after_the_remedy(
    commands: Commands, start: StartProject, people: Annotators
) -> None:
    """Label Studio takes a task with a skip alone as complete when it is imported."""
    skip = {"result": [], "was_cancelled": True, "ground_truth": False}
    plain = [{"data": {"text": text}} for text in texts(8)]
    loop = start([*plain[:6], *({**row, "annotations": [skip]} for row in plain[6:])])
    skipped, (person,) = loop.tasks[6:], people(1)
    loop.label(person, loop.tasks[0])  # somebody else than the one who skipped is there to be asked
    assert [done for task in skipped for _, done in loop.flags(task)] == [True, True]
    loop.sync()
    assert set(loop.window) == set(loop.tasks[1:6])
    found = findings(loop)["stuck_tasks"]
    assert found.level == "warning"
    assert f"2 tasks ({skipped[0]}, {skipped[1]}) without an answer are marked as complete" in found.cause
    for task in skipped:
        follow(loop, found.remedy, ID=str(task))
    assert set(loop.window) == set(loop.tasks[1:])
    assert not_fine(loop) == {}
    assert {loop.turn(person) for _ in loop.window} == set(loop.tasks[1:])
    assert loop.sync()["window"]["size"] == 0
    assert loop.sync()["round"] == loop.sync()["round"]


def test_a_task_that_label_studio_cannot_show_stops_nothing(commands: Commands, start: StartProject) -> None:
    labelled = [
        annotated(text, {"choices": ["Polite" if place % 2 else "Impolite"]}) for place, text in enumerate(texts(6))
    ]
    loop = start([*labelled, *({"data": {"text": f"New {text}"}} for text in texts(4))])
    assert commands.run(loop, "sync", "--train", "always").code == 0
    half = json.dumps([{"data": {"text": "half \ud83d pair"}}])
    path, headers = f"{loop.server.url}/api/projects/{loop.id}/import", {"Content-Type": "application/json"}
    assert loop.server.api.post(path, data=half, headers=headers, timeout=60).status_code == 201
    (odd,) = {raw["id"] for page in loop.gateway.tasks(loop.id, fields="id") for raw in page} - set(loop.tasks)
    page = loop.server.api.get(f"{loop.server.url}/api/tasks", params={"project": loop.id, "fields": "all"}, timeout=60)
    assert page.status_code == 500

    cause = f"{odd} (Label Studio cannot show it)"
    synced = commands.run(loop, "sync")
    assert synced.code == 0
    assert cause in synced.out
    assert loop.window
    assert odd not in loop.window
    doctor = commands.run(loop, "doctor").out
    assert cause in doctor
    assert f"DELETE {loop.gateway.url}/api/tasks/ID/, or PATCH it with other data." in doctor
    for file_format in ("csv", "label-studio"):
        out = commands.folder / f"out.{file_format}"
        done = commands.run(loop, "export", "--format", file_format, "--out", str(out))
        assert done.code == 0, done.err
        assert str(odd) in out.read_text("utf-8")
    assert commands.run(loop, "status").code == 0
    assert commands.run(loop, "report").code == 0
    assert commands.run(loop, "undo").code == 0
    assert commands.run(loop, "init").code == 0
    loop.call("PATCH", f"/api/tasks/{odd}/", json={"data": {"text": "both halves"}})
    assert cause not in commands.run(loop, "sync").out
    assert "all" in commands.run(loop, "doctor").out
    loop.call("DELETE", f"/api/tasks/{odd}/")
