"""`ml-backend serve` as a process: its start, its end, and its answers while it trains."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

Sentences = Callable[..., tuple[list[str], list[int]]]


def tasks(texts: list[Any]) -> list[dict[str, Any]]:
    return [{"id": number, "data": {"text": text}} for number, text in enumerate(texts)]


def answers_in_time_while_a_training_runs(server: Any, label_config: str, make_sentences: Sentences) -> None:
    """What the project `p` is asked, while another one trains on texts that are yet to be embedded."""
    client = server.client("busy")
    texts, labels = make_sentences(200, seed=2)
    client.send(range(200), texts)
    job = client.start(range(200), labels)
    health, setup, predict, stages = [], [], [], set()
    while job["state"] in ("queued", "running"):
        stages.add(job["stage"])
        started = time.monotonic()
        assert requests.get(f"{server.url}/health", timeout=1).status_code == 200
        health.append(time.monotonic() - started)
        started = time.monotonic()
        body = {"project": "p.1", "schema": label_config}
        assert requests.post(f"{server.url}/setup", json=body, timeout=3).json()["model_version"]
        setup.append(time.monotonic() - started)
        started = time.monotonic()
        task = {"id": 1, "data": {"text": f"A text that nobody has seen, number {len(predict)}"}}
        body = {"tasks": [task], "project": "p.1", "label_config": label_config}
        answer = requests.post(f"{server.url}/predict", json=body, timeout=100).json()
        assert answer["results"][0]["result"]
        predict.append(time.monotonic() - started)
        job = client.get(f"jobs/{job['job']}").json()
        assert 0 <= job["progress"] <= 1
        assert 0 <= job["step"] <= job["steps"]
        time.sleep(0.01)
    assert job["state"] == "done", job
    assert job["model_version"] == client.get("model").json()["model_version"]
    assert len(health) >= 5
    assert "embedding texts" in stages
    print(f"health: {max(health):.3f} s at most, setup: {max(setup):.3f} s, predict: {max(predict):.3f} s")
    assert max(health) < 0.5
    assert max(setup) < 1.5
    assert max(predict) < 20


@pytest.mark.nightly
@pytest.mark.service
def test_a_server_answers_while_it_trains_ends_cleanly_and_restarts_and_a_failed_training_changes_nothing(
    serve: Any,
    tmp_path: Path,
    tiny_folder: Path,
    label_config: str,
    make_sentences: Sentences,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ML_BACKEND_TRANSFORMER", str(tiny_folder))
    monkeypatch.setenv("ML_BACKEND_TRANSFORMER_STEPS", "1000000")
    models = tmp_path / "models"
    texts, labels = make_sentences(20)
    with serve(models) as first:
        client = first.client("p")
        client.send(range(20), texts)
        version = client.train(range(20), labels)["model_version"]
        before = client.probabilities()
        answers_in_time_while_a_training_runs(first, label_config, make_sentences)
        endless = client.start(range(20), labels, classifier="transformer")
        while client.get(f"jobs/{endless['job']}").json()["state"] == "queued":
            time.sleep(0.05)
        started = time.monotonic()
        assert first.terminate() == 0
        assert time.monotonic() - started < 15
    assert "Traceback" not in (tmp_path / "models.log").read_text()
    with serve(models) as second:
        client = second.client("p")
        ended = client.get(f"jobs/{endless['job']}").json()
        assert (ended["state"], ended["retriable"]) == ("failed", True)
        assert client.predict(tasks(texts[:1]), label_config)["results"][0]["result"]
        assert np.array_equal(client.probabilities()["pred_probs"], before["pred_probs"])
        # The new version cannot be written: a training that fails at its very end.
        shutil.rmtree(models / "projects" / "p" / "versions")
        (models / "projects" / "p" / "versions").write_text("a file where a folder should be")
        job = client.train(range(20), labels)
        assert job["state"] == "failed"
        assert job["error"].startswith("Training failed unexpectedly (")
        assert "\n" not in job["error"]
        assert str(tmp_path) not in job["error"]
        assert client.get("model").json()["model_version"] == version
        assert client.predict(tasks(texts[:1]), label_config)["results"][0]["model_version"] == version
        assert np.array_equal(client.probabilities()["pred_probs"], before["pred_probs"])


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("ml-backend")), "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ml_backend.cli", "versions", "--project", "7", "--model-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert done.stderr.startswith("ml-backend: ")


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("--port", str(taken.getsockname()[1]), "--model-dir", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("ml-backend: cannot listen on 127.0.0.1:")
    assert done.stderr.count("\n") == 1


def test_a_model_directory_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("--port", "0", "--model-dir", str(tmp_path / "file" / "models"))
    assert done.returncode == 2
    assert done.stderr.startswith("ml-backend: cannot write to the model directory")
    assert done.stderr.count("\n") == 1


def test_a_wrong_setting_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_BACKEND_FOLDS", "many")
    done = run("--port", "0", "--model-dir", str(tmp_path))
    assert done.returncode == 2
    assert "ML_BACKEND_FOLDS" in done.stderr
    assert done.stderr.count("\n") == 1
