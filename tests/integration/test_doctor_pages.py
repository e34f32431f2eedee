"""What `connector doctor` says to do in Label Studio's pages, done in Chromium by a person without a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page
from support.browser_pages import Profile
from support.connector_commands import connector
from support.doctor_helpers import FINE, findings, not_fine
from support.label_studio_server import Annotators, LabelStudio
from support.project_driver import ProjectDriver, StartProject, texts

pytestmark = pytest.mark.nightly


def delete_annotations(page: Page, loop: ProjectDriver, task: int) -> None:
    """Ticks the task in a tab without filters, and chooses Delete Annotations."""
    tab = loop.call("POST", "/api/dm/views/", json={"project": loop.id, "data": {"title": "New Tab"}})["id"]
    page.goto(f"{loop.gateway.url}/projects/{loop.id}/data?tab={tab}")
    page.get_by_label(f"Select Task {task}", exact=True).click(force=True)
    page.locator("button", has_text=re.compile("^1 Task$")).click()
    page.get_by_text("Delete Annotations").click()
    page.get_by_role("button", name="Delete Annotations").click()  # of the question whether to


def test_skipped_tasks_are_asked_of_others_again(
    start: StartProject,
    people: Annotators,
    label_studio: LabelStudio,
    log_in: Callable[[str, str], Profile],
) -> None:
    loop = start(texts(12), skip_queue="IGNORE_SKIPPED")
    (first,) = people(1)
    loop.sync()
    skipped = loop.window[0]
    first.skip({"id": skipped})
    remedy = findings(loop)["skip_queue"].remedy
    assert remedy.startswith(
        "To ask others once, tick it in a new tab of the Data Manager and choose Delete Annotations"
    )
    page = log_in(label_studio.login.email, label_studio.login.password).page
    with page.expect_response(lambda response: "delete_tasks_annotations" in response.url):
        delete_annotations(page, loop, skipped)
    assert connector(loop, "sync", "--project", str(loop.id)).returncode == 0
    assert not_fine(loop) == FINE
    assert skipped in loop.window
