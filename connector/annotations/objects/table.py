"""`Table`: names and values."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from connector.annotations.form.config import Field, Tag, key_of
from connector.annotations.form.data import Shown, found_value, plain, string_of
from connector.annotations.objects.content import Content, check_value_type

_WITH_OPTIONS = re.compile(r"json([^\w])")  # the type, and what separates the options: "json|url"


class Table(Content):
    """An object, of which the form shows a row per key."""

    words: ClassVar[str] = "an object"

    def field(self, tag: Tag) -> Field:
        """The field with the object or its address."""
        value_type = tag.get("valueType")
        separator = _WITH_OPTIONS.match(value_type)
        if separator and "url" in value_type.split(separator[1])[1:]:
            return Field(key_of(tag), {"url": "true"})
        check_value_type(tag, "json")
        return Field(key_of(tag), {})

    def read(self, data: Any, field: Field) -> Shown:
        """A line per key in the form's order, such as "Price: 5"."""
        value, problem = found_value(data, field.key)
        if problem:
            return Shown(None, problem)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return Shown(None, f"'{field.key}' is no JSON")
        if not isinstance(value, dict):
            return Shown(None, f"'{field.key}' is no object")
        try:
            lines = [f"{name}: {_cell(value[name])}" for name in sorted(value, key=str.lower)]
        except RecursionError:
            return Shown(None, f"'{field.key}' nests too deeply")
        return plain("\n".join(lines), f"'{field.key}' is empty")


def _cell(value: Any) -> str:
    """What the form shows of a value: JSON of lists and objects."""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return string_of(value) or ""
