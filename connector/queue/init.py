"""`connector init`: takes a project over, or makes one, and remembers all it changes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from connector._compat import long_csv_fields
from connector.annotations.label_config import Control, find_control
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.label_studio.client import REFUSED_BY_BACKEND, LabelStudio
from connector.progress import Reporter
from connector.queue import publish as queue
from connector.queue import settings as queue_settings
from connector.queue import views as tab
from connector.settings import NO_CREDENTIALS, Credentials
from connector.state.project_state import ProjectState, now
from connector.state.pull import read_all

BACKEND_TITLE = "ActiveLab"


def adopt(
    project_id: int,
    gateway: LabelStudio,
    state: ProjectState,
    *,
    control_name: str | None = None,
    min_annotations_per_task: int | None = None,
    backend_url: str | None = None,
    credentials: Credentials = NO_CREDENTIALS,
    confirm: Callable[[str], bool],
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Prepares the project for our queue and returns what was done; doing it again changes nothing more.

    Sets queue_settings.REQUIRED_SETTINGS, adds our tabs to the Data Manager, connects the ML backend at `backend_url`
    (None: not asked for) and gives Label Studio the `credentials` for it. Asks `confirm` before it ends a rule of
    several annotations per task. Raises UsageError when the answer is no, or when the labelling config cannot be
    served. Then nothing was changed.
    """
    with state.lock():
        project = gateway.get_project(project_id)
        asked_at = gateway.server_time
        record = state.record()
        if control_name is None and record.control is not None:
            control_name = record.control["name"]
        control = find_control(project["label_config"], control_name)
        if record.original_settings is None:
            _remember(project, gateway, state, control, asked_at, confirm, reporter or Reporter())
            record = state.record()
        wrong = queue_settings.wrong_settings(project)
        known_control = Control.from_json(record.control) if record.control else None
        state.keep_lock()  # the question may have been open for long
        same_config = (control, project["label_config"]) == (known_control, record.label_config)
        if not same_config or "maximum_annotations" in wrong:
            # The mirror holds other labels or texts, or flags that the PATCH below rewrites: read all again.
            state.put(bookmark=None, full_read=None, window_options=None)
        state.put(control=control.to_json(), label_config=project["label_config"])
        if min_annotations_per_task is not None:
            state.put(min_annotations_per_task=min_annotations_per_task)
            state.ask_for_a_window()
        if wrong:
            keep = {"model_version": project["model_version"]} if project["model_version"] else {}
            gateway.update_project(project_id, **wrong, **keep)
        made = tab.make(project_id, gateway, control.data_key, tab.Known.of(record.found))
        state.put(found={**(record.found or {}), "made_tabs": made})
        if backend_url is not None:
            _connect(project_id, gateway, backend_url, credentials, state)
        state.put(adopted_at=record.adopted_at or now())
    return {
        "project": project_id,
        "title": project["title"],
        "control": control.name,
        "classes": list(control.classes),
        "changed": sorted(wrong),
        "already": record.adopted_at is not None,
        "backend": backend_url,
    }


def _remember(
    project: dict[str, Any],
    gateway: LabelStudio,
    state: ProjectState,
    control: Control,
    asked_at: datetime | None,
    confirm: Callable[[str], bool],
    reporter: Reporter,
) -> None:
    """Asks before a rule of several annotations ends, then stores the settings and every task's overlap as they are."""
    if queue.our_versions(gateway.model_versions(project["id"])) and not confirm(
        f"Project {project['id']} holds windows that this state database (CONNECTOR_STATE) knows nothing of: another "
        "connector runs it, or its state database is lost. How the project was before is known to that database alone: "
        "undo will not bring it back. Take the project over all the same?"
    ):
        raise UsageError(
            f"Nothing was changed: project {project['id']} holds windows that this state database (CONNECTOR_STATE) "
            "knows nothing of. Use the state database that init was run with; where it is lost, give --yes to take the "
            "project over as it is."
        )
    rule = project["maximum_annotations"]
    if rule > 1 and not confirm(
        f"Project {project['id']} asks for {rule} annotations of every task (maximum_annotations). Our queue needs "
        "that rule off (it serves random tasks otherwise) and decides task by task who is asked again; to keep a "
        "number for every task, use --min-annotations-per-task. All annotations stay. Set maximum_annotations to 1?"
    ):
        raise UsageError(
            f"Nothing was changed: project {project['id']} has maximum_annotations = {rule}. Give --yes to end that "
            f"rule, or --yes --min-annotations-per-task {rule} to keep it within our queue."
        )
    with reporter.stage("remember", "Remembering every task as it is") as stage:
        state.put(full_read=None)  # what an init read that was killed a week ago is not what this one finds
        read_all(project, gateway, state, control, asked_at, stage.count)
        state.store_originals(state.tasks().values())
    lists = {"tabs": gateway.tabs, "backends": gateway.backends, "webhooks": gateway.webhooks}
    found: dict[str, Any] = {name: [item["id"] for item in read(project["id"])] for name, read in lists.items()}
    # Last: it says that the memory is complete, whatever becomes of this init.
    names = (*queue_settings.REQUIRED_SETTINGS, "model_version", "overlap_cohort_percentage", "skip_queue")
    state.put(
        original_settings={name: project[name] for name in names},
        found=found,
        control=control.to_json(),  # under which the mirror was read
        label_config=project["label_config"],
    )


