"""A cache for features of contents that belong to no item: Label Studio often asks for the same ones again."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.storage import digest

Matrix = npt.NDArray[np.float32]
LIMIT = 20_000  # vectors, some 25 MB


class LruCache:
    """The latest vectors, by feature key and text. Safe to share between threads and projects."""

    def __init__(self, limit: int = LIMIT) -> None:
        """Keep `limit` vectors."""
        self._limit = limit
        self._lock = Lock()
        self._vectors: OrderedDict[tuple[str, bytes], Matrix] = OrderedDict()

    def vectors(self, feature_key: str, texts: Sequence[Any], compute: Callable[[Sequence[Any]], Matrix]) -> Matrix:
        """One vector per text, float32 (n, d), from the cache or from `compute`."""
        keys = [(feature_key, digest(text)) for text in texts]
        with self._lock:
            vectors = {key: self._vectors[key] for key in keys if key in self._vectors}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
        if new:
            vectors.update(zip(new, compute(list(new.values())), strict=True))
        with self._lock:
            for key in keys:
                self._vectors[key] = vectors[key]
                self._vectors.move_to_end(key)
            while len(self._vectors) > self._limit:
                self._vectors.popitem(last=False)
        return np.stack([vectors[key] for key in keys])
