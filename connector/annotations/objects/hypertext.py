"""`HyperText`: a page in the task's data."""

from __future__ import annotations

from typing import Any

from connector.annotations.form.config import Field
from connector.annotations.form.data import Shown, plain
from connector.annotations.objects.text import Text


class HyperText(Text):
    """A page in HTML. Models read its words, without tags, scripts and styles."""

    def read(self, data: Any, field: Field) -> Shown:
        """The words that the form shows, with a line for each block."""
        import html_text  # takes a while to load, and only projects with pages need it

        shown = super().read(data, field)
        if shown.text is None:
            return shown
        return plain(html_text.extract_text(shown.text), f"'{field.key}' has no words")
