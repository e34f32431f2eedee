"""Hostile texts, class names and annotators go through a real Label Studio, sync and every export, and come back."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import datasets
import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import strategies as st
from playwright.sync_api import Browser, expect
from support.adversarial_text import CHARACTERS, FRAGMENTS, IN_XML, examples, long_texts, names, short_texts
from support.browser_annotator import Desk
from support.connector_commands import connector
from support.label_studio_server import Annotators, MakeProject
from support.project_driver import ProjectDriver, on_both_databases

from connector._compat import long_csv_fields
from connector.annotations.label_config import find_control
from connector.annotations.questions import questions_from_json
from connector.annotations.records import digest
from connector.backend import Backend
from connector.demo.people import Person
from connector.label_studio.client import LabelStudio as Gateway
from connector.queue.versions import PUBLISHED_CONSENSUS
from connector.reporting.report_data import cut
from connector.reporting.rows import columns
from connector.state.project_state import State

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio


TITLE = "<i>Texts</i> \x1b[31mred\x07 \u202e& ünder"
# What Label Studio's sign-up form takes for an address: quoted local parts may hold all but spaces, tabs and line ends.
ADDRESSES = (
    '"<script>alert(1)</script>"@example.com',
    '"\x1b]0;mine\x07\x01\x7f"@example.com',
    '"quo\\"ted,;|"@example.com',
    "=1+1{x}&o'brien@example.com",
    "007@例え.テスト",
)
# A dollar sign before a letter is for the form a key of the task's data; no such choice is served.
CLASSES = (
    "<b>Polite</b>",
    "Impolite & 'rude', \"very\"",
    "a\tb\r\nc",
    "NA",
    "שלום \u202eabc",
    *dict.fromkeys(name for name in examples(names(IN_XML), 6) if not re.search(r"\$[\w\[\].{}]", name)),
)


def drawn_texts() -> list[str]:
    """What breaks things, each alone and in mixtures, blank texts among them, and some of 100 kB."""
    return list(dict.fromkeys([*FRAGMENTS, *examples(short_texts, 60), *examples(long_texts, 6)]))


def config(more: str = "") -> str:
    escapes = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
    choices = "".join(f"<Choice value={quoteattr(name, escapes)}/>" for name in CLASSES) + more
    text = '<Text name="text" value="$text"/>'
    return f'<View>{text}<Choices name="politeness" toName="text">{choices}</Choices></View>'


@dataclass
class Story:
    """A project that commands have made of the texts, some labelled; `said` {task: {address: class}}; what was told."""

    loop: ProjectDriver
    texts: list[str]
    said: dict[int, dict[str, str | None]]
    files: dict[str, Path]
    told: list[str]


@pytest.fixture(scope="module")
def story(label_studio: LabelStudio, backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("hostile")
    gateway = Gateway(label_studio.url, label_studio.token)
    url = f"sqlite:///{folder}/state.sqlite"
    database = State(url)
    texts = drawn_texts()
    taken = [
        text if text.strip() else f"Replaced {number}" for number, text in enumerate(texts)
    ]  # init takes no blanks
    rows = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in taken)
    (folder / "texts.jsonl").write_text(rows, encoding="utf-8", newline="")
    (folder / "config.xml").write_text(config(), encoding="utf-8", newline="")
    loop = ProjectDriver(label_studio, 0, [], gateway, database.project(gateway.url, 0), url, backend, [gateway])
    told: list[str] = []

    def run(*arguments: str) -> str:
        done = connector(loop, *arguments)
        told.extend((done.stdout, done.stderr))
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = ("--title", TITLE, "--data", str(folder / "texts.jsonl"), "--label-config", str(folder / "config.xml"))
    said_by_init = json.loads(run("init", *made, "--json"))
    assert (said_by_init["title"], said_by_init["classes"]) == (TITLE, list(CLASSES))
    loop.id = said_by_init["project"]
    loop.state = database.project(gateway.url, loop.id)
    loop.tasks = sorted(row["id"] for row in loop.rows())
    for task, text in zip(loop.tasks, texts, strict=True):
        if not text.strip():
            loop.call("PATCH", f"/api/tasks/{task}/", json={"data": {"text": text}})
    project = ("--project", str(loop.id))
    run("sync", *project)
    said = label(loop)
    run("sync", *project, "--window", "200", "--publish-consensus")
    files = {name: folder / f"labels.{name}" for name in ("csv", "jsonl", "parquet")}
    files |= {"label-studio": folder / "labels.json", "datasets": folder / "labels"}
    for name, path in files.items():
        run("export", *project, "--out", str(path), "--format", name)
    files["report"] = folder / "report.html"
    run("report", *project, "--out", str(files["report"]))
    run("init", *project)
    run("status", *project)
    run("doctor", *project)
    yield Story(loop, texts, said, files, told)
    gateway.close()
    database.close()


def label(loop: ProjectDriver) -> dict[int, dict[str, str | None]]:
    """Each of several people labels tasks of their own and one's neighbour's, each class several times; one skips."""
    said: dict[int, dict[str, str | None]] = {task: {} for task in loop.tasks}
    for place, address in enumerate(ADDRESSES):
        person = Person.sign_up(loop.server.url, address)
        for number, task in enumerate(loop.tasks[: 3 * len(CLASSES)]):
            if number % len(ADDRESSES) in (place, (place + 1) % len(ADDRESSES)):
                said[task][address] = CLASSES[number % len(CLASSES)]
                loop.label(person, task, CLASSES[number % len(CLASSES)])
        person.skip({"id": loop.tasks[-1 - place]})
        said[loop.tasks[-1 - place]][address] = None
        person.close()
    return said


def narrowed(row: dict[str, Any]) -> tuple[int, str, dict[str, str | None]]:
    """A row's task, text, and who said what."""
    return row["task_id"], row["text"], {one["annotator"]: one["label"] for one in row["annotations"]}


