"""The kinds of content that can be labelled: a file each, and a line in OBJECTS."""

from __future__ import annotations

from connector.annotations.objects.content import Content
from connector.annotations.objects.text import Text

# By the object's tag in the labelling config.
OBJECTS: dict[str, Content] = {"Text": Text()}
