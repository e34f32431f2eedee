"""Media that are in their addresses, and whether a medium can be used."""

import base64
import binascii
import re

from ml_backend.features.images import check_image
from ml_backend.features.recordings import check_recording
from ml_backend.storage.dataset import Kind

_CHECKS = {"image": check_image, "audio": check_recording}


def check_medium(kind: Kind, content: bytes) -> str:
    """Why an encoder cannot use a medium, as the end of a sentence, or "" if it can. Raises EncoderUnavailable."""
    return _CHECKS[kind](content)


def medium_in(address: str, kind: Kind) -> bytes | None:
    """The medium in a data: URI, or None if it is another address, or nothing in base64 that an encoder can use."""
    head = re.match(rf"data:{kind}/[^,;]*(?:;[^,;]*)*;base64,", address, re.IGNORECASE)
    if head is None:
        return None
    try:
        content = base64.b64decode(address[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        return None
    return None if check_medium(kind, content) else content
