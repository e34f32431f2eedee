"""Output files that are replaced as a whole or left as they were."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from connector.errors import TryAgainLater, UsageError

_DATABASE = b"SQLite format 3\0"


def resolve_output(out: Path) -> Path:
    """The file or folder that `out` leads to. Raises UsageError if its parent folder does not exist."""
    target = Path(os.path.realpath(out))
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent}: create it first, or give another --out.")
    return target


def check_file(out: Path, writer: str) -> None:
    """Raises UsageError if `out` is no file, or a database. `writer`: what would write a file there."""
    if out.exists() and not out.is_file():  # `target` itself is nowhere if `out` is /dev/stdout in a pipe
        kind = "a folder" if out.is_dir() else "no file"
        raise UsageError(f"{out} is {kind}, and {writer} writes a file: give another --out.")
    if out.is_file() and os.access(out, os.R_OK):
        with out.open("rb") as file:
            if file.read(len(_DATABASE)) == _DATABASE:
                raise UsageError(f"{out} is a database, perhaps the connector's state: give another --out.")


def check_writable(target: Path, out: Path) -> None:
    """Raises UsageError if `target` exists and is read-only."""
    if target.exists() and not os.access(target, os.W_OK):
        raise UsageError(f"{out} cannot be written: it is read-only.")


@contextlib.contextmanager
def staging_directory(target: Path, out: Path, command: str) -> Iterator[Path]:
    """A temporary folder for unfinished output.

    It lies beside the target, that is on the same disk, so that the output can be moved there in one step. Raises as
    `translate_os_errors` does if it cannot be created.
    """
    with translate_os_errors(out):
        temporary = tempfile.TemporaryDirectory(prefix=f".connector-{command}-", dir=target.parent)
    with temporary as folder:
        yield Path(folder)


def replace(target: Path, new: Path) -> None:
    """Moves the file `new` to `target`. A file that it replaces passes on its permissions."""
    keep_permissions(target, new)
    new.replace(target)


def keep_permissions(target: Path, new: Path) -> None:
    """Gives `new` the permissions of `target`, if that exists."""
    if target.exists():
        shutil.copymode(target, new)


@contextlib.contextmanager
def translate_os_errors(out: Path) -> Iterator[None]:
    """Turns an OSError into a UsageError that names `out`, or into TryAgainLater if the disk is full.

    Use it around writing only: an OSError may come from the network as well.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)  # Arrow's errors have no number
        if error.errno == errno.ENOSPC:
            raise TryAgainLater(f"{out} cannot be written: {reason}. Free some space.") from error
        raise UsageError(f"{out} cannot be written: {reason}.") from error
