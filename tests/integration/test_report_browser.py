"""A report as Chromium shows it: on a phone, on a wide screen and on paper, in light and dark, whatever texts say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from support import report_factory as made_up_report

from connector.reporting.content import Content
from connector.reporting.html import page as report_page

A4 = 688  # pixels of a line on A4, less the margins
POLICY = re.compile(r"<meta http-equiv[^>]+>")


class Opened:
    """A report in a browser, and what it asked for and complained of."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.address = path.as_uri()
        self.messages: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.refused: list[tuple[str, str | None]] = []
        page.on("requestfailed", lambda request: self.refused.append((request.url, request.failure)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(self.address)
        page.wait_for_load_state("networkidle")

    def violations(self) -> list[str]:
        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        return [json.dumps([one["id"], one["impact"], one["nodes"][0]["html"]]) for one in found]

    def fits(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))

    def strings(self) -> list[str]:
        found: list[str] = self.page.evaluate(
            "[...document.querySelectorAll('.user, .text')].map(one => one.textContent)"
        )
        return found

    def ran(self) -> bool:
        return bool(self.page.evaluate("'ran' in window"))


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """`opened(content or HTML, width=…, scheme=…, media=…)`: the page from a file, in a fresh profile."""
    contexts = []

    def open_page(shown: Content | str, width: int = 1440, scheme: Any = "light", media: Any = "screen") -> Opened:
        path = tmp_path / f"report{len(contexts)}.html"
        path.write_bytes((shown if isinstance(shown, str) else report_page(shown)).encode())
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.emulate_media(media=media)
        return Opened(page, path)

    yield open_page
    for context in contexts:
        context.close()


FORMATS = [
    (390, "light", "screen"),
    (390, "dark", "screen"),
    (1440, "light", "screen"),
    (1440, "dark", "screen"),
    (A4, "light", "print"),
    (A4, "dark", "print"),
]


def states_in_formats() -> list[Any]:
    """(state, width, scheme, media) for all; by day the first state in every other format, and the others in one."""
    return [
        pytest.param(
            *(make, *shape),
            id="-".join(map(str, (make.__name__, *shape))),
            marks=()
            if place in (range(0, len(FORMATS), 2) if number == 0 else [number % len(FORMATS)])
            else pytest.mark.nightly,
        )
        for number, make in enumerate(made_up_report.STATES)
        for place, shape in enumerate(FORMATS)
    ]


@pytest.mark.parametrize(("make", "width", "scheme", "media"), states_in_formats())
def test_the_page_is_quiet_fits_and_is_accessible(
    opened: Callable[..., Opened], make: Callable[[], Content], width: int, scheme: str, media: str
) -> None:
    report = opened(make(), width, scheme, media)
    assert report.messages == []
    assert report.requests == [report.address]
    assert report.fits()
    assert not report.ran()
    report.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert report.fits()
    assert report.violations() == []


@pytest.mark.parametrize("with_policy", [True, False])
def test_hostile_strings_are_shown_and_never_run(opened: Callable[..., Opened], with_policy: bool) -> None:
    """Neither with the page's policy nor, as escaping alone is to be enough, without it."""
    content = made_up_report.hostile()
    written = report_page(content)
    assert len(POLICY.findall(written)) == 1
    report = opened(written if with_policy else POLICY.sub("", written))
    assert set(made_up_report.HOSTILE) <= set(report.strings())
    report.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    for link in report.page.locator("a").all():
        link.click()
    for text in ("<script>window.ran = 1</script>", "javascript:window.ran=1"):
        report.page.get_by_text(text).first.click()
    report.page.mouse.move(300, 300)
    assert not report.ran()
    assert report.messages == []
    assert report.requests == [report.address]


def test_the_policy_stops_a_script_and_a_style_that_got_in(opened: Callable[..., Opened]) -> None:
    written = report_page(made_up_report.empty())
    inside = (
        "<script>window.ran = 1</script><style>body { display: none }</style><p style='display: none' id='in'>in</p>"
        "<img src='https://example.com/a.png' onerror='window.ran = 1'>"
    )
    report = opened(written.replace("<main>", "<main>" + inside))
    assert not report.ran()
    assert report.page.locator("#in").is_visible()
    assert report.refused == [("https://example.com/a.png", "csp")]
    assert len(report.messages) >= 4  # the policy's refusals


def test_every_character_comes_back_from_the_browser(opened: Callable[..., Opened]) -> None:
    ranges = [
        *range(1, 0x250),
        *range(0x2000, 0x2070),
        *range(0xFDD0, 0xFE10),
        *range(0xFFF0, 0x10000),
        0x1F600,
        0x10FFFF,
    ]
    text = "".join(map(chr, ranges)) + "\r\n\r\r\n \r"
    strings = set(opened(made_up_report.hostile([text, text[::-1]])).strings())
    assert {text, text[::-1]} <= strings


def test_a_long_text_is_whole_in_the_browser(opened: Callable[..., Opened]) -> None:
    text = "\u202e<script>window.ran = 1</script>\r" * 3_000 + "x" * 10_000
    content = made_up_report.content()
    changed = made_up_report.with_texts(content, lambda one: text if one == made_up_report.TEXTS[0] else one)
    report = opened(changed, width=390)
    assert text in report.strings()
    assert report.fits()
    assert not report.ran()


@pytest.mark.parametrize("character", ["\u202e", "\u2069\u202e", "\u2067", "\u2069\u2069\u202e\u2067"])
def test_a_text_that_turns_the_direction_turns_its_own_alone(opened: Callable[..., Opened], character: str) -> None:
    report = opened(made_up_report.with_texts(made_up_report.content(), lambda text: f"ab{character}cd"))
    places = report.page.evaluate(
        """[...document.querySelectorAll('.verdict .said li')].map(item => {
            const range = document.createRange();
            return [...item.childNodes].map(node => { range.selectNode(node); return range.getBoundingClientRect() })
                .filter(box => box.width > 0).map(box => [box.left, box.top])
        }).filter(boxes => boxes.length > 2)"""
    )
    assert len(places) > 5
    for boxes in places:
        lefts = [left for left, _ in boxes]
        assert lefts == sorted(lefts)


def test_tables_are_whole_on_paper(opened: Callable[..., Opened]) -> None:
    report = opened(made_up_report.large(), width=A4, media="print")
    clipped = report.page.evaluate(
        """[...document.querySelectorAll('.box, .tall, table, td, th')]
            .filter(one => one.getBoundingClientRect().right > window.innerWidth + 1
                || (one.scrollHeight > one.clientHeight + 1 && one.matches('.tall'))).length"""
    )
    assert clipped == 0
    colours = report.page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert colours == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert report.page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


HIDDEN = """[...document.querySelectorAll("td, th[scope=row]")].filter(one => {
    const box = one.getBoundingClientRect()
    return !one.matches(".none") && (box.width < 8 || box.left < 0 || box.right > window.innerWidth)
}).map(one => one.outerHTML)"""
NAMES = """[...document.querySelectorAll(".stack tbody td")].map(one =>
    getComputedStyle(one, "::before").content.replaceAll('"', ''))"""


@pytest.mark.parametrize("width", [390, pytest.param(768, marks=pytest.mark.nightly)])
def test_tables_are_cards_on_a_phone_and_hide_nothing(opened: Callable[..., Opened], width: int) -> None:
    """No table scrolls sideways, and each value has the name of its column."""
    report = opened(made_up_report.large(), width=width)
    report.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert report.fits()
    assert (
        report.page.evaluate(
            "[...document.querySelectorAll('.box')].filter(one => one.scrollWidth > one.clientWidth).length"
        )
        == 0
    )
    assert report.page.evaluate(HIDDEN) == []
    names = set(report.page.evaluate(NAMES))
    assert {"Agreement", "Quality", "Where they differ most", "Predicted", "Labels", "Task "} <= names
    assert report.page.locator(".why").first.is_visible()
    assert report.violations() == []


def test_the_reason_has_the_widest_column_and_folded_rows_come_on_paper(opened: Callable[..., Opened]) -> None:
    report = opened(made_up_report.content())
    widths = report.page.evaluate(
        "[...document.querySelectorAll('.window tbody tr:first-child > *')].slice(0, 4).map(one => one.clientWidth)"
    )
    assert widths[3] > max(400, *widths[:2])
    assert widths[3] > 0.8 * widths[2]
    last = report.page.locator(".window .why").nth(49)
    assert not last.is_visible()
    report.page.emulate_media(media="print")
    assert last.bounding_box()["height"] > 0


def test_long_texts_scroll_by_keyboard_on_a_phone(opened: Callable[..., Opened]) -> None:
    report = opened(made_up_report.content(), width=390)
    boxes = report.page.locator("[role=region]:visible")
    assert boxes.count() > 4
    for box in boxes.all():
        box.focus()
        assert box.evaluate("one => one === document.activeElement")
        assert box.get_attribute("aria-label")
    text = report.page.locator(".tall:visible").first
    text.focus()
    report.page.keyboard.press("ArrowDown")
    report.page.wait_for_function("one => one.scrollTop > 0", arg=text.element_handle())
