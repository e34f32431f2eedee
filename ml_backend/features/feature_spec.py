"""Which features a model uses, and how the stored ones are read."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ml_backend.storage import Dataset

Matrix = npt.NDArray[np.float32]
Embedding = Literal["frozen", "fine-tuned", "transformer"]
FINAL = -1  # the place of what belongs to the final model, behind the folds


@dataclass(frozen=True)
class FeatureSpec:
    """The features that a model was trained on: the encoder's fingerprint and the id of the TF-IDF map, of texts.

    `finetuned` are the keys of embeddings by fine-tuned encoders, one per fold and one for FINAL, which then replace
    those of `encoder`. `transformers` are the keys of logits by transformers, which replace everything else. Features
    of a fold are computed for labelled texts only, those for FINAL for all texts.
    """

    encoder: str = ""
    lexical: str = ""
    finetuned: tuple[str, ...] = ()
    transformers: tuple[str, ...] = ()

    def feature_keys(self, member: int) -> tuple[str, ...]:
        """The keys of the features that the model of a fold, or FINAL, reads side by side."""
        if self.transformers:
            return (self.transformers[member],)
        return _present(self.finetuned[member] if self.finetuned else self.encoder, self.lexical)

    @property
    def all_feature_keys(self) -> tuple[str, ...]:
        """The keys of everything that is computed for any text."""
        return self.transformers or _present(self.encoder, self.lexical, *self.finetuned)

    @property
    def ensemble_keys(self) -> tuple[str, ...]:
        """The keys of the features that fine-tuned models make: those of the folds in order, then that of FINAL."""
        return self.transformers or self.finetuned

    @property
    def embedding(self) -> Embedding:
        """What the features come from, beside the terms."""
        if self.transformers:
            return "transformer"
        return "fine-tuned" if self.finetuned else "frozen"


def _present(*keys: str) -> tuple[str, ...]:
    """The keys without empty ones: media have no terms."""
    return tuple(filter(None, keys))


class Block(NamedTuple):
    """Items of the dataset and their stored features for FINAL: ids, digests, and float32 (n, d)."""

    ids: list[int]
    digests: list[bytes]
    features: Matrix


def read_block(dataset: Dataset, spec: FeatureSpec, first: int, last: int) -> Block | None:
    """Read the items from id `first` to `last` that have all features, in the order of the ids. None without any."""
    ids, digests, vectors = dataset.scan(spec.feature_keys(FINAL), first, last)
    return Block(ids, digests, np.hstack(vectors)) if ids else None
