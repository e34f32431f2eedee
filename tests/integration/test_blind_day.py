"""Tasks of an audit and gold tasks, in Chromium: annotators find no mark of them, and the lead sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, expect
from support.browser_annotator import Album, Desk
from support.project_driver import StartProject, texts
from support.working_day import Day

from connector.demo.people import Person
from connector.queue.views import QUEUE_TAB, SECOND_OPINIONS_TAB
from connector.reporting.section_window import AUDITED, GOLD

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio

TITLE = "Which of these is a test?"
TEXTS = texts(40)
TRUTHS, LABELLED, WINDOW, TURNS = 2, 4, 12, 5
SYNC = ("--audit", "0.25", "--gold", "0.17")
# What differs from task to task, whatever it is asked for.
OF_THE_TASK = {"id", "inner_id", "data", "created_at", "updated_at", "unique_lock_id", "predictions_score"}
OF_THE_PREDICTION = {"id", "task", "score", "created_at", "updated_at", "created_ago"}
# Label Studio's own record of the annotations that a task has.
OF_ITS_ANNOTATIONS = {
    *("annotations", "annotations_ids", "annotators", "annotations_results", "updated_by", "is_labeled", "overlap"),
    *("total_annotations", "completed_at", "avg_lead_time"),
}
# The whole form, without the text and the number of the task.
FORM = """() => {
    const form = document.getElementById("label-studio-dm").cloneNode(true)
    for (const name of [".lsf-richtext__line", ".lsf-current-task__task-id"]) form.querySelector(name).innerHTML = ""
    return form.outerHTML
}"""


def right(text: str) -> str:
    """The class of a text."""
    return "Impolite" if "now" in text else "Polite"


def answer(label: str) -> dict[str, Any]:
    """The class in an annotation, as Label Studio has it."""
    return {"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": [label]}}


@pytest.fixture
def lead(browser: Browser, label_studio: LabelStudio) -> Iterator[Desk]:
    """The administrator's browser."""
    desk = Desk(browser, label_studio.url, label_studio.login.email, label_studio.login.password)
    yield desk
    desk.context.close()


@pytest.fixture
def annotators(label_studio: LabelStudio) -> Iterator[list[Person]]:
    """Two annotators with accounts of their own."""
    names = ("anna@blind.example.com", "ben@blind.example.com")
    signed_up = [Person.sign_up(label_studio.url, address) for address in names]
    yield signed_up
    for person in signed_up:
        person.close()


@pytest.fixture
def day(start: StartProject, annotators: list[Person], browser: Browser, tmp_path: Path) -> Iterator[Day]:
    """A project with two ground truths, and a few labels of both annotators."""
    truths = [{"data": {"text": text}, "annotations": [{"result": [answer(right(text))]}]} for text in TEXTS[:TRUTHS]]
    loop = start([*truths, *({"data": {"text": text}} for text in TEXTS[TRUTHS:])], adopted=False, title=TITLE)
    desks = [Desk(browser, loop.server.url, person.email, person.password) for person in annotators]
    album, keys = Album.begin("blind-day", tmp_path), {"Polite": "1", "Impolite": "2"}
    day = Day(loop, album, *desks, TITLE, TEXTS, keys, right, WINDOW)
    day.truths = set(loop.tasks[:TRUTHS])
    day.run("init", "--project", str(loop.id), "--min-annotations-per-task", "2")
    for number, task in enumerate(loop.tasks[TRUTHS : TRUTHS + LABELLED]):
        loop.label(annotators[number % 2], task, right(day.content(task)))
        desks[number % 2].seen.add(task)
    yield day
    for desk in desks:
        desk.context.close()


def test_annotators_find_no_mark_of_audit_and_gold_and_the_lead_sees_them(
    day: Day, annotators: list[Person], lead: Desk, tmp_path: Path
) -> None:
    day.sync(*SYNC)
    audited = {slot.task for slot in day.loop.state.window() if slot.audit}
    assert len(audited) >= 2
    assert day.truths <= day.second_opinions
    kinds = {"audit": audited, "gold": day.truths, "new": set(day.window) - audited - day.second_opinions}
    kinds["second opinion"] = day.second_opinions - day.truths - audited
    look_in_the_api(day, annotators[0], kinds)
    look_into_the_queue(day, lead)
    look_into_the_report(day, lead, audited, tmp_path / "report.html")
    label(day, kinds)

    day.sync(*SYNC)
    told = json.loads(day.run("status", "--project", str(day.loop.id), "--json"))
    on_truth = {one["email"]: (one["on_truth"], one["right_on_truth"]) for one in told["annotators"]}
    seen = {desk.email: len(desk.seen & day.truths) for desk in (day.anna, day.ben)}
    assert on_truth == {email: (number, number) for email, number in seen.items()}
    assert sum(seen.values()) > 0
    look_into_the_report_again(day, lead, seen, tmp_path / "report.html")
    assert {desk.email: desk.complaints for desk in (day.anna, day.ben, lead)} == {
        desk.email: [] for desk in (day.anna, day.ben, lead)
    }


