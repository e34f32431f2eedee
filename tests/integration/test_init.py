"""`connector init` on a real Label Studio: what it changes, what it remembers, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.connector_commands import connector
from support.label_studio_server import Annotators
from support.project_driver import StartProject, on_both_databases, texts

from connector.errors import UsageError
from connector.queue.settings import REQUIRED_SETTINGS
from connector.queue.views import TAB_TITLES
from connector.state.project_state import Original

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio


pytestmark = on_both_databases


def config(*tags: str) -> str:
    return "<View>" + "".join(tags) + "</View>"


TEXT = '<Text name="text" value="$text"/>'
SINGLE = '<Choices name="politeness" toName="text"><Choice value="Polite"/><Choice value="Impolite"/></Choices>'


# -- what it sets ------------------------------------------------------------------------------------------------------


def test_init_sets_what_the_queue_needs_and_remembers_what_was_there(start: StartProject, people: Annotators) -> None:
    loop = start(
        texts(4), adopted=False, maximum_annotations=2, sampling="Sequential sampling", show_overlap_first=True
    )
    first, other = people(2)
    loop.label(first, loop.tasks[0])
    loop.label(first, loop.tasks[1])
    loop.label(other, loop.tasks[1])
    before, flags = loop.project(), dict(zip(loop.tasks, loop.flags(*loop.tasks), strict=True))
    assert flags[loop.tasks[0]] == (2, False)

    done = loop.adopt()

    assert done["changed"] == ["maximum_annotations", "sampling", "show_overlap_first"]
    after = loop.project()
    assert {name: after[name] for name in REQUIRED_SETTINGS} == REQUIRED_SETTINGS
    remembered = loop.state.record().original_settings
    assert remembered["sampling"] == "Sequential sampling"
    assert remembered["maximum_annotations"] == 2
    assert remembered == {name: before[name] for name in remembered}
    assert {task: (known.overlap, known.is_labeled) for task, known in loop.state.originals().items()} == flags


def test_init_twice_is_the_same_as_once(start: StartProject) -> None:
    loop = start(texts(4), adopted=False, maximum_annotations=2)
    loop.adopt(min_annotations_per_task=2)
    once, known = loop.dump(), replace(loop.state.record(), lock_until=None)
    again = loop.adopt(min_annotations_per_task=2)
    assert again["already"]
    assert again["changed"] == []
    assert loop.dump() == once
    assert replace(loop.state.record(), lock_until=None) == known


def test_init_after_a_sync_leaves_the_queue_alone(start: StartProject, people: Annotators) -> None:
    loop = start(texts(12))
    loop.label(people(1)[0], loop.tasks[0])
    loop.sync()
    once = loop.dump()
    loop.adopt()
    assert loop.dump() == once
    assert loop.sync()["seconds"].keys() == {"pull"}


def test_init_repairs_settings_and_keeps_the_queue(start: StartProject) -> None:
    loop = start(texts(12))
    version = loop.sync()["queue_version"]
    loop.set(show_collab_predictions=False, model_version=version)
    assert loop.adopt()["changed"] == ["show_collab_predictions"]
    assert loop.project()["model_version"] == version
    loop.assert_published()


def test_init_that_failed_half_way_still_knows_what_was_there(start: StartProject) -> None:
    loop = start(texts(3), adopted=False, maximum_annotations=2)
    with pytest.raises(UsageError, match="could not connect the ML backend"):
        loop.adopt(backend_url="http://127.0.0.1:9")
    loop.adopt()
    assert loop.state.record().original_settings["maximum_annotations"] == 2
    assert loop.state.record().original_settings["sampling"] == "Sequential sampling"
    assert loop.state.originals() == dict.fromkeys(loop.tasks, Original(2, False, answers=0))


def test_tab_comes_first_where_there_is_none_and_a_direct_link_follows_the_window(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(5))
    assert [tab["data"]["title"] for tab in loop.tabs()] == list(TAB_TITLES)
    loop.sync()
    person = people(1)[0]
    ordering = loop.tabs()[0]["data"]["ordering"]
    served = []
    for _ in loop.tasks:
        task = person.next_task_by_link(loop.id, ordering)
        assert task is not None
        loop.label(person, task["id"])
        served.append(task["id"])
    assert served == loop.window


def test_tabs_that_are_there_stay_as_they_are(start: StartProject) -> None:
    loop = start(texts(3), adopted=False)
    view = {"title": "Ours", "type": "list", "target": "tasks", "ordering": ["-tasks:id"]}
    loop.call("POST", "/api/dm/views/", json={"project": loop.id, "data": view})
    before = loop.tabs()
    loop.adopt()
    loop.adopt()
    assert loop.tabs()[0] == before[0]
    assert [tab["data"]["title"] for tab in loop.tabs()] == ["Ours", *TAB_TITLES]


# -- a rule of several annotations a task ------------------------------------------------------------------------------


def test_rule_of_several_annotations_ends_only_with_a_yes(start: StartProject, people: Annotators) -> None:
    loop = start(texts(5), adopted=False, maximum_annotations=3)
    loop.label(people(1)[0], loop.tasks[0])
    before = loop.dump()

    refused = connector(loop, "init", "--project", str(loop.id))
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert "maximum_annotations = 3" in refused.stderr
    assert "--yes" in refused.stderr
    assert "--min-annotations-per-task 3" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert loop.dump() == before
    assert connector(loop, "sync", "--project", str(loop.id)).returncode == 2, "it is not set up"
    assert loop.dump() == before

    done = connector(loop, "init", "--project", str(loop.id), "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] == ["maximum_annotations", "sampling"]
    assert loop.project()["maximum_annotations"] == 1
    assert {known.overlap for known in loop.state.originals().values()} == {3}


def test_refusal_in_a_prompt_changes_nothing(start: StartProject) -> None:
    loop = start(texts(3), adopted=False, maximum_annotations=2)
    before = loop.dump()
    with pytest.raises(UsageError, match="Nothing was changed"):
        loop.adopt(confirm=lambda question: False)
    assert loop.dump() == before
    assert loop.state.record().adopted_at is None


def test_wanted_annotations_a_task_come_first_in_the_window_as_second_opinions(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(20), adopted=False, maximum_annotations=2)
    first, other, third = people(3)
    t = loop.tasks
    for task in t[:4]:
        loop.label(first, task)
    loop.label(other, t[3])
    assert loop.flags(t[3]) == [(2, True)]

    done = connector(loop, "init", "--project", str(loop.id), "--yes", "--min-annotations-per-task", "2")
    assert done.returncode == 0, done.stderr
    summary = loop.sync(window=5)
    assert summary["window"]["relabel"] == 3
    assert [slot.task for slot in loop.state.window() if slot.relabel] == t[:3] == loop.window[:3]
    assert loop.flags(*t[:4]) == [(2, False)] * 3 + [(1, True)]
    assert [loop.turn(person) for person in (other, third, other)] == t[:3]

    loop.sync(window=5)
    assert all(not slot.relabel for slot in loop.state.window()), "all four have their two labels"


# -- the labelling config ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (
            [TEXT, SINGLE.replace('toName="text"', 'toName="text" perItem="true"')],
            ["Choices 'politeness'", 'perItem="true"'],
        ),
        (
            [
                '<Labels name="span" toName="text"><Label value="Rude"/></Labels>',
                TEXT,
                SINGLE.replace('toName="text"', 'toName="text" perRegion="true"'),
            ],
            ["Labels 'span' (another kind", 'perRegion="true"'],
        ),
        (
            ['<Video name="text" value="$text"/>', SINGLE],
            ["Choices 'politeness'", "on Video"],
        ),
        (
            [TEXT, '<TextArea name="note" toName="text"/>'],
            ["TextArea 'note'"],
        ),
        ([TEXT], ["no control at all"]),
    ],
    ids=["per item", "per region", "video", "no choices", "no control"],
)
def test_config_that_cannot_be_served_is_refused_with_what_was_found(
    start: StartProject, tags: list[str], found: list[str]
) -> None:
    loop = start(["https://example.com/1.png", "https://example.com/2.png"], adopted=False, config=config(*tags))
    before = loop.dump()
    refused = connector(loop, "init", "--project", str(loop.id), "--yes")
    assert refused.returncode == 2
    assert refused.stdout == ""
    for words in found:
        assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert loop.dump() == before


TWO_CONTROLS = config(
    TEXT,
    SINGLE,
    '<Choices name="topic" toName="text"><Choice value="Work"/><Choice value="Home"/></Choices>',
    '<TextArea name="remark" toName="text"/>',
)


def answers(**chosen: str) -> list[dict[str, Any]]:
    """An annotation's result with a choice for each named control."""
    return [
        {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": [label]}}
        for name, label in chosen.items()
    ]


def test_all_controls_are_taken_or_those_that_are_picked_by_name(start: StartProject) -> None:
    loop = start(texts(4), adopted=False, config=TWO_CONTROLS)
    before = loop.dump()
    with pytest.raises(UsageError, match=r"called 'remark'.*TextArea 'remark'"):
        loop.adopt(control_names=["topic", "remark"])
    assert loop.dump() == before

    assert loop.adopt(control_names=["topic"])["classes"] == ["Work", "Home"]
    assert loop.adopt()["control"] == "topic", "the second time it is known"
    assert loop.adopt(control_names=["politeness", "topic"])["questions_before"] == ["topic"]

    every = start(texts(4), adopted=False, config=TWO_CONTROLS)
    assert [row["control"] for row in every.adopt()["questions"]] == ["politeness", "topic"]


def test_only_the_picked_control_is_read_and_prelabelled(start: StartProject) -> None:
    chosen = ["Work", "Home"]
    tasks = [
        {
            "data": {"text": text},
            "annotations": [
                {"result": answers(topic=chosen[number % 2], politeness="Polite"), "ground_truth": False},
            ],
        }
        if number < 12
        else {"data": {"text": text}}
        for number, text in enumerate(texts(16))
    ]
    loop = start(tasks, adopted=False, config=TWO_CONTROLS)
    loop.adopt(control_names=["topic"])
    assert loop.sync(prelabel_new=True)["trained"]
    assert set(loop.state.trained().values()) == {"Work", "Home"}
    shown = [region for row in loop.predictions() for region in row["result"]]
    assert {region["from_name"] for region in shown} == {"topic"}
    assert len(shown) == 4

    loop.adopt(control_names=["politeness"])
    loop.sync()
    labels = {row.label for task in loop.state.tasks().values() for row in task.annotations}
    assert labels == {"Polite"}


def test_aliases_are_honoured_in_labels_training_and_prelabels(start: StartProject, people: Annotators) -> None:
    aliased = config(
        TEXT,
        '<Choices name="politeness" toName="text">'
        '<Choice value="A polite text" alias="Polite"/><Choice value="A rude text" alias="Impolite"/></Choices>',
    )
    loop = start(texts(14), adopted=False, config=aliased)
    assert loop.adopt()["classes"] == ["Polite", "Impolite"]
    person = people(1)[0]
    for index, task in enumerate(loop.tasks[:12]):
        # Label Studio stores the alias; whoever imports labels may have written the value.
        spelling = ["Polite", "Impolite", "A polite text", "A rude text"][index % 4]
        loop.label(person, task, spelling)
    assert loop.sync(prelabel_new=True)["trained"]
    assert loop.state.trained() == {
        task: "Impolite" if index % 2 else "Polite" for index, task in enumerate(loop.tasks[:12])
    }
    shown = {region["value"]["choices"][0] for row in loop.predictions() for region in row["result"]}
    assert shown
    assert shown <= {"Polite", "Impolite"}


# -- a new project, and the backend ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["texts.csv", "texts.jsonl"])
def test_title_and_data_make_a_project_and_set_it_up(
    start: StartProject, label_studio: LabelStudio, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    rows = [
        {"text": 'He said: "no, thanks", and left.', "source": "a"},
        {"text": "Zweite Zeile, bitte: äöü", "source": "b"},
        {"text": "A row like Label Studio's own.", "data": {"text": "Not this."}},
    ]
    if name.endswith(".csv"):
        rows.pop()
    if name.endswith(".csv"):
        path.write_text('text,source\n"He said: ""no, thanks"", and left.",a\n"Zweite Zeile, bitte: äöü",b\n')
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    loop = start([], adopted=False)
    done = connector(loop, "init", "--title", "From a file", "--data", str(path), "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["title"] == "From a file"
    project = label_studio.call("GET", f"/api/projects/{made['project']}/")
    assert project["task_number"] == len(rows)
    assert {name: project[name] for name in REQUIRED_SETTINGS} == REQUIRED_SETTINGS
    tasks = label_studio.call("GET", "/api/tasks", params={"project": made["project"], "fields": "all"})["tasks"]
    assert [task["data"] for task in tasks] == rows


def test_a_table_from_excel_makes_a_project_and_says_what_was_assumed(
    start: StartProject, label_studio: LabelStudio, tmp_path: Path
) -> None:
    path = tmp_path / "texts.csv"
    path.write_bytes('text;source\r\nStimmt die Größe?;a\r\n"Nein; ändern Sie das!";b\r\n'.encode("cp1252"))
    done = connector(start([], adopted=False), "init", "--title", "From Excel", "--data", str(path), "--json")
    assert done.returncode == 0, done.stderr
    guesses = "the encoding cp1252 and a semicolon between columns"
    assert f"{path} was read with {guesses}. Its first text is 'Stimmt die Größe?'. If" in done.stderr
    query = {"project": json.loads(done.stdout)["project"], "fields": "all"}
    tasks = label_studio.call("GET", "/api/tasks", params=query)["tasks"]
    assert [task["data"]["text"] for task in tasks] == ["Stimmt die Größe?", "Nein; ändern Sie das!"]


def test_init_says_what_it_changed_and_status_says_the_rule(start: StartProject, people: Annotators) -> None:
    loop = start(texts(3), adopted=False, maximum_annotations=2, sampling="Sequential sampling")
    loop.label(people(1)[0], loop.tasks[0])
    number = str(loop.id)
    rule = "Rule        every labelled task is to have at least 2 labels (1 task has fewer)"
    first = connector(loop, "init", "--project", number, "--yes").stdout
    assert "  maximum_annotations       2 before, now 1\n" in first
    assert "  sampling                  'Sequential sampling' before, now 'Uncertainty sampling'\n" in first
    assert "  tabs                      added 'ActiveLab queue', 'Second opinions', 'Discuss'\n" in first
    assert f"To restore the project as it was: connector undo --project {number}\n" in first
    assert rule not in connector(loop, "status", "--project", number).stdout
    again = connector(loop, "init", "--project", number, "--min-annotations-per-task", "2").stdout
    assert again.startswith(
        f"Project {number} (Test) was already set up: 'politeness' with Polite, Impolite. Changed:\n"
        "  min_annotations_per_task  1 before, now 2\n"
        "Every labelled task is to have at least 2 labels.\n"
    )
    assert rule in connector(loop, "status", "--project", number).stdout


def test_tasks_that_label_studio_refuses_make_no_project(
    start: StartProject, label_studio: LabelStudio, tmp_path: Path
) -> None:
    (tmp_path / "texts.csv").write_text("text\nHello\n")
    (tmp_path / "config.xml").write_text(
        '<View><Text name="title" value="$title"/><Text name="text" value="$text"/><Choices name="c" toName="text">'
        '<Choice value="A"/><Choice value="B"/></Choices></View>'
    )
    (tmp_path / "broken.xml").write_text("<View>")
    loop = start([], adopted=False)
    options = ["--title", "From a file", "--data", str(tmp_path / "texts.csv"), "--label-config"]
    before = label_studio.call("GET", "/api/projects/", params={"page_size": 1})["count"]
    refused = connector(loop, "init", *options, str(tmp_path / "config.xml"))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"Error: {tmp_path}/texts.csv cannot be imported. Label Studio refused: ")
    assert 'title\\" key is expected in task data' in refused.stderr
    broken = connector(loop, "init", *options, str(tmp_path / "broken.xml"))
    assert broken.returncode == 2
    assert f"{tmp_path}/broken.xml: The labelling config cannot be read: " in broken.stderr
    missing = connector(loop, "init", *options, str(tmp_path / "no.xml"))
    assert missing.returncode == 2
    assert f"{tmp_path}/no.xml cannot be read: No such file or directory." in missing.stderr
    for title in (" ", "D3", "x" * 51):
        wrong = connector(loop, "init", "--title", title, *options[2:4])
        assert wrong.returncode == 2
        assert "A title has 3 to 50 characters in Label Studio." in wrong.stderr
    assert label_studio.call("GET", "/api/projects/", params={"page_size": 1})["count"] == before


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("texts.csv", "sentence\nHello\n", "has no 'text'"),
        ("texts.jsonl", '{"text": "a"}\nnot json\n', "Line 2 of"),
        ("texts.txt", "Hello\n", "neither .csv nor .jsonl"),
        ("texts.csv", "text\n", "holds no rows"),
        ("texts.csv", 'text\nHello\n" "\n', "Row 2 of"),
        ("texts.csv", None, "cannot be read"),
    ],
)
def test_unusable_data_makes_no_project(
    start: StartProject, label_studio: LabelStudio, tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    loop = start([], adopted=False)
    before = label_studio.call("GET", "/api/projects/", params={"page_size": 1})["count"]
    refused = connector(loop, "init", "--title", "From a file", "--data", str(path))
    assert refused.returncode == 2
    assert words in refused.stderr
    assert label_studio.call("GET", "/api/projects/", params={"page_size": 1})["count"] == before


def test_a_config_that_label_studio_refuses_is_wrong_usage_and_a_declaration_is_left_out(
    start: StartProject, label_studio: LabelStudio, tmp_path: Path
) -> None:
    data, config = tmp_path / "texts.csv", tmp_path / "config.xml"
    data.write_text("text\nHello\n")
    choices = '<Choices name="c" toName="t"><Choice value="A"/><Choice value="B"/></Choices>'
    options = ("init", "--title", "Declared", "--data", str(data), "--label-config", str(config), "--json")
    config.write_text(f'<View><Text name="t" value="$text"/><Header name="t"/>{choices}</View>')
    refused = connector(start([], adopted=False), *options)
    assert (refused.returncode, "The labelling config cannot be used" in refused.stderr) == (2, True)
    config.write_text(
        f'\ufeff<?xml version="1.0" encoding="utf-8"?>\n<View><Text name="t" value="$text"/>{choices}</View>', "utf-8"
    )
    done = connector(start([], adopted=False), *options)
    assert done.returncode == 0, done.stderr
    label_studio.call("DELETE", f"/api/projects/{json.loads(done.stdout)['project']}/")


def test_connecting_the_backend_registers_it_once_and_leaves_the_queue_in_charge(
    start: StartProject, label_studio: LabelStudio, people: Annotators
) -> None:
    loop = start(texts(14))
    person = people(1)[0]
    for index, task in enumerate(loop.tasks[:12]):
        loop.label(person, task, "Impolite" if index % 2 else "Polite")
    for _ in range(2):
        loop.adopt(backend_url=loop.backend)
        assert loop.project()["model_version"] == ""
    version = loop.sync(train="always")["queue_version"]
    loop.adopt(backend_url=loop.backend)
    connected = loop.call("GET", "/api/ml/", params={"project": loop.id})
    assert [(backend["url"], backend["state"]) for backend in connected] == [(loop.backend, "CO")]
    assert loop.project()["model_version"] == version
    loop.assert_published()

    # Label Studio itself asks the backend for predictions, and the window still holds beside them.
    action = {"id": "retrieve_tasks_predictions", "project": loop.id}
    some = {"selectedItems": {"all": False, "included": loop.tasks[12:]}, "project": loop.id}
    loop.call("POST", "/api/dm/actions", params=action, json=some)
    theirs = [row for row in loop.predictions() if row["model_version"] != version]
    assert {row["task"] for row in theirs} == set(loop.tasks[12:])
    assert {row["result"][0]["value"]["choices"][0] for row in theirs} <= {"Polite", "Impolite"}
    assert loop.sync()["queue_version"] == loop.project()["model_version"]
    assert loop.give(people(2)[1]) == loop.window[0]


def test_backend_that_label_studio_cannot_reach_is_refused_with_a_sentence(start: StartProject) -> None:
    loop = start(texts(3), adopted=False)
    done = connector(
        loop, "init", "--project", str(loop.id), "--connect-backend", "--ml-backend-url", "http://127.0.0.1:9"
    )
    assert done.returncode == 2
    assert "could not connect the ML backend at http://127.0.0.1:9" in done.stderr
    assert loop.call("GET", "/api/ml/", params={"project": loop.id}) == []
