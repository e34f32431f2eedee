"""A real Label Studio beside a real ML backend, as processes that outlive the one that started them.

They listen on the loopback address only, since the demo prints their password.
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
    """The administrator of a Label Studio; `token` is a legacy API token of 40 hexadecimal digits."""

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
    """Start Label Studio with `login` as its administrator; returns when it answers.

    It runs on SQLite and talks to an ML backend on this machine, unless variables in `environment`, which come before
    the ones set here, say otherwise. The first start in a directory creates the database, which takes most of a minute.
    Without `port`, a free one.
    Raises UsageError when Label Studio is not installed, ConnectorError with the end of its log when it does not start.
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
        # Nothing leaves the machine.
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    return start(LABEL_STUDIO, command, settings | dict(environment or {}), port, directory, timeout_s)


def running(directory: Path) -> list[Server]:
    """The servers started in `directory` that still run."""
    servers = [Server(**json.loads(record.read_text())) for record in _records(directory)]
    return [server for server in servers if is_running(server)]


def label_studio_program() -> Path:
    """The `label-studio` command of its own virtual environment.

    LABEL_STUDIO_VENV names the environment; without it, `.venv-label-studio` beside the packages, where `make setup`
    puts it. Raises UsageError when it is not there.
    """
    default = Path(__file__).resolve().parents[2] / ".venv-label-studio"
    environment = Path(os.environ.get("LABEL_STUDIO_VENV") or default)
    program = environment / "bin" / "label-studio"
    if not program.exists():
        raise UsageError(
            f"Label Studio is not installed in {environment}; run `make setup`, "
            "or name its virtual environment in LABEL_STUDIO_VENV."
        )
    return program


def _records(directory: Path) -> list[Path]:
    return [path for name in (LABEL_STUDIO, ML_BACKEND) if (path := directory / f"{name}.json").exists()]