def _connect(project_id: int, gateway: LabelStudio, url: str, credentials: Credentials, state: ProjectState) -> None:
    """Connects the ML backend unless it is, and remembers its address for undo first.

    One that init connected before is told the credentials of now. On connecting, Label Studio makes the backend's title
    the project's model version when it has none, and would then show the model's answers in every form: that is taken
    back.
    """
    before = gateway.get_project(project_id)["model_version"]
    there = [one for one in gateway.backends(project_id) if one["url"].rstrip("/") == url]
    found = state.record().found or {}
    ours = found.get("connected", [])
    authentication = credentials.for_label_studio
    try:
        if not there:
            state.put(found={**found, "connected": [*ours, url]})
            gateway.connect_backend(project_id, url, BACKEND_TITLE, **authentication)
        elif url in ours and authentication:
            for one in there:
                gateway.update_backend(one["id"], project_id, one["url"], **authentication)
    except TryAgainLater:
        raise
    except ConnectorError as error:
        raise _refused(url, str(error)) from error
    if credentials.basic is not None and (not there or url in ours):
        _authenticate_webhook(project_id, gateway, url, credentials.basic)
    if gateway.get_project(project_id)["model_version"] != before:
        gateway.update_project(project_id, model_version=before)


def _authenticate_webhook(project_id: int, gateway: LabelStudio, url: str, header: str) -> None:
    """Has the webhook that Label Studio makes for a backend bring what the backend wants: by itself it does not."""
    for webhook in gateway.webhooks(project_id):
        if webhook["url"] == f"{url}/webhook":
            gateway.update_webhook(webhook, {**webhook["headers"], "Authorization": header})


def _refused(url: str, said: str) -> UsageError:
    if REFUSED_BY_BACKEND in said:
        return UsageError(
            f"The ML backend at {url} refuses Label Studio, which brings a user name and a password alone, no token: "
            "set ML_BACKEND_USERNAME and ML_BACKEND_PASSWORD to those that the ML backend was started with."
        )
    return UsageError(
        f"Label Studio could not connect the ML backend at {url}. It must reach that address itself; for a private "
        f"one start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false. It said: {said}"
    )


def create(title: str, data: Path, gateway: LabelStudio, label_config: str) -> int:
    """Makes a project from `label_config` with the texts of a .csv or .jsonl file, and returns its id.

    Raises UsageError, before anything is made, when the file cannot be used.
    """
    control = find_control(label_config)
    rows = read_rows(data, control.data_key)
    project = gateway.create_project(title, label_config)
    gateway.import_tasks(project["id"], rows)
    return int(project["id"])


def read_rows(path: Path, data_key: str) -> list[dict[str, Any]]:
    """The rows of a .csv or .jsonl file as tasks' data; raises UsageError where it cannot be used."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file, long_csv_fields():
            if path.suffix == ".csv":
                rows: list[dict[str, Any]] = list(csv.DictReader(file, strict=True))
            elif path.suffix in (".jsonl", ".ndjson"):
                rows = [json.loads(line) for line in file if line.strip()]
            else:
                raise UsageError(f"{path} is neither .csv nor .jsonl.")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    if not rows:
        raise UsageError(f"{path} holds no rows.")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or data_key not in row:
            raise UsageError(f"Row {number} of {path} has no '{data_key}', which the labelling config shows.")
        if None in row:
            raise UsageError(
                f"Row {number} of {path} has more values than columns: put quotes around texts with commas."
            )
        if _cannot_be_stored(row):
            raise UsageError(
                f"Row {number} of {path} holds a NUL character or half a surrogate pair, which Label Studio cannot "
                "keep on every database: take it out."
            )
    return rows


def _cannot_be_stored(value: Any) -> bool:
    """Whether a text in `value` is one that Label Studio refuses on PostgreSQL, or cannot give back on SQLite."""
    if isinstance(value, dict):
        return any(map(_cannot_be_stored, [*value, *value.values()]))
    if isinstance(value, list):
        return any(map(_cannot_be_stored, value))
    return isinstance(value, str) and re.search("[\0\ud800-\udfff]", value) is not None
