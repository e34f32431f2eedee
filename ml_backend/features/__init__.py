"""Texts as numbers: a sentence embedding beside reduced TF-IDF, each computed once per text and kept in the pool."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.errors import CorruptModel
from ml_backend.features import lexical
from ml_backend.features.encoder import CHUNK, Encoder
from ml_backend.features.recent import Recent
from ml_backend.pool import Pool, digest

Matrix = npt.NDArray[np.float32]
LEXICAL_SAMPLE = 20_000
# The encoder reads 256 tokens, and no class hangs on character 20,001: a book pasted into a task costs no more.
_MAX_CHARACTERS = 20_000
_LEXICAL_CHUNK = 1_000
_SCAN_ROWS = 10_000


@dataclass(frozen=True)
class Recipe:
    """Which features a model was trained on: the encoder's fingerprint and the id of the TF-IDF map."""

    encoder: str
    lexical: str


class Features:
    """The features of one project's texts."""

    def __init__(self, pool: Pool, encoder: Encoder, recent: Recent, directory: Path, lexical_dims: int) -> None:
        """Keep TF-IDF maps in `directory`, of at most `lexical_dims` dimensions."""
        self._recent = recent
        self._pool = pool
        self._encoder = encoder
        self._directory = directory
        self._lexical_dims = lexical_dims
        self._lexical: dict[str, lexical.Lexical] = {}

    def recipe(self, previous: Recipe | None) -> Recipe:
        """The recipe to train with: the previous one, its TF-IDF fitted anew once the pool has doubled.

        Raises EncoderUnavailable.
        """
        fingerprint = self._encoder.fingerprint
        size = self._pool.count_texts()
        if previous is not None:
            with suppress(CorruptModel):  # then a new one is fitted
                if size < 2 * self._map(previous.lexical).pool_size:
                    return Recipe(fingerprint, previous.lexical)
        sample = [text[:_MAX_CHARACTERS] for text in self._pool.sample_texts(LEXICAL_SAMPLE)]
        fitted = lexical.fit(sample, self._lexical_dims, size, self._directory)
        self._lexical[fitted.id] = fitted
        return Recipe(fingerprint, fitted.id)

    def matches(self, recipe: Recipe) -> bool:
        """Whether the encoder at hand is the one of the recipe; raises EncoderUnavailable."""
        return recipe.encoder == self._encoder.fingerprint

    def embed(self, report: Callable[[int, int], None]) -> None:
        """Embed every held text that has no embedding yet, calling `report(done, total)` after each batch."""
        self._fill(self._encoder.fingerprint, self._encoder.encode, CHUNK, report)

    def count_unembedded(self) -> int:
        """How many texts `embed` would embed."""
        return len(self._pool.lacking(self._encoder.fingerprint))

    def reduce(self, recipe: Recipe, report: Callable[[int, int], None]) -> None:
        """Compute every missing TF-IDF vector, calling `report(done, total)` after each batch; raises CorruptModel."""
        self._fill(recipe.lexical, self._map(recipe.lexical).transform, _LEXICAL_CHUNK, report)

    def fill(self, recipe: Recipe) -> None:
        """Compute all that is missing; raises EncoderUnavailable, CorruptModel."""
        self.embed(lambda done, total: None)
        self.reduce(recipe, lambda done, total: None)

    def matrix(self, recipe: Recipe, digests: Sequence[bytes]) -> tuple[Matrix, list[int]]:
        """The cached features of `digests`: float32 (n, d) and the positions in `digests` of its n rows."""
        embedded, reduced = (self._pool.features(kind, digests) for kind in (recipe.encoder, recipe.lexical))
        positions = [position for position, key in enumerate(digests) if key in embedded and key in reduced]
        rows = [np.concatenate([embedded[digests[position]], reduced[digests[position]]]) for position in positions]
        return np.array(rows, dtype=np.float32), positions

    def scan(self, recipe: Recipe) -> Iterator[tuple[list[int], list[bytes], Matrix]]:
        """All items with cached features, by id, in blocks: ids, digests, float32 (n, d)."""
        return self._pool.scan((recipe.encoder, recipe.lexical), _SCAN_ROWS)

    def of_texts(self, recipe: Recipe, texts: Sequence[str]) -> Matrix:
        """The features of any texts, float32 (n, d), from the cache where they are in it; raises CorruptModel."""
        texts = [text[:_MAX_CHARACTERS] for text in texts]
        keys = [digest(text) for text in texts]
        known, positions = self.matrix(recipe, keys)
        new = sorted(set(range(len(texts))) - set(positions))
        if not new:
            return known
        new_texts = [texts[position] for position in new]
        embedded = self._recent.vectors(recipe.encoder, new_texts, self._encoder.encode)
        reduced = self._recent.vectors(recipe.lexical, new_texts, self._map(recipe.lexical).transform)
        computed = np.hstack([embedded, reduced])
        features = np.empty((len(texts), computed.shape[1]), dtype=np.float32)
        features[new] = computed
        if positions:
            features[positions] = known
        return features

    def embeddings(self, digests: Sequence[bytes]) -> tuple[Matrix, list[int]]:
        """The embeddings of `digests`, computed where missing: float32 (n, d) and the positions of its n rows."""
        kind = self._encoder.fingerprint
        held = self._pool.features(kind, digests)
        texts = self._pool.texts([key for key in digests if key not in held])
        if texts:
            vectors = self._encoder.encode([text[:_MAX_CHARACTERS] for text in texts.values()])
            self._pool.add_features(kind, list(texts), vectors)
            held.update(zip(texts, vectors, strict=True))
        positions = [position for position, key in enumerate(digests) if key in held]
        vectors = np.array([held[digests[position]] for position in positions], dtype=np.float32)
        return vectors if positions else np.zeros((0, 0), dtype=np.float32), positions

    def forget_all_but(self, recipe: Recipe) -> None:
        """Drop the cached features of other recipes, and all TF-IDF maps but it and one that may be in use."""
        for identifier in [key for key in self._lexical if key != recipe.lexical][:-1]:
            del self._lexical[identifier]
        self._pool.drop_features_except((recipe.encoder, recipe.lexical))

    def _fill(
        self, kind: str, compute: Callable[[list[str]], Matrix], chunk: int, report: Callable[[int, int], None]
    ) -> None:
        keys = self._pool.lacking(kind)
        for start in range(0, len(keys), chunk):
            texts = self._pool.texts(keys[start : start + chunk])
            if texts:
                vectors = compute([text[:_MAX_CHARACTERS] for text in texts.values()])
                self._pool.add_features(kind, list(texts), vectors)
            report(min(start + chunk, len(keys)), len(keys))

    def _map(self, identifier: str) -> lexical.Lexical:
        if identifier not in self._lexical:
            self._lexical[identifier] = lexical.read(self._directory, identifier)
        return self._lexical[identifier]
