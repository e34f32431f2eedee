"""The manifest of an ensemble on disk: a description, and the digest of every file in its directory."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_backend.errors import CorruptModel
from ml_backend.storage.atomic_files import sha256

_FILE = "set.json"


def describe(directory: Path, description: Mapping[str, Any]) -> None:
    """Write `description` and the digests of all files. Call it last."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    digests = {path.relative_to(directory).as_posix(): sha256(path) for path in files}
    (directory / _FILE).write_text(json.dumps({**description, "files": digests}, indent=2))


def read(directory: Path, what: str) -> dict[str, Any]:
    """Read what `describe` wrote. If files differ, raises CorruptModel, which calls the ensemble `what`."""
    try:
        description: dict[str, Any] = json.loads((directory / _FILE).read_text())
        digests = description["files"].items()
        is_damaged = any(sha256(directory / file) != expected for file, expected in digests)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptModel(f"The {what} of a model are missing. Train again.") from error
    if is_damaged:
        raise CorruptModel(f"The {what} of a model are damaged. Train again.")
    return description
