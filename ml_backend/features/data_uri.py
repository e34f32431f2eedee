"""Images that are in their addresses."""

import base64
import binascii
import re

from ml_backend.features.images import check_image

_IN_BASE64 = re.compile(r"data:image/[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)


def image_in(address: str) -> bytes | None:
    """The image in a data: URI, or None if it is another address, or no image in base64 that an encoder can use."""
    head = _IN_BASE64.match(address)
    if head is None:
        return None
    try:
        content = base64.b64decode(address[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        return None
    return None if check_image(content) else content
