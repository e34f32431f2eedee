"""`Text`: a text in the task's data."""

from __future__ import annotations

from typing import Any

from connector.annotations.form.config import Field, NotServable, Tag, key_of
from connector.annotations.form.data import ENCODINGS, Shown, shown_text
from connector.annotations.objects.content import Content


class Text(Content):
    """A text that is in the task's data itself, not behind a URL."""

    def field(self, tag: Tag) -> Field:
        """The field with the text, and its encoding."""
        if tag.get("valueType").lower() == "url":
            raise NotServable(f"its {tag.tag} holds a URL")
        encoding = tag.attributes.get("encoding", "none")
        if encoding not in ENCODINGS:
            raise NotServable(f'its {tag.tag} has encoding="{encoding}"')
        return Field(key_of(tag), {} if encoding == "none" else {"encoding": encoding})

    def read(self, data: Any, field: Field) -> Shown:
        """The text that the form shows."""
        return shown_text(data, field.key, field.options.get("encoding", "none"))
