"""People in Chromium: a fresh profile each, logged in to the real Label Studio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, Page, expect

from support.browser_annotator import MILLISECONDS

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio


@dataclass(frozen=True)
class Window:
    """What Label Studio is to serve: task ids in rank order, which of them are second opinions, and the texts."""

    project: int
    version: str
    order: list[int]
    second_opinions: dict[int, int]
    texts: dict[int, str]


def read_window(label_studio: LabelStudio, project: int) -> Window:
    """The window that a project's current model version stands for."""
    version = label_studio.call("GET", f"/api/projects/{project}")["model_version"]
    predictions = label_studio.call("GET", "/api/predictions", params={"project": project})
    ranked = sorted((row["score"], row["task"]) for row in predictions if row["model_version"] == version)
    tasks = label_studio.call("GET", "/api/tasks", params={"project": project, "fields": "all"})["tasks"]
    return Window(
        project=project,
        version=version,
        order=[task for _, task in ranked],
        second_opinions={task["id"]: task["overlap"] for task in tasks if task["overlap"] > 1},
        texts={task["id"]: task["data"]["text"] for task in tasks},
    )


@dataclass
class Profile:
    """A fresh browser profile in which one user is logged in."""

    page: Page
    url: str

    def press_label_all_tasks(self, window: Window) -> None:
        self.page.goto(f"{self.url}/projects/{window.project}/data")
        self.page.get_by_text("Label All Tasks").first.click()

    def follow_link(self, window: Window) -> None:
        self.page.goto(f"{self.url}/projects/{window.project}/data?labeling=1")

    def expect_blank_form(self, text: str) -> None:
        expect(self.page.locator(".lsf-richtext__line")).to_have_text(text)
        expect(self.page.locator(".lsf-choice input")).to_have_count(2)
        expect(self.page.locator(".lsf-choice input:checked")).to_have_count(0)

    def submit(self, label: str) -> None:
        self.page.locator(f".lsf-choice input[name={label}]").check()
        self.page.get_by_test_id("bottombar-submit-button").click()

    def label_in_order(self, window: Window, tasks: list[int]) -> None:
        for task in tasks:
            self.expect_blank_form(window.texts[task])
            self.submit("Impolite")

    def save_settings(self, window: Window, page: str) -> tuple[dict[str, Any], int]:
        """Open a page of the project's settings and press Save: what the page sent, and the status it was answered."""
        self.open_settings(window, page)
        return self.press_save()

    def open_settings(self, window: Window, page: str) -> None:
        self.page.goto(f"{self.url}/projects/{window.project}/settings/{page}")
        self.page.wait_for_load_state("networkidle")

    def press_save(self) -> tuple[dict[str, Any], int]:
        with self.page.expect_response(lambda response: response.request.method == "PATCH") as saved:
            self.page.get_by_role("button", name="Save").click()
        return saved.value.request.post_data_json, saved.value.status


@pytest.fixture
def log_in(browser: Browser, label_studio: LabelStudio) -> Iterator[Callable[[str, str], Profile]]:
    """`log_in(email, password)`: a fresh profile that holds the session of a user who has logged in.

    The login page itself is for the tests of a whole day.
    """
    contexts = []

    def enter(email: str, password: str) -> Profile:
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        contexts.append(context)
        context.set_default_timeout(MILLISECONDS)
        session = label_studio.person(email, password).session
        context.add_cookies(
            [{"name": cookie.name, "value": cookie.value or "", "url": label_studio.url} for cookie in session.cookies]
        )
        return Profile(context.new_page(), label_studio.url)

    yield enter
    for context in contexts:
        context.close()
