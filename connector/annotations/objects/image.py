"""`Image`: the image at an address, or several as pages."""

from __future__ import annotations

from typing import ClassVar

from connector.annotations.form.config import Field, NotServable, Tag, key_of
from connector.annotations.objects.medium import Medium


class Image(Medium):
    """An image, of which a task's data have the address. Models read the image."""

    words: ClassVar[str] = "the address of an image"
    kind: ClassVar[str] = "image"

    def field(self, tag: Tag) -> Field:
        """The field with the address, or with the list of addresses that `valueList` names."""
        if not tag.get("valueList"):
            return super().field(tag)
        if tag.get("value"):
            raise NotServable(f"its {tag.tag} has both value and valueList")
        attributes = {**tag.attributes, "value": tag.get("valueList")}
        return Field(key_of(tag._replace(attributes=attributes)), {"list": "true"})
