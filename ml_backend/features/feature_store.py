"""Texts as numbers: a sentence embedding beside reduced TF-IDF, each computed once per text and kept in the dataset."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ml_backend.errors import CorruptModel, EncoderUnavailable
from ml_backend.features import tfidf
from ml_backend.features.encoder import CHUNK, Encoder
from ml_backend.features.encoder_ensembles import EncoderEnsembles, is_finetuned
from ml_backend.features.finetune import Schedule
from ml_backend.features.lru_cache import LruCache
from ml_backend.features.transformer_ensembles import TransformerEnsembles, is_of_transformer
from ml_backend.parallel import ParallelRunner, RemoteCall
from ml_backend.settings import Settings
from ml_backend.storage.dataset import Dataset, digest

Matrix = npt.NDArray[np.float32]
Report = Callable[[int, int], None]  # done, total
Compute = Callable[[Sequence[str]], Matrix]
LEXICAL_SAMPLE = 20_000
SECONDS_A_TEXT = 0.01  # to embed it on two cores, roughly
# The encoder reads 256 tokens, and no class hangs on character 20,001: a book pasted into a task costs no more.
_MAX_CHARACTERS = 20_000
_LEXICAL_CHUNK = 1_000
# Texts that go to another machine together, and their model with them; of whole chunks, so that batches are the same.
_SHARD = 30 * CHUNK
FINAL = -1  # the place of what belongs to the model of all labels, behind the folds'


@dataclass(frozen=True)
class FeatureSpec:
    """Which features a model was trained on: the encoder's fingerprint and the id of the TF-IDF map.

    `finetuned`: instead of the encoder's embeddings, those by fine-tuned ones, of each fold and FINAL; `transformers`:
    instead of all this, the logits by transformers, of each fold and FINAL.
    """

    encoder: str = ""
    lexical: str = ""
    finetuned: tuple[str, ...] = ()
    transformers: tuple[str, ...] = ()

    def feature_keys(self, member: int) -> tuple[str, ...]:
        """What the features of the models of a fold, or FINAL, consist of."""
        if self.transformers:
            return (self.transformers[member],)
        return self.finetuned[member] if self.finetuned else self.encoder, self.lexical

    @property
    def all_feature_keys(self) -> tuple[str, ...]:
        """What has to be computed of a text."""
        return self.transformers or (self.encoder, self.lexical, *self.finetuned)

    @property
    def ensemble_keys(self) -> tuple[str, ...]:
        """What models fine-tuned for this project make of a text."""
        return self.transformers or self.finetuned


class Block(NamedTuple):
    """Items of the dataset and their cached features: ids, digests, and for the model of each fold float32 (n, d)."""

    ids: list[int]
    digests: list[bytes]
    features: list[Matrix]


def read_block(dataset: Dataset, spec: FeatureSpec, folds: int, first: int, last: int) -> Block | None:
    """The items from id `first` to `last` that have all features, by id; None where none has."""
    members = range(folds) if spec.ensemble_keys else [FINAL]
    feature_keys = list(dict.fromkeys(feature_key for member in members for feature_key in spec.feature_keys(member)))
    ids, digests, vectors = dataset.scan(feature_keys, first, last)
    if not ids:
        return None
    of_kind = dict(zip(feature_keys, vectors, strict=True))
    each = [np.hstack([of_kind[feature_key] for feature_key in spec.feature_keys(member)]) for member in members]
    return Block(ids, digests, each if spec.ensemble_keys else each * folds)


class FeatureStore:
    """The features of one project's texts."""

    def __init__(
        self, dataset: Dataset, encoder: Encoder, cache: LruCache, directory: Path, settings: Settings
    ) -> None:
        """Keep TF-IDF maps, fine-tuned encoders and transformers below `directory`."""
        self.parallel = ParallelRunner(settings)
        self._cache = cache
        self._dataset = dataset
        self._encoder = encoder
        self._directory = directory / "lexical"
        self._lexical_dims = settings.lexical_dims
        self._lexical: dict[str, tfidf.TfidfMap] = {}
        self.finetuned = EncoderEnsembles(directory / "encoders", encoder, Schedule.of(settings), self.parallel)
        self.transformers = TransformerEnsembles(directory / "transformers", settings, self.parallel)

    def next_spec(self, previous: FeatureSpec | None) -> FeatureSpec:
        """The spec to train with: the previous one, its TF-IDF fitted anew once the dataset has doubled.

        It is one without fine-tuned encoders. Raises EncoderUnavailable.
        """
        fingerprint = self._encoder.fingerprint
        size = self._dataset.count_texts()
        if previous is not None and previous.lexical:
            with suppress(CorruptModel):  # then a new one is fitted
                if size < 2 * self._map(previous.lexical).pool_size:
                    return FeatureSpec(fingerprint, previous.lexical)
        sample = [text[:_MAX_CHARACTERS] for text in self._dataset.sample_texts(LEXICAL_SAMPLE)]
        fitted = tfidf.fit(sample, self._lexical_dims, size, self._directory)
        self._lexical[fitted.id] = fitted
        return FeatureSpec(fingerprint, fitted.id)

    @property
    def fingerprint(self) -> str:
        """The encoder's; raises EncoderUnavailable."""
        return self._encoder.fingerprint

    def matches(self, spec: FeatureSpec) -> bool:
        """Whether the encoder at hand is the one of the spec, if it has one; raises EncoderUnavailable."""
        return not spec.encoder or spec.encoder == self._encoder.fingerprint

    def count_unembedded(self) -> int:
        """How many texts `embed` would embed."""
        return len(self._dataset.lacking(self._encoder.fingerprint))

    def embed(self, report: Report) -> None:
        """Embed every held text that has no embedding yet, calling `report(done, total)` after each batch."""
        self._fill((self._encoder.fingerprint,), report)

    def fill(self, spec: FeatureSpec, report: Report = lambda done, total: None) -> None:
        """Compute all that is missing, calling `report` as `embed` does; raises EncoderUnavailable, CorruptModel."""
        self._fill(spec.all_feature_keys, report)

    def fill_with(self, compute: Compute | RemoteCall, feature_key: str, report: Report) -> None:
        """Compute what is missing of a feature_key whose model is not on disk yet, calling `report` as `embed` does."""
        self._fill_with(compute, feature_key, self._dataset.lacking(feature_key), report)

    def matrix(self, spec: FeatureSpec, digests: Sequence[bytes], member: int = FINAL) -> tuple[Matrix, list[int]]:
        """The cached features of `digests` for the models of a fold, or FINAL.

        They are float32 (n, d), with the positions in `digests` of the n rows.
        """
        parts = [self._dataset.features(feature_key, digests) for feature_key in spec.feature_keys(member)]
        positions = [position for position, key in enumerate(digests) if all(key in part for part in parts)]
        rows = [np.concatenate([part[digests[position]] for part in parts]) for position in positions]
        return np.array(rows, dtype=np.float32), positions

    def of_texts(self, spec: FeatureSpec, texts: Sequence[str], member: int = FINAL) -> Matrix:
        """The features of any texts, as `matrix` has them, from the cache where they are in it; raises CorruptModel."""
        texts = [text[:_MAX_CHARACTERS] for text in texts]
        keys = [digest(text) for text in texts]
        known, positions = self.matrix(spec, keys, member)
        new = sorted(set(range(len(texts))) - set(positions))
        if not new:
            return known
        new_texts = [texts[position] for position in new]
        computed = np.hstack(
            [
                self._cache.vectors(feature_key, new_texts, self._compute(feature_key))
                for feature_key in spec.feature_keys(member)
            ]
        )
        features = np.empty((len(texts), computed.shape[1]), dtype=np.float32)
        features[new] = computed
        if positions:
            features[positions] = known
        return features

    def embeddings(self, digests: Sequence[bytes]) -> tuple[Matrix, list[int]]:
        """The embeddings of `digests`, computed where missing: float32 (n, d) and the positions of its n rows."""
        feature_key = self._encoder.fingerprint
        held = self._dataset.features(feature_key, digests)
        texts = self._dataset.texts([key for key in digests if key not in held])
        if texts:
            vectors = self._encoder.encode([text[:_MAX_CHARACTERS] for text in texts.values()])
            self._dataset.add_features(feature_key, list(texts), vectors)
            held.update(zip(texts, vectors, strict=True))
        positions = [position for position, key in enumerate(digests) if key in held]
        vectors = np.array([held[digests[position]] for position in positions], dtype=np.float32)
        return vectors if positions else np.zeros((0, 0), dtype=np.float32), positions

    def forget_all_but(self, spec: FeatureSpec, feature_keys: Collection[str]) -> None:
        """Drop the cached features of other recipes, and what `release` drops.

        Of the fine-tuned encoders and transformers, those stay that make `feature_keys`, and the newest encoders with
        their features. Embeddings stay beside transformers, which are quickly given up for another classifier.
        """
        self.release(spec)
        self.transformers.keep_only(feature_keys)
        kept = {*spec.all_feature_keys, *self.finetuned.keep_only(feature_keys)}
        embeddings = not spec.encoder
        self._dataset.drop_features(
            [
                feature_key
                for feature_key in self._dataset.feature_keys()
                if feature_key not in kept
                and (is_finetuned(feature_key) or is_of_transformer(feature_key) or not embeddings)
            ]
        )

    def forget(self) -> None:
        """Remove all fine-tuned models."""
        self.finetuned.forget()
        self.transformers.release(())
        self.transformers.keep_only(())

    def prepare(self, spec: FeatureSpec) -> None:
        """Load what the spec needs for new texts, as far as the like was needed before."""
        with suppress(CorruptModel, EncoderUnavailable):  # who needs it will be told
            if spec.lexical:
                self._map(spec.lexical)
            self.finetuned.prepare(spec.finetuned)
            self.transformers.prepare(spec.transformers)

    def release(self, spec: FeatureSpec) -> None:
        """Drop from memory what the spec does not need, but for one TF-IDF map that may be in use."""
        for identifier in [key for key in list(self._lexical) if key != spec.lexical][:-1]:
            del self._lexical[identifier]
        self.finetuned.release(spec.finetuned)
        self.transformers.release(spec.transformers)

    def count_texts(self) -> int:
        """How many texts are held."""
        return self._dataset.count_texts()

    def held(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those digests whose text is held."""
        return set(self._dataset.texts(digests))

    def texts(self, digests: Sequence[bytes]) -> list[str]:
        """The texts of those digests that are held, as they are read."""
        return self._held_of(digests)[1]

    def _fill(self, feature_keys: Sequence[str], report: Report) -> None:
        lacking = {feature_key: self._dataset.lacking(feature_key) for feature_key in feature_keys}
        done, total = 0, sum(map(len, lacking.values()))
        for feature_key, keys in lacking.items():
            elsewhere = self.parallel.distributed and self.parallel.divides(SECONDS_A_TEXT * len(keys))
            compute = (self._remote_call(feature_key) if elsewhere else None) or self._compute(feature_key)
            self._fill_with(compute, feature_key, keys, lambda some, _, before=done: report(before + some, total))  # type: ignore[misc]
            done += len(keys)

    def _fill_with(
        self, compute: Compute | RemoteCall, feature_key: str, keys: Sequence[bytes], report: Report
    ) -> None:
        if isinstance(compute, RemoteCall):
            self._fill_elsewhere(compute, feature_key, keys, report)
            return
        chunk = _LEXICAL_CHUNK if feature_key in self._lexical else CHUNK
        for start in range(0, len(keys), chunk):
            held, texts = self._held_of(keys[start : start + chunk])
            if texts:
                self._dataset.add_features(feature_key, held, compute(texts))
            report(min(start + chunk, len(keys)), len(keys))

    def _fill_elsewhere(self, compute: RemoteCall, feature_key: str, keys: Sequence[bytes], report: Report) -> None:
        shards = [keys[start : start + _SHARD] for start in range(0, len(keys), _SHARD)]
        sent: list[list[bytes]] = []  # of each shard, what is still held by then

        def part(shard: Sequence[bytes]) -> tuple[Any, ...]:
            held, texts = self._held_of(shard)
            sent.append(held)
            return *compute.arguments, texts

        seconds = SECONDS_A_TEXT * len(keys)
        computed = self.parallel.run(compute.function, map(part, shards), len(shards), seconds=seconds)
        for place, vectors in enumerate(computed):
            self._dataset.add_features(feature_key, sent[place], vectors)
            report(min((place + 1) * _SHARD, len(keys)), len(keys))

    def _held_of(self, keys: Sequence[bytes]) -> tuple[list[bytes], list[str]]:
        """Those of `keys` whose text is held, and their texts as they are read, in the order of `keys`."""
        texts = self._dataset.texts(keys)
        held = [key for key in keys if key in texts]
        return held, [texts[key][:_MAX_CHARACTERS] for key in held]

    def _remote_call(self, feature_key: str) -> RemoteCall | None:
        """What makes vectors of a key in any process; None of terms, which take longer to send than to count."""
        if is_of_transformer(feature_key):
            return self.transformers.remote_call(feature_key)
        if is_finetuned(feature_key):
            return self.finetuned.remote_call(feature_key)
        return self._encoder.remote_call() if feature_key == self._encoder.fingerprint else None

    def _compute(self, feature_key: str) -> Compute:
        """What makes vectors of a feature_key; raises CorruptModel, EncoderUnavailable."""
        if is_of_transformer(feature_key):  # asked first: these need no sentence encoder, whose fingerprint loads it
            return partial(self.transformers.logits, feature_key)
        if is_finetuned(feature_key):
            return partial(self.finetuned.encode, feature_key)
        return self._encoder.encode if feature_key == self._encoder.fingerprint else self._map(feature_key).transform

    def _map(self, identifier: str) -> tfidf.TfidfMap:
        if identifier not in self._lexical:
            self._lexical[identifier] = tfidf.read(self._directory, identifier)
        return self._lexical[identifier]
