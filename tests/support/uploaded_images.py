"""Images that a test draws and uploads to a project, as a person does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import requests

from support.drawn_images import png
from support.project_driver import ProjectDriver


def upload(loop: ProjectDriver, numbers: Sequence[int], image: Callable[[int], bytes] = png) -> None:
    """Uploads the PNG images of these numbers as a person does. Each becomes a task."""
    files = [(str(number), (f"{number}.png", image(number), "image/png")) for number in numbers]
    headers = {"Authorization": f"Token {loop.server.token}"}
    answer = requests.post(f"{loop.server.url}/api/projects/{loop.id}/import", files=files, headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text


def number_of(address: str) -> int:
    """The number of an uploaded image. Label Studio puts other characters before it."""
    return int(Path(address).stem.rpartition("-")[2])