def expected(story: Story) -> list[tuple[int, str, dict[str, str | None]]]:
    return [(task, text, story.said[task]) for task, text in zip(story.loop.tasks, story.texts, strict=True)]


def check(story: Story, rows: list[dict[str, Any]], names: list[str]) -> None:
    """The rows as a reader gives them are what went in; the consensus is a class that somebody said."""
    assert names == columns(questions_from_json(story.loop.state.record().control or {}))
    assert [narrowed(row) for row in rows] == expected(story)
    for row in rows:
        heard = {name for name in story.said[row["task_id"]].values() if name is not None}
        shown = bool(row["text"].strip())  # a blank text teaches nothing, and has no consensus
        assert (row["consensus"] in heard) if heard and shown else not row["consensus"]
        assert (row["predicted"] in CLASSES) if shown else not row["predicted"]


@on_both_databases
def test_label_studio_and_the_mirror_hold_the_texts(story: Story) -> None:
    held = {row["id"]: row["data"] for row in story.loop.rows()}
    assert [held[task] for task in story.loop.tasks] == [{"text": text} for text in story.texts]
    control = find_control(story.loop.project()["label_config"])
    assert control.classes == CLASSES
    shown = {task: text for task, text in zip(story.loop.tasks, story.texts, strict=True) if text.strip()}
    assert story.loop.state.texts(story.loop.tasks) == shown
    assert {row["completed_by"] for row in story.loop.annotations().values()} == set(emails(story).keys())


def emails(story: Story) -> dict[int, str]:
    """The people with such addresses, as Label Studio lists them."""
    return {row["id"]: row["email"] for row in story.loop.call("GET", "/api/users/") if row["email"] in ADDRESSES}


@on_both_databases
def test_the_ml_backend_lacks_no_text(story: Story) -> None:
    """What it was sent has the digests that the mirror computes: stated again, nothing is asked for."""
    tasks = [task for task in story.loop.state.tasks().values() if task.digest is not None]
    kept = {task: text for task, text in zip(story.loop.tasks, story.texts, strict=True) if text.strip()}
    assert {task.id: task.digest for task in tasks} == {task: digest(text) for task, text in kept.items()}
    served = Backend(story.loop.backend)
    asked: list[int] = []

    def lacking(ids: Any) -> dict[int, str]:
        asked.extend(ids)
        return {task: kept[task] for task in ids}

    served.put_items(str(story.loop.id), [task.id for task in tasks], [task.digest or "" for task in tasks], lacking)
    probabilities = served.probabilities(str(story.loop.id))
    answers = served.predict(str(story.loop.id), [{"text": text} for text in story.texts], config())
    served.close()
    assert asked == []
    assert probabilities is not None
    assert (probabilities.classes, len(probabilities.ids)) == (CLASSES, len(tasks))
    unanswered = [text for text, answer in zip(story.texts, answers, strict=True) if not answer["result"]]
    assert unanswered == [text for text in story.texts if not text.strip()]
    predicted = [region["value"]["choices"] for answer in answers for region in answer["result"]]
    assert {name for chosen in predicted for name in chosen} <= set(CLASSES)


