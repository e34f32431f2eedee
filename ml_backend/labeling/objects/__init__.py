"""The kinds of content that can be labelled: a file each, and a line in OBJECTS."""

from __future__ import annotations

from ml_backend.labeling.objects.audio import Audio
from ml_backend.labeling.objects.content import Content
from ml_backend.labeling.objects.hypertext import HyperText
from ml_backend.labeling.objects.image import Image
from ml_backend.labeling.objects.listing import Listing
from ml_backend.labeling.objects.table import Table
from ml_backend.labeling.objects.text import Text
from ml_backend.labeling.objects.turns import Turns

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
