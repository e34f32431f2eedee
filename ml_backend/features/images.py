"""Images as bytes: whether they can be used, and their frames."""

from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from ml_backend.errors import EncoderUnavailable

if TYPE_CHECKING:
    from PIL.Image import Image

INSTALL_LIBRARIES = "Install the libraries for images: pip install 'label-studio-activelab[images]'."
MAX_SIDE = 2048  # pixels
MAX_FRAMES = 64
MAX_PIXELS = 4 * MAX_SIDE**2  # of all frames together
# A progressive JPEG of the web has about ten. Each takes as long as the whole image, however few bytes it has.
MAX_SCANS = 100
# Pillow reads MPO, which is several JPEG images in one file, as JPEG.
_FORMATS = ("PNG", "JPEG")
_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"


def check_image(content: bytes) -> str:
    """Why `encode` cannot use an image, as the end of a sentence, or "" if it can.

    Decodes it. The work is bounded, because the sizes are checked first. Raises EncoderUnavailable without Pillow.
    """
    require_pillow()
    if content.startswith(_JPEG) and content.count(_SCAN) > MAX_SCANS:
        return f"it has more than {MAX_SCANS} scans"
    try:
        pixels = 0
        with closing(_open(content)) as image:
            count = _count_frames(image)
            if count > MAX_FRAMES:
                return f"it has {count} frames, more than {MAX_FRAMES}"
            for number in range(count):
                image.seek(number)
                if max(image.size) > MAX_SIDE:
                    return f"it is larger than {MAX_SIDE} pixels on a side"
                pixels += image.width * image.height
                if pixels > MAX_PIXELS:
                    return f"its frames have more than {MAX_PIXELS} pixels together"
                _rgb(image)
    except Exception:  # what Pillow raises for damaged content is of many kinds
        return "it is not a PNG or JPEG image, or it is damaged"
    return ""


def frames(content: bytes) -> Iterator["Image"]:
    """The frames of an image that `check_image` found usable, as RGB. What is transparent becomes white."""
    with closing(_open(content)) as image:
        for number in range(_count_frames(image)):
            image.seek(number)
            yield _rgb(image)


def require_pillow() -> None:
    """Raise EncoderUnavailable if Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ModuleNotFoundError as error:
        raise EncoderUnavailable(f"Pillow is not installed. {INSTALL_LIBRARIES}") from error


def _open(content: bytes) -> "Image":
    from PIL import Image

    return Image.open(BytesIO(content), formats=_FORMATS)


def _count_frames(image: "Image") -> int:
    return int(getattr(image, "n_frames", 1))


def _rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGB", layer.size, "white")
    white.paste(layer, mask=layer.getchannel("A"))
    return white
