"""`Paragraphs` and `Chat`: what people said in turn."""

from __future__ import annotations

from typing import Any, ClassVar

from ml_backend.labeling.form.config import Field, Tag, key_of
from ml_backend.labeling.form.data import Shown, found_objects, plain, string_of
from ml_backend.labeling.objects.content import Content, check_value_type


class Turns(Content):
    """A list of turns, each with who says something, and what.

    Attributes:
        name_key: The key of who says it, unless the tag has another one in `nameKey`.
        text_key: The key of what is said, unless the tag has another one in `textKey`.
    """

    words: ClassVar[str] = "a list of objects with who says what"

    def __init__(self, name_key: str, text_key: str) -> None:
        self.name_key = name_key
        self.text_key = text_key

    def field(self, tag: Tag) -> Field:
        """The field with the list or its address, and the keys in its items if they are not the usual ones."""
        is_link = tag.is_a("Paragraphs") and tag.get("valueType") == "url"
        check_value_type(tag, "json", *(["url"] if is_link else []))
        options = {"url": "true"} if is_link else {}
        options |= {name: tag.get(name) for name in ("nameKey", "textKey") if tag.get(name)}
        return Field(key_of(tag), options)

    def read(self, data: Any, field: Field) -> Shown:
        """A line for each turn, such as "Anna: Hello"."""
        value, problem = found_objects(data, field.key)
        if problem:
            return Shown(None, problem)
        name_key, text_key = field.options.get("nameKey", self.name_key), field.options.get("textKey", self.text_key)
        lines = []
        for turn in value:
            who, what = string_of(turn.get(name_key)), string_of(turn.get(text_key))
            if what and what.strip():
                lines.append(f"{who}: {what}" if who else what)
        return plain("\n".join(lines), f"'{field.key}' has no text as '{text_key}' in it")
