"""Reads and writes NumPy's `.npz` as bytes, without pickles."""

import io
import zipfile
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.errors import InvalidRequest

Array = npt.NDArray[Any]


def pack(arrays: Mapping[str, Array]) -> bytes:
    """Write `arrays` as an uncompressed `.npz`."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(
    body: bytes, expected: Mapping[str, str], max_bytes: int, optional: Collection[str] = ()
) -> dict[str, Array]:
    """Read the arrays named in `expected` (name to dtype, such as `{"ids": "int64"}`) from an `.npz`.

    Those in `optional` may be missing.

    Raises InvalidRequest if it is no such file, if it unpacks to more than `max_bytes`, or if an array is missing or
    has another type.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > max_bytes:
            raise InvalidRequest(f"The .npz unpacks to {unpacked} bytes. Send at most {max_bytes}.")
        # Other decompressors unpack a few bytes completely, to any size, before they look for the end.
        if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
            raise InvalidRequest("The .npz is compressed in a way that NumPy does not use. Send it as NumPy saves it.")
        with np.load(io.BytesIO(body), allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in expected if name in loaded.files}
    except InvalidRequest:
        raise
    except Exception as error:  # zipfile, zlib and numpy have a dozen ways to reject bytes from outside
        raise InvalidRequest("The body is not a readable .npz file without pickled objects. Send one.") from error
    for name, dtype in expected.items():
        if name in optional and name not in arrays:
            continue
        if not isinstance(arrays.get(name), np.ndarray):  # NumPy returns a file that is no array as bytes
            raise InvalidRequest(f"The .npz has no array {name!r}. Add it, of type {dtype}.")
        if arrays[name].dtype != np.dtype(dtype):
            raise InvalidRequest(f"The array {name!r} is of type {arrays[name].dtype.str}. Send {dtype}.")
    return arrays
