"""The parts of a piece of work in processes of this machine and on a real Ray cluster: the same results as here."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import ROOT
from support.pickled_functions import perish, refuse, sleeping, whereabouts
from support.training_harness import TrainingHarness

from ml_backend import parallel
from ml_backend.errors import ClusterUnavailable, EncoderUnavailable, InvalidRequest
from ml_backend.features.encoder import Encoder
from ml_backend.models.out_of_sample import out_of_sample
from ml_backend.parallel import ParallelRunner
from ml_backend.settings import Settings

TESTS = ROOT / "tests"
LONG = 1e9  # seconds: work that is worth any process
FEW = {
    "finetune": "now",
    "finetune_steps": 3,
    "finetune_batch_size": 8,
    "transformer_steps": 3,
    "transformer_batch_size": 8,
    "transformer_max_length": 16,
}


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """A Ray cluster on this machine, of two processors."""
    ray = pytest.importorskip("ray")
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{ROOT}")  # what is sent must be importable over there
        patched.setenv("RAY_AUTH_MODE", "disabled")  # or a token would be written to the home of whoever runs this
        started = ray.init(address="local", num_cpus=2, **quiet)
        yield started.address_info["address"]
        ray.shutdown()


@pytest.fixture(params=["processes", pytest.param("ray", marks=pytest.mark.nightly)])
def elsewhere(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings that send work elsewhere."""
    if request.param == "processes":
        return {"processes": 2, "divide_seconds": 0}
    return {"processes": 2, "divide_seconds": 0, "ray": request.getfixturevalue("ray_address")}


@pytest.fixture
def one_thread(tiny_folder: Path) -> Iterator[Encoder]:
    """An encoder of one thread, as all have over there: sums of floats hang on their number."""
    before = torch.get_num_threads()
    yield Encoder(str(tiny_folder), threads=1)
    torch.set_num_threads(before)


def test_results_come_in_order_from_other_processes(elsewhere: dict[str, Any]) -> None:
    cluster = ParallelRunner(Settings(**elsewhere))
    asked: list[int] = []

    def parts() -> Iterator[tuple[int]]:
        for number in range(20):
            asked.append(number)
            yield (number,)

    results = cluster.run(whereabouts, parts(), 20, seconds=0)
    first = next(results)
    assert len(asked) < 20, "what is to be sent is not held all at once"
    found = [first, *results]
    assert [number for number, _ in found] == list(range(20))
    processes = {process for _, process in found}
    assert len(processes) <= 2, "of this machine the first to start may have done it all"
    assert os.getpid() not in processes


def test_an_error_over_there_is_raised_here(elsewhere: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"^Not 3\.$"):
        list(ParallelRunner(Settings(**elsewhere)).run(refuse, ((number,) for number in range(6)), 6, seconds=0))


def test_short_work_and_one_part_are_done_here() -> None:
    for settings, count, seconds in (({}, 5, 1.0), ({"processes": 1}, 5, LONG), ({"processes": 4}, 1, LONG)):
        found = list(ParallelRunner(Settings(**settings)).run(whereabouts, zip(range(count)), count, seconds=seconds))
        assert found == [(number, os.getpid()) for number in range(count)]


@pytest.mark.parametrize(("asked", "processes"), [(0, 2), (1, 1), (7, 2)])
def test_as_many_processes_are_used_as_a_cluster_has_processors(
    monkeypatch: pytest.MonkeyPatch, asked: int, processes: int
) -> None:
    monkeypatch.setattr(parallel, "_connect", lambda address: None)
    monkeypatch.setattr(parallel, "_cores", lambda: 2)
    assert ParallelRunner(Settings(processes=asked, ray="a cluster"))._available() == processes


@pytest.mark.nightly
def test_there_are_no_more_processes_than_ray_has_processors(ray_address: str) -> None:
    for asked in (0, 7):
        cluster = ParallelRunner(Settings(processes=asked, ray=ray_address))
        found = list(cluster.run(whereabouts, zip(range(5)), 5, seconds=LONG))
        assert [number for number, _ in found] == [0, 1, 2, 3, 4]
        assert len({process for _, process in found} - {os.getpid()}) == 2


def test_a_process_that_is_killed_over_there_is_named(elsewhere: dict[str, Any]) -> None:
    with pytest.raises(ClusterUnavailable, match="memory runs out"):
        list(ParallelRunner(Settings(**elsewhere)).run(perish, zip(range(4)), 4, seconds=LONG))
    found = list(ParallelRunner(Settings(**elsewhere)).run(whereabouts, zip(range(4)), 4, seconds=LONG))
    assert [number for number, _ in found] == [0, 1, 2, 3]


def test_an_error_in_one_thread_is_none_in_another() -> None:
    cluster = ParallelRunner(Settings(processes=2, divide_seconds=0))

    def failing() -> None:
        with pytest.raises(InvalidRequest):
            list(cluster.run(refuse, zip(range(6)), 6, seconds=LONG))

    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(lambda: list(cluster.run(sleeping, zip(range(8)), 8, seconds=LONG)))
        threads.submit(failing).result()
        assert [number for number, _ in other.result()] == list(range(8))


