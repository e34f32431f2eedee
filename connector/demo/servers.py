"""A real Label Studio and a real ML backend, as processes that outlive the process that started them.

They listen on the loopback address only, because the demo prints their password.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from connector.errors import UsageError
from connector.simulation.local_backend import ML_BACKEND, start_ml_backend
from connector.simulation.processes import HOST, Server, free_port, is_running, local_session, start, stop

__all__ = [
    "HOST",
    "LABEL_STUDIO",
    "ML_BACKEND",
    "Login",
    "Server",
    "free_port",
    "label_studio_program",
    "local_session",
    "running",
    "start_label_studio",
    "start_ml_backend",
    "stop",
]

LABEL_STUDIO = "label-studio"


@dataclass(frozen=True)
class Login:
    """The administrator of a Label Studio. `token`: a legacy API token of 40 hexadecimal digits."""

    email: str
    password: str
    token: str


def start_label_studio(
    directory: Path,
    login: Login,
    *,
    port: int | None = None,
    timeout_s: float = 180,
    environment: Mapping[str, str] | None = None,
) -> Server:
    """Starts Label Studio and returns when it answers.

    It runs on SQLite and may talk to an ML backend on this machine. The first start in a directory creates the
    database, which takes most of a minute.

    Args:
        directory: where it keeps its data, its log and its record.
        login: its administrator.
        port: a free one by default.
        timeout_s: how long to wait for it, in seconds.
        environment: variables that replace the ones set here.

    Raises:
        UsageError: Label Studio is not installed.
        ConnectorError: it does not start. The message has the end of its log.
    """
    data = directory / LABEL_STUDIO
    data.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [str(label_studio_program()), "start", "--no-browser", "--internal-host", HOST]
    command += ["--port", str(port), "--data-dir", str(data.resolve())]
    settings = {
        "LABEL_STUDIO_USERNAME": login.email,
        "LABEL_STUDIO_PASSWORD": login.password,
        "LABEL_STUDIO_USER_TOKEN": login.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "false",
        # Without these two Label Studio refuses to talk to an ML backend on this machine.
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        # No data leave this machine.
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    return start(LABEL_STUDIO, command, settings | dict(environment or {}), port, directory, timeout_s)


def running(directory: Path) -> list[Server]:
    """The servers that were started in `directory` and still run."""
    servers = [Server(**json.loads(record.read_text())) for record in _records(directory)]
    return [server for server in servers if is_running(server)]


def label_studio_program() -> Path:
    """The `label-studio` command in its own virtual environment.

    LABEL_STUDIO_VENV names the environment. Its default is `.venv-label-studio` beside the packages, where `make setup`
    creates it. Raises UsageError if it does not exist.
    """
    default = Path(__file__).resolve().parents[2] / ".venv-label-studio"
    environment = Path(os.environ.get("LABEL_STUDIO_VENV") or default)
    program = environment / "bin" / "label-studio"
    if not program.exists():
        raise UsageError(
            f"Label Studio is not installed in {environment}: run `make setup`, "
            "or name its virtual environment in LABEL_STUDIO_VENV."
        )
    return program


def _records(directory: Path) -> list[Path]:
    return [path for name in (LABEL_STUDIO, ML_BACKEND) if (path := directory / f"{name}.json").exists()]
