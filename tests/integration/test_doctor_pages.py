"""The pages of Label Studio that `connector doctor` names, in Chromium: a person without a terminal can do it all."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page
from support.browser_pages import Profile
from support.connector_commands import connector
from support.doctor_helpers import FINE, findings, not_fine
from support.label_studio_server import Annotators, LabelStudio
from support.project_driver import ProjectDriver, StartProject, texts


def open_named(page: Page, loop: ProjectDriver, check: str, task: int | None = None) -> None:
    """Opens the page that the remedy names, whose fields are then filled in."""
    (address,) = re.findall(r"[Oo]pen (\S+/admin/\S+/change/)", findings(loop)[check].remedy)
    page.goto(address.replace("ID", str(task)))


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("was changed successfully").wait_for()


def test_the_pages_that_doctor_names_put_things_right(
    start: StartProject, people: Annotators, label_studio: LabelStudio, log_in: Callable[[str, str], Profile]
) -> None:
    loop = start([*texts(12), " "], skip_queue="IGNORE_SKIPPED")
    (first,) = people(1)
    labelled, empty = loop.tasks[0], loop.tasks[-1]
    loop.label(first, labelled)
    loop.sync()
    first.skip({"id": loop.window[0]})
    loop.set(annotator_evaluation_enabled=True)
    loop.call("PATCH", f"/api/tasks/{labelled}", json={"overlap": 2, "is_labeled": False})
    wrong = {"annotator_evaluation", "skip_queue", "second_opinions", "texts"}
    assert set(not_fine(loop)) == wrong
    before = loop.project()

    page = log_in(label_studio.login.email, label_studio.login.password).page
    open_named(page, loop, "annotator_evaluation")
    page.get_by_label("Annotator evaluation enabled").uncheck()
    save(page)
    open_named(page, loop, "skip_queue")
    page.get_by_label("Skip queue").select_option(label="Requeue for others")
    save(page)
    open_named(page, loop, "second_opinions", labelled)
    page.get_by_label("Overlap").fill("1")
    page.get_by_label("Is labeled").check()
    save(page)
    open_named(page, loop, "texts", empty)
    page.get_by_label("Data").fill('{"text": "Could you?"}')
    save(page)

    changed = {name: value for name, value in loop.project().items() if before[name] != value}
    assert changed.keys() <= {"annotator_evaluation_enabled", "skip_queue"}, "the page keeps all other settings"
    assert connector(loop, "sync", "--project", str(loop.id)).returncode == 0
    assert not_fine(loop) == FINE
