"""The cache of texts that belong to no item."""

from collections.abc import Sequence

import numpy as np

from ml_backend.features.lru_cache import LruCache


def test_recent_texts_are_not_computed_twice() -> None:
    asked: list[str] = []

    def compute(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text)] for text in texts], dtype=np.float32)

    recent = LruCache(limit=3)
    assert recent.vectors("a", ["one text", "another", "one text"], compute).tolist() == [[8], [7], [8]]
    assert recent.vectors("a", ["another", "a third", "one text"], compute).tolist() == [[7], [7], [8]]
    assert asked == ["one text", "another", "a third"]
    recent.vectors("b", ["one text"], compute)  # of another kind, and makes room
    recent.vectors("a", ["one text", "another"], compute)  # the one asked for longest ago has gone
    assert asked[3:] == ["one text", "another"]
