"""Records what label-studio-ml 2.x answers with our class, and counts answers that are mixed up. See README.md."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from support import ROOT
from support.labelled_sentences import sentences
from support.model_class import CLASSES, CONFIG, OTHER_CONFIG, annotated, asked, button

from connector.simulation.processes import free_port

HERE = Path(__file__).resolve().parent
PROGRAMS = Path(os.environ["LABEL_STUDIO_ML_2_VENV"]).absolute() / "bin"
TRAINED, UNTRAINED = "5.1700000000", "6.1700000000"
TASK = {"id": 1, "data": {"text": "please look at section 3"}}
ROUNDS = 80


def predict(**changes: Any) -> dict[str, Any]:
    body = {"tasks": [TASK], "project": TRAINED, "label_config": CONFIG, "params": {"context": {}}, **changes}
    return {name: value for name, value in body.items() if value != "left out"}


def setup(**changes: Any) -> dict[str, Any]:
    body = {"project": TRAINED, "schema": CONFIG, "hostname": "", "access_token": "", "extra_params": None, **changes}
    return {name: value for name, value in body.items() if value != "left out"}


EXCHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("setup before the first training", "setup", setup(project=UNTRAINED)),
    ("prediction before the first training", "predict", predict(project=UNTRAINED)),
    ("setup", "setup", setup()),
    ("setup with extra_params", "setup", setup(extra_params={"a": [1]})),
    ("setup with an empty config", "setup", setup(schema="")),
    ("setup with a config that is no XML", "setup", setup(schema="<View")),
    ("setup without a config", "setup", setup(schema="left out")),
    ("setup without a project", "setup", setup(project="left out")),
    ("prediction", "predict", predict()),
    ("prediction of one task", "predict", predict(tasks=TASK)),
    ("prediction of no task", "predict", predict(tasks=[])),
    ("prediction without tasks", "predict", predict(tasks="left out")),
    ("prediction of a number", "predict", predict(tasks=5)),
    ("prediction with an empty config", "predict", predict(label_config="")),
    ("prediction with a config that is no XML", "predict", predict(label_config="<View")),
    ("prediction without a config", "predict", predict(label_config="left out")),
    ("prediction with params that are null", "predict", predict(params=None)),
    ("annotation", "webhook", annotated(7, 1, "please look", "Polite")),
    ("Start Training on one label", "webhook", button(7)),
    ("another event", "webhook", {"action": "TASKS_DELETED", "project": {"id": 7}, "tasks": [{"id": 1}]}),
]


@contextmanager
def started(folder: Path) -> Iterator[str]:
    """The address of `label-studio-ml start`, in a session of its own: it starts the server by a shell."""
    environment = os.environ | {
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ML_BACKEND_MODEL_DIR": str(folder / "models"),
    }
    init = [PROGRAMS / "label-studio-ml", "init", "my_backend", "--script", ROOT / "ml_backend" / "model.py"]
    subprocess.run(init, cwd=folder, env=environment, check=True, capture_output=True)
    port = free_port()
    command = [PROGRAMS / "label-studio-ml", "start", "my_backend", "--host=127.0.0.1", f"--port={port}"]
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    requests.get(f"{url}/health", timeout=5).raise_for_status()
                    break
                except requests.ConnectionError:
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def train(url: str) -> None:
    """Train project 5."""
    texts, labels = sentences(20)
    for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
        requests.post(f"{url}/webhook", json=annotated(5, number, text, CLASSES[label]), timeout=30).raise_for_status()
    requests.post(f"{url}/webhook", json=button(5), timeout=30).raise_for_status()
    deadline = time.monotonic() + 120
    while not requests.post(f"{url}/setup", json=setup(), timeout=30).json()["model_version"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def record(url: str) -> list[dict[str, Any]]:
    """All exchanges, without tracebacks."""
    recorded = []
    for what, path, body in EXCHANGES:
        response = requests.post(f"{url}/{path}", json=body, timeout=60)
        answer = response.json()
        if (answer.get("result") or {}).get("traceback"):
            answer["result"]["traceback"] = "left out"
        recorded.append({"what": what, "path": path, "body": body, "status": response.status_code, "answer": answer})
        print(what, response.status_code)
    return recorded


def mixed_up(calls: list[Callable[[], bool]]) -> int:
    """How many of the calls, at the same time and in random order, get another's answer."""
    random.Random(0).shuffle(calls)
    with ThreadPoolExecutor(8) as threads:
        return sum(not right for right in threads.map(lambda call: call(), calls))


def setup_is_empty(url: str) -> bool:
    return bool(requests.post(f"{url}/setup", json=setup(project=UNTRAINED), timeout=60).json()["model_version"] == "")


def names_are(url: str, config: str, name: str) -> bool:
    body = asked(5, [("please look at section 3", "")], config)
    results = requests.post(f"{url}/predict", json=body, timeout=60).json()["results"]
    return {region["from_name"] for entry in results for region in entry["result"]} == {name}


def main() -> None:
    """Start label-studio-ml, record, count, and stop it again."""
    with tempfile.TemporaryDirectory() as name, started(Path(name)) as url:
        predictions = [lambda: requests.post(f"{url}/predict", json=predict(project=UNTRAINED), timeout=60).ok]
        setups: list[Callable[[], bool]] = [lambda: setup_is_empty(url)]
        print(f"Before the first training, of {ROUNDS} setups mixed up: {mixed_up((setups + predictions) * ROUNDS)}")
        train(url)
        one, other = (lambda: names_are(url, CONFIG, "politeness")), (lambda: names_are(url, OTHER_CONFIG, "tone"))
        print(f"Of {2 * ROUNDS} predictions under two configs mixed up: {mixed_up([one, other] * ROUNDS)}")
        recorded = record(url)
    (HERE / "recorded.json").write_text(json.dumps(recorded, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
