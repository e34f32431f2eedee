"""What every kind of content has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Content(ABC):
    """The content that an object of the labelling config shows, from one field of a task's data."""

    @abstractmethod
    def data_key(self, tag: Any) -> str:
        """The field that an object of the config, a tag of the SDK, shows. Raises NotServable if there is none."""

    @abstractmethod
    def read(self, value: Any) -> str | None:
        """The field's value as the ML backend is sent it. None: there is nothing to label."""
