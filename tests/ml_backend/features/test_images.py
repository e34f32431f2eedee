"""Pictures as bytes: which are usable, and what a model sees of them."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.drawn_pictures import jpeg, pages, picture, png

from ml_backend.features import images
from ml_backend.features.images import MAX_FRAMES, MAX_SIDE, check_image, frames

DAMAGED = "it is not a PNG or JPEG image, or it is damaged"
BLACK = Image.new("RGB", (8, 8))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_that_says(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG of RGB with a header, further chunks, and no pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        png(picture()),
        jpeg(picture()),
        pages([picture(seed) for seed in range(3)]),
        pages([BLACK] * MAX_FRAMES),
        png(Image.new("RGB", (1, 1))),
        png(Image.new("L", (MAX_SIDE, MAX_SIDE))),
        *(png(picture().convert(mode)) for mode in ("1", "L", "LA", "P", "RGBA")),
        png(Image.new("I;16", (8, 8))),
        *(jpeg(picture().convert(mode)) for mode in ("L", "CMYK")),
    ],
)
def test_a_usable_picture_has_frames_in_rgb(content: bytes) -> None:
    assert check_image(content) == ""
    assert {frame.mode for frame in frames(content)} == {"RGB"}


HOSTILE = {
    "nothing": b"",
    "a text": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
    "GIF": saved(BLACK, "GIF"),
    "BMP": saved(BLACK, "BMP"),
    "TIFF": saved(BLACK, "TIFF"),
    "WebP": saved(BLACK, "WEBP"),
    "half a PNG": png(picture())[:400],
    "half a JPEG": jpeg(picture())[:400],
    "a JPEG without its end": jpeg(picture(size=(640, 480)))[:-2000],
    "a header alone": png_that_says(8, 8),
    "no pixels": png_that_says(0, 8),
    "a bomb": png_that_says(100_000, 100_000),
    "a text that grows": png_that_says(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))),
    "a profile that grows": png_that_says(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8)))),
    "a wrong checksum": png(picture()).replace(b"IDAT", b"IDAU"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_picture_is_damaged(content: bytes) -> None:
    assert check_image(content) == DAMAGED


def test_large_pictures_and_many_frames_are_refused_with_the_limit() -> None:
    too_large = f"it is larger than {MAX_SIDE} pixels on a side"
    assert check_image(png(Image.new("L", (MAX_SIDE + 1, 1)))) == too_large
    assert check_image(jpeg(Image.new("L", (1, MAX_SIDE + 1)))) == too_large
    assert check_image(pages([BLACK, Image.new("RGB", (MAX_SIDE + 1, 8))])) == too_large
    assert check_image(pages([BLACK] * (MAX_FRAMES + 1))) == f"it has {MAX_FRAMES + 1} frames, more than {MAX_FRAMES}"


def test_frames_are_limited_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    assert check_image(pages([BLACK, BLACK])) == "its frames have more than 100 pixels together"
    assert check_image(png(BLACK)) == ""


def test_a_jpeg_of_many_scans_is_refused() -> None:
    usable = saved(picture(), "JPEG", progressive=True)
    assert check_image(usable) == ""
    end = usable.rindex(b"\xff\xda")
    assert check_image(usable[:end] + usable[end:-2] * images.MAX_SCANS + usable[-2:]) == "it has more than 100 scans"


def test_a_picture_that_says_it_is_large_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_rgb", pytest.fail)
    assert check_image(png_that_says(MAX_SIDE + 1, 8)).startswith("it is larger")


@given(place=st.integers(0, 10**6), values=st.binary(min_size=1, max_size=8), which=st.sampled_from([png, jpeg]))
def test_any_change_of_a_file_is_either_refused_or_read(place: int, values: bytes, which: object) -> None:
    content = bytearray(which(picture()))  # type: ignore[operator]
    place %= len(content)
    content[place : place + len(values)] = values
    if check_image(bytes(content)) == "":
        assert len(list(frames(bytes(content)))) == 1


def test_frames_come_in_order() -> None:
    drawn = [picture(seed) for seed in range(3)]
    read = list(frames(pages(drawn)))
    assert len(read) == 3
    for there, here in zip(read, drawn, strict=True):
        assert np.abs(np.asarray(there, int) - np.asarray(here, int)).mean() < 5


def test_what_is_transparent_is_white() -> None:
    hidden = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    hidden.putpixel((1, 0), (0, 0, 255, 255))
    (frame,) = frames(png(hidden))
    assert [frame.getpixel((column, 0)) for column in range(2)] == [(255, 255, 255), (0, 0, 255)]


def test_sixteen_bits_of_grey_keep_their_shades() -> None:
    shades = Image.fromarray(np.array([[0, 256, 32768, 65535]], np.uint16))
    (frame,) = frames(png(shades))
    assert [frame.getpixel((column, 0)) for column in range(4)] == [(shade,) * 3 for shade in (0, 1, 128, 255)]
