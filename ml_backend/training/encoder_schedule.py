"""When encoders are fine-tuned, on what, and which of the existing encoders a training may use."""

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ml_backend.classifiers.catalog import CLASSIFIERS
from ml_backend.errors import LabelledTextsChanged
from ml_backend.features.encoder_ensembles import EncoderEnsemble
from ml_backend.features.feature_spec import FeatureSpec
from ml_backend.features.feature_store import FeatureStore
from ml_backend.settings import FineTune
from ml_backend.training import folds as fold_assignment
from ml_backend.training.request import LabelledItems, TrainingRequest

FIRST = 100  # labelled texts at the first fine-tuning. After that it is due whenever they have doubled.


def is_due(request: TrainingRequest, features: FeatureStore, when: FineTune) -> bool:
    """Whether encoders are to be fine-tuned on the labels of `request`, at this point of its training.

    Args:
        request: The training.
        features: The project's features.
        when: "now", before the models are trained, or "background", after the training.

    Raises:
        EncoderUnavailable: The encoder cannot be loaded.
    """
    if not CLASSIFIERS[request.classifier].finetuned or request.finetune != when:
        return False
    current = usable_ensemble(features, request.given, request.fold_count)
    return len(request.given) >= (2 * current.labels if current is not None else FIRST)


def usable_ensemble(features: FeatureStore, keys: Collection[bytes], folds: int) -> EncoderEnsemble | None:
    """The newest encoders, if a training on the texts `keys` (digests) in `folds` may use them.

    It may not if they come from another encoder, if they have another number of folds, or if most of their labels are
    gone. Raises EncoderUnavailable.
    """
    newest = features.finetuned.newest()
    if newest is None or (newest.encoder, newest.folds) != (features.fingerprint, folds):
        return None
    folds_in_use = {newest.fold[key] for key in keys if key in newest.fold}
    return newest if len(keys) >= newest.labels / 2 and len(folds_in_use) == folds else None


def assign_folds(
    current: EncoderEnsemble | None, labelled: LabelledItems, folds: int, seed: int
) -> npt.NDArray[np.int8]:
    """The fold (n,) of each item. A text keeps the fold that it had when the encoders were fine-tuned.

    So the encoder of a fold has never seen a label of a text in that fold. Items with pseudo-labels come last, so that
    the folds of the others do not depend on them.
    """
    given = labelled.given
    if current is None:
        first = fold_assignment.assign_folds(given.groups, given.strata, folds, seed)
    else:
        kept = np.array([current.fold.get(key, fold_assignment.NO_FOLD) for key in given.keys], dtype=np.int8)
        first = fold_assignment.join_folds(kept, given.groups, given.strata, folds, seed)
    if given is labelled:
        return first
    of_group = dict(zip(given.groups.tolist(), first.tolist(), strict=True))
    known = np.array([of_group.get(group, fold_assignment.NO_FOLD) for group in labelled.groups.tolist()], np.int8)
    return fold_assignment.join_folds(known, labelled.groups, labelled.strata, folds, seed)


def finetune_encoders(
    request: TrainingRequest,
    features: FeatureStore,
    spec: FeatureSpec,
    labelled: LabelledItems,
    on_step: Callable[[int, int], None],
    on_embedded: Callable[[int, int], None],
) -> None:
    """Fine-tune encoders, embed the labelled texts with them and publish them.

    Args:
        request: The training whose folds and seed apply.
        features: The project's features.
        spec: The features without fine-tuned encoders.
        labelled: The items to fine-tune on.
        on_step: `on_step(done, total)` is called during the fine-tuning.
        on_embedded: `on_embedded(done, total)` is called during the embedding.

    Raises:
        LabelledTextsChanged: A labelled text was removed.
    """
    texts = features.texts(labelled.keys)
    if len(texts) != len(labelled.digests):
        raise LabelledTextsChanged
    ensemble = features.finetuned.make(
        texts,
        labelled.digests,
        labelled.labels,
        labelled.classes,
        labelled.weights,
        fold_assignment.assign_folds(labelled.groups, labelled.strata, request.fold_count, request.seed),
        request.seed,
        on_step,
    )
    features.fill_labelled(replace(spec, finetuned=ensemble.feature_keys), labelled.keys, on_embedded)
    features.finetuned.publish(ensemble.name)
