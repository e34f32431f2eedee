"""Small pictures of tasks, for a page that holds all it shows: images made smaller, and waveforms of recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from connector.annotations.objects.medium import PAGE_SEPARATOR
from connector.media import Fetcher, Source
from connector.media.addresses import is_data, shown
from connector.media.images import thumbnail
from connector.media.kinds import KINDS
from connector.reporting.waveform import waveform
from connector.state.snapshot import ProjectSnapshot

_PIXELS = 256  # the longer side: more than the page shows, for displays with many pixels
# What makes a picture of a small copy, by the kind of media.
_PICTURES: dict[str, Callable[[bytes], bytes]] = {"image": lambda copy: thumbnail(copy, _PIXELS), "audio": waveform}


class Thumbnails:
    """Fetches each medium once. One that cannot be fetched has no picture."""

    def __init__(self, fetcher: Fetcher) -> None:
        """`fetcher`: what fetches the media. The caller closes it."""
        self._fetcher = fetcher
        self._known: dict[str, bytes] = {}

    def of(self, pulled: ProjectSnapshot, tasks: Iterable[int]) -> dict[int, bytes]:
        """{task: its picture} of those of the tasks that have a medium. Of several pages, the first."""
        controls = pulled.questions.controls
        place = next((place for place, control in enumerate(controls) if control.kind in KINDS), None)
        if place is None:
            return {}
        kind = controls[place].kind
        addresses = _addresses(pulled, place, list(tasks))
        new = ((task, address) for task, address in addresses.items() if address not in self._known)
        missing = {address: Source(task, (address,)) for task, address in new}
        for address, found in self._fetcher.fetch(missing, KINDS[kind]):
            if isinstance(found, bytes):
                self._known[address] = _PICTURES[kind](found)
        return {task: self._known[address] for task, address in addresses.items() if address in self._known}


def short_address(address: str) -> str:
    """An address for a page that people send around: without its query, which may be a signature, or the file."""
    return "in the task itself" if is_data(address.strip()) else shown(address)


def _addresses(pulled: ProjectSnapshot, place: int, tasks: list[int]) -> dict[int, str]:
    """{task: the address of its medium, or of the first page}. `place`: of the question."""
    contents = {task: pulled.questions.text_of(text, place) for task, text in pulled.texts(tasks).items()}
    return {task: content.split(PAGE_SEPARATOR)[0] for task, content in contents.items() if content}
