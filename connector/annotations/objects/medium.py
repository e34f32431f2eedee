"""What contents at an address have in common: the address, as the task has it."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from connector.annotations.form.config import Field, Tag, key_of
from connector.annotations.form.data import Shown, found_value, plain
from connector.annotations.objects.content import Content

PAGE_SEPARATOR = "\n"  # between the addresses of several pages: no address has a line break
# What Label Studio makes of an address in one of its storages: the address itself is in it, in base64.
_RESOLVED = re.compile(
    r"(?:https?://[^/\s]+)?(?:/[^?\s]*)?/(?:tasks|projects)/\d+/(?:resolve|presign)/\?fileuri=([\w=-]+)", re.ASCII
)
_STORED = re.compile(r"(?:s3s?|gs|azure-blob|azure_spi|dbx)://", re.IGNORECASE)


class Medium(Content):
    """Something of which a task's data have the address. Models read what is there."""

    def field(self, tag: Tag) -> Field:
        """The field with the address."""
        return Field(key_of(tag), {})

    def read(self, data: Any, field: Field) -> Shown:
        """The address, or those of several pages, one a line."""
        value, problem = found_value(data, field.key)
        if problem:
            return Shown(None, problem)
        pages = value if "list" in field.options else [value]
        if not isinstance(pages, list):
            return Shown(None, f"'{field.key}' is no list of addresses")
        if not pages:
            return Shown(None, f"'{field.key}' is empty")
        if not all(isinstance(page, str) for page in pages):
            return Shown(None, f"'{field.key}' is no address")
        addresses = [written(page) for page in pages]
        if not all(addresses):
            return Shown(None, f"'{field.key}' is blank")
        return Shown(PAGE_SEPARATOR.join(addresses))


def written(address: str) -> str:
    """An address as the task has it, also where Label Studio has replaced one in a storage by a link of its own."""
    found = _RESOLVED.fullmatch(address.strip())
    if found is not None:
        try:
            stored = base64.urlsafe_b64decode(found[1]).decode()
        except (binascii.Error, UnicodeDecodeError):
            stored = ""
        if _STORED.match(stored):
            return _plain_line(stored)
    return _plain_line(address)


def _plain_line(text: str) -> str:
    """A text in one line, as every database can have it."""
    return plain(re.sub(r"[\r\n\t]", "", text).strip(), "").text or ""
