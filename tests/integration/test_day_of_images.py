"""A day's work of two annotators and a lead on images: real clicks and keys in Chromium, and the real commands.

Screenshots of each station are kept, numbered: in the folder that TEST_ARTEFACTS names, or else among pytest's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from support.browser_annotator import Album, Desk, ImageDesk
from support.drawn_images import KINDS, as_bytes, draw
from support.project_driver import StartProject
from support.uploaded_images import number_of, upload
from support.working_day import Day

from connector.demo.people import Person

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio

TITLE = "Circles and squares"
CONFIG = (
    '<View><Image name="i" value="$image"/><Choices name="shape" toName="i">'
    '<Choice value="circle"/><Choice value="square"/></Choices></View>'
)
COUNT, WINDOW = 40, 14
FITS = "document.documentElement.scrollWidth <= window.innerWidth"
# Boxes of the page that would have to be scrolled sideways to see all that is in them.
SIDEWAYS = """[...document.querySelectorAll('.box, .tall, .card')]
    .filter(one => one.scrollWidth > one.clientWidth).map(one => one.outerHTML)"""
THUMBNAILS = "[...document.querySelectorAll('img.thumbnail')]"


def photograph(number: int) -> bytes:
    """The PNG of the image of a number, in one of the formats that photographs have: upright, wide, or very wide."""
    drawn = draw(number, size=240)
    width, height = ((240, 320), (320, 240), (720, 240))[number % 3]
    image = Image.new("RGB", (width, height), "#6b7280")
    image.paste(drawn, ((width - 240) // 2, (height - 240) // 2))
    return as_bytes(image)


@pytest.fixture
def day(start: StartProject, browser: Browser, tmp_path: Path) -> Iterator[Day]:
    """A project with uploaded images, which the lead sets up, and two annotators."""
    loop = start([], config=CONFIG, adopted=False, title=TITLE)
    upload(loop, range(COUNT), photograph)
    rows = sorted(loop.rows(), key=lambda row: int(row["id"]))
    loop.tasks = [row["id"] for row in rows]
    desks = []
    for address in ("anna@images.example.com", "ben@images.example.com"):
        person = Person.sign_up(loop.server.url, address)
        person.close()
        desk = ImageDesk(browser, loop.server.url, person.email, person.password)
        desk.image_of = lambda address: photograph(number_of(address))
        desks.append(desk)
    day = Day(
        loop,
        Album.begin("day-of-images", tmp_path),
        *desks,
        TITLE,
        [row["data"]["image"] for row in rows],
        {"circle": "1", "square": "2"},
        lambda content: KINDS[number_of(content) % 2],
        WINDOW,
    )
    day.run("init", "--project", str(loop.id), "--min-annotations-per-task", "2")
    yield day
    for desk in desks:
        desk.context.close()


@pytest.fixture
def lead(browser: Browser, label_studio: LabelStudio) -> Iterator[Desk]:
    """The administrator's browser."""
    desk = Desk(browser, label_studio.url, label_studio.login.email, label_studio.login.password)
    yield desk
    desk.context.close()


def test_a_day_of_two_annotators_and_a_lead_on_images(day: Day, lead: Desk, tmp_path: Path) -> None:
    day.sync()
    assert len(day.window) >= WINDOW
    assert day.second_opinions == set()
    wrong = morning(day)
    day.sync("--prelabel", "new")
    afternoon(day, wrong)
    day.sync()
    read_the_report(day, lead, tmp_path / "report.html")
    read_the_labels(day, tmp_path / "labels.jsonl")
    assert {desk.email: desk.complaints for desk in (day.anna, day.ben, lead)} == {
        desk.email: [] for desk in (day.anna, day.ben, lead)
    }


def morning(day: Day) -> int:
    """Both sign in and label by turns. Anna mistakes a shape. Returns that task."""
    for desk, name in ((day.anna, "anna"), (day.ben, "ben")):
        desk.sign_in()
        desk.open_project(day.loop.id, TITLE)
        desk.press_label_all_tasks()
        day.expect_form(desk)
        day.album.take(desk.page, f"{name}-first-task")
    wrong = day.due(day.anna)
    day.turn(day.anna, mistaken(day, wrong))
    for number in range(5):
        day.turn(day.ben, skip=number == 2)
        day.turn(day.anna)
    return wrong


def afternoon(day: Day, wrong: int) -> None:
    """Second opinions are blank, new tasks have a suggestion. Ben makes Anna's mistake, too."""
    assert len(day.second_opinions) >= 8
    assert wrong in day.second_opinions
    assert day.suggested
    assert not day.suggested.keys() & day.second_opinions
    for desk in (day.anna, day.ben):  # they come back from lunch
        desk.open_project(day.loop.id, TITLE)
        desk.press_label_all_tasks()
    day.album.take(day.ben.page, "ben-second-opinion")
    seen_suggestions = 0
    for _ in range(8):
        for desk in (day.anna, day.ben):
            task = day.due(desk)
            if task in day.suggested and not seen_suggestions:
                day.album.take(desk.page, "a-suggestion")
            seen_suggestions += task in day.suggested
            day.turn(desk, mistaken(day, task) if task == wrong else None)
    assert seen_suggestions
    assert len(day.said[day.content(wrong)]) == 2


def mistaken(day: Day, task: int) -> str:
    """The class that a task's image is not of."""
    return next(kind for kind in KINDS if kind != day.right(day.content(task)))


def read_the_report(day: Day, lead: Desk, path: Path) -> None:
    """On a phone and on a wide screen, the report shows the images of the window and of suspect labels."""
    said = json.loads(day.run("report", "--project", str(day.loop.id), "--out", str(path), "--json"))
    assert said["suspects"] >= 1
    for width in (390, 1440):
        lead.page.set_viewport_size({"width": width, "height": 900})
        lead.go(path.as_uri())
        expect(lead.page.get_by_role("heading", level=1)).to_have_text(TITLE)
        lead.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        day.album.take(lead.page, f"report-{width}", whole=True)
        shown = thumbnails(lead.page)
        assert len(shown["window"]) == len(day.window)
        assert len(shown["suspects"]) == said["suspects"]
        for image in (*shown["window"], *shown["suspects"]):
            assert image["natural"] > 0
            assert 0 < image["right"] <= width
            assert min(image["width"], image["height"]) >= 40
        assert lead.page.evaluate(FITS)
        assert lead.page.evaluate(SIDEWAYS) == []
        assert [one["id"] for one in Axe().run(lead.page).response["violations"]] == []


def thumbnails(page: Page) -> dict[str, list[dict[str, Any]]]:
    """The images that the page shows of the window and of suspect labels, as they are laid out, in pixels."""
    images: list[dict[str, Any]] = page.evaluate(
        THUMBNAILS
        + """.map(one => {
            const box = one.getBoundingClientRect()
            const natural = one.complete ? one.naturalWidth : 0
            return {natural, right: box.right, width: box.width, height: box.height, suspect: !!one.closest(".card")}
        })"""
    )
    return {
        "window": [image for image in images if not image["suspect"]],
        "suspects": [image for image in images if image["suspect"]],
    }


def read_the_labels(day: Day, path: Path) -> None:
    """The day's labels are in the file, and by whom."""
    day.run("export", "--project", str(day.loop.id), "--out", str(path))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    read = {row["text"]: {one["annotator"]: one["label"] for one in row["annotations"]} for row in rows}
    assert read == day.said
