"""Small copies of images, by Pillow, which is loaded when the first image is read.

An original is judged by its bytes, never by its name or its type in a header. Its size is checked before it is decoded.
A copy has no metadata, such as where a photograph was taken.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from connector.errors import UsageError
from connector.media.failures import TOO_LARGE, UNREADABLE, Unusable
from connector.media.limits import DEFAULT_LIMITS, Kind, Limits
from connector.media.looks import look

if TYPE_CHECKING:
    from PIL import Image

SIDE = 512  # pixels of a copy's longer side, at most
TINY = 128  # up to this side a copy is PNG: such images are often drawn by the pixel
QUALITY = 90  # of JPEG

# What browsers show, and so what annotators see. Not TIFF: no browser but Safari shows it, and its decoder is the one
# with the most holes.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")
# A JPEG of the web has about ten scans. Each takes as long as the whole image, however few bytes it has.
_MOST_SCANS = 100
_MOST_MARKERS = 10_000
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_ORIENTATION = 0x0112  # in EXIF

# How other things begin that are taken for images.
_LOOKS = (
    (rb"II\*\0|MM\0\*", "a TIFF image, which browsers do not show"),
    (rb"....ftyp(?:hei|mif1|msf1)", "a HEIC image, which browsers do not show"),
    (rb"....ftypavi", "an AVIF image, which this Pillow does not read"),
    (rb"....ftyp", "a film"),
    (rb"\xff\x0a|\0\0\0\x0cJXL", "a JPEG XL image, which most browsers do not show"),
    (rb".{128}DICM", "a DICOM image, which browsers do not show"),
)


def check() -> None:
    """Raises UsageError if Pillow is not installed."""
    try:
        from PIL import Image  # noqa: F401
    except ImportError as error:
        raise UsageError("To read images, install Pillow: pip install 'label-studio-activelab[images]'.") from error
    # Pillow warns of odd files, on standard error. What matters is an error here, with words.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def small_copy(pages: Sequence[bytes], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The small copy of an image, or of several that are the pages of one. The same originals give the same bytes.

    It is JPEG, or PNG if it is tiny. Several pages are the frames of one MPO file.

    Raises:
        UsageError: Pillow is not installed.
        Unusable: A page is no image, or too large.
    """
    check()
    return join([small_page(page, limits) for page in pages])


def thumbnail(copy: bytes, pixels: int) -> bytes:
    """A still smaller copy of a small copy, or of its first page, with at most `pixels` on its longer side."""
    check()
    from PIL import Image

    with Image.open(io.BytesIO(copy), formats=("JPEG", "PNG")) as opened:
        page = opened.convert("RGB")
    page.thumbnail((pixels, pixels))
    return join([page])


def small_page(original: bytes, limits: Limits = DEFAULT_LIMITS) -> Image.Image:
    """One page, upright, in RGB on white, with at most SIDE pixels on its longer side. Raises Unusable."""
    from PIL import Image

    if not original:
        raise Unusable(UNREADABLE, "is empty")
    _check_markers(original)
    with _pillow_errors(original, limits), Image.open(io.BytesIO(original), formats=_formats()) as opened:
        width, height = opened.size
        if width * height > limits.pixels:
            raise _too_many_pixels(f"{width:,} x {height:,}", limits)
        scale = max(1.0, max(width, height) / SIDE)
        opened.draft(None, (max(1, int(width / scale)), max(1, int(height / scale))))  # of JPEG, decodes less
        small = _resizable(opened)
        small.thumbnail((SIDE, SIDE))
        page = Image.new("RGB", small.size, "white")  # a new image, without the metadata of the original
        page.paste(small, mask=small if small.mode == "RGBA" else None)
        return _upright(page, _orientation(opened))


def join(pages: Sequence[Image.Image]) -> bytes:
    """The small copy with these pages."""
    if len(pages) == 1 and max(pages[0].size) <= TINY:
        return _encoded(pages[0], "PNG")
    frames = [_encoded(page, "JPEG") for page in pages]
    return frames[0] if len(frames) == 1 else _mpo(frames)


def _formats() -> tuple[str, ...]:
    try:
        from PIL import AvifImagePlugin
    except ImportError:  # before Pillow 11.3
        return _FORMATS
    return (*_FORMATS, "AVIF") if AvifImagePlugin.SUPPORTED else _FORMATS


@contextlib.contextmanager
def _pillow_errors(original: bytes, limits: Limits) -> Iterator[None]:
    """Raises Unusable for all that Pillow raises on a file."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except Unusable:
        raise
    except UnidentifiedImageError as error:
        raise Unusable(UNREADABLE, f"is no image that can be read{look(original, _LOOKS)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise _too_many_pixels("far too many", limits) from error
    except Exception as error:  # on damaged files, Pillow raises errors of many types
        raise Unusable(UNREADABLE, "is an image that is damaged or cut off") from error


def _too_many_pixels(size: str, limits: Limits) -> Unusable:
    return Unusable(TOO_LARGE, f"has {size} pixels, where {limits.pixels:,} are allowed")


def _check_markers(original: bytes) -> None:
    """Raises Unusable if a JPEG would take far longer to decode than its size says."""
    if not original.startswith(b"\xff\xd8"):
        return
    place, markers, scans = 2, 0, 0
    while (found := _MARKER.search(original, place)) and found[1] != b"\xd9":  # the end of the image
        place = found.end()
        markers += 1
        scans += found[1] == b"\xda"
        if markers > _MOST_MARKERS or scans > _MOST_SCANS:
            raise Unusable(TOO_LARGE, "is an image in too many parts")
        if found[1] not in b"\x01\xd8":  # these have no length
            place += int.from_bytes(original[place : place + 2], "big")


def _resizable(image: Image.Image) -> Image.Image:
    """The image in a mode in which pixels can be averaged: grey, RGB, CMYK, or RGBA if something shows through."""
    if image.mode.startswith("I"):  # 16 bits of grey
        image.info.pop("transparency", None)  # a value of 16 bits
        image = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """How a camera was held, by EXIF: 1 to 8."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata do not make an image unusable
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _encoded(page: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    page.save(buffer, form, **({"quality": QUALITY} if form == "JPEG" else {}))
    return buffer.getvalue()


def _mpo(frames: Sequence[bytes]) -> bytes:
    """JPEG files as one MPO file (CIPA DC-007): the first one with an index of all, and then the others.

    Pillow writes wrong offsets from the fourth frame on.
    """
    entries, index = 50, 8  # where they begin, from the index's own header
    size = entries + 16 * len(frames)
    place = 4 + int.from_bytes(frames[0][4:6], "big")  # behind the JFIF header
    first = len(frames[0]) + 8 + size
    header = struct.pack("<2sHIH", b"II", 42, index, 3)
    header += struct.pack("<HHI4s", 0xB000, 7, 4, b"0100")
    header += struct.pack("<HHII", 0xB001, 4, 1, len(frames))
    header += struct.pack("<HHII", 0xB002, 7, 16 * len(frames), entries)
    header += struct.pack("<I", 0)
    header += struct.pack("<IIIHH", 0x030000, first, 0, 0, 0)
    offset = first - (place + 8)  # the others' are counted from the header as well
    for frame in frames[1:]:
        header += struct.pack("<IIIHH", 0, len(frame), offset, 0, 0)
        offset += len(frame)
    marker = struct.pack(">2sH4s", b"\xff\xe2", 2 + 4 + size, b"MPF\0")
    return b"".join((frames[0][:place], marker, header, frames[0][place:], *frames[1:]))


IMAGES = Kind("image", check, small_page, join)
