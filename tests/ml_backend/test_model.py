"""The model class under label-studio-ml 1.0.9, over HTTP as Label Studio calls it. 2.x: test_model_under_2_x.py."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import requests
from support.label_studio_ml_2 import AnswerException
from support.model_class import CLASSES, CONFIG, OTHER_CONFIG, Labelled, annotated, asked, button, imported, labels_of
from support.webhook_events import EVENTS, RECORDED

from connector.simulation.processes import free_port
from ml_backend.service import Service
from ml_backend.settings import Settings

ROOT = Path(__file__).parents[2]
ENVIRONMENT = Path(os.environ.get("LABEL_STUDIO_ML_VENV") or ROOT / ".venv-label-studio-ml")


@pytest.fixture(scope="module")
def labelled(make_sentences: Callable[..., tuple[list[str], list[int]]]) -> Labelled:
    """Forty texts, each with its class."""
    texts, positions = make_sentences(40)
    return [(text, CLASSES[position]) for text, position in zip(texts, positions, strict=True)]


# -- 1.0.9 -----------------------------------------------------------------------------------------------------------


class Backend:
    """What `label-studio-ml start` serves, called as Label Studio calls it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = requests.post(f"{self.url}/{path}", json=body, timeout=100)
        assert answer.ok, answer.text
        return answer.json()

    def version(self, project: int, config: str = CONFIG) -> str:
        body = RECORDED["setup"] | {"project": f"{project}.1700000000", "schema": config}
        version = self.post("setup", body)["model_version"]
        assert isinstance(version, str)
        return version

    def trained(self, project: int) -> str:
        """The project's model version, as soon as there is one."""
        deadline = time.monotonic() + 120
        while not (version := self.version(project)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return version


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `label-studio-ml init` has made a backend of the model's file."""
    path = tmp_path_factory.mktemp("label-studio-ml")
    command = [ENVIRONMENT / "bin" / "label-studio-ml", "init", "my_backend", "--script", ROOT / "ml_backend/model.py"]
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return path


@contextmanager
def started(home: Path, **settings: str) -> Iterator[Backend]:
    """`label-studio-ml start`, in a session of its own: it starts the server by a shell."""
    port = free_port()
    command = [ENVIRONMENT / "bin" / "label-studio-ml", "start", "my_backend", "--host=127.0.0.1", f"--port={port}"]
    programs = f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}"  # among which it looks for `python`
    environment = os.environ | {"PATH": programs, "ML_BACKEND_MODEL_DIR": str(home / "models")} | settings
    with (
        (home / "log").open("a") as log,
        subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    assert requests.get(f"http://127.0.0.1:{port}/health", timeout=5).json()["status"] == "UP"
                    break
                except requests.ConnectionError:
                    assert process.poll() is None, (home / "log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield Backend(f"http://127.0.0.1:{port}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def backend(home: Path) -> Iterator[Backend]:
    with started(home) as running:
        yield running


@pytest.mark.nightly
@pytest.mark.service
def test_before_the_first_training_entries_are_empty(backend: Backend, labelled: Labelled) -> None:
    assert backend.version(1) == ""
    empty = {"result": [], "score": 0.0, "model_version": ""}
    assert backend.post("predict", asked(1, labelled[:2])) == {"model_version": "", "results": [empty, empty]}
    backend.post("webhook", annotated(1, 1, *labelled[0]))
    backend.post("webhook", button(1))  # on one label
    assert backend.version(1) == ""


@pytest.fixture(scope="module")
def versions(backend: Backend, labelled: Labelled) -> tuple[str, str]:
    """The models of projects 2 and 3, which ask by different controls, by Start Training."""
    for project, config in ((2, CONFIG), (3, OTHER_CONFIG)):
        for number, (text, label) in enumerate(labelled[:30]):
            backend.post("webhook", annotated(project, number, text, label, config))
        backend.post("webhook", button(project, config))
    return backend.trained(2), backend.trained(3)


@pytest.mark.nightly
@pytest.mark.service
def test_it_answers_as_ml_backend_serve_does(
    backend: Backend, home: Path, labelled: Labelled, versions: tuple[str, str], serve: Callable[[Path], Any]
) -> None:
    # The last /setup was of project 3. A form that asks for a prediction sends none.
    answer = backend.post("predict", asked(2, labelled[30:]))
    other = backend.post("predict", asked(3, labelled[30:], OTHER_CONFIG))
    assert {entry["model_version"] for entry in answer["results"]} == {versions[0]}
    assert {entry["model_version"] for entry in other["results"]} == {versions[1]}
    assert {entry["result"][0]["from_name"] for entry in other["results"]} == {"tone"}
    right = [found == label for found, (_, label) in zip(labels_of(answer["results"]), labelled[30:], strict=True)]
    assert sum(right) >= 9
    assert not any(path.name.isdigit() for path in (home / "my_backend").iterdir())  # no jobs of label-studio-ml's own
    with serve(home / "models") as own:
        body = asked(2, labelled[30:])
        assert own.client("2").predict(body["tasks"], CONFIG)["results"] == answer["results"]


@pytest.mark.nightly
@pytest.mark.service
@pytest.mark.parametrize("name", EVENTS)
def test_every_event_of_label_studio_is_taken(backend: Backend, name: str) -> None:
    assert "job_id" in backend.post("webhook", EVENTS[name])


@pytest.mark.nightly
@pytest.mark.service
def test_a_restart_keeps_the_models_and_an_export_can_be_trained_on(
    home: Path, labelled: Labelled, versions: tuple[str, str]
) -> None:
    with started(home, MODEL_DIR=str(home / "jobs"), LABEL_STUDIO_ML_BACKEND_V2="1") as again:
        assert again.version(2) == versions[0]
        answer = again.post("predict", asked(2, labelled))
        assert {entry["model_version"] for entry in answer["results"]} == {versions[0]}
        events = [annotated(4, number, text, label) for number, (text, label) in enumerate(labelled)]
        export = [event["task"] | {"annotations": [event["annotation"]]} for event in events]
        again.post("train", {"annotations": export, "project": "4.1700000000", "label_config": CONFIG, "params": {}})
        answer = again.post("predict", asked(4, labelled))
        assert labels_of(answer["results"]) == [label for _, label in labelled]


# -- on a stand-in for it --------------------------------------------------------------------------------------------


class StandInRelease1:
    """What 1.0.9's base class does with a model; by night the real one does it."""

    def __init__(self, label_config: str | None = None, train_output: Any = None) -> None:
        self.label_config = label_config

    def process_event(self, event: str, data: dict[str, Any], job: str, parameters: dict[str, Any]) -> Any:
        return self.fit((), event=event, data=data, job_id=job, **parameters)  # type: ignore[attr-defined]


def test_the_calls_of_1_0_9_train_and_answer(
    tmp_path: Path,
    labelled: Labelled,
    make_service: Callable[[Settings], Service],
) -> None:
    body: dict[str, Any] = {}
    names = ("label_studio_ml", "label_studio_ml.model", "label_studio_ml.exceptions", "flask")
    package, library, exceptions, flask = map(ModuleType, names)
    manager = type("LabelStudioMLManager", (), {})
    vars(library).update(LabelStudioMLBase=StandInRelease1, LabelStudioMLManager=manager)
    vars(exceptions).update(AnswerException=AnswerException)
    vars(package).update(model=library, exceptions=exceptions)
    vars(flask).update(has_request_context=lambda: True, request=SimpleNamespace(get_json=lambda: body))
    modules = {module.__name__: module for module in (package, library, exceptions, flask)}
    with imported(modules, tmp_path, make_service) as module:
        jobs = manager.get_job_manager()  # type: ignore[attr-defined]

        def version(project: int) -> str:
            body.clear()
            body.update(RECORDED["setup"] | {"project": f"{project}.1700000000"})
            return jobs.get_result()["job_id"]

        assert version(5) == ""
        for number, (text, label) in enumerate(labelled):
            event = annotated(5, number, text, label)
            jobs.run_job(module.TextClassifier, (event.pop("action"), event, "a job"))
        event = button(5)
        jobs.run_job(module.TextClassifier, (event.pop("action"), event, "a job"))
        deadline = time.monotonic() + 60
        while not (trained := version(5)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # The last /setup was of another project, and with another config.
        body.clear()
        body.update(asked(5, labelled))
        answer = module.TextClassifier(label_config=OTHER_CONFIG).predict(body["tasks"])
        assert labels_of(answer) == [label for _, label in labelled]
        assert {entry["model_version"] for entry in answer} == {trained}
        one = module.TextClassifier(label_config=OTHER_CONFIG).predict(body["tasks"][0])
        assert labels_of(one) == labels_of(answer[:1]), "a task without a list"
        with pytest.raises(AnswerException, match="tasks: Field required") as refused:
            module.TextClassifier(label_config=OTHER_CONFIG).predict(None)
        assert refused.value.status == 422
        del body["label_config"]  # then not that of another project
        assert module.TextClassifier(label_config=CONFIG).predict(body["tasks"][:1])[0]["result"] == []
        # An export is trained on at once.
        body.clear()
        events = [annotated(4, number, text, label) for number, (text, label) in enumerate(labelled)]
        export = [event["task"] | {"annotations": [event["annotation"]]} for event in events]
        job = module.TextClassifier(label_config=CONFIG).fit(export)
        assert (job["state"], job["model_version"]) == ("done", version(4))


def test_without_label_studio_ml_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "label_studio_ml", None)
    monkeypatch.delitem(sys.modules, "ml_backend.model", raising=False)
    with pytest.raises(
        ImportError, match=r"^ml_backend\.model needs the extra label-studio-ml .*\. docs/.* install it\.$"
    ):
        importlib.import_module("ml_backend.model")
