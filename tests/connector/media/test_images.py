"""Small copies of images of every kind, and what happens to files that are none."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Sequence
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, features
from PIL.TiffImagePlugin import IFDRational
from support.pictures import BLUE, GREEN, RED, corners, encoded, nearest, opened, picture, png, quarters

from connector.errors import UsageError
from connector.media.failures import TOO_LARGE, UNREADABLE, Unusable
from connector.media.images import SIDE, TINY, small_copy, thumbnail
from connector.media.limits import Limits

ORIENTATION = 0x0112
HAS_AVIF = find_spec("PIL.AvifImagePlugin") is not None and features.check("avif")  # since Pillow 11.3
FORMS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", *(["AVIF"] if HAS_AVIF else [])]


def copy(original: bytes) -> Image.Image:
    return opened(small_copy([original]))


def refusal(original: bytes, limits: Limits | None = None) -> Unusable:
    with pytest.raises(Unusable) as refused:
        small_copy([original], limits or Limits())
    return refused.value


# -- kinds of images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_images_that_browsers_show_are_read(form: str) -> None:
    made = copy(encoded(quarters((1_000, 600)), form))
    assert made.format == "JPEG"
    assert made.mode == "RGB"
    assert made.size == (SIDE, 307)
    assert corners(made) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((512, 512), (512, 512)),
        ((513, 100), (512, 100)),
        ((300, 200), (300, 200)),
        ((2_000, 8), (512, 2)),
        ((8, 2_000), (2, 512)),
        ((50_000, 1), (512, 1)),
        ((4_000, 3_000), (512, 384)),
        ((4_160, 3_120), (512, 384)),
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_copies_keep_their_shape(form: str, size: tuple[int, int], small: tuple[int, int]) -> None:
    assert copy(picture(form, size)).size == small


@pytest.mark.parametrize(("side", "form"), [(1, "PNG"), (TINY, "PNG"), (TINY + 1, "JPEG")])
def test_tiny_images_are_copied_exactly(side: int, form: str) -> None:
    image = Image.effect_noise((side, side), 80).convert("RGB")
    made = copy(encoded(image, "PNG"))
    assert made.format == form
    assert (made.tobytes() == image.tobytes()) == (form == "PNG")


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_what_is_transparent_is_white(form: str) -> None:
    image = Image.new("RGBA", (200, 100), (0, 0, 0, 0))
    image.paste((*BLUE, 255), (0, 0, 100, 100))
    assert corners(copy(encoded(image, form, lossless=True))) == ["blue", "white", "blue", "white"]


def test_half_transparent_colours_are_mixed_with_white() -> None:
    made = copy(encoded(Image.new("RGBA", (10, 10), (255, 0, 0, 128)), "PNG"))
    assert made.getpixel((5, 5)) == (255, 127, 127)


@pytest.mark.parametrize("mode", ["P", "LA", "PA"])
def test_transparency_of_palettes_and_of_grey_is_seen(mode: str) -> None:
    image = Image.new("RGBA", (200, 100), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (100, 0, 200, 100))
    form = "GIF" if mode == "PA" else "PNG"
    original = encoded(image if mode == "PA" else image.convert(mode), form)
    assert corners(copy(original)) == ["black", "white", "black", "white"]


def test_a_colour_that_is_declared_transparent_is_white() -> None:
    image = Image.new("RGB", (200, 100), GREEN)
    image.paste(BLUE, (0, 0, 100, 100))
    assert corners(copy(encoded(image, "PNG", transparency=GREEN))) == ["blue", "white", "blue", "white"]


def test_sixteen_bits_of_grey_are_scaled() -> None:
    rows = b"".join(b"\0" + struct.pack(">3H", 0, 32_896, 65_535) for _ in range(2))
    made = copy(png(3, 2, depth=16, rows=rows))
    assert [made.getpixel((column, 0)) for column in range(3)] == [(0, 0, 0), (128, 128, 128), (255, 255, 255)]


def test_sixteen_bits_of_colour_are_read() -> None:
    rows = b"\0" + struct.pack(">6H", 65_535, 0, 0, 0, 0, 65_535)
    made = copy(png(2, 1, depth=16, kind=2, rows=rows))
    assert [made.getpixel((column, 0)) for column in range(2)] == [RED, BLUE]


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_colour_spaces_become_rgb(mode: str) -> None:
    image = Image.new("RGB", (600, 300), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 300, 300))
    made = copy(encoded(image.convert(mode), "PNG" if mode == "1" else "JPEG"))
    assert made.mode == "RGB"
    assert corners(made) == ["white", "black", "white", "black"]


def test_colours_of_cmyk_are_kept() -> None:
    assert corners(copy(encoded(quarters((1_000, 600)).convert("CMYK"), "JPEG"))) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_image_is_read(form: str) -> None:
    frames = [Image.new("RGB", (200, 100), colour) for colour in (GREEN, RED, BLUE)]
    original = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert set(corners(copy(original))) == {"green"}


def test_of_two_pictures_of_a_camera_the_first_one_is_read() -> None:
    frames = [Image.new("RGB", (200, 100), colour) for colour in (GREEN, RED)]
    assert set(corners(copy(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])))) == {"green"}


TURNED = {
    1: ["red", "green", "blue", "white"],
    2: ["green", "red", "white", "blue"],
    3: ["white", "blue", "green", "red"],
    4: ["blue", "white", "red", "green"],
    5: ["red", "blue", "green", "white"],
    6: ["blue", "red", "white", "green"],
    7: ["white", "green", "blue", "red"],
    8: ["green", "white", "red", "blue"],
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("orientation", "expected"), TURNED.items())
def test_photographs_are_upright(form: str, orientation: int, expected: list[str]) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    made = copy(encoded(quarters((1_000, 600)), form, exif=exif))
    assert made.size == ((SIDE, 307) if orientation < 5 else (307, SIDE))
    assert corners(made) == expected


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + b"\xff" * 300])
def test_damaged_metadata_do_not_matter(exif: bytes) -> None:
    assert corners(copy(encoded(quarters(), "JPEG", exif=exif)))[0] == "red"


def test_a_copy_has_no_metadata() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    exif[0x010F] = "Secret Camera"
    exif.get_ifd(0x8825)[2] = (IFDRational(52), IFDRational(31), IFDRational(0))  # a place
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {"exif": exif, "icc_profile": profile, "comment": b"Secret comment", "dpi": (300, 300)}
    for size in ((1_000, 600), (100, 60)):
        made = copy(encoded(quarters(size), "JPEG", **options))
        assert set(made.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert dict(made.getexif()) == {}
    assert b"Secret" not in small_copy([encoded(quarters(), "JPEG", **options)])


def test_the_same_original_gives_the_same_copy() -> None:
    for form in FORMS:
        original = encoded(quarters((1_000, 600)), form)
        assert small_copy([original]) == small_copy([original])
        assert small_copy([original] * 3) == small_copy([original] * 3)


# -- pages ------------------------------------------------------------------------------------------------------------

COLOURS = ("red", "green", "blue", "white", "black")


def pages(number: int) -> Sequence[bytes]:
    """Pages of other shapes and colours, tiny ones and large ones."""
    colours = (RED, GREEN, BLUE, (255, 255, 255), (0, 0, 0))
    return [picture("PNG", (30 + 200 * page, 700 - 40 * page), colours[page % 5]) for page in range(number)]


@pytest.mark.parametrize("number", [2, 3, 4, 5, 16])
def test_pages_are_read_back_frame_by_frame(number: int) -> None:
    made = Image.open(io.BytesIO(small_copy(pages(number))))
    assert made.format == "MPO"
    assert made.n_frames == number  # type: ignore[attr-defined]
    for page, original in enumerate(pages(number)):
        made.seek(page)
        made.load()
        assert made.size == copy(original).size
        assert nearest(made.convert("RGB").getpixel((3, 3))) == COLOURS[page % 5]


def test_each_page_is_a_jpeg_of_the_same_quality() -> None:
    one, two = encoded(quarters((400, 300)), "PNG"), picture("PNG", (400, 300))
    made = Image.open(io.BytesIO(small_copy([two, one])))
    made.seek(1)
    assert made.convert("RGB").tobytes() == copy(one).convert("RGB").tobytes()


def test_one_bad_page_is_enough_to_refuse() -> None:
    with pytest.raises(Unusable):
        small_copy([picture(), b"<html>", picture()])


# -- thumbnails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pixels", "form"), [(64, "PNG"), (200, "JPEG")])
def test_a_thumbnail_is_smaller_still(pixels: int, form: str) -> None:
    made = opened(thumbnail(small_copy([encoded(quarters((1_000, 600)), "JPEG")]), pixels))
    assert made.size == (pixels, pixels * 3 // 5)
    assert made.format == form
    assert corners(made) == ["red", "green", "blue", "white"]


def test_a_thumbnail_of_pages_is_one_of_the_first() -> None:
    made = opened(thumbnail(small_copy(pages(3)), 64))
    assert nearest(made.getpixel((1, 1))) == "red"


def test_a_thumbnail_of_a_tiny_copy_is_not_larger() -> None:
    assert opened(thumbnail(small_copy([picture(size=(20, 10))]), 64)).size == (20, 10)


# -- what is no image -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("original", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n<!-- a --><!DOCTYPE HTML>\n<p>", "is no image that can be read: it is an HTML page"),
        (b"<html lang='en'>", "is no image that can be read: it is an HTML page"),
        (b"<?xml version='1.0'?>\n<!-- a --><svg>", "is no image that can be read: it is an SVG drawing"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "is no image that can be read: it is an XML document"),
        (b'{"detail": "Not found."}', "is no image that can be read: it is JSON"),
        (b"%PDF-1.7 \0", "is no image that can be read: it is a PDF document"),
        (b"PK\x03\x04\0", "is no image that can be read: it is a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no image that can be read: it is a text"),
        (b"\0\0\0\x18ftypheic\0", "is no image that can be read: it is a HEIC image, which browsers do not show"),
        (b"\0\0\0\x18ftypisom\0", "is no image that can be read: it is a film"),
        (b"\0" * 128 + b"DICM\0", "is no image that can be read: it is a DICOM image, which browsers do not show"),
        (b"\0\1\2\3" * 1_000, "is no image that can be read"),
        (picture("TIFF"), "is no image that can be read: it is a TIFF image, which browsers do not show"),
        (picture("ICO"), "is no image that can be read"),
        (picture("PPM"), "is no image that can be read"),
        (picture("PDF"), "is no image that can be read: it is a PDF document"),
    ],
    ids=range(17),
)
def test_what_is_no_image_is_called_by_what_it_looks_like(original: bytes, words: str) -> None:
    refused = refusal(original)
    assert refused.cause == UNREADABLE
    assert refused.problem == words


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_the_beginning_of_an_image_is_no_image(form: str, share: float) -> None:
    original = encoded(Image.effect_noise((300, 200), 80).convert("RGB"), form)
    assert refusal(original[: int(len(original) * share)]).cause == UNREADABLE


@pytest.mark.parametrize("size", [(50_000, 50_000), (30_000, 30_000), (10_000, 10_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    assert refusal(png(*size)).cause == TOO_LARGE


def test_the_limit_is_in_pixels() -> None:
    assert copy(picture("PNG", (100, 100))).size == (100, 100)
    refused = refusal(picture("PNG", (101, 100)), Limits(pixels=10_000))
    assert refused.cause == TOO_LARGE
    assert refused.problem == "has 101 x 100 pixels, where 10,000 are allowed"


def test_a_jpeg_of_many_scans_is_refused() -> None:
    original = encoded(quarters(), "JPEG", progressive=True)
    start = original.index(b"\xff\xda")
    scan = original[start : original.index(b"\xff", start + 2)]
    assert corners(copy(original))[0] == "red"
    assert refusal(original[:start] + scan * 1_000 + original[start:]).cause == TOO_LARGE


def test_a_jpeg_of_many_segments_is_refused() -> None:
    original = picture("JPEG")
    assert refusal(original[:2] + b"\xff\xe5\0\2" * 100_000 + original[2:]).cause == TOO_LARGE


def test_what_follows_a_jpeg_does_not_matter() -> None:
    film = b"\0\0\0\x18ftypisom" + b"\xff\xda\0\2" * 1_000
    assert corners(copy(encoded(quarters(), "JPEG") + film))[0] == "red"


def test_text_that_is_compressed_in_a_png_is_not_unpacked_without_limit() -> None:
    import zlib

    original = picture("PNG")
    text = b"a\0\0" + zlib.compress(b"\0" * 50_000_000, 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    assert refusal(original[:33] + chunk + original[33:]).cause == UNREADABLE


@given(
    form=st.sampled_from(FORMS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_images_are_read_or_refused(form: str, changes: list[tuple[float, int]]) -> None:
    original = bytearray(encoded(quarters((64, 48)), form))
    for place, value in changes:
        original[int(place * len(original))] = value
    try:
        made = small_copy([bytes(original)])
    except Unusable:
        return
    opened(made)


def test_without_pillow_a_person_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match=r"pip install 'label-studio-activelab\[images\]'"):
        small_copy([b""])
