"""A day's work of two annotators and a lead on one project: real clicks and keys in Chromium, and the real commands.

Screenshots of each station are kept, numbered: in the folder that TEST_ARTEFACTS names, or else among pytest's own.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect
from support.browser_annotator import Album, Desk
from support.project_driver import ProjectDriver, texts
from support.working_day import Day

from connector.demo.people import Person
from connector.label_studio.client import LabelStudio as Gateway
from connector.queue.views import QUEUE_TAB, SECOND_OPINIONS_TAB
from connector.state.project_state import State

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio

TITLE = "How polite are reviewers?"
TEXTS = texts(40)
KEYS = {"Polite": "1", "Impolite": "2"}
WINDOW = 14


@pytest.fixture
def album(tmp_path: Path) -> Album:
    return Album.begin("day", tmp_path)


@pytest.fixture
def day(label_studio: LabelStudio, backend: str, browser: Browser, album: Album, tmp_path: Path) -> Iterator[Day]:
    gateway = Gateway(label_studio.url, label_studio.token)
    url = f"sqlite:///{tmp_path}/state.sqlite"
    database = State(url)
    loop = ProjectDriver(label_studio, 0, [], gateway, database.project(gateway.url, 0), url, backend, [gateway])
    desks = []
    for address in ("anna@day.example.com", "ben@day.example.com"):
        person = Person.sign_up(label_studio.url, address)
        person.close()
        desks.append(Desk(browser, label_studio.url, person.email, person.password))
    day = Day(loop, album, *desks, TITLE, TEXTS, KEYS, lambda text: "Impolite" if "now" in text else "Polite", WINDOW)
    with (tmp_path / "texts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in TEXTS)])
    made = ("--title", TITLE, "--data", str(tmp_path / "texts.csv"), "--min-annotations-per-task", "2")
    loop.id = json.loads(day.run("init", *made, "--json"))["project"]
    loop.state = database.project(gateway.url, loop.id)
    loop.tasks = sorted(row["id"] for row in loop.rows())
    yield day
    for desk in desks:
        desk.context.close()
    gateway.close()
    database.close()


@pytest.fixture
def lead(browser: Browser, label_studio: LabelStudio) -> Iterator[Desk]:
    """The administrator's browser."""
    desk = Desk(browser, label_studio.url, label_studio.login.email, label_studio.login.password)
    yield desk
    desk.context.close()


def test_a_day_of_two_annotators_and_a_lead(day: Day, lead: Desk, tmp_path: Path) -> None:
    day.sync()
    assert (len(day.window), day.second_opinions) == (WINDOW, set())
    morning(day)
    day.sync()
    afternoon(day)
    day.sync()
    read_the_queue(day, lead)
    read_the_report(day, lead, tmp_path / "report.html")
    read_the_labels(day, tmp_path / "labels.csv")
    assert {desk.email: desk.complaints for desk in (day.anna, day.ben, lead)} == {
        desk.email: [] for desk in (day.anna, day.ben, lead)
    }


def morning(day: Day) -> None:
    """Both sign in and label by turns; one skips a task, which goes to the other."""
    for desk, name in ((day.anna, "anna"), (day.ben, "ben")):
        desk.sign_in()
        day.album.take(desk.page, f"{name}-signed-in")
        desk.open_project(day.loop.id, TITLE)
        day.album.take(desk.page, f"{name}-data-manager")
        desk.press_label_all_tasks()
        day.expect_form(desk)
        day.album.take(desk.page, f"{name}-first-task")
    for number in range(5):
        day.turn(day.anna)
        day.turn(day.ben, skip=number == 2)
    day.turn(day.anna, "Impolite")
    day.album.take(day.anna.page, "anna-after-six-tasks")
    skipped = [text for text, by in day.said.items() if by.get(day.ben.email, "") is None]
    assert [list(day.said[text]) for text in skipped] == [[day.ben.email, day.anna.email]]


def afternoon(day: Day) -> None:
    """Anna goes on in the page that she left open, Ben presses the button anew; second opinions come to the other."""
    assert len(day.second_opinions) >= 8
    day.ben.open_project(day.loop.id, TITLE)
    day.ben.press_label_all_tasks()
    for _ in range(5):
        day.turn(day.anna)
        day.turn(day.ben)
    day.album.take(day.anna.page, "anna-afternoon")
    day.album.take(day.ben.page, "ben-afternoon")
    both = [by for by in day.said.values() if None not in by.values() and len(by) == 2]
    assert len(both) >= 6
    assert any(len(set(by.values())) == 2 for by in both), "they have disagreed"


def read_the_queue(day: Day, lead: Desk) -> None:
    """The lead sees the window in order, and those of it that are second opinions, in the Data Manager."""
    lead.sign_in()
    lead.open_project(day.loop.id, TITLE)
    expect(lead.page.get_by_text(QUEUE_TAB, exact=True).first).to_be_visible()
    lead.expect_rows([day.content(task) for task in day.window])
    day.album.take(lead.page, "lead-queue")
    lead.page.get_by_text(SECOND_OPINIONS_TAB, exact=True).first.click()
    lead.expect_rows([day.content(task) for task in day.window if task in day.second_opinions])
    day.album.take(lead.page, "lead-second-opinions")


def read_the_report(day: Day, lead: Desk, path: Path) -> None:
    """The report opens in a browser and names who has labelled."""
    day.run("report", "--project", str(day.loop.id), "--out", str(path))
    lead.go(path.as_uri())
    expect(lead.page.get_by_role("heading", level=1)).to_have_text(TITLE)
    day.album.take(lead.page, "lead-report")
    lead.page.get_by_role("heading", name="Annotators", exact=True).scroll_into_view_if_needed()
    for desk in (day.anna, day.ben):
        expect(lead.page.get_by_role("rowheader", name=desk.email).first).to_be_visible()
    day.album.take(lead.page, "lead-report-annotators")


def read_the_labels(day: Day, path: Path) -> None:
    """The day's labels are in the file, and by whom."""
    day.run("export", "--project", str(day.loop.id), "--out", str(path))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    read = {row["text"]: {one["annotator"]: one["label"] for one in json.loads(row["annotations"])} for row in rows}
    assert read == day.said
    for row in rows:
        heard = {label for label in day.said[row["text"]].values() if label is not None}
        assert row["consensus"] in (heard or {""})
