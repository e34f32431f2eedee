"""Contents as numbers, each computed once and stored: an embedding, and of texts reduced TF-IDF beside it."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from ml_backend.errors import CorruptModel, EncoderUnavailable
from ml_backend.features import device, tfidf
from ml_backend.features.data_uri import medium_in
from ml_backend.features.encoder_ensembles import EncoderEnsembles, is_finetuned
from ml_backend.features.encoders import AnyEncoder, Encoders
from ml_backend.features.feature_spec import FINAL, FeatureSpec, Matrix
from ml_backend.features.finetune import Schedule
from ml_backend.features.lru_cache import LruCache
from ml_backend.features.pairs import cut
from ml_backend.features.transformer_ensembles import TransformerEnsembles, is_of_transformer
from ml_backend.parallel import ParallelRunner, RemoteCall
from ml_backend.settings import Settings
from ml_backend.storage import Dataset, digest
from ml_backend.storage.dataset import Kind

Report = Callable[[int, int], None]  # done, total
Compute = Callable[[Sequence[Any]], Matrix]
Fetch = Callable[[Sequence[int]], Mapping[int, bytes]]
TFIDF_SAMPLE = 20_000
SECONDS_A_TEXT = 0.01  # to embed it on two cores, roughly
_TFIDF_CHUNK = 1_000
_COPIED = 5_000  # embeddings that are in memory at a time while they are copied
# Texts per call on another machine, which receives their model with them. Whole chunks keep the batches the same.
_SHARD = 30 * device.chunk_size("cpu")


class FeatureStore:
    """The features of one project's texts."""

    def __init__(
        self,
        dataset: Dataset,
        encoders: Encoders,
        cache: LruCache,
        directory: Path,
        settings: Settings,
        siblings: Callable[[], Sequence[Dataset]] = tuple,
    ) -> None:
        """Compute features of the texts in `dataset`.

        Args:
            dataset: Holds the texts and their computed features.
            encoders: The encoders of all kinds of contents.
            cache: Features of texts that belong to no item.
            directory: The folder of TF-IDF maps, fine-tuned encoders and transformers.
            settings: The server's settings.
            siblings: Finds other datasets that may hold embeddings of the same texts.
        """
        self.parallel = ParallelRunner(settings)
        self._siblings = siblings
        self._cache = cache
        self._dataset = dataset
        self._encoders = encoders
        self._directory = directory / "lexical"
        self._keep_media = settings.keep_media
        self._tfidf_dims = settings.lexical_dims
        self._tfidf_maps: dict[str, tfidf.TfidfMap] = {}
        self.finetuned = EncoderEnsembles(
            directory / "encoders", lambda: self._encoder, Schedule.of(settings), self.parallel
        )
        self.transformers = TransformerEnsembles(directory / "transformers", settings, self.parallel)

    def next_spec(self, previous: FeatureSpec | None) -> FeatureSpec:
        """The features to train with, without fine-tuned encoders. Raises EncoderUnavailable.

        They are the previous ones. The TF-IDF map is fitted again if the texts have doubled.
        """
        fingerprint = self._encoder.fingerprint
        if not self.are_texts:
            return FeatureSpec(fingerprint)
        size = self._dataset.count_texts()
        if previous is not None and previous.lexical:
            with suppress(CorruptModel):  # a damaged map is fitted again
                if size < 2 * self._tfidf_map(previous.lexical).text_count:
                    return FeatureSpec(fingerprint, previous.lexical)
        sample = [cut(text) for text in self._dataset.sample_texts(TFIDF_SAMPLE)]
        fitted = tfidf.fit(sample, self._tfidf_dims, size, self._directory)
        self._tfidf_maps[fitted.id] = fitted
        return FeatureSpec(fingerprint, fitted.id)

    @property
    def kind(self) -> Kind:
        """What the contents are."""
        return self._dataset.kind

    @property
    def are_texts(self) -> bool:
        """Whether the contents are texts. Only of these there are terms."""
        return self.kind == "text"

    @property
    def are_trainable(self) -> bool:
        """Whether the encoder can be fine-tuned on the contents, of which none was dropped then."""
        if not self._encoder.is_trainable:
            return False
        return self.are_texts or (self._keep_media and not self._dataset.dropped())

    @property
    def seconds_a_step(self) -> float:
        """How long a step of a fine-tuning takes, roughly."""
        return self._encoder.seconds_a_step

    @property
    def loaded(self) -> str | None:
        """The fingerprint of the encoder if it is loaded, else None."""
        return self._encoder.loaded

    def expect(self, fingerprint: str) -> None:
        """Take the fingerprint of the encoder from another process."""
        self._encoder.expect(fingerprint)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the encoder. Raises EncoderUnavailable."""
        return self._encoder.fingerprint

    def matches(self, spec: FeatureSpec) -> bool:
        """Whether `spec` needs no encoder, or this one. Raises EncoderUnavailable."""
        return not spec.encoder or spec.encoder == self._encoder.fingerprint

    def needed_again(self) -> set[bytes]:
        """The digests of contents that were dropped before the encoder was another one. Raises EncoderUnavailable."""
        if self.are_texts or not self._dataset.dropped():
            return set()
        return self._dataset.dropped(lacking=self._encoder.fingerprint)

    def count_unembedded(self) -> int:
        """The number of texts without an embedding. `embed` copies or computes them."""
        return len(self._dataset.lacking(self._encoder.fingerprint))

    def embed(self, report: Report) -> None:
        """Embed every stored text without an embedding, and call `report(done, total)` after each batch.

        Embeddings that siblings hold are copied instead.
        """
        self._fill((self._encoder.fingerprint,), report)

    def fill(self, spec: FeatureSpec, report: Report = lambda done, total: None) -> None:
        """Compute what all texts lack for the final model, and report as `embed` does.

        What is done is kept if the process ends. Raises EncoderUnavailable, CorruptModel.
        """
        self._fill(spec.feature_keys(FINAL), report)

    def fill_labelled(self, spec: FeatureSpec, digests: Collection[bytes], report: Report) -> None:
        """Compute what the texts `digests` lack for the models of the folds and the final one, as `fill` does."""
        self._fill(spec.ensemble_keys, report, digests)

    def fill_with(
        self,
        compute: Compute | RemoteCall,
        feature_key: str,
        report: Report,
        digests: Collection[bytes] | None = None,
    ) -> None:
        """Compute missing features by a model that is not on disk yet, of all texts or only of `digests`."""
        self._fill_with(compute, feature_key, self._dataset.lacking(feature_key, digests), report)

    def count_lacking(self, spec: FeatureSpec) -> int:
        """The number of texts that `fill` would compute something for."""
        return max(len(self._dataset.lacking(key)) for key in spec.feature_keys(FINAL))

    def matrix(self, spec: FeatureSpec, digests: Sequence[bytes], member: int = FINAL) -> tuple[Matrix, list[int]]:
        """The stored features of `digests` for the model of a fold, or FINAL.

        Returns float32 (n, d), and the positions in `digests` of its n rows.
        """
        parts = [self._dataset.features(key, digests) for key in spec.feature_keys(member)]
        positions = [position for position, key in enumerate(digests) if all(key in part for part in parts)]
        rows = [np.concatenate([part[digests[position]] for part in parts]) for position in positions]
        return np.array(rows, dtype=np.float32), positions

    def of_texts(self, spec: FeatureSpec, texts: Sequence[Any], member: int = FINAL) -> Matrix:
        """The features (n, d) of any contents, stored or computed. Raises CorruptModel."""
        texts = [_as_read(text) for text in texts]
        keys = [digest(text) for text in texts]
        stored, positions = self.matrix(spec, keys, member)
        new = sorted(set(range(len(texts))) - set(positions))
        if not new:
            return stored
        new_texts = [texts[position] for position in new]
        computed = np.hstack(
            [self._cache.vectors(key, new_texts, self._compute(key)) for key in spec.feature_keys(member)]
        )
        features = np.empty((len(texts), computed.shape[1]), dtype=np.float32)
        features[new] = computed
        if positions:
            features[positions] = stored
        return features

    def of_addresses(
        self, spec: FeatureSpec, addresses: Sequence[str], fetch: Fetch = lambda positions: {}
    ) -> tuple[Matrix, list[int]]:
        """The features of media, or of texts in files, for FINAL: float32 (n, d), and the positions of its n rows.

        They are stored ones. A medium that is in its address itself (a data: URI) needs none. `fetch` gives those of
        the others that it can, by their positions. Raises CorruptModel.
        """
        digests = self._dataset.digests_of_sources([digest(address) for address in addresses])
        known = [position for position, key in enumerate(digests) if key is not None]
        features, found = self.matrix(spec, [digests[position] or b"" for position in known])
        positions = [known[row] for row in found]
        left = sorted(set(range(len(addresses))) - set(positions))
        kind = self.kind
        contents = {place: content for place in left if (content := medium_in(addresses[place], kind)) is not None}
        contents |= fetch([place for place in left if place not in contents])
        if not contents:
            return features, positions
        computed = self.of_texts(spec, list(contents.values()))
        return np.vstack([features, computed]) if positions else computed, [*positions, *contents]

    def embeddings(self, digests: Sequence[bytes], seconds: float = inf) -> tuple[Matrix, list[int]]:
        """The embeddings of `digests`, computed if missing: float32 (n, d), and the positions of its n rows.

        After so many seconds, no further chunk of media is computed, and those that are missing are left out.
        """
        feature_key = self._encoder.fingerprint
        embedded = self._dataset.features(feature_key, digests)
        missing = [key for key in digests if key not in embedded]
        left = self._copy_embeddings(missing)
        if len(left) < len(missing):
            embedded = self._dataset.features(feature_key, digests)
        chunk = max(1, len(left)) if self.are_texts else self._chunk_size  # texts take no time
        until = time.monotonic() + seconds
        for start in range(0, len(left), chunk):
            if start and time.monotonic() > until:
                break
            # Another request may have computed them meanwhile, such as one that its client gave up.
            part = left[start : start + chunk]
            embedded.update(self._dataset.features(feature_key, part))
            stored, contents = self._stored_texts([key for key in part if key not in embedded])
            if stored:
                vectors = self._encoder.encode(contents)
                self._dataset.add_features(feature_key, stored, vectors)
                embedded.update(zip(stored, vectors, strict=True))
                self._drop_copies()
        positions = [position for position, key in enumerate(digests) if key in embedded]
        vectors = np.array([embedded[digests[position]] for position in positions], dtype=np.float32)
        return vectors if positions else np.zeros((0, 0), dtype=np.float32), positions

    def forget_all_but(self, spec: FeatureSpec, ensemble_keys: Collection[str]) -> None:
        """Drop the stored features of other models, and what `release` drops.

        Models that make `ensemble_keys` stay, and the newest fine-tuned encoders with their features. Embeddings stay
        beside transformers, because a project may return to another classifier soon.
        """
        self.release(spec)
        self.transformers.keep_only(ensemble_keys)
        kept = {*spec.all_feature_keys, *self.finetuned.keep_only(ensemble_keys)}
        keep_embeddings = not spec.encoder
        self._dataset.drop_features(
            [
                key
                for key in self._dataset.feature_keys()
                if key not in kept and (is_finetuned(key) or is_of_transformer(key) or not keep_embeddings)
            ]
        )

    def forget(self) -> None:
        """Remove all fine-tuned models."""
        self.finetuned.forget()
        self.transformers.release(())
        self.transformers.keep_only(())

    def prepare(self, spec: FeatureSpec) -> None:
        """Load what new texts need, if similar models were needed before."""
        with suppress(CorruptModel, EncoderUnavailable):  # the request that needs it will report the error
            if spec.lexical:
                self._tfidf_map(spec.lexical)
            self.finetuned.prepare(spec.finetuned)
            self.transformers.prepare(spec.transformers)

    def release(self, spec: FeatureSpec) -> None:
        """Drop from memory what `spec` does not need, except one TF-IDF map that may be in use."""
        for identifier in [key for key in list(self._tfidf_maps) if key != spec.lexical][:-1]:
            del self._tfidf_maps[identifier]
        self.finetuned.release(spec.finetuned)
        self.transformers.release(spec.transformers)

    def count_texts(self) -> int:
        """The number of stored texts."""
        return self._dataset.count_texts()

    def stored(self, digests: Sequence[bytes]) -> set[bytes]:
        """The digests whose text is stored."""
        return set(self._dataset.texts(digests))

    def texts(self, digests: Sequence[bytes]) -> list[str]:
        """The stored texts of `digests`, cut to what models read."""
        return self._stored_texts(digests)[1]

    @property
    def _chunk_size(self) -> int:
        """How many contents are computed while others wait, and stored together. A recording may take seconds."""
        return device.chunk_size(device.name(), "recordings" if self.kind == "audio" else "texts")

    @property
    def _encoder(self) -> AnyEncoder:
        return self._encoders.of(self.kind)

    def _fill(self, feature_keys: Sequence[str], report: Report, digests: Collection[bytes] | None = None) -> None:
        lacking = {key: self._dataset.lacking(key, digests) for key in feature_keys}
        for key in filter(self._is_embedding, feature_keys):
            lacking[key] = self._copy_embeddings(lacking[key])
        done, total = 0, sum(map(len, lacking.values()))
        for feature_key, keys in lacking.items():
            is_remote = self.parallel.distributed and self.parallel.divides(SECONDS_A_TEXT * len(keys))
            compute = (self._remote_call(feature_key) if is_remote else None) or self._compute(feature_key)
            self._fill_with(compute, feature_key, keys, lambda count, _, before=done: report(before + count, total))  # type: ignore[misc]
            done += len(keys)
        self._drop_copies()

    def _drop_copies(self) -> None:
        """Drop media whose embeddings are stored, if they are not to be kept."""
        if not (self._keep_media or self.are_texts):
            self._dataset.drop_contents(self._encoder.fingerprint)

    def _copy_embeddings(self, keys: Sequence[bytes]) -> list[bytes]:
        """Copy the embeddings that other datasets hold. Returns those of the `keys` that none holds, in their order."""
        left, feature_key = list(keys), self._encoder.fingerprint
        for sibling in self._siblings() if left else ():
            copied: set[bytes] = set()
            for start in range(0, len(left), _COPIED):
                found = sibling.features(feature_key, left[start : start + _COPIED])
                if found:
                    self._dataset.add_features(feature_key, list(found), np.stack(list(found.values())))
                copied.update(found)
            left = [key for key in left if key not in copied]
        return left

    def _is_embedding(self, feature_key: str) -> bool:
        """Whether vectors under a key are those of the sentence encoder itself."""
        # A fingerprint would load the sentence encoder, which these keys need not have.
        if is_of_transformer(feature_key) or is_finetuned(feature_key):
            return False
        return feature_key == self._encoder.fingerprint

    def _fill_with(
        self, compute: Compute | RemoteCall, feature_key: str, keys: Sequence[bytes], report: Report
    ) -> None:
        if isinstance(compute, RemoteCall):
            self._fill_remotely(compute, feature_key, keys, report)
            return
        chunk = _TFIDF_CHUNK if feature_key in self._tfidf_maps else self._chunk_size
        for start in range(0, len(keys), chunk):
            stored, texts = self._stored_texts(keys[start : start + chunk])
            if texts:
                self._dataset.add_features(feature_key, stored, compute(texts))
            report(min(start + chunk, len(keys)), len(keys))

    def _fill_remotely(self, compute: RemoteCall, feature_key: str, keys: Sequence[bytes], report: Report) -> None:
        shards = [keys[start : start + _SHARD] for start in range(0, len(keys), _SHARD)]
        sent: list[list[bytes]] = []  # of each shard, the digests that were still stored when it was sent

        def part(shard: Sequence[bytes]) -> tuple[Any, ...]:
            stored, texts = self._stored_texts(shard)
            sent.append(stored)
            return *compute.arguments, texts

        seconds = SECONDS_A_TEXT * len(keys)
        computed = self.parallel.run(compute.function, map(part, shards), len(shards), seconds=seconds)
        for place, vectors in enumerate(computed):
            self._dataset.add_features(feature_key, sent[place], vectors)
            report(min((place + 1) * _SHARD, len(keys)), len(keys))

    def _stored_texts(self, keys: Sequence[bytes]) -> tuple[list[bytes], list[Any]]:
        """The `keys` whose content is stored, in their order, and these contents, texts cut to what models read."""
        texts = self._dataset.texts(keys)
        stored = [key for key in keys if key in texts]
        return stored, [_as_read(texts[key]) for key in stored]

    def _remote_call(self, feature_key: str) -> RemoteCall | None:
        """What computes vectors in any process. None for TF-IDF, which takes longer to send than to compute."""
        if is_of_transformer(feature_key):
            return self.transformers.remote_call(feature_key)
        if is_finetuned(feature_key):
            return self.finetuned.remote_call(feature_key)
        return self._encoder.remote_call() if feature_key == self._encoder.fingerprint else None

    def _compute(self, feature_key: str) -> Compute:
        """What computes vectors under a key. Raises CorruptModel, EncoderUnavailable."""
        if is_of_transformer(feature_key):  # comes first: a fingerprint would load the sentence encoder
            return partial(self.transformers.logits, feature_key)
        if is_finetuned(feature_key):
            return partial(self.finetuned.encode, feature_key)
        if feature_key == self._encoder.fingerprint:
            return self._encoder.encode
        return self._tfidf_map(feature_key).transform

    def _tfidf_map(self, identifier: str) -> tfidf.TfidfMap:
        if identifier not in self._tfidf_maps:
            self._tfidf_maps[identifier] = tfidf.read(self._directory, identifier)
        return self._tfidf_maps[identifier]


def _as_read(content: Any) -> Any:
    """A content as far as models read it."""
    return cut(content) if isinstance(content, str) else content
