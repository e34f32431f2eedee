"""The Data Manager's tabs that `init` adds: what the window still holds, and those of it that are second opinions.

Their filters name no version: a task has a score only by the version that the project serves, so they show the
published window whoever published it. A sync has no tab to change, unless somebody has sorted one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

from connector.errors import ConnectorError
from connector.label_studio import LabelStudio, filter_item

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


def make(project_id: int, gateway: LabelStudio, data_key: str, found: Collection[int]) -> None:
    """Adds those of our tabs that are not there; the `found` ones, by id, were there before us and stay as they are.

    The second opinions stand behind the queue, or a direct link would serve nothing else. A tab that an older connector
    made, and nobody has changed since, becomes what it is now.
    """
    there = {tab["data"].get("title"): tab for tab in reversed(gateway.tabs(project_id))}
    outdated = QUEUE in there and there[QUEUE]["id"] not in found and "hiddenColumns" not in there[QUEUE]["data"]
    if there.keys() >= set(TITLES) and not outdated:
        return
    columns = gateway.columns(project_id)
    if outdated:
        gateway.update_tab(there[QUEUE]["id"], project_id, definition(QUEUE, columns, data_key))
    if QUEUE not in there and SECOND_OPINIONS in there and there[SECOND_OPINIONS]["id"] not in found:
        gateway.delete_tab(there.pop(SECOND_OPINIONS)["id"])
    for title in TITLES:
        if title not in there:
            gateway.create_tab(project_id, definition(title, columns, data_key))


def restore_order(project_id: int, gateway: LabelStudio, found: Collection[int]) -> bool:
    """Sorts our tabs by score again where somebody has sorted them otherwise, which is so for everybody at once.

    All else that people have changed in them stays. Never raises what Label Studio says: a tab is no reason for a sync
    to fail.
    """
    sorted_otherwise = []
    with contextlib.suppress(ConnectorError):
        for tab in gateway.tabs(project_id):
            data = tab["data"]
            ours = data.get("title") in TITLES and tab["id"] not in found
            if ours and data.get("ordering") != ORDERING:
                sorted_otherwise.append(tab["id"])
                gateway.update_tab(tab["id"], project_id, {**data, "ordering": ORDERING})
    return bool(sorted_otherwise)


def delete(project_id: int, gateway: LabelStudio, found: Collection[int]) -> int:
    """Removes our tabs; how many there were."""
    ours = [
        tab["id"] for tab in gateway.tabs(project_id) if tab["data"].get("title") in TITLES and tab["id"] not in found
    ]
    for tab in ours:
        gateway.delete_tab(tab)
    return len(ours)


def _name(column: dict[str, Any]) -> str:
    inside = "data." if column.get("parent") == "data" else ""
    return f"{column['target']}:{inside}{column['id']}"
