"""What every kind of content has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from connector.annotations.form.config import Tag, TextField
from connector.annotations.form.data import Shown


class Content(ABC):
    """The content that an object of the labelling config shows, from one field of a task's data."""

    @abstractmethod
    def field(self, tag: Tag) -> TextField:
        """The field that an object of the config shows. Raises NotServable if there is none."""

    @abstractmethod
    def read(self, data: Any, shown: TextField) -> Shown:
        """What the object shows of a task's data, as the ML backend is sent it."""
