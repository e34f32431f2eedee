"""`connector simulate`, the command, with ML backends of its own: what it writes, refuses, and leaves behind."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from connector.backend import Backend
from connector.cli.main import cli
from connector.demo.texts import generate
from connector.errors import UsageError
from connector.simulation.corpus import read_or_hold_out
from connector.simulation.replay import ReplayOptions, replay
from connector.simulation.workers import serve_backends

SMALL = ("--initial", "20x2", "--batch", "10", "--rounds", "3", "--seeds", "2")

pytestmark = pytest.mark.service  # a real ML backend


@pytest.fixture(scope="module", autouse=True)
def tiny_encoder(tiny_folder: Path) -> Iterator[None]:
    """Makes a tiny encoder that of all ML backends, whose texts are embedded and encoders fine-tuned in no time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ML_BACKEND_ENCODER", str(tiny_folder))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 115 generated texts with five labels each, and 40 to test on."""
    folder = tmp_path_factory.mktemp("data")
    corpus = generate(115, 40)
    tables: dict[str, list[tuple[str, ...]]] = {
        "tasks.csv": [("id", "text"), *corpus.tasks.items()],
        "annotations.csv": [
            ("id", "annotator", "label"),
            *((task, *row) for task, rows in corpus.annotations.items() for row in rows),
        ],
        "test.csv": [("id", "text", "label"), *((f"x{n}", *row) for n, row in enumerate(corpus.test))],
    }
    for name, rows in tables.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


def simulate(*options: Any) -> Result:
    return CliRunner().invoke(cli, ["simulate", *map(str, options)])


@dataclass(frozen=True)
class Simulation:
    """A finished one: its options, what it printed, its folder, and the embedded texts that another may begin with."""

    chosen: tuple[Any, ...]
    stdout: str
    out: Path

    def embedded_in(self, folder: Path) -> Path:
        folder.mkdir()
        return shutil.copytree(self.out / "embedded", folder / "embedded")


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """Two strategies by one process."""
    out = tmp_path_factory.mktemp("alone") / "one"
    chosen = ("--data", data, "--strategy", "random", "--strategy", "activelab", *SMALL)
    done = simulate(*chosen, "--out", out, "--jobs", 1)
    assert done.exit_code == 0, done.output
    return Simulation(chosen, done.stdout, out)


@pytest.mark.nightly  # by day with replays that are made up: tests/connector/simulation/test_simulate.py
def test_the_same_seeds_give_the_same_files_whatever_the_number_of_processes(alone: Simulation, tmp_path: Path) -> None:
    chosen, one, two = alone.chosen, alone.out, tmp_path / "two"
    alone.embedded_in(two)
    beside = simulate(*chosen, "--out", two, "--jobs", 2, "--json")
    assert beside.exit_code == 0, beside.output
    for name in ("results.json", "results.csv", "plot.png"):
        assert (two / name).read_bytes() == (one / name).read_bytes()
    told = json.loads(beside.stdout)
    assert {line["strategy"] for line in told["lines"]} == {"random", "activelab"}


def test_every_run_is_in_the_files_and_none_is_done_again(alone: Simulation) -> None:
    chosen, one = alone.chosen, alone.out
    results = json.loads((one / "results.json").read_text())
    assert [(run["strategy"], run["seed"]) for run in results["runs"]] == [
        ("activelab", 0),
        ("activelab", 1),
        ("random", 0),
        ("random", 1),
    ]
    for run in results["runs"]:
        assert [done["labels"] for done in run["rounds"]] == [40, 50, 60, 70]
        assert [done["new"] + done["relabel"] for done in run["rounds"]] == [40, 10, 10, 10]
        assert all(0.3 < done["accuracy"] <= 1 for done in run["rounds"])
    first, second = (run["rounds"] for run in results["runs"][:2])
    assert first != second

    assert "Accuracy on test texts, mean of 2 seeds and 4 rounds" in alone.stdout
    assert f"Wrote {one}/results.json, {one}/results.csv, {one}/plot.png." in alone.stdout
    assert list((one / "embedded").rglob("pool.sqlite")) != []
    assert list((one / "embedded").rglob("versions/*")) == [], "a model is kept"

    # All is there: no process is needed, and the other files stay.
    before = (one / "results.json").read_bytes()
    again = simulate(*chosen, "--out", one, "--no-plot")
    assert f"4 of 4 runs were already in {one}/runs." in again.stdout
    assert (one / "results.json").read_bytes() == before


