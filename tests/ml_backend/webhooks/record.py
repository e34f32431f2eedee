"""Records what a real Label Studio sends to an ML backend: `LABEL_STUDIO_VENV=… python record.py` rewrites the files.

A small server plays the backend and keeps every body; a fresh Label Studio is walked through whatever makes it call.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from connector.demo import servers
from connector.demo.people import Person

HERE = Path(__file__).resolve().parent
CONFIG = (HERE.parents[2] / "label_config.xml").read_text()
LONGER = CONFIG.replace('<Choice value="Polite"', '<Choice value="Neutral"/>\n    <Choice value="Polite"')
LINKED = '<View><Text name="text" value="$text" valueType="url"/><Choices name="c" toName="text">{}</Choices></View>'
LINKED = LINKED.format('<Choice value="A"/><Choice value="B"/>')
LOGIN = servers.Login("admin@example.com", "label-studio", "0123456789abcdef0123456789abcdef01234567")


class Recorder:
    """The ML backend that Label Studio believes to speak to; `calls` are (path, body) in the order they came."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({"status": "UP", "model_class": "Recorder"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                recorder.calls.append((self.path, body))
                self._answer(recorder.reply(self.path, body))

            def _answer(self, answer: Any) -> None:
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def reply(path: str, body: Any) -> Any:
        if path == "/setup":
            return {"model_version": "recorder-1"}
        if path == "/predict":
            region = {"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": ["Polite"]}}
            return {"results": [{"result": [region], "score": 0.9, "model_version": "recorder-1"}] * len(body["tasks"])}
        return {}

    def taken(self) -> list[tuple[str, Any]]:
        """What came since the last time."""
        came, self.calls[:] = list(self.calls), []
        return came


class Walk:
    """A walk through Label Studio; what a step makes it send becomes a file of the step's name."""

    def __init__(self, url: str, recorder: Recorder, files: Path, folder: Path) -> None:
        self.url, self.recorder, self.files, self.folder = url, recorder, files, folder
        self.session = servers.local_session()
        self.session.headers["Authorization"] = f"Token {LOGIN.token}"

    def call(self, method: str, path: str, **request: Any) -> Any:
        response = self.session.request(method, self.url + path, timeout=60, **request)
        response.raise_for_status()
        return response.json() if response.content else None

    def step(self, name: str, method: str, path: str, *, of: str = "/webhook", **request: Any) -> Any:
        """Make a call, and keep the last body that Label Studio sent to `of` because of it."""
        self.recorder.taken()
        answer = self.call(method, path, **request)
        self.keep(name, of)
        return answer

    def keep(self, name: str, of: str) -> None:
        came = self.recorder.taken()
        bodies = [body for path, body in came if path == of]
        print(f"{name}: {[(path, body.get('action')) for path, body in came]}")
        if bodies:
            (self.files / f"{name}.json").write_text(self.cleaned(bodies[-1]))

    def cleaned(self, body: Any) -> str:
        text = json.dumps(body, indent=2, ensure_ascii=False, sort_keys=True)
        text = text.replace(LOGIN.token, "0" * 40).replace(self.recorder.url, "http://ml-backend.example.com:9090")
        text = text.replace(self.url, "http://label-studio.example.com")
        text = re.sub(r"http://localhost:\d+", "http://label-studio.example.com", text)
        text = re.sub(r'"token": "\w+"', '"token": "example"', text)
        text = text.replace(str(self.folder), "/stored")
        return text + "\n"


