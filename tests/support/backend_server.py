"""The ML backend over HTTP: a client of docs/backend-api.md, and servers in a process or in a thread."""

import hashlib
import io
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import requests
import uvicorn

from ml_backend.rest.app import create_app
from ml_backend.service import Service
from ml_backend.settings import Settings
from support.labelled_sentences import CLASSES


def digests(texts: Sequence[str]) -> np.ndarray:
    """The contract's hashes, uint8 (n, 16), computed without the package under test."""
    joined = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(texts), 16)


def npz(**arrays: Any) -> bytes:
    """An `.npz` as a client makes it."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


class Client:
    """The calls of docs/backend-api.md for one project."""

    def __init__(self, url: str, project: str) -> None:
        self.url = url
        self.project = project
        self.base = f"{url}/api/projects/{project}"

    def put_items(self, ids: Sequence[int], texts: Sequence[str]) -> list[int]:
        body = npz(ids=np.array(ids, dtype=np.int64), hashes=digests(texts))
        answer = requests.put(
            f"{self.base}/items", data=body, headers={"Content-Type": "application/x-npz"}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        return self.arrays(answer)["missing"].tolist()

    def send(self, ids: Sequence[int], texts: Sequence[str]) -> None:
        missing = self.put_items(ids, texts)
        answer = self.post("texts", texts=[texts[position] for position in missing])
        assert answer.json() == {"stored": len(missing)}

    def train(self, ids: Sequence[int], labels: Sequence[int], **options: Any) -> dict[str, Any]:
        """Train and wait; the job that ended."""
        job = self.start(ids, labels, **options)
        return self.wait(job)

    def start(self, ids: Sequence[int], labels: Sequence[int], **options: Any) -> dict[str, Any]:
        body = {"classes": CLASSES, "ids": list(ids), "labels": list(labels), **options}
        answer = self.post("train", **body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def wait(self, job: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + 90
        while job["state"] in ("queued", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
            job = self.get(f"jobs/{job['job']}").json()
        return job

    def probabilities(self) -> dict[str, np.ndarray]:
        answer = self.get("probabilities")
        assert answer.status_code == 200, answer.text
        return self.arrays(answer)

    def predict(self, tasks: list[Any], config: str | None) -> dict[str, Any]:
        body = {"tasks": tasks, "project": f"{self.project}.1700000000", "label_config": config, "params": {}}
        answer = requests.post(f"{self.url}/predict", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.base}/{path}", timeout=60)

    def post(self, path: str, **body: Any) -> requests.Response:
        return requests.post(f"{self.base}/{path}", json=body, timeout=60)

    @staticmethod
    def arrays(answer: requests.Response) -> dict[str, np.ndarray]:
        assert answer.headers["Content-Type"] == "application/x-npz"
        with np.load(io.BytesIO(answer.content), allow_pickle=False) as loaded:
            return dict(loaded)


class Server:
    """A running server."""

    def __init__(self, url: str) -> None:
        self.url = url
        deadline = time.monotonic() + 30
        while True:
            try:
                assert requests.get(f"{self.url}/health", timeout=5).status_code == 200
                return
            except requests.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def client(self, project: str) -> Client:
        return Client(self.url, project)


class ServerProcess(Server):
    """A running `ml-backend serve`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ml-backend listens on "), line
        super().__init__(line.split()[3].rstrip("."))

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@contextmanager
def serving(model_dir: Path) -> Iterator[ServerProcess]:
    """A server of its own process on a free port."""
    command = [Path(sys.executable).with_name("ml-backend"), "serve", "--port", "0", "--model-dir", model_dir]
    log = (model_dir.parent / f"{model_dir.name}.log").open("a")
    with log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            yield ServerProcess(process)
        finally:
            if process.poll() is None:
                process.kill()


@contextmanager
def serving_in_thread(settings: Settings, service: Service) -> Iterator[Server]:
    """A server in a thread of this process on a free port."""
    config = uvicorn.Config(create_app(settings, service), access_log=False, log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join()
