"""TF-IDF of words and characters, reduced by a truncated SVD, kept as plain arrays."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd

from ml_backend.errors import CorruptModel
from ml_backend.features import pairs
from ml_backend.storage.atomic_files import new_directory

# Words and single punctuation marks, so that every text that is not blank has a term.
_WORD = r"(?u)\w+|[^\w\s]"
_ANALYZERS, _MAX_TERMS = ("word", "char_wb"), (20_000, 30_000)
# A map serves many trainings with different seeds. A constant keeps it the same for the same texts.
_SVD_SEED = 0


@dataclass(frozen=True)
class TfidfMap:
    """A fitted map from text to numbers. `id` is its digest, and `text_count` the number of texts at its fit."""

    id: str
    text_count: int
    components: npt.NDArray[np.float32]
    vectorizers: tuple[TfidfVectorizer, ...]

    def transform(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The features of `texts`, float32 (n, dims)."""
        if not self.vectorizers:
            return np.zeros((len(texts), 0), dtype=np.float32)
        return np.asarray(pairs.difference(self._reduced, texts), dtype=np.float32)

    def _reduced(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.asarray(_terms(self.vectorizers, texts) @ self.components.T, dtype=np.float32)


def fit(texts: Sequence[str], max_dims: int, text_count: int, root: Path) -> TfidfMap:
    """Fit a map and write it to `root/<id>`.

    Args:
        texts: A sample of the project's texts, or pairs of texts.
        max_dims: The largest number of dimensions. Few texts give fewer, and less than two with a term give none.
        text_count: The number of texts that the project has.
        root: The folder of the project's maps.
    """
    texts = [side for text in texts for side in pairs.sides(text) if side.strip()]
    if len(texts) < 2 or max_dims == 0:
        return _write(root, [], {"components": np.zeros((0, 0), dtype=np.float32)}, text_count)
    vectorizers = [
        TfidfVectorizer(max_features=most, **_options(analyzer))
        for analyzer, most in zip(_ANALYZERS, _MAX_TERMS, strict=True)
    ]
    terms = sparse.hstack([vectorizer.fit_transform(texts) for vectorizer in vectorizers], format="csr")
    dims = min(max_dims, *terms.shape)
    # What scikit-learn's TruncatedSVD runs, without its pass over the variances.
    _, _, components = randomized_svd(terms, n_components=dims, n_iter=2, random_state=_SVD_SEED)
    arrays = {"components": np.ascontiguousarray(components, dtype=np.float32)}
    vocabularies = []
    for number, vectorizer in enumerate(vectorizers):
        vocabularies.append(vectorizer.get_feature_names_out().tolist())
        arrays[f"idf{number}"] = vectorizer.idf_
    return _write(root, vocabularies, arrays, text_count)


def read(root: Path, identifier: str) -> TfidfMap:
    """Read `root/<identifier>`. Raises CorruptModel if it is not what was written."""
    try:
        terms = (root / identifier / "terms.json").read_bytes()
        weights = (root / identifier / "weights.safetensors").read_bytes()
    except OSError as error:
        raise CorruptModel("The term features of a model are missing. Train again.") from error
    if _digest(terms, weights) != identifier:
        raise CorruptModel("The term features of a model are damaged. Train again.")
    described, arrays = json.loads(terms), load(weights)
    vectorizers = []
    for number, vocabulary in enumerate(described["vocabularies"]):
        vectorizer = TfidfVectorizer(vocabulary=vocabulary, **_options(_ANALYZERS[number]))
        vectorizer.idf_ = arrays[f"idf{number}"]
        vectorizers.append(vectorizer)
    return TfidfMap(identifier, described["pool_size"], arrays["components"], tuple(vectorizers))


def _write(root: Path, vocabularies: list[list[str]], arrays: dict[str, npt.NDArray[Any]], text_count: int) -> TfidfMap:
    terms = json.dumps({"pool_size": text_count, "vocabularies": vocabularies}).encode()
    weights = save(arrays)
    identifier = _digest(terms, weights)
    with suppress(CorruptModel):
        return read(root, identifier)  # never replaced while it is whole, because versions need it
    with new_directory(root / identifier) as directory:
        (directory / "terms.json").write_bytes(terms)
        (directory / "weights.safetensors").write_bytes(weights)
    return read(root, identifier)


def _options(analyzer: str) -> dict[str, Any]:
    options: dict[str, Any] = {"analyzer": analyzer, "sublinear_tf": True, "dtype": np.float32}
    if analyzer == "word":
        return {**options, "ngram_range": (1, 2), "token_pattern": _WORD}
    return {**options, "ngram_range": (2, 4)}


def _terms(vectorizers: Sequence[TfidfVectorizer], texts: Sequence[str]) -> sparse.csr_matrix:
    return sparse.hstack([vectorizer.transform(texts) for vectorizer in vectorizers], format="csr")


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
