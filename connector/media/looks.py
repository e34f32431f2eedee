"""What a file looks like that is not of the kind that was expected, in words for a person."""

from __future__ import annotations

import re
from collections.abc import Sequence

Looks = Sequence[tuple[bytes, str]]  # how a file begins, and what it is then

_DOCUMENTS: Looks = (
    (rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body|script)", "an HTML page"),
    (rb"\s*(?:<\?xml.{0,200}?>|<!--.*?-->|<!doctype svg.{0,200}?>|\s)*<svg", "an SVG drawing"),
    (rb"\s*<", "an XML document"),
    (rb"\s*[{\[]", "JSON"),
    (rb"%PDF", "a PDF document"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\x1f\x8b", "a gzip archive"),
)
_TEXT: Looks = ((rb"[\t\n\r\x20-\x7e]+\Z", "a text"),)


def look(original: bytes, looks: Looks) -> str:
    """What a file looks like, as the end of a sentence: ": it is an HTML page". "": that is not known.

    `looks`: what a kind of media is mistaken for, besides documents.
    """
    start = original[:1_024].removeprefix(b"\xef\xbb\xbf")
    for pattern, words in (*_DOCUMENTS, *looks, *_TEXT):
        if re.match(pattern, start, re.IGNORECASE | re.DOTALL):
            return f": it is {words}"
    return ""
