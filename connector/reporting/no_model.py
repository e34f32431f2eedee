"""Exports and reports also work without the ML backend: errors say how."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from connector.errors import TryAgainLater


@contextlib.contextmanager
def suggest_no_model(command: str) -> Iterator[None]:
    """Adds to the error of an unavailable ML backend that `command` has the option --no-model."""
    try:
        yield
    except TryAgainLater as error:
        raise TryAgainLater(f"{error} With --no-model, the {command} does not need it.") from error
