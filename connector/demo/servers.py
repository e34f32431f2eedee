"""A real Label Studio and a real ML backend as processes that outlive the one that started them.

Each server has a directory entry of three: its data, `<name>.log` and `<name>.json`, which says how to find the process
again. They listen on the loopback address only, since the demo prints their password.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from connector.errors import ConnectorError, UsageError

HOST = "127.0.0.1"
LABEL_STUDIO = "label-studio"
ML_BACKEND = "ml-backend"


@dataclass(frozen=True)
class Login:
    """The administrator of a Label Studio; `token` is a legacy API token of 40 hexadecimal digits."""

    email: str
    password: str
    token: str


@dataclass(frozen=True)
class Server:
    """A running server: its address, its process, and the command line that tells the process from any other."""

    name: str
    url: str
    pid: int
    command: list[str]


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
    return _start(LABEL_STUDIO, command, settings | dict(environment or {}), port, directory, timeout_s)


def start_ml_backend(directory: Path, *, port: int | None = None, timeout_s: float = 120) -> Server:
    """Start `ml-backend serve` with its models under `directory`; returns when it answers. Raises as Label Studio's."""
    models = directory / ML_BACKEND
    models.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    program = Path(sys.executable).with_name("ml-backend")
    if not program.exists():
        raise UsageError("The ML backend is not installed in this environment; run `make setup`.")
    command = [str(program), "serve", "--host", HOST, "--port", str(port), "--model-dir", str(models.resolve())]
    return _start(ML_BACKEND, command, {}, port, directory, timeout_s)


def stop(directory: Path, name: str, *, timeout_s: float = 15) -> bool:
    """Stop the server called `name` that was started in `directory`; false when none runs any more."""
    record = directory / f"{name}.json"
    try:
        server = Server(**json.loads(record.read_text()))
    except FileNotFoundError:
        return False
    stopped = _is_running(server)
    if stopped:
        _end(server, timeout_s)
    record.unlink()
    return stopped


def running(directory: Path) -> list[Server]:
    """The servers started in `directory` that still run."""
    servers = [Server(**json.loads(record.read_text())) for record in _records(directory)]
    return [server for server in servers if _is_running(server)]


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


def free_port(preferred: int = 0) -> int:
    """`preferred` when nothing listens there, any free port otherwise."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # Connections of a server that has just ended do not make its port busy.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise ConnectorError("This machine has no free port on its loopback address.")


def local_session() -> requests.Session:
    """A session for servers on this machine, which a proxy set in the environment could not reach."""
    session = requests.Session()
    session.trust_env = False
    return session


def _start(
    name: str, command: list[str], environment: dict[str, str], port: int, directory: Path, timeout_s: float
) -> Server:
    # Both servers read many settings from the environment; a shell set up for another installation must not leak in.
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=inherited | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C meant for the demo, or its end, leaves the server alone
        )
    server = Server(name=name, url=f"http://{HOST}:{port}", pid=process.pid, command=command)
    (directory / f"{name}.json").write_text(json.dumps(asdict(server), indent=2))
    try:
        _wait_until_healthy(process, server, log, timeout_s)
    except BaseException:
        stop(directory, name)
        raise
    finally:
        # The process is found by its number from here on; a Popen object would complain that it still runs.
        process.returncode = 0
    return server


def _wait_until_healthy(process: subprocess.Popen[bytes], server: Server, log: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    with local_session() as session:
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                if session.get(f"{server.url}/health", timeout=2).ok:
                    return
            time.sleep(0.2)
    reason = f"does not answer after {timeout_s:.0f} s" if process.returncode is None else "ended at once"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise ConnectorError(f"{server.name} {reason}; its log ({log}) ends with:\n{tail}")


def _is_running(server: Server) -> bool:
    """Whether the process is still that server, not one that was given its number since."""
    try:
        shown = Path(f"/proc/{server.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        ps = ["ps", "-ww", "-o", "args=", "-p", str(server.pid)]
        shown = subprocess.run(ps, capture_output=True, text=True, check=False).stdout
    return " ".join(server.command) in shown


def _end(server: Server, timeout_s: float) -> None:
    """End the server and whatever it started: it leads a process group of its own."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sent)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(server.pid, os.WNOHANG)  # a child that ended keeps its number until it is waited for
            if not _is_running(server):
                return
            time.sleep(0.05)
    raise ConnectorError(f"{server.name} (process {server.pid}) does not end.")


def _records(directory: Path) -> list[Path]:
    return [path for name in (LABEL_STUDIO, ML_BACKEND) if (path := directory / f"{name}.json").exists()]
