"""Drawn shapes, which simulated people tell apart: circles, squares, triangles and stars.

Colour, size, place and background say nothing of the shape, shapes lean a little, and a grain lies over everything. So
a model with few labels is often wrong, and accuracy grows over the first hundreds of labels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from connector.demo.dataset import Corpus
from connector.demo.texts import ANNOTATORS

if TYPE_CHECKING:
    from PIL import Image

CLASSES = ["Circle", "Square", "Star", "Triangle"]
SIDE = 96  # pixels
_CORNERS = {"Circle": 48, "Square": 4, "Triangle": 3, "Star": 10}
_GRAIN = 20  # of 255
_LEAN = 0.3  # radians


def generate(directory: Path, tasks: int = 400, test: int = 200, seed: int = 0) -> Corpus:
    """Draws images into `directory`: `tasks` with labels by five annotators, and `test` with their true label."""
    from connector.media.images import check

    check()
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths, shapes = [], []
    for number in range(tasks + test):
        shape = str(rng.choice(CLASSES))
        path = directory / f"{number:05d}.png"
        draw(shape, rng).save(path)
        paths.append(str(path))
        shapes.append(shape)
    return Corpus(
        tasks={f"t{number}": paths[number] for number in range(tasks)},
        annotations={f"t{number}": _answers(shapes[number], rng) for number in range(tasks)},
        test=list(zip(paths[tasks:], shapes[tasks:], strict=True)),
        kind="image",
    )


def draw(shape: str, rng: np.random.Generator) -> Image.Image:
    """An image of a shape."""
    from PIL import Image, ImageDraw

    colours = rng.integers(0, 256, (2, 3))
    while np.abs(colours[0] - colours[1]).sum() < 150:  # too much alike to see anything
        colours = rng.integers(0, 256, (2, 3))
    background, foreground = (tuple(map(int, colour)) for colour in colours)
    image = Image.new("RGB", (SIDE, SIDE), background)
    radius = float(rng.uniform(0.3, 0.42)) * SIDE
    x, y = (float(place) for place in rng.uniform(radius, SIDE - radius, 2))
    turn = float(rng.uniform(-_LEAN, _LEAN)) - math.pi / 2
    ImageDraw.Draw(image).polygon(_outline(shape, x, y, radius, turn), fill=foreground)
    grain = rng.integers(-_GRAIN, _GRAIN + 1, (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(np.asarray(image, np.int64) + grain, 0, 255).astype(np.uint8))


def _outline(shape: str, x: float, y: float, radius: float, turn: float) -> list[tuple[float, float]]:
    """The corners of a shape around (x, y), turned by an angle."""
    corners = _CORNERS[shape]
    points = []
    for corner in range(corners):
        angle = turn + 2 * math.pi * corner / corners
        far = radius * (0.45 if shape == "Star" and corner % 2 else 1.0)
        points.append((x + far * math.cos(angle), y + far * math.sin(angle)))
    return points


def _answers(shape: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    """What each annotator says it is."""
    others = [name for name in CLASSES if name != shape]
    return [
        (annotator, shape if rng.random() < quality else str(rng.choice(others)))
        for annotator, quality in ANNOTATORS.items()
    ]