def walk(label_studio: Walk) -> None:
    """Everything that makes Label Studio call, in one order."""
    call, step, folder = label_studio.call, label_studio.step, label_studio.folder
    project = call("POST", "/api/projects", json={"title": "Politeness", "label_config": CONFIG})["id"]
    # With a webhook in place 1.23.2 answers 500 to this: it never sends LABEL_LINK_CREATED.
    label = {"project": project, "from_name": "politeness", "title": f"Polite {project}", "value": ["Polite"]}
    call("POST", "/api/labels/", json=[label])
    backend = {"url": label_studio.recorder.url, "project": project, "title": "ml-backend", "is_interactive": True}
    backend = step("setup", "POST", "/api/ml", of="/setup", json=backend)["id"]
    rows = [{"text": f"Could you please look at section {number}, thank you?"} for number in range(10)]
    step("tasks_created", "POST", f"/api/projects/{project}/import", json=rows[:8])
    for row in rows[8:]:
        step("task_created", "POST", "/api/tasks", json={"project": project, "data": row})
    listed = call("GET", "/api/tasks", params={"project": project, "page_size": 100})["tasks"]
    tasks = sorted(task["id"] for task in listed)

    def result(label: str) -> list[dict[str, Any]]:
        value = {"choices": [label]}
        return [{"id": "abcde12345", "from_name": "politeness", "to_name": "text", "type": "choices", "value": value}]

    def of_task(task: int) -> str:
        return f"/api/tasks/{task}/annotations/"

    said = {"result": result("Polite"), "lead_time": 4.5}
    first = step("annotation_created", "POST", of_task(tasks[0]), json=said)["id"]
    step("annotation_updated", "PATCH", f"/api/annotations/{first}/", json={"result": result("Impolite")})
    step("annotation_skipped", "POST", of_task(tasks[1]), json={"result": [], "was_cancelled": True})
    step("annotation_empty", "POST", of_task(tasks[2]), json={"result": []})
    person = Person.sign_up(label_studio.url, "annotator@example.com")
    label_studio.recorder.taken()
    person.submit({"id": tasks[3]}, "politeness", "text", "Impolite")
    label_studio.keep("annotation_created_by_an_annotator", "/webhook")
    person.close()
    step("annotation_deleted", "DELETE", f"/api/annotations/{first}/")
    chosen = {"selectedItems": {"all": False, "included": tasks[1:4]}, "filters": {"conjunction": "and", "items": []}}

    def action(name: str) -> tuple[str, str]:
        return "POST", f"/api/dm/actions?id={name}&project={project}"

    step("annotations_deleted_in_the_data_manager", *action("delete_tasks_annotations"), json=chosen)
    step("predict", *action("retrieve_tasks_predictions"), of="/predict", json=chosen)
    step("annotations_created_from_predictions", *action("predictions_to_annotations"), json=chosen)
    asked = {"task": tasks[0], "context": {"result": result("Polite")}}
    step("predict_interactively", "POST", f"/api/ml/{backend}/interactive-annotating", of="/predict", json=asked)
    step("task_changed", "PATCH", f"/api/tasks/{tasks[5]}/", json={"data": {"text": "Changed."}})
    step("task_deleted", "DELETE", f"/api/tasks/{tasks[0]}/")
    step("tasks_deleted_in_the_data_manager", *action("delete_tasks"), json=chosen)
    step("project_updated_title", "PATCH", f"/api/projects/{project}/", json={"title": "Politeness of requests"})
    step("project_updated_label_config", "PATCH", f"/api/projects/{project}/", json={"label_config": LONGER})
    step("start_training", "POST", f"/api/ml/{backend}/train")
    (link,) = call("GET", "/api/label_links/", params={"project": project})["results"]
    changed = {"label": link["label"], "project": project, "from_name": "politeness"}
    step("label_link_updated", "PATCH", f"/api/label_links/{link['id']}/", json=changed)
    step("label_link_deleted", "DELETE", f"/api/label_links/{link['id']}/")
    step("all_tasks_deleted", "DELETE", f"/api/projects/{project}/tasks/")

    # What /predict gets where the text is behind a link: given as such, uploaded, or in a storage.
    body = {"title": "Linked", "label_config": LINKED}
    linked = call("POST", "/api/projects", json=body)["id"]
    call("POST", "/api/ml", json={"url": label_studio.recorder.url, "project": linked, "title": "ml-backend"})
    links = ["https://example.com/a.txt", "s3://bucket/a.txt", "gs://bucket/a.txt", "azure-blob://box/a.txt"]
    call("POST", f"/api/projects/{linked}/import", json=[{"text": link} for link in links])
    (folder / "stored").mkdir()
    (folder / "stored" / "a.txt").write_text("Thank you.")
    with (folder / "stored" / "a.txt").open("rb") as file:
        call("POST", f"/api/projects/{linked}/import", files={"a.html": ("a.html", file)})
        file.seek(0)
        call("POST", f"/api/projects/{linked}/import", files={"a.png": ("a.png", file)})
    storage = {"project": linked, "path": str(folder / "stored"), "use_blob_urls": True}
    made = call("POST", "/api/storages/localfiles", json=storage)["id"]
    call("POST", f"/api/storages/localfiles/{made}/sync")
    everything = {"selectedItems": {"all": True, "excluded": []}, "filters": {"conjunction": "and", "items": []}}
    retrieve = f"/api/dm/actions?id=retrieve_tasks_predictions&project={linked}"
    step("predict_of_links", "POST", retrieve, of="/predict", json=everything)
    step("project_deleted", "DELETE", f"/api/projects/{linked}/")


def main() -> None:
    """Start Label Studio, walk, and stop it again."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {"LOCAL_FILES_SERVING_ENABLED": "true", "LOCAL_FILES_DOCUMENT_ROOT": name}
        server = servers.start_label_studio(folder, LOGIN, timeout_s=300, environment=environment)
        try:
            walk(Walk(server.url, recorder, HERE, folder))
        except requests.HTTPError as error:
            print(error.response.text[:1000])
            raise
        finally:
            servers.stop(folder, servers.LABEL_STUDIO)
            recorder.server.shutdown()


if __name__ == "__main__":
    main()
