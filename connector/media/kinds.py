"""The kinds of media: a file each, and a line here."""

from __future__ import annotations

from connector.media.images import IMAGES
from connector.media.limits import Kind
from connector.media.recordings import RECORDINGS

# By what models read (`connector.annotations.objects.content.Content.kind`).
KINDS: dict[str, Kind] = {"image": IMAGES, "audio": RECORDINGS}
