"""What Label Studio's form shows of a task's data (label-studio 1.23.2: `utils/data.js`, paths by es-toolkit)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, NamedTuple

from ml_backend.labeling.form.numbers import written

PAIR_SEPARATOR = "\n\x1e\n"  # between the two sides of a pair: the ML backend computes features of each
CONTENT_SEPARATOR = "\n\x1d\n"  # between the contents that different questions read
LINK_MARK = "\x1alink\x1a"  # around a link to a text that is in a file. Nothing that joins contents can make one
_NOT_IN_A_TEXT = re.compile("|".join((PAIR_SEPARATOR, CONTENT_SEPARATOR, LINK_MARK)))
ENCODINGS = ("none", "base64", "base64unicode")
_DEEPEST = 100  # lists in lists
_LONGEST_LINK = 4096  # characters
# Addresses in Label Studio's storages. All that the form shows of these is the link itself, which Label Studio may sign
# anew at every reading. A web address is a text like any other.
_STORED_FILE = re.compile(
    r"\s*(?:(?:s3s?|gs|azure-blob|azure_spi|dbx)://"
    r"|(?:https?://[^/\s]+)?(?:/[^?\s]*)?/(?:data/(?:upload|local-files)/|(?:tasks|projects)/\d+/(?:resolve|presign)/))"
    r"\S+\s*",
    re.IGNORECASE,
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


class Shown(NamedTuple):
    """The text that the form shows. None: there is nothing to label, and `problem` says why."""

    text: str | None
    problem: str = ""


class _Missing:
    """There is no such key."""


MISSING = _Missing()


def shown_text(data: Any, key: str, encoding: str = "none") -> Shown:
    """The text that a `Text` shows of a task's data."""
    value, problem = found_value(data, key)
    if problem:
        return Shown(None, problem)
    text = string_of(value)
    if text is None:
        return Shown(None, f"'{key}' is {'a list with objects' if isinstance(value, list) else 'an object'}")
    if encoding != "none":
        text = _decoded(text, encoding)
        if text is None:
            return Shown(None, f"'{key}' is not {encoding}")
    if len(text) <= _LONGEST_LINK and _STORED_FILE.fullmatch(text):
        return Shown(None, f"'{key}' is only a link to a file")
    return plain(text, f"'{key}' is blank")


def plain(text: str, problem: str) -> Shown:
    """A text as every database can have it. `problem`: why there is nothing to label, if it is blank.

    Characters that JSON can contain and others cannot are replaced by question marks: half a surrogate pair has no
    UTF-8 form, and PostgreSQL accepts no NUL. What separates and marks contents is replaced by a space.
    """
    if not text.strip():
        return Shown(None, problem)
    return Shown(_NOT_IN_A_TEXT.sub(" ", text.replace("\0", "?")).encode(errors="replace").decode())


def found_value(data: Any, key: str) -> tuple[Any, str]:
    """The value under a key or a path of keys, and why there is none. "": there is one."""
    value = find_value(data, key)
    if value is MISSING:
        return None, f"it has no '{key}'"
    return value, f"'{key}' is null" if value is None else ""


def found_objects(data: Any, key: str) -> tuple[list[dict[str, Any]], str]:
    """The list of objects under a key or a path of keys, and why there is none. "": there is one."""
    value, problem = found_value(data, key)
    if problem:
        return [], problem
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return [], f"'{key}' is no list of objects"
    return value, ""


def find_value(data: Any, key: str) -> Any:
    """The value under a key of a task's data, or under a path of keys such as `a.b[0]`. MISSING: there is none."""
    value = _member(data, key)
    if value is not MISSING or not re.search(r"[.\[\]]", key):
        return value
    value = data
    for part in path_of(key):
        value = _member(value, part)
        if value is MISSING or value is None:
            break
    return value


def path_of(key: str) -> list[str]:
    """The keys of a path: `a.b[0]` has "a", "b" and "0"."""
    parts = [""] if key.startswith(".") else []
    for inside, closed, plain in re.findall(r"\[([^\]]*)(\]?)|([^.\[]+)", key):
        if inside or closed or plain:
            parts.append(inside or plain)
    return parts


def _member(value: Any, key: str) -> Any:
    """What JavaScript has under `value[key]`."""
    if isinstance(value, dict):
        return value.get(key, MISSING)
    if isinstance(value, (list, str)):
        if key == "length":
            return len(value)
        if re.fullmatch(r"0|[1-9]\d{0,15}", key, re.ASCII) and int(key) < len(value):
            return value[int(key)]
    return MISSING


def string_of(value: Any, depth: int = 0) -> str | None:
    """JavaScript's String(value). None: there is an object in it, which would be "[object Object]"."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return written(value)
    if isinstance(value, list) and depth < _DEEPEST:
        parts = [string_of(part, depth + 1) for part in value]
        return None if None in parts else ",".join(part or "" for part in parts)
    return None


def _decoded(text: str, encoding: str) -> str | None:
    """A text from base64: its bytes are characters, or with "base64unicode" UTF-8. None: it is something else."""
    packed = re.sub(r"[\t\n\f\r ]", "", text)
    unpadded = packed.rstrip("=")
    padding = "=" * (-len(unpadded) % 4)
    if not _BASE64.fullmatch(packed) or len(padding) > 2 or (packed != unpadded and packed != unpadded + padding):
        return None
    try:
        content = base64.b64decode(unpadded + padding)
        return content.decode("latin-1" if encoding == "base64" else "utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
