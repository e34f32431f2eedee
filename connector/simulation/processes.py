"""Servers as separate processes on the loopback address, each with a record in a directory.

Beside a server's data are `<name>.log` and `<name>.json`. The latter says how to find the process again: it may outlive
the process that started it, or another process may end it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from connector.errors import ConnectorError

HOST = "127.0.0.1"
LOAD_SECONDS = 1.0  # within which a started process has loaded its program
ENDED = ("Z", "X")  # states of a process that only waits for its parent to notice


@dataclass(frozen=True)
class Server:
    """A running server: its address, its process, and the command line that identifies the process."""

    name: str
    url: str
    pid: int
    command: list[str]


def start(
    name: str, command: list[str], environment: Mapping[str, str], port: int, directory: Path, timeout_s: float
) -> Server:
    """Starts a server and returns when it answers.

    Args:
        name: the name of its log and its record.
        command: its command line.
        environment: its variables, besides PATH, HOME, LANG and TMPDIR.
        port: where it listens and answers `GET /health`.
        directory: where its log and its record are.
        timeout_s: how long to wait for it, in seconds.

    Raises:
        ConnectorError: it does not start. The message has the end of its log. No process is left.
    """
    # Servers read many settings from the environment. Those of a shell for another installation must not leak in.
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    log = directory / f"{name}.log"
    process: subprocess.Popen[bytes] | None = None
    try:
        with signals_later():  # no one could end a process without a record
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command,
                    env=inherited | dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # our Ctrl-C and our end must not reach the server
                )
            server = Server(name=name, url=f"http://{HOST}:{port}", pid=process.pid, command=command)
            (directory / f"{name}.json").write_text(json.dumps(asdict(server), indent=2))
        _wait_until_healthy(process, server, log, timeout_s)
    except BaseException:
        stop(directory, name)
        raise
    finally:
        # From here on the process is found by its number. A Popen object would warn that it still runs.
        if process is not None:
            process.returncode = 0
    return server


def stop(directory: Path, name: str, *, timeout_s: float = 15) -> bool:
    """Stops the server `name` that was started in `directory`. False if none runs any more."""
    record = directory / f"{name}.json"
    try:
        server = Server(**json.loads(record.read_text()))
    except FileNotFoundError:
        return False
    stopped = is_running(server)
    if stopped:
        _end(server, timeout_s)
    record.unlink()
    return stopped


def is_running(server: Server) -> bool:
    """Whether the process is still that server, and not another one that has got its number since."""
    if Path("/proc/self").exists():
        shown = _command_line(server.pid)
    else:
        ps = ["ps", "-ww", "-o", "args=", "-p", str(server.pid)]
        shown = subprocess.run(ps, capture_output=True, text=True, check=False).stdout
    return " ".join(server.command) in shown


def _command_line(pid: int) -> str:
    """The arguments of a process, by /proc. Empty once it has ended.

    A process that has just been started shows none, either, until its program is loaded. Who takes that for its end
    leaves it running.
    """
    deadline = time.monotonic() + LOAD_SECONDS
    try:
        while not (shown := Path(f"/proc/{pid}/cmdline").read_bytes()):
            state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2][:1]
            if state in ENDED or time.monotonic() > deadline:
                break
            time.sleep(0.001)
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return shown.replace(b"\0", b" ").decode(errors="replace")


def free_port(preferred: int = 0) -> int:
    """`preferred` if nothing listens there, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # Old connections of a server that has just ended do not block its port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise ConnectorError("This machine has no free port on its loopback address.")


def local_session() -> requests.Session:
    """A session for servers on this machine. It ignores the environment's proxy, which could not reach them."""
    session = requests.Session()
    session.trust_env = False
    return session


@contextlib.contextmanager
def signals_later() -> Iterator[list[int]]:
    """Delays SIGTERM and Ctrl-C until the end of the context. Yields the list of those that have come so far."""
    pending: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield pending
        return
    before = {
        number: signal.signal(number, lambda number, frame: pending.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for came in pending:
        signal.raise_signal(came)


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
    raise ConnectorError(f"{server.name} {reason}. Its log ({log}) ends with:\n{tail}")


def _end(server: Server, timeout_s: float) -> None:
    """Ends the server and its children, which are one process group."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sent)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(server.pid, os.WNOHANG)  # a child that has ended keeps its number until it is waited for
            if not is_running(server):
                return
            time.sleep(0.05)
    raise ConnectorError(f"{server.name} (process {server.pid}) does not end.")