@on_both_databases
def test_consensus_labels_are_published_under_their_names(story: Story) -> None:
    rows = [row for row in story.loop.predictions() if row["model_version"] == PUBLISHED_CONSENSUS]
    told = {row["task"]: row["result"][0]["value"]["choices"][0] for row in rows}
    for task, text in zip(story.loop.tasks, story.texts, strict=True):
        heard = {name for name in story.said[task].values() if name is not None and text.strip()}
        assert told.get(task) in (heard or {None})


@on_both_databases
@pytest.mark.nightly
def test_the_form_submits_classes_as_they_are_read(
    label_studio: LabelStudio, make_project: MakeProject, browser: Browser
) -> None:
    """Real clicks in Chromium; without its alias the last one would be submitted as "Costs undefined"."""
    with_dollar = config('<Choice value="Costs $5" alias="five"/>')
    classes = find_control(with_dollar).classes
    assert classes == (*CLASSES, "five")
    project = make_project([f"Text {number}" for number in range(len(classes) + 1)], config=with_dollar)
    person = Person.sign_up(label_studio.url, f"form-{label_studio.database}@example.com")
    desk = Desk(browser, label_studio.url, person.email, person.password)
    desk.sign_in()
    desk.go(f"{label_studio.url}/projects/{project.id}/data")
    desk.press_label_all_tasks()
    submitted = []
    for place in range(len(classes)):
        expect(desk.text).to_have_text(desk.task["data"]["text"])
        desk.page.locator(".lsf-choice input").nth(place).check()
        saved = desk.answer("", "Control+Enter")
        submitted += saved["result"][0]["value"]["choices"]
    expect(desk.page.get_by_text("Costs undefined")).to_be_visible()
    desk.context.close()
    person.close()
    assert tuple(submitted) == classes


@on_both_databases
def test_csv(story: Story) -> None:
    with long_csv_fields(), story.files["csv"].open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        read = [
            {**row, "task_id": int(row["task_id"]), "annotations": json.loads(row["annotations"])} for row in reader
        ]
    check(story, read, list(reader.fieldnames or ()))
    frame = pd.read_csv(
        story.files["csv"],
        converters=dict.fromkeys(("text", "label", "consensus", "predicted"), str) | {"annotations": json.loads},
    )
    check(story, [{str(name): row[name] for name in row} for row in frame.to_dict("records")], list(frame.columns))


@on_both_databases
def test_jsonl(story: Story) -> None:
    read = [json.loads(line) for line in story.files["jsonl"].read_bytes().split(b"\n")[:-1]]
    check(story, read, list(read[0]))


@on_both_databases
def test_parquet(story: Story) -> None:
    table = pyarrow.parquet.read_table(story.files["parquet"])
    check(story, table.to_pylist(), table.column_names)


@on_both_databases
def test_datasets_folder(story: Story) -> None:
    read = datasets.load_from_disk(story.files["datasets"])
    assert read.features["consensus"].names == list(CLASSES)

    def named(index: int | None) -> str | None:
        return None if index is None else str(read.features["consensus"].int2str(index))

    names = ("label", "consensus", "predicted")
    rows = [{**row, **{name: named(row[name]) for name in names}} for row in read]
    check(story, rows, read.column_names)


