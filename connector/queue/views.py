"""The Data Manager's tabs (Label Studio's API calls them views) that `init` adds.

One shows what is left of the window, another those of its tasks that are second opinions. Their filters name no
version: a task has a score only by the version that the project serves, so they always show the published window. A
sync changes such a tab only if a person has sorted it.

The third shows tasks that people honestly differ on. Nothing marks them in Label Studio: the filter has their ids, and
a sync that published a window writes them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.annotations.form.data import path_of
from connector.errors import ConnectorError
from connector.label_studio.client import LabelStudio, filter_item
from connector.state.rows import Found

QUEUE_TAB = "ActiveLab queue"
SECOND_OPINIONS_TAB = "Second opinions"
DISCUSS_TAB = "Discuss"
TAB_TITLES = (QUEUE_TAB, SECOND_OPINIONS_TAB, DISCUSS_TAB)

DISCUSSED = 50  # tasks: the Data Manager shows a line for each of a tab's filters

# Lowest first, as the label stream serves. A direct link to the stream follows the first tab.
TAB_ORDERING = ["tasks:predictions_score"]

# Widths in pixels, which fill a page of 1,440. Label Studio shows columns in an order of its own.
_WIDTHS = {
    "total_annotations": 70,
    "cancelled_annotations": 70,
    "annotators": 140,
    "predictions_score": 130,
    "predictions_model_versions": 270,
}
_TEXT_WIDTH = 600

# Ranks lie above 0. What has been labelled has a date, and a labelled task that is open again has none.
_IN_THE_WINDOW = [
    filter_item("predictions_score", "greater", "Number", 0),
    filter_item("completed_at", "empty", "Datetime", True),
]
_FILTERS = {
    QUEUE_TAB: _IN_THE_WINDOW,
    SECOND_OPINIONS_TAB: [*_IN_THE_WINDOW, filter_item("total_annotations", "greater", "Number", 0)],
}
_NO_TASK = 0  # a tab without a filter shows all tasks


def tab_definition(title: str, columns: Collection[dict[str, Any]], data_keys: Collection[str]) -> dict[str, Any]:
    """The tab `title` as Label Studio's API describes it.

    `columns`: all that the Data Manager has for the project. `data_keys`: the keys, or the paths, of what a task shows.
    """
    names = [_name(column) for column in columns if "children" not in column]
    widths = {f"tasks:{name}": width for name, width in _WIDTHS.items()}
    for key in data_keys:
        # Of a path, the Data Manager has a column for its first key.
        first = key if f"tasks:data.{key}" in names else [*path_of(key), key][0]
        widths[f"tasks:data.{first}"] = _TEXT_WIDTH // len(data_keys)
    hidden = [name for name in names if name not in widths]
    return {
        "title": title,
        "type": "list",
        "target": "tasks",
        "ordering": TAB_ORDERING,
        "filters": _filters(title),
        "hiddenColumns": {"explore": hidden, "labeling": hidden},
        "columnsWidth": widths,
    }


@dataclass(frozen=True)
class OwnTabs:
    """Which tabs are ours, by id: not those that init `found`, but those that it `made`, whatever their titles are now.

    `made` is None if an init was killed before it recorded them. Then the titles decide.
    """

    found: Collection[int] = ()
    made: Collection[int] | None = None

    @classmethod
    def of(cls, found: Found | None) -> OwnTabs:
        """As the state records them (ProjectRecord.found)."""
        return cls() if found is None else cls(found.get("tabs", ()), found.get("made_tabs"))

    def include(self, tab: Mapping[str, Any]) -> bool:
        """Whether init made the tab."""
        if self.made is not None:
            return tab["id"] in self.made
        return tab["data"].get("title") in TAB_TITLES and tab["id"] not in self.found


@dataclass(frozen=True)
class Tabs:
    """The project's tabs with our titles.

    Attributes:
        ours: those that init made, {title: id}.
        in_the_way: the titles of those that someone else made and that show something else. Ours are missing.
        renamed: the ids of those that init made and people gave another title.
    """

    ours: dict[str, int]
    in_the_way: list[str]
    renamed: list[int]


def create_tabs(project_id: int, gateway: LabelStudio, data_keys: Collection[str], own: OwnTabs) -> Tabs:
    """Adds those of our tabs that are missing, unless the project has another tab of that title.

    The others come after the queue: a link to the label stream serves the first tab, and nothing else.
    """
    # Of several tabs with one title, ours counts, else the first.
    ours_first = sorted(gateway.tabs(project_id), key=lambda tab: not own.include(tab))
    by_title = {tab["data"].get("title"): tab for tab in reversed(ours_first)}
    ours = {title: by_title[title]["id"] for title in TAB_TITLES if title in by_title and own.include(by_title[title])}
    others = [title for title in TAB_TITLES if title in by_title and title not in ours]
    in_the_way = [title for title in others if not _shows_the_same(by_title[title], title)]
    renamed = [tab["id"] for tab in ours_first if own.include(tab) and tab["data"].get("title") not in TAB_TITLES]
    if by_title.keys() >= set(TAB_TITLES):
        return Tabs(ours, in_the_way, renamed)
    columns = gateway.columns(project_id)
    if QUEUE_TAB not in by_title:
        for title in list(ours):
            del by_title[title]
            gateway.delete_tab(ours.pop(title))
    for title in TAB_TITLES:
        if title not in by_title:
            ours[title] = gateway.create_tab(project_id, tab_definition(title, columns, data_keys))["id"]
    return Tabs(ours, in_the_way, renamed)


def has_our_tab(tabs: Iterable[Mapping[str, Any]]) -> bool:
    """Whether one of the project's tabs is as init makes it."""
    return any(tab["data"].get("title") == QUEUE_TAB and _shows_the_same(tab, QUEUE_TAB) for tab in tabs)


