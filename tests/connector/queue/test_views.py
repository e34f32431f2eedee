"""What a sync changes of our tabs: their order, and the tasks to discuss."""

from __future__ import annotations

from typing import Any

import pytest

from connector.errors import TryAgainLater
from connector.label_studio.client import filter_item
from connector.queue.views import DISCUSS_TAB, DISCUSSED, QUEUE_TAB, TAB_ORDERING, OwnTabs, tab_definition, update_tabs


class Server:
    """Has tabs, and counts how often they are written."""

    def __init__(self, *titles: str) -> None:
        made = ((number, tab_definition(title, [], ["text"])) for number, title in enumerate(titles))
        self.views = [{"id": number, "data": data} for number, data in made]
        self.written: list[int] = []
        self.failure: Exception | None = None

    def tabs(self, project: int) -> list[dict[str, Any]]:
        if self.failure is not None:
            raise self.failure
        return self.views

    def update_tab(self, tab: int, project: int, data: dict[str, Any]) -> None:
        self.written.append(tab)
        self.views[tab] = {"id": tab, "data": data}


def update(server: Server, *tasks: int, made: tuple[int, ...] = (0, 1)) -> bool:
    gateway: Any = server
    return update_tabs(7, gateway, OwnTabs((), made), tasks)


def shown(server: Server, tab: int) -> list[int]:
    """The tasks that a filter of ids lets through."""
    filters = server.views[tab]["data"]["filters"]
    assert filters["conjunction"] == "or"
    assert {(one["filter"], one["operator"]) for one in filters["items"]} == {("filter:tasks:id", "equal")}
    return [one["value"] for one in filters["items"]]


def test_the_tab_shows_the_tasks_to_discuss_and_is_written_only_if_they_change() -> None:
    server = Server(QUEUE_TAB, DISCUSS_TAB)
    assert shown(server, 1) == [0], "without a filter it would show all tasks"
    assert not update(server)
    assert server.written == []
    assert not update(server, 12, 5)
    assert (shown(server, 1), server.written) == ([5, 12], [1])
    update(server, 5, 12)
    assert server.written == [1]
    update(server)
    assert (shown(server, 1), server.written) == ([0], [1, 1])


def test_it_shows_the_first_of_many() -> None:
    server = Server(QUEUE_TAB, DISCUSS_TAB)
    update(server, *range(1000, 0, -1))
    assert shown(server, 1) == list(range(1001 - DISCUSSED, 1001))


def test_a_tab_with_filters_of_people_or_made_by_them_keeps_its_filters() -> None:
    server = Server(QUEUE_TAB, DISCUSS_TAB, DISCUSS_TAB)
    theirs = {"conjunction": "and", "items": [filter_item("id", "equal", "Number", 3)]}
    server.views[1]["data"]["filters"] = theirs
    update(server, 5)
    assert server.views[1]["data"]["filters"] == theirs
    assert (shown(server, 2), server.written) == ([0], []), "this one is not ours"


def test_our_tabs_get_their_order_back_with_all_else_as_people_left_it() -> None:
    server = Server(QUEUE_TAB, DISCUSS_TAB, QUEUE_TAB)
    for view in server.views:
        view["data"] = {**view["data"], "ordering": ["tasks:id"], "title": "Renamed"}
    assert update(server, 5)
    assert [view["data"]["ordering"] for view in server.views] == [TAB_ORDERING, TAB_ORDERING, ["tasks:id"]]
    assert (server.views[1]["data"]["title"], shown(server, 1)) == ("Renamed", [5])
    assert server.written == [0, 1]


@pytest.mark.parametrize("tasks", [(), (5,)])
def test_no_sync_fails_because_of_a_tab(tasks: tuple[int, ...]) -> None:
    server = Server(QUEUE_TAB, DISCUSS_TAB)
    server.failure = TryAgainLater("Label Studio is away.")
    assert not update(server, *tasks)
