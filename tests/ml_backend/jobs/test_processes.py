"""The training process beside the server, two servers on one model directory, and going back to an older version."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

pytestmark = pytest.mark.service

Sentences = Callable[..., tuple[list[str], list[int]]]


def training_process(server: Any) -> int:
    """The pid of the server's training process, once there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").parent.parent
        for task in children.iterdir():
            for pid in (task / "children").read_text().split():
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        time.sleep(0.02)
    raise AssertionError("there is no training process")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "models"


@pytest.fixture(scope="module")
def two(serve: Any, models: Path, tiny_folder: Path) -> Iterator[tuple[Any, Any]]:
    """Two servers on one model directory. A transformer trains until it is killed or cancelled."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (("ENCODER", tiny_folder), ("TRANSFORMER", tiny_folder), ("TRANSFORMER_STEPS", 1_000_000)):
            patched.setenv(f"ML_BACKEND_{name}", str(value))
        with serve(models) as one, serve(models) as other:
            yield one, other


def start_endless(client: Any, texts: list[str], labels: list[int]) -> dict[str, Any]:
    """Starts a training that is at work in its process, and does not end by itself; the job."""
    client.send(range(len(texts)), texts)
    job = client.start(range(len(texts)), labels, classifier="transformer")
    deadline = time.monotonic() + 90
    while not client.get(f"jobs/{job['job']}").json()["stage"].startswith("training transformer"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return job


@pytest.fixture(scope="module")
def taught(two: tuple[Any, Any], make_sentences: Sentences) -> Any:
    """A project on the first server with some texts and no model; the client."""
    texts, labels = make_sentences(60)
    client = two[0].client("taught")
    client.send(range(60), texts)
    client.texts, client.labels = texts, labels
    return client


def test_a_training_that_is_killed_fails_with_a_reason_and_the_model_before_serves(
    two: tuple[Any, Any], taught: Any, make_sentences: Sentences, label_config: str
) -> None:
    version = taught.train(range(60), taught.labels)["model_version"]
    job = start_endless(taught, *make_sentences(80, seed=8))
    os.kill(training_process(two[0]), signal.SIGKILL)
    ended = taught.wait(job)
    assert (ended["state"], ended["retriable"], ended["model_version"]) == ("failed", True, None)
    assert "was killed" in ended["error"]
    assert two[1].client("taught").get(f"jobs/{job['job']}").json() == ended
    for server in two:
        answer = server.client("taught").predict([{"data": {"text": taught.texts[0]}}], label_config)
        assert answer["results"][0]["model_version"] == version
        assert answer["results"][0]["result"]
    taught.send(range(60), taught.texts)
    assert taught.train(range(60), taught.labels)["state"] == "done"


@pytest.mark.nightly
def test_a_training_is_cancelled_and_one_that_waits_is_superseded(
    two: tuple[Any, Any], taught: Any, make_sentences: Sentences
) -> None:
    busy = two[0].client("busy")
    running = start_endless(busy, *make_sentences(80, seed=9))
    older = taught.start(range(60), taught.labels)
    newer = taught.start(range(60), taught.labels, seed=1)
    superseded = taught.get(f"jobs/{older['job']}").json()
    assert (superseded["state"], superseded["retriable"]) == ("cancelled", True)
    seen = two[1].client("busy").get(f"jobs/{running['job']}").json()
    assert seen["state"] == "running"
    answer = requests.delete(f"{busy.base}/jobs/{running['job']}", timeout=30)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert taught.wait(newer)["state"] == "done"
    assert busy.get("model").json()["model_version"] is None
    assert requests.delete(f"{busy.base}/jobs/nothing", timeout=30).status_code == 404


def test_both_servers_serve_the_version_that_either_trained_or_went_back_to(
    two: tuple[Any, Any], taught: Any, models: Path, label_config: str
) -> None:
    one, other = (server.client("taught") for server in two)
    tasks = [{"data": {"text": "a text that neither has seen"}}]

    def served() -> set[str]:
        answers = [client.predict(tasks, label_config)["results"][0] for client in (one, other)]
        assert [bool(answer["result"]) for answer in answers] == [True, True]
        described = [client.get("model").json()["model_version"] for client in (one, other)]
        return {*described, *(answer["model_version"] for answer in answers)}

    first = one.train(range(60), taught.labels)["model_version"]
    assert served() == {first}
    before = one.probabilities()["pred_probs"]
    second = other.train(range(60), taught.labels[::-1])["model_version"]
    assert served() == {second}
    assert other.get("model").json()["versions"][:2] == [second, first]

    back = one.post("rollback")
    assert (back.status_code, back.json()["model_version"]) == (200, first)
    assert served() == {first}
    assert (other.probabilities()["pred_probs"] == before).all()
    assert other.post("rollback", model_version=second).json()["model_version"] == second
    assert served() == {second}
    refused = one.post("rollback", model_version="../../../etc")
    assert (refused.status_code, refused.json()["detail"]) == (
        404,
        "There is no such model version. The stored ones are listed under versions.",
    )
    assert one.post("rollback", model_version="x" * 101).status_code == 422

    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        program = str(Path(sys.executable).with_name("ml-backend"))
        call = [program, *arguments, "--model-dir", str(models)]
        return subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)

    assert command("versions", "--project", "taught").stdout.splitlines()[:2] == [f"* {second}", f"  {first}"]
    done = command("rollback", "--project", "taught")
    assert done.returncode == 0
    assert done.stdout == (
        f"Model version {first} serves project taught. To choose a window by it at once, run connector sync --project "
        "taught --train never.\n"
    )
    assert served() == {first}
    assert command("rollback", "--project", "taught", "--to", second).returncode == 0
    assert served() == {second}
    for arguments, words in (
        (("--project", "taught", "--to", "v9"), "There is no such model version"),
        (("--project", "unknown"), "Project unknown is not in"),
        (("--project", "../taught"), "A project's name is"),
    ):
        refused = command("rollback", *arguments)
        assert (refused.returncode, refused.stderr.count("\n"), refused.stdout) == (2, 1, "")
        assert refused.stderr.startswith(f"ml-backend: {words}")


@pytest.mark.nightly
def test_what_would_change_the_model_waits_for_a_training_in_either_server(
    two: tuple[Any, Any], taught: Any, make_sentences: Sentences
) -> None:
    one, other = (server.client("locked") for server in two)
    texts, labels = make_sentences(80, seed=10)
    running = start_endless(one, texts, labels)
    for client in (one, other):
        refused = client.post("rollback")
        assert (refused.status_code, "A training of this project runs" in refused.json()["detail"]) == (409, True)
        assert requests.delete(f"{client.base}/model", timeout=30).status_code == 409
    waits = other.start(range(10), labels[:10])
    deadline = time.monotonic() + 60
    while (job := other.get(f"jobs/{waits['job']}").json())["stage"] != "waiting for another server":
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    requests.delete(f"{one.base}/jobs/{running['job']}", timeout=30)
    assert other.wait(waits)["state"] == "done"
