"""Pictures that tests draw themselves: two kinds that colour and shape tell apart."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

KINDS = ["circle", "square"]


def draw(number: int, kind: str | None = None, size: int = 48) -> Image.Image:
    """The picture of a number: circles for even ones, squares for odd ones, each in its own place and shade."""
    random = np.random.default_rng(number)
    kind = kind or KINDS[number % 2]
    noise = random.integers(0, 60, (size, size, 3), dtype=np.uint8)
    image = Image.fromarray(noise + np.uint8(80))
    left, top = (int(place) for place in random.integers(2, size // 3, 2))
    width = int(random.integers(size // 3, size // 2))
    shade = int(random.integers(150, 255))
    box = (left, top, left + width, top + width)
    pen = ImageDraw.Draw(image)
    if kind == "circle":
        pen.ellipse(box, fill=(shade, 60, 60))
    else:
        pen.rectangle(box, fill=(60, 60, shade))
    return image


def as_bytes(image: Image.Image, kind: str = "PNG") -> bytes:
    """The file of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def png(number: int) -> bytes:
    """The file of the picture of a number."""
    return as_bytes(draw(number))
