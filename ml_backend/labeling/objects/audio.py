"""`Audio`, which is also called `AudioPlus`: the recording at an address."""

from __future__ import annotations

from typing import ClassVar

from ml_backend.labeling.objects.medium import Medium


class Audio(Medium):
    """A recording of sound, of which a task's data have the address. Models read the recording."""

    words: ClassVar[str] = "the address of a recording"
    kind: ClassVar[str] = "audio"
