"""Files and directories that are either complete or absent."""

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

_UNFINISHED, _REMOVED = ".new-", ".old-"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at `path` in one step, which survives a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_directory(path.parent)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that is renamed to `path` at the end of the block, or removed if the block fails.

    An existing directory is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{_UNFINISHED}{path.name}-", dir=path.parent))
    try:
        yield temporary
        for child in temporary.rglob("*"):
            if child.is_dir():
                _sync_directory(child)
            else:
                with child.open("rb") as file:
                    os.fsync(file.fileno())
        if path.exists():
            _remove(path)
        temporary.rename(path)
        _sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def new_name() -> str:
    """A name that sorts by time. Its random tail separates two names of one microsecond, or of a clock set back."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}-{secrets.token_hex(2)}"


def keep_only(directory: Path, names: set[str], newer_than: str | None = None) -> None:
    """Remove every subdirectory except `names`, including what interrupted writes and removals left.

    Names of `new_name` that are later than `newer_than` stay, finished or not. Another process is writing them.
    """
    if directory.is_dir():
        for child in directory.iterdir():
            recent = newer_than is not None and child.name.removeprefix(_UNFINISHED) > newer_than
            if child.is_dir() and child.name not in names and not recent:
                with suppress(OSError):  # the next call tries again
                    _remove(child)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _remove(directory: Path) -> None:
    """Remove a directory. It is renamed first, so that an interruption leaves no part of it under its name."""
    if not directory.name.startswith("."):
        aside = directory.with_name(f"{_REMOVED}{directory.name}-{secrets.token_hex(4)}")
        directory = directory.rename(aside)
    shutil.rmtree(directory, ignore_errors=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