@on_both_databases
def test_label_studio_takes_its_own_json(story: Story, make_project: MakeProject) -> None:
    other = make_project([], config=config()).id
    with story.files["label-studio"].open("rb") as file:
        story.loop.call("POST", f"/api/projects/{other}/import", files={"file": ("labels.json", file)})
    query = {"project": other, "fields": "all", "page_size": 500}
    imported = sorted(story.loop.call("GET", "/api/tasks", params=query)["tasks"], key=lambda raw: int(raw["id"]))
    assert [raw["data"] for raw in imported] == [{"text": text} for text in story.texts]
    people = emails(story)
    said = [
        {people[one["completed_by"]]: one["result"][0]["value"]["choices"][0] if one["result"] else None}
        for raw in imported
        for one in raw["annotations"]
    ]
    assert sorted(map(str, said)) == sorted(
        str({address: name}) for by_address in story.said.values() for address, name in by_address.items()
    )
    for raw, (_, text, by_address) in zip(imported, expected(story), strict=True):
        heard = {name for name in by_address.values() if name is not None} if text.strip() else set()
        consensus = [one["result"][0]["value"]["choices"][0] for one in raw["predictions"]]
        assert len(consensus) == bool(heard)
        assert set(consensus) <= heard


class Shown(HTMLParser):
    """What a page shows of what others wrote: `texts` of tasks, and `names` of people, classes and the project."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.names: list[str] = []
        self.tags: set[str] = set()
        self._into: list[str] | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        kinds = (dict(attrs).get("class") or "").split()
        self._into = self.texts if "text" in kinds else self.names if "user" in kinds else None
        if self._into is not None:
            self._into.append("")

    def handle_endtag(self, tag: str) -> None:
        self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


@on_both_databases
def test_the_report_shows_texts_and_names_as_they_are(story: Story) -> None:
    page = Shown(story.files["report"].read_bytes().decode())
    shown = [cut(text).shown for text in story.texts]
    assert set(page.texts) <= set(shown)
    assert any(len(text) > 900 for text in page.texts)
    asked = [slot.task for slot in story.loop.state.window()]
    first = [shown[story.loop.tasks.index(task)] for task in asked[: len(page.texts) // 2]]
    assert page.texts[: len(first)] == first
    assert {TITLE, *CLASSES, *ADDRESSES} <= set(page.names)
    assert not page.tags & {"script", "b", "textarea", "img"}


@on_both_databases
def test_init_takes_the_same_texts_from_csv(story: Story, label_studio: LabelStudio, tmp_path: Path) -> None:
    texts = [
        *filter(str.strip, story.texts),
        "long \r\n" * 50_000,
    ]  # longer than a field that Python's reader takes by itself
    with (tmp_path / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in texts)])
    done = connector(story.loop, "init", "--title", "csv", "--data", str(tmp_path / "texts.csv"), "--json")
    assert done.returncode == 0, done.stderr
    query = {"project": json.loads(done.stdout)["project"], "fields": "all", "page_size": 500}
    tasks = sorted(label_studio.call("GET", "/api/tasks", params=query)["tasks"], key=lambda raw: int(raw["id"]))
    assert [raw["data"] for raw in tasks] == [{"text": text} for text in texts]


@on_both_databases
def test_names_of_people_stay_as_label_studio_takes_them(story: Story, people: Annotators) -> None:
    """First and last names stand in no file of ours; all the same they disturb no command."""
    person = people(1)[0]
    before = person._call("GET", "/api/current-user/whoami").json()
    mixed = ["".join(FRAGMENTS[start::4]) for start in range(4)]
    given = [name for name in [*mixed, *examples(st.text(CHARACTERS, min_size=1, max_size=40), 12)] if name.strip()]
    for name in given:
        changed = {"first_name": name, "last_name": name}
        answer = person._call("PATCH", f"/api/users/{person.user_id}/", json=changed).json()
        assert answer["first_name"] == name.strip()
    assert story.loop.gateway.emails()[person.user_id] == before["email"]
    done = connector(story.loop, "doctor", "--project", str(story.loop.id))
    person._call("PATCH", f"/api/users/{person.user_id}/", json={"first_name": "", "last_name": ""})
    assert done.returncode == 0, done.stdout


@on_both_databases
def test_no_command_sends_a_terminal_anything_but_text(story: Story) -> None:
    told = "".join(story.told)
    assert "red" in told, "the title is told"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", told)
