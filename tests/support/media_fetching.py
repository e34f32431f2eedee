"""What tests of fetchers have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable

from connector.media import Failure, Fetcher, Limits

TOKEN = "Token b5a2c9d8e7f60123456789abcdef0123456789ab"
PATIENT = Limits(seconds=20.0, waits=(0.01, 0.02))
HASTY = Limits(seconds=0.5, waits=(0.01, 0.02))

Make = Callable[..., Fetcher]
One = Callable[..., "bytes | Failure"]


def media_threads() -> list[str]:
    """The threads of fetchers that are still there."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("media")]
