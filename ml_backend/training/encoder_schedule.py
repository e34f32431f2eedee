"""When an encoder is fine-tuned, on what, and which of the encoders there are a training may use."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ml_backend.errors import InvalidRequest
from ml_backend.features.encoder_ensembles import EncoderEnsemble
from ml_backend.features.feature_store import FeatureSpec, FeatureStore
from ml_backend.training import folds as fold_assignment

FIRST = 100  # labelled texts; after that whenever they have doubled


@dataclass(frozen=True)
class LabelledItems:
    """The items of a training, whose texts are held: digests (n, 16), labels (n,) or (n, k), weights (n,).

    `groups` (n,) are alike for items of the same text, `strata` (n,) for those whose labels are to be spread evenly.
    """

    digests: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    groups: npt.NDArray[np.int64]
    strata: npt.NDArray[np.int64]
    classes: int


def usable_ensemble(features: FeatureStore, keys: Collection[bytes], folds: int) -> EncoderEnsemble | None:
    """The newest encoders for a training on the texts `keys` (digests) in `folds`; raises EncoderUnavailable.

    None where they are of another encoder or number of folds, or where most of their labels were taken back.
    """
    newest = features.finetuned.newest()
    if newest is None or (newest.encoder, newest.folds) != (features.fingerprint, folds):
        return None
    present = {newest.fold[key] for key in keys if key in newest.fold}
    return newest if len(keys) >= newest.labels / 2 and len(present) == folds else None


def is_due(features: FeatureStore, keys: Collection[bytes], folds: int) -> bool:
    """Whether there are labels enough for new encoders; raises EncoderUnavailable."""
    current = usable_ensemble(features, keys, folds)
    return len(keys) >= (2 * current.labels if current is not None else FIRST)


def assign_folds(
    current: EncoderEnsemble | None, labelled: LabelledItems, folds: int, seed: int
) -> npt.NDArray[np.int8]:
    """The fold (n,) of each item: the one its text had when the encoders were made, of which others join.

    So no fold's encoder has seen the label of a text in that fold, then or now.
    """
    if current is None:
        return fold_assignment.assign_folds(labelled.groups, labelled.strata, folds, seed)
    kept = np.array([current.fold.get(bytes(key), fold_assignment.NO_FOLD) for key in labelled.digests], dtype=np.int8)
    return fold_assignment.join_folds(kept, labelled.groups, labelled.strata, folds, seed)


def finetune_encoders(
    features: FeatureStore,
    spec: FeatureSpec,
    labelled: LabelledItems,
    folds: int,
    seed: int,
    finetuning: Callable[[int, int], None],
    embedding: Callable[[int, int], None],
) -> None:
    """Fine-tune encoders, embed all texts with them and publish them, calling each stage's `report(done, total)`.

    Raises InvalidRequest where a labelled text has gone meanwhile.
    """
    texts = features.texts([bytes(key) for key in labelled.digests])
    if len(texts) != len(labelled.digests):
        raise gone()
    made = features.finetuned.make(
        texts,
        labelled.digests,
        labelled.labels,
        labelled.classes,
        labelled.weights,
        fold_assignment.assign_folds(labelled.groups, labelled.strata, folds, seed),
        seed,
        finetuning,
    )
    features.fill(replace(spec, finetuned=made.feature_keys), embedding)
    features.finetuned.publish(made.name)


def gone() -> InvalidRequest:
    """What to raise where labelled texts have gone since the training began."""
    return InvalidRequest("Labelled texts were taken away during the training; start it again.")
