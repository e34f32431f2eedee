"""Texts in files, of which a task's data have only the address (`valueType="url"`)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_backend.labeling.form.config import Field
from ml_backend.labeling.form.data import LINK_MARK, Shown, found_value
from ml_backend.labeling.objects import OBJECTS
from ml_backend.labeling.objects.medium import written

LONGEST = 20_000  # characters that are kept of a text: models read no more
_MARKED = re.compile(f"{LINK_MARK}[^\x1a]*{LINK_MARK}")
# What the form fetches, and addresses in storages, which Label Studio replaces by such an address.
_FETCHED = re.compile(r"/|https?://|(?:s3s?|gs|azure-blob|azure_spi|dbx)://")


class Link(NamedTuple):
    """A text in a file. Until the file is read, a content has the link, between two marks, in place of the text.

    Attributes:
        content: The tag of the object that shows it, a key of `objects.OBJECTS`.
        field: How that reads the file.
        address: Where the file is.
    """

    content: str
    field: Field
    address: str

    @property
    def marked(self) -> str:
        """The link as it is in a content. Links that are read alike are the same."""
        return f"{LINK_MARK}{json.dumps([self.content, self.field.key, self.field.options, self.address])}{LINK_MARK}"

    @classmethod
    def of(cls, marked: str) -> Link:
        """The link that `marked` has written."""
        content, key, options, address = json.loads(marked.removeprefix(LINK_MARK).removesuffix(LINK_MARK))
        return cls(content, Field(key, options), address)

    def read(self, file: bytes) -> Shown:
        """What the form shows of the file, at most LONGEST characters, or why it shows nothing.

        A browser takes the bytes for UTF-8, whatever their type says, and replaces what is none.
        """
        if b"\0" in file:  # a picture, an archive, or UTF-16: the form shows signs without a meaning
            return Shown(None, "is no text in UTF-8")
        content: Any = file.decode("utf-8-sig", errors="replace")
        if self.content == "Paragraphs":
            try:
                content = json.loads(content)
            except (ValueError, RecursionError):
                return Shown(None, "is no JSON")
        text, problem = OBJECTS[self.content].read({self.field.key: content}, self.field)
        if text is None:
            return Shown(None, problem.removeprefix(f"'{self.field.key}' "))
        return Shown(text[:LONGEST])


def link_in(data: Any, content: str, field: Field) -> Shown:
    """The link to a text, of which a task's data have the address, or why there is none.

    Args:
        data: The task's data.
        content: The tag of the object that shows it.
        field: The field with the address.
    """
    value, problem = found_value(data, field.key)
    if problem:
        return Shown(None, problem)
    if not isinstance(value, str) or not _FETCHED.match(value):
        return Shown(None, f"'{field.key}' is no address that the form can fetch")
    options = {name: option for name, option in sorted(field.options.items()) if name != "url"}
    return Shown(Link(content, Field(field.key, options), written(value)).marked)


def links_in(text: str) -> list[str]:
    """The links in a content, each as `Link.marked` writes it."""
    return _MARKED.findall(text)


def with_texts(text: str, known: Mapping[str, str]) -> str:
    """A content with texts in place of links. `known`: {a link as `Link.marked` writes it: its text}."""
    return _MARKED.sub(lambda found: known.get(found[0], found[0]), text)


def with_addresses(text: str) -> str:
    """A content with addresses in place of links, for people to read."""
    return _MARKED.sub(lambda found: Link.of(found[0]).address, text) if LINK_MARK in text else text
