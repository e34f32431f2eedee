"""`Text`: a text in the task's data, or in a file."""

from __future__ import annotations

from typing import Any

from connector.annotations.form.config import Field, NotServable, Tag, key_of
from connector.annotations.form.data import ENCODINGS, Shown, shown_text
from connector.annotations.objects.content import Content


class Text(Content):
    """A text in the task's data, or in a file, of which the task's data have the address."""

    def field(self, tag: Tag) -> Field:
        """The field with the text or its address, and its encoding."""
        value_type = tag.get("valueType")
        if value_type.lower() == "url" and value_type != "url":  # the form takes small letters alone
            raise NotServable(f'its {tag.tag} has valueType="{value_type}"')
        encoding = tag.attributes.get("encoding", "none")
        if encoding not in ENCODINGS:
            raise NotServable(f'its {tag.tag} has encoding="{encoding}"')
        options = {"url": "true"} if value_type == "url" else {}
        return Field(key_of(tag), options if encoding == "none" else {**options, "encoding": encoding})

    def read(self, data: Any, field: Field) -> Shown:
        """The text that the form shows."""
        return shown_text(data, field.key, field.options.get("encoding", "none"))
