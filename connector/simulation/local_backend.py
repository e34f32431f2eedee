"""A local ML backend: starts `ml-backend serve` as a process and stops it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from connector.errors import UsageError
from connector.simulation.processes import HOST, Server, free_port, start, stop

ML_BACKEND = "ml-backend"

# The server's imports that come with the extra.
NEEDED = ("torch", "sentence_transformers", "sklearn", "fastapi", "uvicorn")

# Libraries that NumPy and PyTorch use read their number of threads from these when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ML_BACKEND_THREADS")


def start_ml_backend(
    directory: Path,
    *,
    port: int | None = None,
    timeout_s: float = 120,
    environment: Mapping[str, str] | None = None,
    threads: int | None = None,
) -> Server:
    """Starts `ml-backend serve` and returns when it answers.

    Args:
        directory: where it keeps its models, its log and its record.
        port: a free one by default.
        timeout_s: how long to wait for it, in seconds.
        environment: further variables, such as ML_BACKEND_ENCODER.
        threads: how many cores it uses, all by default.

    Raises:
        UsageError: the ML backend is not installed in the connector's environment.
        ConnectorError: it does not start. The message has the end of its log.
    """
    program = ml_backend_program()
    models = model_directory(directory)
    models.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [str(program), "serve", "--host", HOST, "--port", str(port), "--model-dir", str(models.resolve())]
    limits = dict.fromkeys(_THREADS, str(threads)) if threads is not None else {}
    return start(ML_BACKEND, command, dict(environment or {}) | limits, port, directory, timeout_s)


def stop_ml_backend(directory: Path) -> bool:
    """Stops the ML backend that was started in `directory`. False if it does not run any more."""
    return stop(directory, ML_BACKEND)


def model_directory(directory: Path) -> Path:
    """The folder with everything that an ML backend in `directory` has computed. A copy of it serves another one."""
    return directory / ML_BACKEND


def ml_backend_program() -> Path:
    """The `ml-backend` command of this environment. Raises UsageError if it is not installed."""
    program = Path(sys.executable).with_name("ml-backend")
    # The command comes with the connector, its requirements with the extra.
    if not program.exists() or any(find_spec(name) is None for name in NEEDED):
        raise UsageError(
            "This needs the ML backend in the connector's environment: "
            "pip install 'label-studio-activelab[ml-backend,weights]'."
        )
    return program
