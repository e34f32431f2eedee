"""The client of Label Studio's REST API: the few calls that the connector makes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from connector._compat import batched
from connector.errors import ConnectorError, ProjectGone, StaleTasks, TryAgainLater, UsageError
from connector.label_studio.transport import Connection

PAGE_SIZE = 500
# The fields of tasks and annotations that the connector reads, in a third to a seventh of the time of all fields.
TASK_FIELDS = (
    "id,data,is_labeled,overlap,updated_at,annotations,"
    "completed_by,result,was_cancelled,ground_truth,created_at,lead_time"
)
# Of a task that cannot be shown whole.
MOST_FIELDS = f"{TASK_FIELDS},predictions,meta,inner_id,project,model_version,score"
PREDICTION_FIELDS = "id,predictions,result,model_version,score"
REFUSED_BY_BACKEND = "401 Client Error"  # Label Studio's message if an ML backend requires other credentials
IDS_A_CALL = 300  # they are in the address, which servers limit to some 8,000 characters
_PROJECT = {"id", "label_config"}


class LabelStudio(Connection):
    """One Label Studio server, as one user. Every method raises what a Connection's calls raise."""

    # -- project -----------------------------------------------------------------------------------------------------

    def get_project(self, project: int) -> dict[str, Any]:
        """The project's settings and counters. Raises ProjectGone if there is no such project."""
        path = f"api/projects/{project}/"
        return self._object(_PROJECT, "GET", path, what=f"project {project}", missing=ProjectGone)

    def create_project(self, title: str, label_config: str) -> dict[str, Any]:
        """Creates a project."""
        body = {"title": title, "label_config": label_config}
        return self._object(_PROJECT, "POST", "api/projects/", json=body)

    def import_tasks(self, project: int, data: Sequence[dict[str, Any]]) -> None:
        """Adds tasks with this data, 2,500 per call."""
        for part in batched(data, 2500):
            # Without "data" around it, data that has a key "data" would be taken for a task.
            self._call("POST", f"api/projects/{project}/import", json=[{"data": row} for row in part])

    def delete_project(self, project: int) -> None:
        """Deletes a project with everything in it."""
        self._delete(f"api/projects/{project}/")

    def update_project(self, project: int, **settings: Any) -> dict[str, Any]:
        """Changes settings of the project and returns it."""
        answer: dict[str, Any] = self._call("PATCH", f"api/projects/{project}/", json=settings)
        return answer

    # -- tasks -------------------------------------------------------------------------------------------------------

    def tasks(
        self,
        project: int,
        since: str | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        *,
        span: tuple[int, int | None] = (0, None),
        fields: str | None = TASK_FIELDS,
    ) -> Iterator[list[dict[str, Any]]]:
        """Pages of the project's tasks with all their annotations, by id.

        Args:
            project: The project.
            since: ISO 8601. Only tasks updated after it.
            progress: Called with the number of tasks so far, and in total.
            span: (after, upto): only tasks with an id above `after`, and up to `upto` if that is not None.
            fields: Of tasks and annotations. None: all.
        """
        changed = [] if since is None else [filter_item("updated_at", "greater", "Datetime", since)]
        return self._pages(project, span, changed, fields, progress)

    def tasks_with_predictions(self, project: int) -> Iterator[list[dict[str, Any]]]:
        """Pages of the tasks that say they have predictions, by id."""
        having = [filter_item("total_predictions", "greater", "Number", 0)]
        return self._pages(project, (0, None), having, "id,predictions,total_predictions", lambda done, total: None)

    def tasks_with_version(self, project: int, version: str) -> Iterator[list[dict[str, Any]]]:
        """Pages of the tasks that have a prediction whose version contains `version`, with all predictions, by id."""
        return self._pages(project, (0, None), [_version_filter(version)], PREDICTION_FIELDS, lambda done, total: None)

    def last_task_with_version(self, project: int, version: str) -> dict[str, Any] | None:
        """The task with the highest id among those of `tasks_with_version`, or None."""
        query = {"filters": {"conjunction": "and", "items": [_version_filter(version)]}, "ordering": ["-tasks:id"]}
        rows = self._tasks(project, query, fields=PREDICTION_FIELDS, page_size=1)["tasks"]
        return rows[0] if rows else None

    def count_tasks(self, project: int, span: tuple[int, int | None] = (0, None)) -> tuple[int, int]:
        """The number of tasks whose ids are in `span`, and of their annotations without skips."""
        answer = self._tasks(project, _narrowed(span, []), fields="id", page_size=1)
        return answer["total"], answer["total_annotations"]

    def _pages(
        self,
        project: int,
        span: tuple[int, int | None],
        filters: list[dict[str, Any]],
        fields: str | None,
        progress: Callable[[int, int], None],
    ) -> Iterator[list[dict[str, Any]]]:
        (last, upto), done, left = span, 0, 1
        while left > 0:
            # Always the first page of what lies beyond the last id seen: numbered pages shift when tasks are deleted.
            answer = self._tasks(project, _narrowed((last, upto), filters), fields=fields)
            rows: list[dict[str, Any]] = answer["tasks"]
            if not rows:
                return
            if rows[-1]["id"] <= last:
                raise ConnectorError(f"Label Studio at {self.url} sent the same tasks again: its filters do not work.")
            done, last, left = done + len(rows), rows[-1]["id"], answer["total"] - len(rows)
            progress(done, done + left)
            yield rows

    def tasks_by_id(
        self, project: int, ids: Sequence[int], *, fields: str | None = TASK_FIELDS
    ) -> Iterator[dict[str, Any]]:
        """Those of the tasks `ids` that exist, with all annotations. `fields`: of tasks and annotations."""
        for part in batched(ids, IDS_A_CALL):
            chosen = {"selectedItems": {"all": False, "included": list(part)}}
            yield from self._tasks(project, chosen, fields=fields)["tasks"]

    def _tasks(
        self, project: int, query: dict[str, Any], *, fields: str | None = TASK_FIELDS, page_size: int | None = None
    ) -> dict[str, Any]:
        """The first page of the tasks of a Data Manager query. `page_size`: PAGE_SIZE by default.

        A task that Label Studio cannot show (half a surrogate pair has no UTF-8 form) has no `data`, or its annotations
        have no `result`.
        """
        size = page_size or PAGE_SIZE
        try:
            return self._page(project, query, size, fields, broken=_Unshowable)
        except _Unshowable:
            # If it was something else, this call fails as well.
            answer = self._page(project, query, size, "id")
        parts = batched([row["id"] for row in answer["tasks"]], IDS_A_CALL)
        return {**answer, "tasks": [row for part in parts for row in self._one_by_one(project, part, fields)]}

    def _page(
        self,
        project: int,
        query: dict[str, Any],
        size: int,
        fields: str | None,
        broken: type[ConnectorError] | None = None,
    ) -> dict[str, Any]:
        params = {"project": project, "page_size": size, "page": 1, "fields": "all", "resolve_uri": "false"}
        if fields is not None:
            params["include"] = fields
        answer: dict[str, Any] = self._call(
            "GET", "api/tasks", params={**params, "query": json.dumps(query)}, broken=broken
        )
        return answer

    def _one_by_one(self, project: int, ids: Sequence[int], fields: str | None) -> list[dict[str, Any]]:
        """The tasks `ids`, as many at once as can be shown, and what can be shown of the others."""
        chosen = {"selectedItems": {"all": False, "included": list(ids)}, "ordering": ["tasks:id"]}
        try:
            rows: list[dict[str, Any]] = self._page(project, chosen, len(ids), fields, broken=_Unshowable)["tasks"]
            return rows
        except _Unshowable as error:
            if len(ids) > 1:
                middle = len(ids) // 2
                halves = ids[:middle], ids[middle:]
                return [row for half in halves for row in self._one_by_one(project, half, fields)]
            return self._without_unshown(project, chosen, fields, error)

    def _without_unshown(
        self, project: int, chosen: dict[str, Any], fields: str | None, error: _Unshowable
    ) -> list[dict[str, Any]]:
        """A task that cannot be shown whole, without its data, its results, or both."""
        names = (fields or MOST_FIELDS).split(",")
        for unshown in ({"data"}, {"result"}, {"data", "result"}):
            left = ",".join(name for name in names if name not in unshown)
            with contextlib.suppress(_Unshowable):
                self._page(project, chosen, 1, left, broken=_Unshowable)
                names = left.split(",")
                break
        else:
            raise TryAgainLater(str(error)) from error
        try:
            # Once more, or else a task would go without its data because the server failed in passing.
            whole: list[dict[str, Any]] = self._page(project, chosen, 1, fields, broken=_Unshowable)["tasks"]
            return whole
        except _Unshowable:
            rows: list[dict[str, Any]] = self._page(project, chosen, 1, ",".join(names))["tasks"]
            return rows

    def update_task(self, task: int, *, overlap: int, is_labeled: bool) -> dict[str, Any]:
        """Opens or closes a task. The response has its annotations as they are at that moment."""
        answer: dict[str, Any] = self._call(
            "PATCH", f"api/tasks/{task}", json={"overlap": overlap, "is_labeled": is_labeled}, missing=StaleTasks
        )
        return answer

    def set_prediction_count(self, task: int, count: int) -> None:
        """Corrects how many predictions the task says it has."""
        self._call("PATCH", f"api/tasks/{task}", json={"total_predictions": count}, missing=StaleTasks)

    # -- predictions -------------------------------------------------------------------------------------------------

    def import_predictions(self, project: int, rows: Sequence[dict[str, Any]], *, singly: bool = False) -> int:
        """Adds predictions in one call and returns how many the server kept.

        Never repeated by itself: a version's rows would be there twice. Raises StaleTasks if a task was deleted.

        Args:
            project: The project.
            rows: The predictions.
            singly: Those with a result need a call each, because the import refuses what the form would show.
        """
        alone = [row for row in rows if singly and row["result"]]
        together = [row for row in rows if not (singly and row["result"])]
        created = 0
        if together or not alone:
            path = f"api/projects/{project}/import/predictions"
            created = int(self._call("POST", path, json=together, refused=StaleTasks)["created"])
        for row in alone:
            self._call("POST", "api/predictions/", json=row, refused=StaleTasks)
        return created + len(alone)

    def update_prediction(self, prediction: int, *, result: list[dict[str, Any]], score: float) -> None:
        """Changes one prediction."""
        body = {"result": result, "score": score}
        self._call("PATCH", f"api/predictions/{prediction}/", json=body, missing=StaleTasks)

    def delete_prediction(self, prediction: int) -> None:
        """Removes one prediction."""
        self._delete(f"api/predictions/{prediction}/")

    def model_versions(self, project: int) -> dict[str, int]:
        """The number of predictions of each model version of the project."""
        answer: dict[str, int] = self._call("GET", f"api/projects/{project}/model-versions/")
        return answer

    def delete_version(self, project: int, version: str) -> None:
        """Deletes all predictions of one version. Label Studio empties project.model_version if it is that one."""
        self._call("DELETE", f"api/projects/{project}/model-versions/", json={"model_version": version})

    # -- the server and its people ---------------------------------------------------------------------------------

    def version(self) -> dict[str, Any]:
        """Label Studio's version (`release`) and `edition`."""
        return self._object({"release"}, "GET", "api/version/")

    def whoami(self) -> dict[str, Any]:
        """The user of the token, with `email` and `permissions`."""
        return self._object({"email"}, "GET", "api/current-user/whoami")

    def emails(self) -> dict[int, str]:
        """The users of the organization, {id: e-mail address}. Empty if the token's user may not see them.

        Those who have left are not in it: Label Studio calls all of them "Deleted".
        """
        try:
            users = self._call("GET", "api/users/")
            return {user["id"]: user["email"] for user in users if "@" in user["email"]}
        except UsageError:
            return {}

    def members(self, project: int) -> list[str]:
        """The e-mail addresses of the project's own members. UsageError: the open-source edition has no such call."""
        path, query = f"api/projects/{project}/members/paginated/", {"implicit": "false", "page_size": 100}
        return [member["email"] for member in self._call("GET", path, what="such list", params=query)["results"]]

    # -- Data Manager tabs and ML backends -----------------------------------------------------------------------------

    def tabs(self, project: int) -> list[dict[str, Any]]:
        """The Data Manager's tabs in order."""
        answer: list[dict[str, Any]] = self._call("GET", "api/dm/views/", params={"project": project})
        return answer

    def create_tab(self, project: int, data: dict[str, Any]) -> dict[str, Any]:
        """Adds a tab after the existing ones."""
        answer: dict[str, Any] = self._call("POST", "api/dm/views/", json={"project": project, "data": data})
        return answer

    def update_tab(self, tab: int, project: int, data: dict[str, Any]) -> None:
        """Replaces all of a tab's description. It keeps its place."""
        self._call("PATCH", f"api/dm/views/{tab}/", json={"project": project, "data": data})

    def columns(self, project: int) -> list[dict[str, Any]]:
        """The columns that the Data Manager has for the project's tasks."""
        answer: list[dict[str, Any]] = self._call("GET", "api/dm/columns/", params={"project": project})["columns"]
        return answer

    def backends(self, project: int) -> list[dict[str, Any]]:
        """The ML backends connected to the project."""
        answer: list[dict[str, Any]] = self._call("GET", "api/ml/", params={"project": project})
        return answer

    def connect_backend(self, project: int, url: str, title: str, **authentication: str) -> dict[str, Any]:
        """Connects an ML backend. Label Studio calls its /health and /setup at once.

        `authentication`: auth_method, basic_auth_user and basic_auth_pass, if Label Studio is to send them.
        """
        body = {"project": project, "url": url, "title": title, **authentication}
        answer: dict[str, Any] = self._call("POST", "api/ml/", json=body)
        return answer

    def update_backend(self, backend: int, project: int, url: str, **authentication: str) -> None:
        """Changes how Label Studio authenticates itself to an ML backend, which it calls as on connecting it."""
        self._call("PATCH", f"api/ml/{backend}", json={"project": project, "url": url, **authentication})

    def delete_tab(self, tab: int) -> None:
        """Removes a tab of the Data Manager."""
        self._delete(f"api/dm/views/{tab}/")

    def delete_backend(self, backend: int) -> None:
        """Disconnects an ML backend. The webhook that Label Studio made for it stays."""
        self._delete(f"api/ml/{backend}")

    def webhooks(self, project: int) -> list[dict[str, Any]]:
        """The project's webhooks."""
        answer: list[dict[str, Any]] = self._call("GET", "api/webhooks/", params={"project": project})
        return answer

    def update_webhook(self, webhook: dict[str, Any], headers: dict[str, str]) -> None:
        """Changes the headers that a webhook sends."""
        # A PATCH without its actions would remove them.
        body = {"headers": headers, "actions": webhook["actions"]}
        self._call("PATCH", f"api/webhooks/{webhook['id']}/", json=body)

    def delete_webhook(self, webhook: int) -> None:
        """Removes a webhook."""
        self._delete(f"api/webhooks/{webhook}/")

    def _delete(self, path: str) -> None:
        with contextlib.suppress(_Gone):
            self._call("DELETE", path, missing=_Gone)


class _Unshowable(ConnectorError):
    """Label Studio failed at an answer, perhaps because it cannot show a task."""


class _Gone(UsageError):
    """What is to be deleted does not exist."""


def _narrowed(span: tuple[int, int | None], filters: list[dict[str, Any]]) -> dict[str, Any]:
    """The Data Manager's query for the tasks of a span of ids that pass all filters, in the order of ids."""
    after, upto = span
    items = [filter_item("id", "greater", "Number", after), *filters]
    if upto is not None:
        items.append(filter_item("id", "less_or_equal", "Number", upto))
    return {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}


def _version_filter(version: str) -> dict[str, Any]:
    return filter_item("predictions_model_versions", "contains", "List", [version])


def filter_item(column: str, operator: str, kind: str, value: Any) -> dict[str, Any]:
    """One of the Data Manager's filters."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}
