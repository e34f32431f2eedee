"""Which features a model uses, and how the stored ones are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ml_backend.storage import Dataset

Matrix = npt.NDArray[np.float32]
FINAL = -1  # the place of what belongs to the final model, behind the folds


@dataclass(frozen=True)
class FeatureSpec:
    """The features that a model was trained on: the encoder's fingerprint and the id of the TF-IDF map.

    `finetuned` are the keys of embeddings by fine-tuned encoders, one per fold and one for FINAL, which then replace
    those of `encoder`. `transformers` are the keys of logits by transformers, which replace everything else.
    """

    encoder: str = ""
    lexical: str = ""
    finetuned: tuple[str, ...] = ()
    transformers: tuple[str, ...] = ()

    def feature_keys(self, member: int) -> tuple[str, ...]:
        """The keys of the features that the model of a fold, or FINAL, reads side by side."""
        if self.transformers:
            return (self.transformers[member],)
        return self.finetuned[member] if self.finetuned else self.encoder, self.lexical

    @property
    def all_feature_keys(self) -> tuple[str, ...]:
        """The keys of everything that is computed for a text."""
        return self.transformers or (self.encoder, self.lexical, *self.finetuned)

    @property
    def ensemble_keys(self) -> tuple[str, ...]:
        """The keys of the features that fine-tuned models make, which differ from fold to fold."""
        return self.transformers or self.finetuned


class Block(NamedTuple):
    """Items of the dataset and their stored features: ids, digests, and one float32 (n, d) per fold."""

    ids: list[int]
    digests: list[bytes]
    features: list[Matrix]


def read_block(dataset: Dataset, spec: FeatureSpec, folds: int, first: int, last: int) -> Block | None:
    """Read the items from id `first` to `last` that have all features, in the order of the ids. None without any."""
    members: Sequence[int] = range(folds) if spec.ensemble_keys else [FINAL]
    feature_keys = list(dict.fromkeys(key for member in members for key in spec.feature_keys(member)))
    ids, digests, vectors = dataset.scan(feature_keys, first, last)
    if not ids:
        return None
    by_key = dict(zip(feature_keys, vectors, strict=True))
    matrices = [np.hstack([by_key[key] for key in spec.feature_keys(member)]) for member in members]
    return Block(ids, digests, matrices if spec.ensemble_keys else matrices * folds)