def bare(task: dict[str, Any], *without: str) -> str:
    """A task as Label Studio gives it, without what differs from task to task, and without these keys."""
    kept = {name: value for name, value in task.items() if name not in OF_THE_TASK | set(without)}
    predictions = [{k: v for k, v in row.items() if k not in OF_THE_PREDICTION} for row in task["predictions"]]
    return json.dumps({**kept, "predictions": predictions}, sort_keys=True)


def look_in_the_api(day: Day, person: Person, kinds: dict[str, set[int]]) -> None:
    """What an annotator reads of the tasks of the window, one by one and as a list."""
    url, project = day.loop.server.url, str(day.loop.id)
    listed = person.session.get(f"{url}/api/tasks", params={"project": project, "fields": "all", "page_size": "100"})
    listed.raise_for_status()
    for tasks in (
        {task["id"]: task for task in listed.json()["tasks"]},
        {task: person.session.get(f"{url}/api/tasks/{task}").json() for task in day.window},
    ):
        # Before anyone answers, a new task is as any other, drawn at random or not.
        assert len({bare(tasks[task]) for task in (kinds["audit"] | kinds["new"]) - day.second_opinions}) == 1
        # Label Studio marks the annotation that is the ground truth, whether the task is asked as gold or not.
        assert len({bare(tasks[task], *OF_ITS_ANNOTATIONS) for task in day.window}) == 1
        keys = [{name for row in tasks[task]["annotations"] for name in row} for task in day.second_opinions]
        assert all(names == keys[0] for names in keys)


def look_into_the_queue(day: Day, lead: Desk) -> None:
    """The lead sees all of them in the Data Manager's tabs, in the order of the window."""
    lead.page.set_viewport_size({"width": 1440, "height": 1400})  # the Data Manager draws the rows in sight
    lead.sign_in()
    lead.open_project(day.loop.id, TITLE)
    expect(lead.page.get_by_text(QUEUE_TAB, exact=True).first).to_be_visible()
    lead.expect_rows([day.content(task) for task in day.window])
    day.album.take(lead.page, "lead-queue")
    lead.page.get_by_text(SECOND_OPINIONS_TAB, exact=True).first.click()
    lead.expect_rows([day.content(task) for task in day.window if task in day.second_opinions])


def look_into_the_report(day: Day, lead: Desk, audited: set[int], path: Path) -> None:
    """The report says which tasks were drawn at random, and which judge annotators."""
    day.run("report", "--project", str(day.loop.id), "--out", str(path))
    lead.go(path.as_uri())
    for more in lead.page.locator("details.more > summary").all():
        more.click()
    for words, tasks in ((AUDITED, audited), (GOLD, day.truths)):
        rows = lead.page.get_by_role("row").filter(has_text=words)
        expect(rows).to_contain_text([day.content(task) for task in day.window if task in tasks])
    day.album.take(lead.page, "lead-report", whole=True)


def label(day: Day, kinds: dict[str, set[int]]) -> None:
    """Both label by turns. What the page is served, and what the form shows, is the same for tasks of all kinds."""
    forms: set[str] = set()
    served: dict[str, set[str]] = {name: set() for name in kinds}
    for desk in (day.anna, day.ben):
        desk.sign_in()
        desk.open_project(day.loop.id, TITLE)
        desk.press_label_all_tasks()
        day.expect_form(desk)
    for turn in range(TURNS):
        for desk in (day.anna, day.ben):
            task = day.expect_form(desk)
            if turn:  # the first form has no way back to the one before
                forms.add(desk.page.evaluate(FORM))
            for name in (name for name, tasks in kinds.items() if task in tasks):
                if not served[name]:
                    day.album.take(desk.page, name.replace(" ", "-"))
                served[name].add(bare(desk.task, *OF_ITS_ANNOTATIONS))
            day.turn(desk)
    assert all(served.values()), "tasks of all kinds were served"
    assert len(set.union(*served.values())) == 1
    assert len(forms) == 1
    assert not any(
        word in text.lower() for text in (*forms, *set.union(*served.values())) for word in ("gold", "audit")
    )


def look_into_the_report_again(day: Day, lead: Desk, seen: dict[str, int], path: Path) -> None:
    """The report says how annotators did on gold tasks, and how far the audit is."""
    day.run("report", "--project", str(day.loop.id), "--out", str(path))
    lead.go(path.as_uri())
    for email, number in seen.items():
        table = lead.page.get_by_role("region", name="Annotators compared with the others")
        row = table.get_by_role("row").filter(has_text=email)
        expect(row).to_contain_text(f"{number} of {number}" if number else "none")
    expect(lead.page.get_by_text("of the 10 tasks that an audit needs are labelled")).to_be_visible()
    day.album.take(lead.page, "lead-report-annotators", whole=True)
