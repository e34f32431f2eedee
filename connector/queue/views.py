"""The Data Manager's tabs that `init` adds: what the window still holds, and those of it that are second opinions.

Their filters name no version: a task has a score only by the version that the project serves, so they show the
published window whoever published it. A sync has no tab to change, unless somebody has sorted one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from connector.errors import ConnectorError
from connector.label_studio.client import LabelStudio, filter_item

QUEUE = "ActiveLab queue"
SECOND_OPINIONS = "Second opinions"
TITLES = (QUEUE, SECOND_OPINIONS)

# Lowest first, as the label stream serves. A direct link to the stream follows the first tab.
ORDERING = ["tasks:predictions_score"]

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
    QUEUE: _IN_THE_WINDOW,
    SECOND_OPINIONS: [*_IN_THE_WINDOW, filter_item("total_annotations", "greater", "Number", 0)],
}


def definition(title: str, columns: Collection[dict[str, Any]], data_key: str) -> dict[str, Any]:
    """What the tab `title` is to Label Studio; `columns`: all that the Data Manager has for the project.

    `data_key`: where the text is in a task's data.
    """
    widths = {f"tasks:{name}": width for name, width in _WIDTHS.items()} | {f"tasks:data.{data_key}": _TEXT_WIDTH}
    names = [_name(column) for column in columns if "children" not in column]
    hidden = [name for name in names if name not in widths]
    return {
        "title": title,
        "type": "list",
        "target": "tasks",
        "ordering": ORDERING,
        "filters": {"conjunction": "and", "items": _FILTERS[title]},
        "hiddenColumns": {"explore": hidden, "labeling": hidden},
        "columnsWidth": widths,
    }


@dataclass(frozen=True)
class Known:
    """Tabs by id: those that init `found` and leaves alone, and those that it `made`, whatever they are called now.

    `made` is None where nobody remembers: then the titles tell.
    """

    found: Collection[int] = ()
    made: Collection[int] | None = None

    @classmethod
    def of(cls, found: Mapping[str, Any] | None) -> Known:
        """As the state remembers them (ProjectState.record().found)."""
        return cls((found or {}).get("tabs", ()), (found or {}).get("made_tabs"))

    def ours(self, tab: Mapping[str, Any]) -> bool:
        """Whether a tab is one that init made."""
        if self.made is not None:
            return tab["id"] in self.made
        return tab["data"].get("title") in TITLES and tab["id"] not in self.found


def make(project_id: int, gateway: LabelStudio, data_key: str, known: Known) -> list[int]:
    """Adds those of our tabs that are not there; the ids of all that are ours.

    The second opinions stand behind the queue, or a direct link would serve nothing else. A tab that an older connector
    made, and nobody has changed since, becomes what it is now.
    """
    there = {tab["data"].get("title"): tab for tab in reversed(gateway.tabs(project_id))}
    ours = {title: there[title]["id"] for title in TITLES if title in there and known.ours(there[title])}
    outdated = QUEUE in ours and "hiddenColumns" not in there[QUEUE]["data"]
    if there.keys() >= set(TITLES) and not outdated:
        return list(ours.values())
    columns = gateway.columns(project_id)
    if outdated:
        gateway.update_tab(there[QUEUE]["id"], project_id, definition(QUEUE, columns, data_key))
    if QUEUE not in there and SECOND_OPINIONS in ours:
        del there[SECOND_OPINIONS]
        gateway.delete_tab(ours.pop(SECOND_OPINIONS))
    for title in TITLES:
        if title not in there:
            ours[title] = gateway.create_tab(project_id, definition(title, columns, data_key))["id"]
    return list(ours.values())


def restore_order(project_id: int, gateway: LabelStudio, known: Known) -> bool:
    """Sorts our tabs by score again where somebody has sorted them otherwise, which is so for everybody at once.

    All else that people have changed in them stays. Never raises what Label Studio says: a tab is no reason for a sync
    to fail.
    """
    sorted_otherwise = []
    with contextlib.suppress(ConnectorError):
        for tab in gateway.tabs(project_id):
            if known.ours(tab) and tab["data"].get("ordering") != ORDERING:
                sorted_otherwise.append(tab["id"])
                gateway.update_tab(tab["id"], project_id, {**tab["data"], "ordering": ORDERING})
    return bool(sorted_otherwise)


def delete(project_id: int, gateway: LabelStudio, known: Known) -> int:
    """Removes our tabs; how many there were."""
    ours = [tab["id"] for tab in gateway.tabs(project_id) if known.ours(tab)]
    for tab in ours:
        gateway.delete_tab(tab)
    return len(ours)


def _name(column: dict[str, Any]) -> str:
    inside = "data." if column.get("parent") == "data" else ""
    return f"{column['target']}:{inside}{column['id']}"
