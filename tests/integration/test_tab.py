"""The Data Manager's tabs of ours: what Label Studio answers for them, and what a lead sees in Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Request, expect
from support.browser_pages import Profile
from support.fault_proxy import ANSWER_500, FaultyProxy
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, new, second, texts

from connector.active_learning.window import open_places
from connector.backend import Backend
from connector.demo.people import Person
from connector.label_studio.client import filter_item
from connector.progress import Reporter
from connector.queue.undo import undo
from connector.queue.views import DISCUSS_TAB, QUEUE_TAB, SECOND_OPINIONS_TAB, TAB_ORDERING, TAB_TITLES
from connector.reporting.content import Content
from connector.reporting.export import export
from connector.reporting.html import page
from connector.reporting.report import report
from connector.retry import Retries

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio


SHOWN = {
    "tasks:total_annotations",
    "tasks:cancelled_annotations",
    "tasks:annotators",
    "tasks:predictions_score",
    "tasks:predictions_model_versions",
    "tasks:data.text",
}


def shown(loop: ProjectDriver, title: str) -> list[int]:
    """The tasks that the tab shows, in its order."""
    (number,) = (one["id"] for one in loop.tabs() if one["data"]["title"] == title)
    query = {"view": number, "project": loop.id, "page_size": 500}
    return [row["id"] for row in loop.call("GET", "/api/tasks", params=query)["tasks"]]


def held(loop: ProjectDriver) -> dict[int, tuple[int, bool]]:
    """What the window still holds, as sync and export see it."""
    return open_places(loop.state.window(), loop.state.answers_at_publishing(), loop.read().tasks)


def by_hand(loop: ProjectDriver, title: str, /, **changes: Any) -> dict[str, Any]:
    """Changes the tab as the page does when somebody sorts, hides or filters, and returns what it is then."""
    (one,) = (one for one in loop.tabs() if one["data"]["title"] == title)
    body = {"id": one["id"], "project": str(loop.id), "data": {**one["data"], **changes}}
    answer: dict[str, Any] = loop.call("PATCH", f"/api/dm/views/{one['id']}?project={loop.id}", json=body)
    return answer


# -- what the tabs are -------------------------------------------------------------------------------------------------


def test_tabs_hide_every_column_but_a_leads_in_both_modes(start: StartProject) -> None:
    loop = start([{"text": text, "source": "mail", "n": number} for number, text in enumerate(texts(3))])
    columns = loop.call("GET", "/api/dm/columns", params={"project": loop.id})["columns"]
    names = {f"tasks:{'data.' if one.get('parent') else ''}{one['id']}" for one in columns} - {"tasks:data"}
    assert names > SHOWN | {"tasks:data.source", "tasks:data.n", "tasks:id"}
    for title, one in zip(TAB_TITLES, loop.tabs(), strict=True):
        data = one["data"]
        assert data["title"] == title
        assert data["ordering"] == ["tasks:predictions_score"]
        assert set(data["columnsWidth"]) == SHOWN
        assert {mode: names - set(hidden) for mode, hidden in data["hiddenColumns"].items()} == {
            "explore": SHOWN,
            "labeling": SHOWN,
        }


def test_tabs_show_what_the_window_holds_after_every_sync_without_being_changed(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(24))
    first, other = people(2)
    assert shown(loop, QUEUE_TAB) == []
    before = loop.tabs()
    for task in loop.tasks[:8]:
        loop.label(first, task, "Impolite" if task % 2 else "Polite")
    relabelled = 0
    for number in range(3):
        loop.sync(window=9, train="always")
        for answers in range(4):
            places = held(loop)
            asked = [task for task, (_, relabel) in places.items() if relabel]
            assert shown(loop, QUEUE_TAB) == sorted(places, key=lambda task: places[task][0])
            assert set(shown(loop, SECOND_OPINIONS_TAB)) == set(asked)
            relabelled += len(asked)
            loop.turn((first, other)[answers % 2], ("Polite", "Impolite")[number % 2])
    assert relabelled > 0
    assert loop.tabs() == before


def test_a_direct_link_serves_the_window_alone_and_goes_on_with_the_next(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(8))
    first, other = people(2)
    t = loop.tasks
    loop.label(first, t[0])
    loop.publish([*new(t[5]), *second(t[0]), *new(t[3])])
    data = loop.tabs()[0]["data"]
    served = []
    for window in ([t[5], t[0], t[3]], [t[7], t[1]]):
        for _ in window:
            task = by_link(other, loop, data)
            assert task is not None
            served.append(task)
            loop.label(other, task)
        assert by_link(other, loop, data) is None, "the button goes on with the rest"
        loop.publish(new(t[7], t[1]))
    assert served == [t[5], t[0], t[3], t[7], t[1]]


def by_link(person: Person, loop: ProjectDriver, data: dict[str, Any]) -> int | None:
    task = person.next_task_by_link(loop.id, data["ordering"], data["filters"])
    return None if task is None else int(task["id"])


# -- the tasks to discuss ----------------------------------------------------------------------------------------------


def people_differ(loop: ProjectDriver, people: Annotators) -> list[int]:
    """Four people agree on 20 tasks and differ by half on six, each time in another way. Returns the six."""
    for number, task in enumerate(loop.tasks[:26]):
        for place, person in enumerate(people(4)):
            other = number >= 20 and (place + number) % 4 < 2
            loop.label(person, task, ("Polite", "Impolite")[(number % 2 == 1) ^ other])
    return loop.tasks[20:26]


def test_tasks_that_people_differ_on_are_in_the_tab_and_the_report_and_nowhere_marked(
    start: StartProject, people: Annotators, lead: Profile, tmp_path: Path
) -> None:
    loop = start(texts(40))
    disputed = people_differ(loop, people)
    assert shown(loop, DISCUSS_TAB) == []
    before = loop.dump()
    summary = loop.sync(window=10)
    assert summary["ambiguous"] == 6
    assert shown(loop, DISCUSS_TAB) == disputed

    # Apart from the window, nothing of a task says so: neither its flags nor its data, and no prediction.
    after = loop.dump()
    opened = {slot.task for slot in loop.state.window() if slot.relabel}
    kept = ("data", "meta", "annotations", "overlap", "is_labeled", "comment_count")
    for old, new_one in zip(before["tasks"], after["tasks"], strict=True):
        assert all(old[name] == new_one[name] for name in kept[: 3 if old["id"] in opened else None])
    assert {row["task"] for row in after["predictions"]} <= {slot.task for slot in loop.state.window()}
    assert all(row["result"] == [] for row in after["predictions"])
    fifth = people(5)[4]
    served = fifth.next_task(loop.id)
    assert served is not None
    assert not any("discuss" in str(value).lower() or "ambig" in str(value).lower() for value in served.values())

    contents: list[Content] = []

    def draw(content: Content) -> str:
        contents.append(content)
        return page(content)

    with closing(Backend(loop.backend)) as model:
        report(loop.id, loop.gateway, model, loop.state, tmp_path / "report.html", Reporter(), draw)
        export(loop.id, loop.gateway, model, loop.state, tmp_path / "labels.jsonl", "jsonl", Reporter())
    found = contents[0].consensus
    assert found.disputed is not None
    assert sorted(one.task for one in found.disputed) == disputed
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["task_id"] for row in rows if row["ambiguous"]] == disputed
    assert {row["ambiguous"] for row in rows if row["label_count"] == 0} == {None}
    for row in rows:
        if row["ambiguous"]:
            assert row["soft_Polite"] == pytest.approx(0.5, abs=0.05)
            assert row["settles"] < 0.05

    # The lead opens the tab, with its filters.
    (tab,) = (one for one in loop.tabs() if one["data"]["title"] == DISCUSS_TAB)
    lead.page.goto(f"{lead.url}/projects/{loop.id}/data?tab={tab['id']}")
    expect(lead.page.get_by_text("Tasks: 6 / 40")).to_be_visible()
    lead.page.get_by_text("Filters").first.click()
    expect(lead.page.locator(".lsf-modal-ls")).to_have_count(0)
    undo(loop.id, loop.gateway, loop.state, Reporter())
    assert loop.tabs() == []


def test_with_skip_ambiguous_they_are_not_asked_again(start: StartProject, people: Annotators) -> None:
    loop = start(texts(26))
    disputed = people_differ(loop, people)
    loop.label(people(5)[4], loop.tasks[0])  # a fifth is active
    loop.sync(window=50)
    assert set(disputed) <= set(loop.window)
    assert loop.sync(window=50, skip_ambiguous=True)["window"]["size"] > 0
    assert not set(disputed) & set(loop.window)
    loop.assert_published()


# -- what people do to them --------------------------------------------------------------------------------------------


def test_a_tab_that_somebody_sorted_is_put_right_and_all_else_of_it_stays(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(6))
    columns = {"explore": ["tasks:id"], "labeling": []}
    filters = {"conjunction": "and", "items": [filter_item("id", "greater", "Number", 1)]}
    theirs = by_hand(loop, QUEUE_TAB, ordering=["-tasks:id"], hiddenColumns=columns, filters=filters)
    loop.sync()
    assert loop.tabs()[0]["data"] == {**theirs["data"], "ordering": TAB_ORDERING}

    by_hand(loop, QUEUE_TAB, ordering=["tasks:id"])
    assert loop.sync()["seconds"].keys() == {"pull"}
    assert loop.tabs()[0]["data"]["ordering"] == ["tasks:id"], "nothing is new, and nothing is looked at"
    loop.turn(people(1)[0])
    loop.sync()
    assert loop.tabs()[0]["data"]["ordering"] == TAB_ORDERING


@pytest.mark.parametrize("call", ["read tabs", "change tab"])
def test_a_tab_that_cannot_be_read_or_changed_fails_no_sync(
    start: StartProject, faulty: FaultyProxy, call: str
) -> None:
    loop = start(texts(4), through=faulty.url)
    by_hand(loop, QUEUE_TAB, ordering=["tasks:id"])
    faulty.fault({(call, number): ANSWER_500 for number in range(1, 9)})
    loop.gateway.retries = Retries(0)
    assert loop.sync()["round"] == 1
    assert faulty.hit == [(call, 1)]
    loop.assert_published()


@pytest.fixture
def faulty(label_studio: LabelStudio) -> Iterator[FaultyProxy]:
    def kind(method: str, address: str, body: bytes) -> str:
        if "/api/dm/views/" not in address:
            return method
        return "read tabs" if method == "GET" else "change tab"

    proxy = FaultyProxy(label_studio.url, kind)
    yield proxy
    proxy.close()


def test_init_makes_a_deleted_tab_again_with_the_queue_first(start: StartProject) -> None:
    loop = start(texts(3))
    queue_tab, opinions, discuss = loop.tabs()
    loop.call("DELETE", f"/api/dm/views/{opinions['id']}/")
    loop.call("DELETE", f"/api/dm/views/{discuss['id']}/")
    loop.adopt()
    assert [one["data"]["title"] for one in loop.tabs()] == list(TAB_TITLES)
    assert loop.tabs()[0] == queue_tab

    loop.call("DELETE", f"/api/dm/views/{queue_tab['id']}/")
    loop.sync()
    assert [one["data"]["title"] for one in loop.tabs()] == [SECOND_OPINIONS_TAB, DISCUSS_TAB]
    loop.adopt()
    assert [one["data"]["title"] for one in loop.tabs()] == list(TAB_TITLES)


def test_a_projects_own_tabs_stay_byte_for_byte(start: StartProject, people: Annotators) -> None:
    loop = start(texts(6), adopted=False)
    views = [
        {"title": "Default", "type": "list", "hiddenColumns": {"explore": ["tasks:id"], "labeling": []}},
        {
            "title": "Long ones",
            "ordering": ["-tasks:id"],
            "filters": {"conjunction": "or", "items": [filter_item("data.text", "contains", "String", "now")]},
            "columnsWidth": {"tasks:id": 99},
        },
    ]
    for data in views:
        loop.call("POST", "/api/dm/views/", json={"project": loop.id, "data": data})
    theirs = [one["id"] for one in loop.tabs()]

    def bytes_of_theirs() -> list[bytes]:
        return [loop.server.api.get(f"{loop.server.url}/api/dm/views/{one}/", timeout=30).content for one in theirs]

    before = bytes_of_theirs()
    loop.adopt()
    assert [one["id"] for one in loop.tabs()][:2] == theirs
    assert bytes_of_theirs() == before
    loop.sync()
    loop.turn(people(1)[0])
    by_hand(loop, QUEUE_TAB, ordering=["tasks:id"])
    loop.sync()
    loop.adopt()
    assert bytes_of_theirs() == before
    done = undo(loop.id, loop.gateway, loop.state, Reporter())
    assert "the Data Manager's tabs" in done.removed
    assert bytes_of_theirs() == before
    assert [one["id"] for one in loop.tabs()] == theirs


def test_undo_removes_the_tabs_that_init_made_whatever_they_are_called(start: StartProject) -> None:
    loop = start(texts(6))
    ours = loop.tabs()[0]
    renamed = {**ours["data"], "title": "What is next"}
    loop.call("PATCH", f"/api/dm/views/{ours['id']}/", json={"project": loop.id, "data": renamed})
    theirs = loop.call("POST", "/api/dm/views/", json={"project": loop.id, "data": {"title": SECOND_OPINIONS_TAB}})
    undo(loop.id, loop.gateway, loop.state, Reporter())
    assert [one["id"] for one in loop.tabs()] == [theirs["id"]]


def test_someone_elses_tab_called_like_ours_is_renamed_to_get_ours_and_stays(start: StartProject) -> None:
    loop = start(texts(6), adopted=False)
    data = {"title": QUEUE_TAB, "ordering": ["-tasks:id"]}
    loop.call("POST", "/api/dm/views/", json={"project": loop.id, "data": data})
    done = loop.adopt()
    assert (done["tabs"], done["tabs_in_the_way"]) == ([SECOND_OPINIONS_TAB, DISCUSS_TAB], [QUEUE_TAB])
    by_hand(loop, QUEUE_TAB, title="Mine")
    done = loop.adopt()
    assert (done["tabs"], done["tabs_in_the_way"]) == (list(TAB_TITLES), [])
    loop.sync()
    assert shown(loop, QUEUE_TAB) == loop.window
    loop.state.forget_adoption()  # as a lost state database
    done = loop.adopt()
    assert (done["tabs"], done["tabs_in_the_way"]) == ([], [DISCUSS_TAB]), "the others are as ours would be"
    assert [one["data"]["title"] for one in loop.tabs()] == ["Mine", *TAB_TITLES]


@pytest.mark.parametrize("title", TAB_TITLES)
def test_undo_leaves_someone_elses_tab_that_is_called_like_ours(start: StartProject, title: str) -> None:
    loop = start(texts(3), adopted=False)
    data = {"title": title, "ordering": ["-tasks:id"]}
    loop.call("POST", "/api/dm/views/", json={"project": loop.id, "data": data})
    before = loop.tabs()
    loop.adopt()
    by_hand(loop, title, title="Mine")
    loop.adopt()
    assert len(loop.tabs()) == 4
    by_hand(loop, "Mine", title="Mine too")
    undo(loop.id, loop.gateway, loop.state, Reporter())
    assert loop.tabs() == [{**before[0], "data": {**before[0]["data"], "title": "Mine too"}}]


# -- what a lead sees --------------------------------------------------------------------------------------------------


@pytest.fixture
def lead(label_studio: LabelStudio, log_in: Callable[[str, str], Profile]) -> Profile:
    """The administrator in a fresh browser."""
    return log_in(label_studio.login.email, label_studio.login.password)


def test_a_fresh_browser_opens_on_the_queue_with_its_columns_and_writes_nothing(
    start: StartProject, people: Annotators, lead: Profile
) -> None:
    loop = start([{"text": text, "source": "mail"} for text in texts(8)])
    first, other = people(2)
    t = loop.tasks
    loop.label(first, t[0])
    first.skip({"id": t[4]})
    loop.publish([*new(t[5]), *second(t[0]), *new(t[4], t[7])])
    loop.label(other, t[5])
    before = loop.tabs()
    sent: list[str] = []

    def note(request: Request) -> None:
        if "/api/dm/" in request.url and request.method != "GET":
            sent.append(f"{request.method} {request.url} {request.post_data}")

    page = lead.page
    page.on("request", note)
    page.goto(f"{lead.url}/projects/{loop.id}/data")
    expect(page.get_by_text("Tasks: 3 / 8")).to_be_visible()
    assert f"tab={before[0]['id']}" in page.url
    assert heads(lead) == ["Annotated by", "Prediction score", "Prediction model versions", "text", "str"]
    assert rows(lead) == [("1", "0", "0.400"), ("0", "1", "0.600"), ("0", "0", "0.800")]
    wanted = [loop.call("GET", f"/api/tasks/{task}")["data"]["text"] for task in (t[0], t[4], t[7])]
    assert [text for text in page.locator(".lsf-table").inner_text().split("\n") if text in texts(8)] == wanted

    page.get_by_text(SECOND_OPINIONS_TAB).first.click()
    expect(page.get_by_text("Tasks: 1 / 8")).to_be_visible()
    assert rows(lead) == [("1", "0", "0.400")]
    page.get_by_text("Filters").first.click()
    expect(page.get_by_text("is empty")).to_be_visible()
    expect(page.locator(".lsf-modal-ls")).to_have_count(0)
    assert sent == []
    assert loop.tabs() == before


def heads(profile: Profile) -> list[str]:
    """The words in the table's head."""
    return profile.page.locator(".lsf-table-head").inner_text().split("\n")


def rows(profile: Profile) -> list[tuple[str, str, str]]:
    """Annotations, skips and score of each row that is shown."""
    lines = [row.inner_text().split("\n") for row in profile.page.locator(".lsf-table-row").all()]
    numbers = [[cell for cell in line if cell.replace(".", "").isdigit()] for line in lines]
    return [(one[0], one[1], one[2]) for one in numbers if len(one) >= 3]
