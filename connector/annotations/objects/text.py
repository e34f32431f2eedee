"""`Text`: a text in the task's data."""

from __future__ import annotations

from typing import Any

from connector.annotations.form.config import Tag, TextField, text_field
from connector.annotations.form.data import Shown, shown_text
from connector.annotations.objects.content import Content


class Text(Content):
    """A text that is in the task's data itself, not behind a URL."""

    def field(self, tag: Tag) -> TextField:
        """The field with the text."""
        return text_field(tag)

    def read(self, data: Any, shown: TextField) -> Shown:
        """The text that the form shows."""
        return shown_text(data, *shown)
