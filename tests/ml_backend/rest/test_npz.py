import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from ml_backend.errors import InvalidRequest
from ml_backend.rest.npz import pack, unpack

EXPECTED = {"ids": "int64", "hashes": "uint8"}
GOOD = pack({"ids": np.arange(3), "hashes": np.zeros((3, 16), dtype=np.uint8)})


def savez(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def huge() -> bytes:
    """A header that promises 8 TB, and no data."""
    header = io.BytesIO()
    description = {"descr": "<i8", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(header, description)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("ids.npy", header.getvalue())
    return buffer.getvalue()


def no_array() -> bytes:
    """A file under an array's name that is none."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("ids.npy", b"hello")
    return buffer.getvalue()


def bomb(compression: int) -> bytes:
    """100 MB of zeros in at most some kB, of which the archive's directory says that they are 100 bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive, archive.open("ids.npy", "w") as member:
        for _ in range(100):
            member.write(bytes(1_000_000))
    body = bytearray(buffer.getvalue())
    size = body.rfind(b"PK\x01\x02") + 24
    body[size : size + 4] = struct.pack("<I", 100)
    return bytes(body)


def test_what_is_packed_comes_back() -> None:
    arrays = unpack(GOOD, EXPECTED, max_bytes=10_000)
    assert arrays["ids"].tolist() == [0, 1, 2]
    assert arrays["hashes"].shape == (3, 16)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"PK\x05\x06",
        b"not a zip at all",
        GOOD[: len(GOOD) // 2],
        GOOD[:-40],
        savez(ids=np.array([{"a": 1}], dtype=object), hashes=np.zeros((1, 16), dtype=np.uint8)),
        savez(ids=np.arange(3)),
        savez(ids=np.arange(3, dtype=np.int32), hashes=np.zeros((3, 16), dtype=np.uint8)),
        savez(ids=np.arange(3).astype(">i8"), hashes=np.zeros((3, 16), dtype=np.uint8)),
        huge(),
        no_array(),
    ],
    ids=[
        "empty",
        "empty zip",
        "text",
        "half",
        "no end",
        "pickled",
        "missing",
        "int32",
        "big-endian",
        "huge",
        "text in",
    ],
)
def test_anything_else_is_refused_in_a_sentence(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"\.npz|Send int64"):
        unpack(body, EXPECTED, max_bytes=1_000_000)


def test_a_file_that_unpacks_to_too_much_is_refused() -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, ids=np.zeros(1_000_000, dtype=np.int64))
    assert len(buffer.getvalue()) < 100_000
    with pytest.raises(InvalidRequest, match="Send at most 100000"):
        unpack(buffer.getvalue(), EXPECTED, max_bytes=100_000)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_that_lies_about_its_size_is_not_unpacked(compression: int) -> None:
    body = bomb(compression)
    assert len(body) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match=r"\.npz"):
            unpack(body, EXPECTED, max_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
