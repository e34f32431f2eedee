"""The kinds of content that can be labelled: a file each, and a line in OBJECTS."""

from __future__ import annotations

from connector.annotations.objects.audio import Audio
from connector.annotations.objects.content import Content
from connector.annotations.objects.hypertext import HyperText
from connector.annotations.objects.image import Image
from connector.annotations.objects.listing import Listing
from connector.annotations.objects.table import Table
from connector.annotations.objects.text import Text
from connector.annotations.objects.turns import Turns

# By the object's tag in the labelling config.
OBJECTS: dict[str, Content] = {
    "Text": Text(),
    "HyperText": HyperText(),
    "Paragraphs": Turns("author", "text"),
    "Chat": Turns("role", "content"),
    "List": Listing(),
    "Table": Table(),
    "Image": Image(),
    "Audio": Audio(),
    "AudioPlus": Audio(),  # its former name, which forms still take
}
