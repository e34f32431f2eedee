"""`List`: a list of items, such as search results."""

from __future__ import annotations

from typing import Any, ClassVar

from connector.annotations.form.config import Field, Tag, key_of
from connector.annotations.form.data import Shown, found_objects, plain, string_of
from connector.annotations.objects.content import Content


class Listing(Content):
    """A list of objects with a title and a body."""

    words: ClassVar[str] = "a list of objects with a title and a body"

    def field(self, tag: Tag) -> Field:
        """The field with the list."""
        return Field(key_of(tag), {})

    def read(self, data: Any, field: Field) -> Shown:
        """The title and the body of each item, an item a paragraph."""
        value, problem = found_objects(data, field.key)
        if problem:
            return Shown(None, problem)
        items = ["\n".join(part for name in ("title", "body") if (part := string_of(item.get(name)))) for item in value]
        return plain("\n\n".join(filter(str.strip, items)), f"'{field.key}' has no 'title' and no 'body' in it")
