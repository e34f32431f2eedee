"""An ML backend of one's own: `ml-backend serve` as a process, started for a piece of work and stopped after it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from connector.errors import UsageError
from connector.simulation.processes import HOST, Server, free_port, start, stop

ML_BACKEND = "ml-backend"

# What the extra brings, of all that the server imports.
NEEDED = ("torch", "sentence_transformers", "sklearn", "fastapi", "uvicorn")

# Libraries below NumPy and PyTorch read how many threads they may take when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ML_BACKEND_THREADS")


def start_ml_backend(
    directory: Path,
    *,
    port: int | None = None,
    timeout_s: float = 120,
    environment: Mapping[str, str] | None = None,
    threads: int | None = None,
) -> Server:
    """Start `ml-backend serve` with its models under `directory`; returns when it answers.

    `environment`: variables that it is given, such as ML_BACKEND_ENCODER. It takes all cores, or `threads` of them.
    Without `port`, a free one. Raises UsageError when the ML backend is not installed beside the connector,
    ConnectorError with the end of its log when it does not start.
    """
    program = ml_backend_program()
    models = model_directory(directory)
    models.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [str(program), "serve", "--host", HOST, "--port", str(port), "--model-dir", str(models.resolve())]
    limits = dict.fromkeys(_THREADS, str(threads)) if threads is not None else {}
    return start(ML_BACKEND, command, dict(environment or {}) | limits, port, directory, timeout_s)


def stop_ml_backend(directory: Path) -> bool:
    """Stop the one that was started in `directory`; false when it does not run any more."""
    return stop(directory, ML_BACKEND)


def model_directory(directory: Path) -> Path:
    """Where an ML backend that is started in `directory` keeps what it computed: a copy serves another one."""
    return directory / ML_BACKEND


def ml_backend_program() -> Path:
    """The `ml-backend` command of this environment; raises UsageError when it is not installed."""
    program = Path(sys.executable).with_name("ml-backend")
    # The command comes with the connector; what it runs on comes with the extra.
    if not program.exists() or any(find_spec(name) is None for name in NEEDED):
        raise UsageError(
            "This needs the ML backend beside the connector, in the same environment: "
            "pip install 'label-studio-activelab[ml-backend,weights]'."
        )
    return program