def test_a_cluster_that_cannot_be_reached_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        cluster = ParallelRunner(Settings(ray=f"127.0.0.1:{nobody.getsockname()[1]}"))
        monkeypatch.setattr(ray, "is_initialized", lambda: False)  # by the tests beside this one
        with pytest.raises(ClusterUnavailable, match="ray start --head"):
            list(cluster.run(refuse, zip(range(2)), 2, seconds=LONG))
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(ClusterUnavailable, match=r"label-studio-activelab\[ray\]"):
            list(cluster.run(refuse, zip(range(2)), 2, seconds=LONG))


@pytest.mark.service
def test_processes_end_with_the_one_that_was_killed() -> None:
    with running("divide()") as process:
        assert process.stdout is not None
        found: set[int] = set()
        while len(found) < 2:  # the second may take a while to start
            found.add(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
    for one in found:
        until_it_ended(one)


@pytest.mark.service
@pytest.mark.parametrize("way", [pytest.param("ends", marks=pytest.mark.nightly), "is killed"])
def test_a_training_process_ends_with_the_server(tmp_path: Path, way: str) -> None:
    with running(f"refuse_training({str(tmp_path)!r}, {0 if way == 'ends' else 60})") as process:
        assert process.stdout is not None
        training = int(process.stdout.readline())
        if way == "is killed":
            process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)  # nobody waits for a training that might still be asked for
    until_it_ended(training)


def running(call: str) -> "subprocess.Popen[str]":
    """A process that makes a call of `pickled_functions`."""
    path = f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(ROOT)!r}]"
    code = f"{path}; from support import pickled_functions; pickled_functions.{call}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def until_it_ended(process: int) -> None:
    deadline = time.monotonic() + 20
    while _lives(process):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def run_pickled(
    runner: ParallelRunner, function: Any, parts: Iterator[tuple[Any, ...]], count: int, *, seconds: float
) -> Iterator[Any]:
    """Does the work here, with everything sent and returned as for another process."""
    for part in parts:
        sent, arguments = pickle.loads(pickle.dumps((function, part)))
        yield pickle.loads(pickle.dumps(sent(*arguments)))


@pytest.mark.service
@pytest.mark.parametrize("classifier", ["logistic-cv", "auto", pytest.param("transformer", marks=pytest.mark.nightly)])
def test_probabilities_are_those_of_this_process(
    tmp_path: Path,
    one_thread: Encoder,
    tiny_folder: Path,
    make_sentences: Callable[..., tuple[list[str], list[int]]],
    elsewhere: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    classifier: str,
) -> None:
    texts, labels = make_sentences(112)
    found = {}
    for name, place in (("here", {}), ("elsewhere", elsewhere)):
        if name == "elsewhere" and "ray" not in place and classifier != "logistic-cv":
            # Processes of this machine fine-tune one after the other. What a cluster does is done here, as it is sent.
            monkeypatch.setattr(ParallelRunner, "distributed", True)
            monkeypatch.setattr(ParallelRunner, "run", run_pickled)
        settings = {"transformer": str(tiny_folder), "classifier": classifier, "threads": 1, **FEW, **place}
        bench = TrainingHarness(tmp_path / name, one_thread, "sets", **settings)
        bench.hold(texts)
        bench.train(texts[:102], labels[:102])
        ids, probabilities, folds = out_of_sample(bench.model, bench.project.dataset, bench.settings)
        assert ids.tolist() == list(range(112))
        assert (folds >= 0).sum() == 102
        found[name] = probabilities, folds, bench.model.accuracy
    (here, folds_here, accuracy_here), (there, folds_there, accuracy_there) = found["here"], found["elsewhere"]
    np.testing.assert_allclose(there, here, atol=1e-6)
    assert folds_there.tolist() == folds_here.tolist()
    assert accuracy_there == accuracy_here


def test_another_encoder_over_there_is_refused(tiny_encoder: Encoder, tiny_folder: Path) -> None:
    name = str(tiny_folder)
    assert Encoder.same((name, 1, tiny_encoder.fingerprint)).fingerprint == tiny_encoder.fingerprint
    with pytest.raises(EncoderUnavailable, match="another one on a machine of the cluster"):
        Encoder.same((name, 1, "0" * 32))


@pytest.mark.nightly
@pytest.mark.service
def test_the_server_trains_and_scores_in_processes_and_on_ray(
    tmp_path: Path,
    ray_address: str,
    serve: Callable[[Path], Any],
    make_sentences: Callable[..., tuple[list[str], list[int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts, labels = make_sentences(60)
    monkeypatch.setenv("ML_BACKEND_PROCESSES", "2")
    monkeypatch.setenv("ML_BACKEND_DIVIDE_SECONDS", "0")
    with serve(tmp_path / "models") as running:
        client = running.client("1")
        client.send(range(60), texts)
        assert client.train(range(50), labels[:50])["state"] == "done"
        here = client.probabilities()
    monkeypatch.setenv("ML_BACKEND_RAY", ray_address)
    with serve(tmp_path / "models") as running:
        client = running.client("1")
        assert np.array_equal(client.probabilities()["pred_probs"], here["pred_probs"])
        job = client.train(range(50), labels[:50])
        assert job["state"] == "done", job
        there = client.probabilities()
        assert there["model_version"] != here["model_version"]
        np.testing.assert_allclose(there["pred_probs"], here["pred_probs"], atol=1e-6)


@pytest.mark.nightly
def test_the_benchmark_compares_probabilities(ray_address: str) -> None:
    benchmark = ROOT / "benchmarks" / "scale.py"
    command = [sys.executable, benchmark, "folds", "score", "--items", "300", "--labels", "60", "--ray", ray_address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("0.0e+00") == 2