def _shows_the_same(tab: Mapping[str, Any], title: str) -> bool:
    """Whether the tab has the order and the filters of ours, such as one by the connector of another state database.

    That of tasks to discuss never counts, because no sync of ours would change it.
    """
    shown = (tab["data"].get("ordering"), tab["data"].get("filters"))
    return title != DISCUSS_TAB and shown == (TAB_ORDERING, _filters(title))


def update_tabs(project_id: int, gateway: LabelStudio, own: OwnTabs, discussed: Iterable[int]) -> bool:
    """Sorts our tabs by score again if a person has sorted them otherwise: a tab's order is the same for every user.

    The tab of tasks to discuss gets those of now, unless people have given it other filters. All other changes that
    people made to our tabs stay. An error of Label Studio is ignored: no sync fails because of a tab.

    Args:
        project_id: the project in Label Studio.
        gateway: Label Studio.
        own: which tabs are ours.
        discussed: the tasks to discuss, of which the first DISCUSSED count.

    Returns:
        Whether a tab was sorted otherwise.
    """
    sorted_otherwise, wanted = False, _only(list(discussed)[:DISCUSSED])
    with contextlib.suppress(ConnectorError):
        for tab in gateway.tabs(project_id):
            data = tab["data"]
            if not own.include(tab):
                continue
            changed = {**data, "ordering": TAB_ORDERING}
            sorted_otherwise |= data.get("ordering") != TAB_ORDERING
            if _names_tasks(data.get("filters")):
                changed["filters"] = wanted
            if changed != data:
                gateway.update_tab(tab["id"], project_id, changed)
    return sorted_otherwise


def delete_tabs(project_id: int, gateway: LabelStudio, own: OwnTabs) -> int:
    """Removes our tabs and returns how many there were."""
    ours = [tab["id"] for tab in gateway.tabs(project_id) if own.include(tab)]
    for tab in ours:
        gateway.delete_tab(tab)
    return len(ours)


def _filters(title: str) -> dict[str, Any]:
    return _only([]) if title == DISCUSS_TAB else {"conjunction": "and", "items": _FILTERS[title]}


def _only(tasks: Sequence[int]) -> dict[str, Any]:
    """The filters of a tab that shows these tasks alone."""
    items = [filter_item("id", "equal", "Number", task) for task in sorted(tasks) or [_NO_TASK]]
    return {"conjunction": "or", "items": items}


def _names_tasks(filters: Mapping[str, Any] | None) -> bool:
    """Whether these are filters as `_only` makes them."""
    if not filters or filters.get("conjunction") != "or" or not filters.get("items"):
        return False
    return {(item["filter"], item["operator"]) for item in filters["items"]} == {("filter:tasks:id", "equal")}


def _name(column: dict[str, Any]) -> str:
    inside = "data." if column.get("parent") == "data" else ""
    return f"{column['target']}:{inside}{column['id']}"
