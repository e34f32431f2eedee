"""The connector's commands on the project of a test, within this process or in one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from support import ROOT
from support.in_process import run_in_process
from support.project_driver import ProjectDriver


def start_connector(loop: ProjectDriver, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Starts the real command in a process of its own, which Ctrl-C reaches.

    A shell has what it starts in the background ignore Ctrl-C, and whatever that starts in turn.
    """
    code = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); import connector.cli.main as c; c.main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=command_environment(loop, (), environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def connector(
    loop: ProjectDriver, *arguments: str, unset: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command within this process, without a terminal."""
    return run_in_process(arguments, command_environment(loop, unset, environment), _folder(loop))


def connector_process(
    loop: ProjectDriver, *arguments: str, unset: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the real command in a process of its own, without a terminal, until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "connector.cli", *arguments],
        env=command_environment(loop, unset, environment),
        cwd=_folder(loop),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _folder(loop: ProjectDriver) -> Path:
    return Path(loop.state_url.removeprefix("sqlite:///")).parent


def command_environment(
    loop: ProjectDriver, unset: Sequence[str] = (), changed: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of the command: the settings of `loop`, some of them `changed` or `unset`."""
    ours = {
        "LABEL_STUDIO_URL": loop.gateway.url,
        "LABEL_STUDIO_API_KEY": loop.server.token,
        "ML_BACKEND_URL": loop.backend,
        "CONNECTOR_STATE": loop.state_url,
        "CONNECTOR_RETRY_SECONDS": "1",
        "PYTHONPATH": str(ROOT),
        **(changed or {}),
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {name: value for name, value in (inherited | ours).items() if name not in unset}
