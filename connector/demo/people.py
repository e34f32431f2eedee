"""A simulated annotator, who calls the same endpoints as Label Studio's page in a browser."""

from __future__ import annotations

import time
import uuid
from typing import Any

import requests

from connector.demo.servers import local_session
from connector.errors import ConnectorError

Task = dict[str, Any]


class Person:
    """A logged-in user of the Label Studio at `url`, member of its first organization."""

    def __init__(self, url: str, email: str, password: str) -> None:
        self.url = url
        self.email = email
        self.password = password
        self.session = local_session()
        self.user_id = 0

    @classmethod
    def sign_up(cls, url: str, email: str, password: str = "label-studio") -> Person:
        """A new user, through the sign-up page. A user made by `POST /api/users/` belongs to no organization."""
        person = cls(url, email, password)
        person._send_form("/user/signup/", allow_newsletters="false", how_find_us="Ot", elaborate="")
        return person

    @classmethod
    def log_in(cls, url: str, email: str, password: str = "label-studio") -> Person:
        """A user who has signed up before, through the login page."""
        person = cls(url, email, password)
        person._send_form("/user/login/")
        return person

    def close(self) -> None:
        """Closes the connection to Label Studio. The user stays."""
        self.session.close()

    def next_task(self, project: int, tab: int | None = None) -> Task | None:
        """The task that the button "Label All Tasks" serves and locks for this person, or None."""
        # A browser sends the open tab. The queue of the button does not depend on it.
        query = {"id": "next_task", "tabID": tab, "project": project}
        response = self._call("POST", "/api/dm/actions", params=query, json={"project": str(project)}, missing_ok=True)
        return None if response.status_code == 404 else response.json()

    def next_task_by_link(
        self, project: int, ordering: list[str], filters: dict[str, Any] | None = None
    ) -> Task | None:
        """The task that the link `/projects/ID/data?labeling=1` serves before that button was pressed, without a lock.

        `ordering` and `filters`: those of the project's first tab.
        """
        selection = {
            "ordering": ordering,
            "selectedItems": {"all": False, "included": []},
            "filters": filters or {"conjunction": "and", "items": []},
        }
        query = {"id": "next_task", "project": project}
        body = {**selection, "project": str(project)}
        response = self._call("POST", "/api/dm/actions", params=query, json=body, missing_ok=True)
        return None if response.status_code == 404 else response.json()

    def open_task(self, task: int) -> Task:
        """A task opened from the Data Manager's list, with all annotations."""
        opened: Task = self._call("GET", f"/api/tasks/{task}").json()
        return opened

    def submit(
        self, task: Task, control: str, text: str, label: str | list[str], *, lead_time_s: float = 4.0, draft: int = 0
    ) -> int:
        """Presses Submit with `label` chosen, or all labels of a list. Returns the id of the annotation.

        `control` and `text`: the names of the config's tags.
        """
        body = self._work(task, _chosen(control, text, label), lead_time_s, draft)
        return self._create_annotation(task, body)

    def skip(self, task: Task, *, lead_time_s: float = 2.0) -> int:
        """Presses Skip: a cancelled annotation without a result. Returns its id."""
        return self._create_annotation(task, self._work(task, [], lead_time_s, 0) | {"was_cancelled": True})

    def update(self, annotation: int, control: str, text: str, label: str) -> None:
        """Presses Update on their own annotation, after choosing another label."""
        self._call("PATCH", f"/api/annotations/{annotation}", json={"result": [_choice(control, text, label)]})

    def draft(self, task: Task, control: str, text: str, label: str, *, postponed: bool = False) -> int:
        """Chooses a label without submitting it. `postponed`: also presses the arrow to the next task."""
        body = self._work(task, [_choice(control, text, label)], 3.0, 0)
        draft: int = self._call("POST", f"/api/tasks/{task['id']}/drafts", json=body).json()["id"]
        if postponed:
            later = body | {"draft_id": draft, "was_postponed": True}
            self._call("PATCH", f"/api/drafts/{draft}", json=later)
        return draft

    def delete(self, annotation: int) -> None:
        """Deletes their own annotation."""
        self._call("DELETE", f"/api/annotations/{annotation}")

    def _create_annotation(self, task: Task, body: dict[str, Any]) -> int:
        annotation: int = self._call("POST", f"/api/tasks/{task['id']}/annotations", json=body).json()["id"]
        return annotation

    def _work(self, task: Task, result: list[dict[str, Any]], lead_time_s: float, draft: int) -> dict[str, Any]:
        predictions = task.get("predictions") or [{}]
        return {
            "lead_time": lead_time_s,
            "result": result,
            "draft_id": draft,
            # The form starts as a copy of the prediction that came with the task, even of an empty one.
            "parent_prediction": predictions[0].get("id"),
            "parent_annotation": None,
            "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "unique_id": str(uuid.uuid4()),
        }

    def _send_form(self, path: str, **fields: str) -> None:
        self._call("GET", path)
        token = self.session.cookies.get("csrftoken", default="")
        form = {"csrfmiddlewaretoken": token, "email": self.email, "password": self.password, **fields}
        if not self._call("POST", path, data=form).history:  # success redirects, and failure shows the form again
            raise ConnectorError(
                f"Label Studio did not accept {self.email} at {path}. Perhaps that user already exists."
            )
        self.user_id = self._call("GET", "/api/current-user/whoami").json()["id"]

    def _call(self, method: str, path: str, *, missing_ok: bool = False, **request: Any) -> requests.Response:
        headers = {"X-CSRFToken": self.session.cookies.get("csrftoken", default=""), "Referer": self.url}
        response = self.session.request(method, self.url + path, headers=headers, timeout=60, **request)
        if not response.ok and not (missing_ok and response.status_code == 404):
            raise ConnectorError(
                f"Label Studio answered {response.status_code} to {self.email}'s {method} {path}: {response.text[:300]}"
            )
        return response


def _chosen(control: str, text: str, label: str | list[str]) -> list[dict[str, Any]]:
    """What the form sends: no region if nothing is chosen."""
    return [_choice(control, text, label)] if label else []


def _choice(control: str, text: str, label: str | list[str]) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex[:10],
        "from_name": control,
        "to_name": text,
        "type": "choices",
        "origin": "manual",
        "value": {"choices": [label] if isinstance(label, str) else label},
    }