@pytest.mark.nightly
def test_encoders_are_fine_tuned_within_a_run_and_forgotten_by_the_next(
    data: Path, alone: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_BACKEND_FINETUNE_STEPS", "2")
    corpus = read_or_hold_out(data)
    options = ReplayOptions(rounds=1, batch=5, initial_tasks=105, initial_labels=1)  # at 100 texts encoders are due
    embedded = alone.embedded_in(tmp_path / "out")
    with serve_backends(corpus, options.project, ["auto"], 2, embedded, lambda done, total: None) as urls:
        used, fresh = (Backend(url, poll_seconds=0.05) for url in urls)
        runs = [
            replay(corpus, "random-new", "auto", seed, options, backend)
            for backend, seed in ((used, 0), (used, 1), (fresh, 1))
        ]
        used.close()
        fresh.close()
    assert [len(run) for run in runs] == [2, 2, 2]
    assert runs[0] != runs[1] == runs[2]


@pytest.mark.nightly
def test_a_classifier_that_the_backend_does_not_know_is_refused_with_those_it_knows(data: Path, tmp_path: Path) -> None:
    done = simulate("--data", data, "--out", tmp_path, "--classifier", "guessing", *SMALL)
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith("--classifier guessing: the ML backend has only auto, logistic, logistic-cv")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "Give --data DIR, or --project ID"),
        (("--data", "DATA", "--project", "7"), "Give --data DIR, or --project ID"),
        (("--data", "DATA", "--strategy", "best"), "There is no strategy 'best': choose among random, random-new, "),
        (("--data", "DATA", "--initial", "100"), "--initial 100 is not of the form 100x2"),
        (("--data", "DATA", "--initial", "0x2"), "--initial 0x2 is not of the form 100x2"),
        (("--data", "DATA", "--initial", "116x2"), "needs 116 tasks with 2 labels, but the data have only 115"),
        (("--data", "DATA/none"), "There is no DATA/none/tasks.csv"),
        (("--data", "DATA", "--cost", "money"), "Invalid value for '--cost': 'money' is not one of 'labels', 'time'"),
        (("--data", "DATA", "--cost", "time"), "--cost time needs to know how long answers took: a column seconds"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    filled = [option.replace("DATA", str(data)) for option in options]
    done = simulate(*filled, "--out", tmp_path / "out")
    words = str(done.exception) if isinstance(done.exception, UsageError) else done.output
    assert sentence.replace("DATA", str(data)) in " ".join(words.split())
    assert done.exit_code != 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["Embedding", pytest.param("Replaying", marks=pytest.mark.nightly)])
def test_ctrl_c_leaves_no_server_and_no_temporary_directory(
    data: Path, alone: Simulation, tmp_path: Path, stage: str
) -> None:
    temporary, out = tmp_path / "temporary", tmp_path / "out"
    temporary.mkdir()
    if stage == "Replaying":
        alone.embedded_in(out)
    # A shell has what it starts in the background ignore Ctrl-C, and whatever that starts in turn.
    code = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); import connector.cli.main as c; c.main()"
    options = ["--data", str(data), "--out", str(out), "--jobs", "2", "--initial", "20x2", "--batch", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "simulate", *options, "--rounds", "200"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    assert process.stderr is not None
    with process:
        said = ""
        while stage not in said:
            line = process.stderr.readline()
            assert line, f"it ended before: {said}"
            said += line
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes in front
        said += process.stderr.read()
    assert said.splitlines()[-1] == "Stopped."
    assert "Traceback" not in said
    assert process.returncode == 1
    # A process that ends while its tempfile tries the directory out may leave the trial, a file of four letters.
    assert [path for path in temporary.iterdir() if path.is_dir() or path.read_bytes() not in (b"", b"blat")] == []
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in _content(path)]
    assert left == []


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended since
        return b""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ann", "'ann' is not of the form machine=NAME"),
        ("machine=", "'machine=' is not of the form machine=NAME"),
        ("machine=nobody", "machine=nobody: the data have no annotator of that name"),
    ],
)
def test_an_annotator_kind_names_an_annotator_of_the_data(data: Path, tmp_path: Path, value: str, message: str) -> None:
    done = simulate("--data", data, "--out", tmp_path / "out", *SMALL, "--annotator-kind", value)
    assert done.exit_code == 2
    assert message in done.output
