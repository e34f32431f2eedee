"""The place of the file that a command writes: replaced as a whole, or left as it was."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from connector.errors import TryAgainLater, UsageError


def place_of(out: Path) -> Path:
    """The file or folder that `out` leads to; raises UsageError where the folder that it would lie in is not there."""
    target = Path(os.path.realpath(out))
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent}: make it first, or give another --out.")
    return target


def check_file(target: Path, out: Path, writes: str) -> None:
    """Raises UsageError where something other than a file stands there; `writes`: who would write a file there."""
    if target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "no file"
        raise UsageError(f"{out} is {what}, and {writes} writes a file: give another --out.")


def check_writable(target: Path, out: Path) -> None:
    """Raises UsageError where what stands there is read-only."""
    if target.exists() and not os.access(target, os.W_OK):
        raise UsageError(f"{out} cannot be written: it is there and is read-only.")


@contextlib.contextmanager
def workshop(target: Path, out: Path, command: str) -> Iterator[Path]:
    """A folder for half-done work, which is gone at the end.

    It lies beside the target, where the room is and from where the work takes its place in one step. Raises as
    `explaining` does where it cannot be made.
    """
    with explaining(out):
        made = tempfile.TemporaryDirectory(prefix=f".connector-{command}-", dir=target.parent)
    with made as folder:
        yield Path(folder)


def replace(target: Path, new: Path) -> None:
    """Puts the file `new` in the place of the file `target`, with its rights where there is one."""
    keep_rights(target, new)
    new.replace(target)


def keep_rights(target: Path, new: Path) -> None:
    """Gives `new` the rights of what stands at `target`."""
    if target.exists():
        shutil.copymode(target, new)


@contextlib.contextmanager
def explaining(out: Path) -> Iterator[None]:
    """Makes what the system refuses a UsageError that names `out`, or TryAgainLater where the disk is full.

    It belongs around the writing alone: an OSError may come from the network as well.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)  # Arrow has words of its own
        if error.errno == errno.ENOSPC:
            raise TryAgainLater(f"{out} cannot be written: {reason}. Free some space.") from error
        raise UsageError(f"{out} cannot be written: {reason}.") from error
