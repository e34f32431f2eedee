"""Pictures that tests draw themselves, and the files that they are sent in."""

import struct
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw


def picture(seed: int = 0, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A slope of two colours with some ellipses on it. The same seed gives the same picture."""
    generator = np.random.default_rng(seed)
    first, last = generator.integers(0, 256, (2, 3))
    slope = np.linspace(0, 1, size[0])[None, :, None] * np.ones((size[1], 1, 1))
    image = Image.fromarray((first + slope * (last - first)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        left, top = generator.uniform(0, 0.7, 2) * size
        width, height = generator.uniform(0.1, 0.4, 2) * size
        draw.ellipse((left, top, left + width, top + height), fill=tuple(generator.integers(0, 256, 3).tolist()))
    return image


def png(image: Image.Image) -> bytes:
    return _saved(image, "PNG")


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    return _saved(image, "JPEG", quality=quality)


def pages(images: Sequence[Image.Image]) -> bytes:
    """Several pictures in one file: MPO, whose frames are JPEG. Pillow writes wrong offsets from the fourth one on."""
    files = [jpeg(image) for image in images]
    index = 50 + 16 * len(files)  # bytes from the index's header to its end
    start = 20  # behind the JFIF segment, where the index goes
    first = len(files[0]) + 8 + index
    sizes = [first, *map(len, files[1:])]
    begins = [sum(sizes[:place]) - (start + 8) if place else 0 for place in range(len(files))]
    header = struct.pack("<2sHIH", b"II", 42, 8, 3)
    header += struct.pack(
        "<HHI4sHHIIHHII", 0xB000, 7, 4, b"0100", 0xB001, 4, 1, len(files), 0xB002, 7, 16 * len(files), 50
    )
    header += struct.pack("<I", 0)
    header += b"".join(struct.pack("<IIIHH", 0, *entry, 0, 0) for entry in zip(sizes, begins, strict=True))
    assert len(header) == index
    segment = struct.pack(">2sH4s", b"\xff\xe2", 6 + len(header), b"MPF\0") + header
    return b"".join((files[0][:start], segment, files[0][start:], *files[1:]))


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()
