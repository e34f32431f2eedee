"""Features of texts that are no project's items, remembered for a while: Label Studio asks for the same ones again."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
import numpy.typing as npt

from ml_backend.storage.dataset import digest

Matrix = npt.NDArray[np.float32]
LIMIT = 20_000  # vectors, some 25 MB


class LruCache:
    """The latest vectors, by feature_key and text; safe to share between threads and projects."""

    def __init__(self, limit: int = LIMIT) -> None:
        """Remember `limit` vectors."""
        self._limit = limit
        self._lock = Lock()
        self._vectors: OrderedDict[tuple[str, bytes], Matrix] = OrderedDict()

    def vectors(self, feature_key: str, texts: Sequence[str], compute: Callable[[Sequence[str]], Matrix]) -> Matrix:
        """One vector a text, float32 (n, d): remembered, else computed and remembered under `feature_key`."""
        keys = [(feature_key, digest(text)) for text in texts]
        with self._lock:
            known = {key: self._vectors[key] for key in keys if key in self._vectors}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if new:
            known.update(zip(new, compute(list(new.values())), strict=True))
        with self._lock:
            for key in keys:
                self._vectors[key] = known[key]
                self._vectors.move_to_end(key)
            while len(self._vectors) > self._limit:
                self._vectors.popitem(last=False)
        return np.stack([known[key] for key in keys])
