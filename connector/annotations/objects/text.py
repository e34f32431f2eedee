"""`Text`: a text in the task's data."""

from __future__ import annotations

from typing import Any

from connector.annotations.controls.control import NotServable
from connector.annotations.objects.content import Content


class Text(Content):
    """A text that is in the task's data itself, not behind a URL."""

    def data_key(self, tag: Any) -> str:
        """The field with the text."""
        if str(tag.attr.get("valueType", "text")).lower() == "url":
            raise NotServable("its Text holds a URL")
        value = str(tag.attr.get("value", ""))
        if not value.startswith("$"):
            raise NotServable("its Text shows no task data")
        return value[1:]

    def read(self, value: Any) -> str | None:
        """The text. None if it is missing, blank or not a text.

        Characters that JSON can contain and others cannot are replaced: half a surrogate pair has no UTF-8 form, and
        PostgreSQL accepts no NUL.
        """
        if not isinstance(value, str) or not value.strip():
            return None
        return value.replace("\0", "?").encode(errors="replace").decode()
