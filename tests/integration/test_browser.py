"""The queue as an annotator meets it: real clicks in Chromium on a real Label Studio."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.browser_pages import Profile, Window, read_window
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, new
from support.watched_queue import Watched

from connector.active_learning.window import Slot

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio


TEXTS = [f"Could you look at section {number}, please?" for number in range(8)]


@pytest.fixture
def loop(people: Annotators, start: StartProject) -> ProjectDriver:
    """A project that `init` has set up before anybody opened it, two of whose eight tasks the first person labelled."""
    started = start(TEXTS)
    for task in second_opinions(started):
        started.label(people(1)[0], task)
    return started


def order_of(loop: ProjectDriver) -> list[int]:
    """All tasks, in an order that is not that of their ids."""
    return loop.tasks[::-2] + loop.tasks[::2]


def second_opinions(loop: ProjectDriver) -> set[int]:
    """The second and the sixth place of that order."""
    return {order_of(loop)[1], order_of(loop)[5]}


@pytest.fixture
def window(label_studio: LabelStudio, loop: ProjectDriver) -> Window:
    """A published window of all tasks, the labelled ones for a second opinion."""
    loop.publish([Slot(task, relabel=task in second_opinions(loop)) for task in order_of(loop)])
    return read_window(label_studio, loop.id)


@pytest.fixture
def annotator(people: Annotators, log_in: Callable[[str, str], Profile]) -> Profile:
    """The second person's browser: all of the window is new to them."""
    person = people(2)[1]
    return log_in(person.email, person.password)


@pytest.fixture
def admin(label_studio: LabelStudio, log_in: Callable[[str, str], Profile]) -> Profile:
    """The administrator's browser."""
    return log_in(label_studio.login.email, label_studio.login.password)


def test_button_serves_window_in_rank_order_with_blank_forms(
    label_studio: LabelStudio, people: Annotators, window: Window, annotator: Profile
) -> None:
    assert window.order != sorted(window.order)
    assert len(window.second_opinions) == 2
    annotator.press_label_all_tasks(window)
    annotator.label_in_order(window, window.order)
    expect(annotator.page.get_by_text("No more tasks", exact=False).first).to_be_visible()

    person = people(2)[1].user_id
    for task in window.order:
        rows = label_studio.call("GET", f"/api/tasks/{task}/annotations/")
        mine = [row for row in rows if row["completed_by"] == person]
        assert [row["result"][0]["value"]["choices"] for row in mine] == [["Impolite"]]
        assert len(rows) == (2 if task in window.second_opinions else 1)


@pytest.mark.nightly
def test_person_who_labelled_second_opinions_is_not_served_them(
    people: Annotators, window: Window, log_in: Callable[[str, str], Profile]
) -> None:
    first = people(1)[0]
    profile = log_in(first.email, first.password)
    profile.press_label_all_tasks(window)
    profile.label_in_order(window, [task for task in window.order if task not in window.second_opinions])
    expect(profile.page.get_by_text("No more tasks", exact=False).first).to_be_visible()


@pytest.mark.nightly
def test_direct_link_in_fresh_profile_serves_the_same_order(window: Window, annotator: Profile) -> None:
    annotator.follow_link(window)
    annotator.label_in_order(window, window.order)


def test_form_opened_before_a_sync_is_submitted_after_it(
    loop: ProjectDriver, window: Window, annotator: Profile
) -> None:
    annotator.press_label_all_tasks(window)
    annotator.expect_blank_form(window.texts[window.order[0]])
    loop.publish([Slot(task, relabel=task in second_opinions(loop)) for task in reversed(order_of(loop))])
    saves = re.compile(r".*/annotations.*")
    with annotator.page.expect_response(
        lambda answer: answer.request.method == "POST" and saves.match(answer.url) is not None
    ) as saved:
        annotator.submit("Impolite")
    assert saved.value.request.post_data_json["parent_prediction"] is not None
    assert saved.value.status == 201
    annotator.expect_blank_form(window.texts[order_of(loop)[-1]])


@pytest.mark.parametrize(
    "page", ["annotation", *(pytest.param(page, marks=pytest.mark.nightly) for page in ("", "labeling"))]
)
def test_order_holds_after_save_on_settings_page(
    label_studio: LabelStudio, window: Window, admin: Profile, annotator: Profile, page: str
) -> None:
    sent, status = admin.save_settings(window, page)
    assert status == 200
    assert not {"maximum_annotations", "overlap"} & set(sent)
    assert read_window(label_studio, window.project) == window
    annotator.press_label_all_tasks(window)
    annotator.label_in_order(window, window.order[:3])


def test_save_on_annotation_page_opened_before_a_sync_is_put_right_by_the_next(
    label_studio: LabelStudio, loop: ProjectDriver, window: Window, admin: Profile
) -> None:
    admin.open_settings(window, "annotation")
    published = loop.publish(new(*loop.tasks[:4]))

    sent, status = admin.press_save()

    # The old window stays for a day, for the forms opened from it; here it is back until the next sync.
    assert (sent["model_version"], status) == (window.version, 200)
    assert "model_version" in loop.sync()["restored"]
    assert loop.project()["model_version"] == loop.state.record().queue_version >= published.version


def test_save_while_a_sync_publishes_does_not_lose_the_new_window(
    loop: ProjectDriver, window: Window, admin: Profile
) -> None:
    admin.open_settings(window, "annotation")
    saved = []

    def save_after_flip(name: str, about: Any) -> None:
        if name == "update_project" and not saved:
            saved.append(admin.press_save())

    published = loop.publish(new(*loop.tasks[:4]), Watched(loop, after=save_after_flip))

    (sent, status), *_ = saved
    assert (sent["model_version"], status) == (window.version, 200)  # for a moment the old window was back
    assert loop.project()["model_version"] == published.version
    assert loop.versions()[published.version] == 4


@pytest.mark.nightly
def test_save_empties_model_version_where_predictions_are_not_shown(
    label_studio: LabelStudio, window: Window, admin: Profile
) -> None:
    """Why `show_collab_predictions` has to be on: Label Studio itself, with our setting undone."""
    path = f"/api/projects/{window.project}"
    label_studio.call("PATCH", path, json={"show_collab_predictions": False, "model_version": window.version})
    assert label_studio.call("GET", path)["model_version"] == window.version
    sent, _ = admin.save_settings(window, "annotation")
    assert sent["show_collab_predictions"] is False
    assert "model_version" not in sent
    assert label_studio.call("GET", path)["model_version"] == ""
