"""The demo's project in Label Studio, and the connector as a user's cron runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import requests

from connector._compat import batched
from connector.annotations.label_config import packaged_label_config
from connector.demo.dataset import Corpus
from connector.demo.servers import Login, Server, local_session
from connector.errors import ConnectorError
from connector.label_studio.client import LabelStudio
from connector.queue.views import QUEUE_TAB

TITLE, TITLE_OF_IMAGES = "Demo: polite or not?", "Demo: which shape?"
FILES_A_CALL = 100  # Label Studio takes no more


@dataclass(frozen=True)
class Project:
    """A project with the tasks of a corpus. `tasks`: {Label Studio's task id: the corpus's task id}."""

    id: int
    config: str
    tasks: dict[int, str]

    @property
    def control(self) -> str:
        """The name of the config's Choices."""
        return _choices(ElementTree.fromstring(self.config)).attrib["name"]

    @property
    def text(self) -> str:
        """The name of the config's Text."""
        return _choices(ElementTree.fromstring(self.config)).attrib["toName"]


@dataclass(frozen=True)
class Connector:
    """The `connector` command with the settings of a user's `.env`."""

    label_studio: str
    token: str
    ml_backend: str
    state: Path

    def run(self, command: str, project: Project, *options: str) -> dict[str, Any]:
        """Runs `connector COMMAND --project ID … --json` and returns the object. Raises ConnectorError if it fails."""
        environment = os.environ | {
            "LABEL_STUDIO_URL": self.label_studio,
            "LABEL_STUDIO_API_KEY": self.token,
            "ML_BACKEND_URL": self.ml_backend,
            "CONNECTOR_STATE": f"sqlite:///{self.state.resolve()}",
        }
        arguments = [command, "--project", str(project.id), *options, "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "connector.cli", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ConnectorError(f"connector {' '.join(arguments)} failed: {last[0]}")
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary


def create_project(server: Server, login: Login, corpus: Corpus) -> Project:
    """A new project with the corpus's classes and tasks, through Label Studio's API."""
    empty = create_project_of(server, login, corpus.classes, corpus.kind)
    with local_session() as api:
        if corpus.kind == "image":
            return replace(empty, tasks=_upload(api, server, login, empty.id, corpus))
        rows = [{"text": text} for text in corpus.tasks.values()]
        imported = _post(api, server, login, f"/api/projects/{empty.id}/import", rows, return_task_ids="true")
    # Label Studio numbers tasks in the order of the import.
    return replace(empty, tasks=dict(zip(sorted(imported["task_ids"]), corpus.tasks, strict=True)))


def create_project_of(server: Server, login: Login, classes: list[str], kind: str = "text") -> Project:
    """A new project for these classes, without tasks. `kind`: of the contents, "text" or "image"."""
    config = label_config(classes) if kind == "text" else image_config(classes)
    title = TITLE if kind == "text" else TITLE_OF_IMAGES
    with local_session() as api:
        project = _post(api, server, login, "/api/projects", {"title": title, "label_config": config})["id"]
    return Project(project, config, {})


def _upload(api: requests.Session, server: Server, login: Login, project: int, corpus: Corpus) -> dict[int, str]:
    """Uploads the images of the corpus as a person does. Returns {Label Studio's task id: the corpus's task id}."""
    for part in batched(corpus.tasks.items(), FILES_A_CALL):
        files = [(name, (f"{name}{Path(path).suffix}", Path(path).read_bytes())) for name, path in part]
        _post(api, server, login, f"/api/projects/{project}/import", files=files)
    with closing(LabelStudio(server.url, login.token)) as gateway:
        rows = [raw for page in gateway.tasks(project) for raw in page]
    # Label Studio puts a prefix before the name of a file.
    return {raw["id"]: Path(raw["data"]["image"]).stem.rpartition("-")[2] for raw in rows}


def address(server: Server, login: Login, project: Project) -> str:
    """The address of the project's queue in the Data Manager, a tab that `connector init` made."""
    tabs: list[int] = []
    with closing(LabelStudio(server.url, login.token)) as gateway, suppress(ConnectorError):
        tabs = [view["id"] for view in gateway.tabs(project.id) if view["data"].get("title") == QUEUE_TAB]
    return f"{server.url}/projects/{project.id}/data" + (f"?tab={tabs[0]}" if tabs else "")


def _post(
    api: requests.Session,
    server: Server,
    login: Login,
    path: str,
    body: Any = None,
    *,
    files: Any = None,
    **query: str,
) -> dict[str, Any]:
    headers = {"Authorization": f"Token {login.token}"}
    response = api.post(server.url + path, json=body, files=files, params=query, headers=headers, timeout=300)
    if not response.ok:
        raise ConnectorError(f"Label Studio answered {response.status_code} to {path}: {response.text[:300]}")
    answer: dict[str, Any] = response.json()
    return answer


def label_config(classes: list[str]) -> str:
    """`label_config.xml`, with other choices if `classes` differ from its own."""
    config = packaged_label_config()
    root = ElementTree.fromstring(config)
    choices = _choices(root)
    if sorted(choice.attrib["value"] for choice in choices) == sorted(classes):
        return config
    choices[:] = [ElementTree.Element("Choice", value=name) for name in classes]
    choices.set("name", "label")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")


def image_config(classes: list[str]) -> str:
    """A labelling config for images of these classes."""
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in classes)
    return f"""<View>
  <Image name="image" value="$image"/>
  <Choices name="label" toName="image" showInline="true">{choices}</Choices>
</View>"""


def _choices(root: ElementTree.Element) -> ElementTree.Element:
    choices = root.find(".//Choices")
    if choices is None:
        raise ConnectorError("label_config.xml has no Choices.")
    return choices
