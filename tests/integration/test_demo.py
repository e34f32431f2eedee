"""The demo from end to end: its own Label Studio, its own ML backend, a small directory of texts.

By day its Label Studio finds a database that is migrated. A first start makes one as everywhere else in the tests.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

from connector.demo import servers, texts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixty generated texts and twenty to test on, written as tables."""
    made = texts.generate(tasks=60, test=20)
    rows = {
        "tasks.csv": [("id", "text"), *made.tasks.items()],
        "annotations.csv": [
            ("id", "annotator", "label"),
            *((task, *given) for task, labels in made.annotations.items() for given in labels),
        ],
        "test.csv": [("id", "text", "label"), *((f"x{n}", *row) for n, row in enumerate(made.test))],
    }
    directory = tmp_path / "texts"
    directory.mkdir()
    for name, table in rows.items():
        with (directory / name).open("w", newline="") as file:
            csv.writer(file).writerows(table)
    return directory


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where the demo runs; whatever it leaves running is stopped."""
    directory = tmp_path / "demo"
    yield directory
    for name in (servers.LABEL_STUDIO, servers.ML_BACKEND):
        servers.stop(directory, name)


ON_THE_TEMPLATE = """
from connector.demo import __main__ as demo, servers
from support.label_studio_server import copy_sqlite_template
start = servers.start_label_studio
def start_from_the_template(directory, login, **options):
    copy_sqlite_template(directory, login.token)
    return start(directory, login, **options)
servers.start_label_studio = start_from_the_template
demo.main()
"""
FROM_NOTHING = "import runpy; runpy.run_module('connector.demo', run_name='__main__', alter_sys=True)"


def demo(*arguments: str | Path, code: str = FROM_NOTHING) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)


def rounds(output: str) -> list[list[str]]:
    """The cells of the table's numbered rows."""
    lines = [line for line in output.splitlines() if re.match(r"│\s+\d+ │", line)]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


@pytest.mark.parametrize(
    "code", [ON_THE_TEMPLATE, pytest.param(FROM_NOTHING, marks=pytest.mark.nightly)], ids=["template", "nothing"]
)
def test_demo_labels_syncs_and_leaves_its_servers_until_it_is_stopped(data: Path, directory: Path, code: str) -> None:
    first = demo("--data", data, "--dir", directory, "--rounds", "1", "--batch", "5", code=code)
    assert first.returncode == 0, first.stderr
    table = rounds(first.stdout)
    # A fifth of the tasks, two labels each; then a round of five.
    assert [row[:2] for row in table] == [["0", "24"], ["1", "29"]]
    assert table[0][4] == table[0][5]  # both orders start from the same labels
    left = {server.name: server for server in servers.running(directory)}
    assert set(left) == {servers.LABEL_STUDIO, servers.ML_BACKEND}
    assert f"{left[servers.LABEL_STUDIO].url}/projects/1/data?tab=1 " in first.stdout
    assert "login admin@example.com, password " in first.stdout
    assert demo("stop", "--dir", directory).returncode == 0
    assert servers.running(directory) == []


@pytest.mark.nightly
def test_demo_is_run_again_and_goes_on(data: Path, directory: Path) -> None:
    code = ON_THE_TEMPLATE
    first = demo("--data", data, "--dir", directory, "--rounds", "1", "--batch", "5", code=code)
    table = rounds(first.stdout)
    again = demo("--data", data, "--dir", directory, "--rounds", "2", "--batch", "5", "--exit", code=code)
    assert again.returncode == 0, again.stderr
    assert "Stopped label-studio and ml-backend." in again.stderr
    assert rounds(again.stdout)[:2] == table
    assert [row[1] for row in rounds(again.stdout)] == ["24", "29", "34"]
    assert servers.running(directory) == []

    stopped = demo("stop", "--dir", directory)
    assert (stopped.returncode, stopped.stdout) == (0, f"No server of a demo in {directory} is running.\n")


def test_demo_leaves_a_directory_alone_that_no_demo_made(data: Path) -> None:
    refused = demo("--dir", data)
    assert refused.returncode == 2
    assert refused.stderr == f"Error: {data} has files that no demo made. Name another directory with --dir.\n"
    assert (data / "tasks.csv").exists()


def test_demo_says_what_is_wrong_with_its_data(tmp_path: Path, directory: Path) -> None:
    refused = demo("--data", tmp_path / "nowhere", "--dir", directory)
    assert refused.returncode == 2
    assert "tasks.csv. The directory needs tasks.csv, annotations.csv, test.csv." in refused.stderr
    assert not directory.exists()
