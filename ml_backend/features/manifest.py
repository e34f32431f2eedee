"""Sets of fine-tuned models on disk: a directory each, described by what must be in it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_backend.errors import CorruptModel
from ml_backend.storage.atomic_files import sha256

_DESCRIPTION = "set.json"


def describe(directory: Path, told: Mapping[str, Any]) -> None:
    """Write `told` and the digests of all files, as the last file of a set."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    digests = {path.relative_to(directory).as_posix(): sha256(path) for path in files}
    (directory / _DESCRIPTION).write_text(json.dumps({**told, "files": digests}, indent=2))


def read(directory: Path, what: str) -> dict[str, Any]:
    """What `describe` was told; raises CorruptModel, naming the set as `what`, where its files are not the same."""
    try:
        told: dict[str, Any] = json.loads((directory / _DESCRIPTION).read_text())
        damaged = [file for file, expected in told["files"].items() if sha256(directory / file) != expected]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptModel(f"The {what} of a model are missing; train again.") from error
    if damaged:
        raise CorruptModel(f"The {what} of a model are damaged; train again.")
    return told
