"""Small copies of the media of a project, in a folder that a replay reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from connector.annotations.objects.medium import PAGE_SEPARATOR
from connector.annotations.records import digest
from connector.errors import UsageError
from connector.media import Failure, Fetcher, Source
from connector.media.limits import Kind


def bring_copies(
    addresses: Mapping[int, str],
    fetcher: Fetcher,
    kind: Kind,
    directory: Path,
    progress: Callable[[int, int], None],
) -> tuple[dict[int, str], dict[int, str]]:
    """Fetches the media that the folder does not have yet. One that fails is tried again in the next run.

    A file is named after the digest of its address, so a run that was stopped goes on where it was.

    Args:
        addresses: {task: the address of its medium, or those of its pages}.
        fetcher: what fetches them. The caller closes it.
        kind: what they are.
        directory: the folder, which is created if it is missing.
        progress: called with the number of media done and of all that are fetched.

    Returns:
        {task: the path of its small copy}, where equal media have the same path, and {task: why it has none}.

    Raises:
        UsageError: the folder cannot be written, or what the kind needs is not installed.
    """
    files = {task: directory / digest(address) for task, address in addresses.items()}
    failed: dict[Path, str] = {}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        wanted = {
            files[task]: Source(task, tuple(address.split(PAGE_SEPARATOR)))
            for task, address in addresses.items()
            if not files[task].exists()
        }
        for done, (file, found) in enumerate(fetcher.fetch(wanted, kind), start=1):
            if isinstance(found, Failure):
                failed[file] = found.problem
            else:
                new = file.with_suffix(".new")
                new.write_bytes(found)
                new.replace(file)
            progress(done, len(wanted))
        first: dict[bytes, Path] = {}
        same = {file: first.setdefault(_content_digest(file), file) for file in files.values() if file not in failed}
    except OSError as error:
        raise UsageError(f"{directory} cannot be written: {error.strerror or error}.") from error
    return (
        {task: str(same[file]) for task, file in files.items() if file in same},
        {task: failed[file] for task, file in files.items() if file in failed},
    )


def _content_digest(file: Path) -> bytes:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).digest()
