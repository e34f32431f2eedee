"""TF-IDF maps on disk."""

from pathlib import Path

from ml_backend.features import tfidf


def test_terms_that_are_whole_are_never_replaced(tmp_path: Path) -> None:
    texts = ["one text", "another text", "and one more"]
    written = tfidf.fit(texts, 2, len(texts), tmp_path).id
    before = (tmp_path / written).stat().st_ino
    assert tfidf.fit(texts, 2, len(texts), tmp_path).id == written
    assert (tmp_path / written).stat().st_ino == before
