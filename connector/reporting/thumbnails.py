"""Small images of tasks, for a page that holds all it shows."""

from __future__ import annotations

from collections.abc import Iterable

from connector.annotations.objects.image import PAGE_SEPARATOR
from connector.media import Fetcher, Source
from connector.media.addresses import is_data, shown
from connector.media.images import thumbnail
from connector.state.snapshot import ProjectSnapshot

_PIXELS = 256  # the longer side: more than the page shows, for displays with many pixels


class Thumbnails:
    """Fetches each image once. One that cannot be fetched has none."""

    def __init__(self, fetcher: Fetcher) -> None:
        """`fetcher`: what fetches the images. The caller closes it."""
        self._fetcher = fetcher
        self._known: dict[str, bytes] = {}

    def of(self, pulled: ProjectSnapshot, tasks: Iterable[int]) -> dict[int, bytes]:
        """{task: its image, small} of those of the tasks that have one. Of several images, the first."""
        addresses = _addresses(pulled, list(tasks))
        new = ((task, address) for task, address in addresses.items() if address not in self._known)
        missing = {address: Source(task, (address,)) for task, address in new}
        for address, found in self._fetcher.fetch(missing):
            if isinstance(found, bytes):
                self._known[address] = thumbnail(found, _PIXELS)
        return {task: self._known[address] for task, address in addresses.items() if address in self._known}


def short_address(address: str) -> str:
    """An address for a page that people send around: without its query, which may be a signature, or the image."""
    return "in the task itself" if is_data(address.strip()) else shown(address)


def _addresses(pulled: ProjectSnapshot, tasks: list[int]) -> dict[int, str]:
    """{task: the address of its image, or of its first page}."""
    questions = pulled.questions
    place = next((place for place, control in enumerate(questions.controls) if control.kind == "image"), None)
    if place is None:
        return {}
    contents = {task: questions.text_of(text, place) for task, text in pulled.texts(tasks).items()}
    return {task: content.split(PAGE_SEPARATOR)[0] for task, content in contents.items() if content}
