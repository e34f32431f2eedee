"""A person's place of work: a browser of their own, in Chromium, watched from the first request to the last."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response, expect

MILLISECONDS = 20_000  # that a page may take, on a machine that is busy with other tests

# What Label Studio's own pages say and ask for, whoever serves the project; all else fails the test.
TIPS = "/heidi-tips"  # its server fetches tips for the start page from the internet, and has none without
KNOWN_ANSWERS = {("GET", TIPS, 404)}
KNOWN_MESSAGES = (
    # That answer, as Chromium tells it.
    ("error", rf"\S+{TIPS}: Failed to load resource: the server responded with a status of 404 \(Not Found\)"),
    # The Data Manager looks for the first tab of a list that it is still loading.
    (
        "warning",
        r"\S+/react-app/vendor\.js\S*: \[mobx\.array\] Attempt to read an array index \(0\) that is out of bounds "
        r"\(0\)\. Please check length first\. Out of bound indices will not be tracked by MobX",
    ),
    # The form calls one of its own functions by an old name, where a task has a prediction.
    (
        "warning",
        r"\S+/react-app/\d+\.js\S*: deserializeAnnotation\(\) is deprecated\. Use deserializeResults\(\) instead",
    ),
    # The form drops the draft of an annotation that it has just submitted and let go of.
    (
        "warning",
        r"\S+/react-app/vendor\.js\S*: Error: \[mobx-state-tree\] You are trying to read or write to an object that is "
        r"no longer part of a state tree\. \(Object type: 'Annotation', Path upon death: '/annotations/0', Subpath: "
        r"'(draftId|draftSelected|draftSaved)?', Action: '/annotations/0\.dropDraft\(\)'\)\. Either detach nodes "
        r"first, or don't use objects after removing / replacing them in the tree\.",
    ),
)


# Whether the form shows the image with this SHA-256. It has fetched the file, and shows what it got.
SHOWS_IMAGE = """async digest => {
    const image = document.querySelector(".lsf-main-view img")
    if (!image || !image.complete || !image.naturalWidth) return false
    const file = await fetch(image.src).then(answer => answer.arrayBuffer(), () => null)
    if (!file) return false
    const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", file))
    return [...bytes].map(byte => byte.toString(16).padStart(2, "0")).join("") === digest
}"""


@dataclass
class Album:
    """Screenshots in the order in which they were taken."""

    folder: Path
    taken: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, name: str, otherwise: Path) -> Album:
        """An empty one, in a folder of this name: in the folder that TEST_ARTEFACTS names, or else in `otherwise`."""
        folder = Path(os.environ.get("TEST_ARTEFACTS") or otherwise) / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.png"):
            old.unlink()
        return cls(folder)

    def take(self, page: Page, name: str, *, whole: bool = False) -> None:
        """Takes what the window shows of a page, or the `whole` page."""
        self.taken.append(f"{len(self.taken) + 1:02}-{name}.png")
        page.screenshot(path=self.folder / self.taken[-1], full_page=whole)


class Desk:
    """One person's browser, whose console and answers are kept from the first request to the last."""

    def __init__(self, browser: Browser, url: str, email: str, password: str) -> None:
        self.url, self.email, self.password = url, email, password
        self.context = browser.new_context(viewport={"width": 1440, "height": 900})
        self.context.set_default_timeout(MILLISECONDS)
        self.complaints: list[str] = []
        self._leaving = False
        self.page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error of the page: {error}"))
        self.page.on("requestfailed", self._lose)
        self.page.on("response", self._judge)
        self.seen: set[int] = set()
        self.held: int | None = None
        self.task: dict[str, Any] = {}

    def _hear(self, message: ConsoleMessage) -> None:
        first, *_ = message.text.splitlines() or [""]  # a trace of the page's code may follow
        said = f"{message.location['url']}: {first}"
        known = any(message.type == kind and re.fullmatch(words, said) for kind, words in KNOWN_MESSAGES)
        if message.type in ("error", "warning") and not known:
            self.complaints.append(f"{message.type} {said}")

    def _lose(self, request: Request) -> None:
        if not (self._leaving and request.failure == "net::ERR_ABORTED"):  # the browser's own, for a page that is left
            self.complaints.append(f"{request.method} {request.url}: {request.failure}")

    def _judge(self, response: Response) -> None:
        path = response.url.removeprefix(self.url).partition("?")[0]
        if response.status >= 400 and (response.request.method, path, response.status) not in KNOWN_ANSWERS:
            self.complaints.append(f"{response.request.method} {response.url}: {response.status}")

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        """A page is left meanwhile: what it still asks for is lost, and nobody's fault."""
        self._leaving = True
        yield
        self._leaving = False

    def go(self, address: str) -> None:
        """Types an address."""
        with self.leaving():
            self.page.goto(address)

    def sign_in(self) -> None:
        self.go(f"{self.url}/user/login/")
        self.page.locator("input[name=email]").fill(self.email)
        self.page.locator("input[name=password]").fill(self.password)
        with self.leaving():
            self.page.keyboard.press("Enter")
            expect(self.page.get_by_text("Recent Projects")).to_be_visible()

    def open_project(self, project: int, title: str) -> None:
        """The way of a person: the list of projects, the project, its Data Manager."""
        self.go(f"{self.url}/projects")
        card = self.page.get_by_role("link").filter(has=self.page.get_by_text(title, exact=True))
        # The numbers come last; whoever leaves while they are being read gets an "AbortError" in the console.
        expect(card).to_contain_text(re.compile(r"\d+ / \d+"))
        with self.leaving():
            card.click()
            self.page.wait_for_url(f"**/projects/{project}/data**")
            expect(self.rows.first).to_be_visible()

    @property
    def rows(self) -> Locator:
        """The tasks that the Data Manager lists."""
        return self.page.get_by_test_id("table-row")

    def expect_rows(self, texts: list[str]) -> None:
        """The Data Manager lists the tasks with these texts, in this order."""
        expect(self.rows).to_contain_text(texts)

    def press_label_all_tasks(self) -> None:
        with self.served():
            self.page.get_by_text("Label All Tasks").first.click()

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """The page asks for the next task meanwhile, and what it is told is kept."""
        with self.page.expect_response(lambda answer: "/api/dm/actions?id=next_task" in answer.url) as served:
            yield
        self.task = served.value.json()

    @property
    def text(self) -> Locator:
        """The text in the form."""
        return self.page.locator(".lsf-richtext__line")

    def expect_content(self, content: str) -> None:
        """The form shows a content of a task."""
        expect(self.text).to_have_text(content)

    def expect_form(self, task: int, content: str, other: str, suggested: str | None) -> None:
        """The form shows the content, and nothing chosen but what is `suggested`.

        Neither it nor the page knows what the `other` has said.
        """
        self.expect_content(content)
        expect(self.page.get_by_test_id("bottombar-submit-button")).to_be_enabled()
        expect(self.page.locator(".lsf-choice input")).to_have_count(2)
        chosen = self.page.locator(".lsf-choice input:checked")
        expect(chosen).to_have_count(0 if suggested is None else 1)
        assert other not in self.page.locator("body").inner_text()
        assert (self.task["id"], self.task["annotations"], self.task["drafts"]) == (task, [], [])
        if suggested is None:
            assert not any(prediction["result"] for prediction in self.task["predictions"])
        else:
            expect(chosen).to_have_attribute("name", suggested)

    def answer(self, key: str, submit: str) -> dict[str, Any]:
        """Presses the class's key, if any, and the one that submits or skips; what was saved."""
        if key:
            self.page.keyboard.press(key)
            expect(self.page.locator(".lsf-choice input:checked")).to_have_count(1)
        saves = re.compile(r".*/api/tasks/\d+/annotations.*")
        with self.served(), self.page.expect_response(saves) as saved:
            self.page.keyboard.press(submit)
        assert (saved.value.request.method, saved.value.status) == ("POST", 201)
        answer: dict[str, Any] = saved.value.json()
        return answer


class ImageDesk(Desk):
    """The desk of a person whose tasks are images. `image_of` gives the file behind an address."""

    image_of: Callable[[str], bytes]

    def expect_content(self, content: str) -> None:
        """The form shows the image at an address: it is loaded, and not the one before."""
        digest = hashlib.sha256(self.image_of(content)).hexdigest()
        self.page.wait_for_function(SHOWS_IMAGE, arg=digest)
