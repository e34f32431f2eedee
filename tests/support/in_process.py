"""A command of the connector within the test's own process: as it is alone in one, but without its start."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest import mock

from connector.cli.main import main


def run_in_process(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Runs `connector ARGUMENTS` in the folder with this environment and no terminal."""
    with contextlib.ExitStack() as changed:
        changed.enter_context(mock.patch.dict(os.environ, {"COLUMNS": "80", **environment}, clear=True))
        changed.enter_context(mock.patch.object(sys, "argv", ["connector", *arguments]))
        changed.enter_context(mock.patch.object(sys, "stdin", changed.enter_context(Path(os.devnull).open())))
        changed.enter_context(_inside(folder))
        changed.enter_context(_logging_of_its_own())
        changed.enter_context(warnings.catch_warnings())
        # The SDK's own, when it exchanges a personal access token.
        warnings.filterwarnings("ignore", "The `parse_obj` method is deprecated")
        out, errors = _stream(), _stream()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
    return subprocess.CompletedProcess(["connector", *arguments], code, _written(out), _written(errors))


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _logging_of_its_own() -> Iterator[None]:
    """The root logger as it is when a process starts: pytest's handlers would keep the command from adding its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", write_through=True)


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read().replace("\r\n", "\n").replace("\r", "\n")  # as subprocess gives it with text=True
