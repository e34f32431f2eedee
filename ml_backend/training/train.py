"""Labels in, a trained model out: features, folds, one model per fold, and a final one on all labels."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

import numpy as np
import numpy.typing as npt

from ml_backend.classifiers import catalog
from ml_backend.classifiers.one_vs_rest import DECISION_THRESHOLD
from ml_backend.errors import LabelledTextsChanged
from ml_backend.features.feature_spec import FeatureSpec
from ml_backend.features.feature_store import SECONDS_A_TEXT, Compute, FeatureStore
from ml_backend.features.sequence_classifier import SECONDS_A_STEP as SECONDS_A_TRANSFORMER_STEP
from ml_backend.models.registry import TrainedModel, TrainingSet
from ml_backend.parallel import RemoteCall
from ml_backend.progress import Progress
from ml_backend.storage.dataset import Kind
from ml_backend.training import encoder_schedule
from ml_backend.training.fit import Fitted, fit
from ml_backend.training.request import LabelledItems, TrainingRequest

# The stages of a job, in order. Those in braces name the contents.
EMBEDDING, REDUCING, FINETUNING = "embedding {}", "reducing terms", "fine-tuning encoders"
EMBEDDING_LABELLED, FITTING, EMBEDDING_ANEW = "embedding labelled {}", "training", "embedding {} anew"
_CONTENTS: dict[Kind, str] = {"text": "texts", "image": "images", "audio": "recordings"}
# Rough seconds on two cores. They only shape the progress, and decide whether work is divided.
_SECONDS_A_TERM_VECTOR, _SECONDS_A_LABEL = 0.0005, 0.0005
_TEXTS_A_STEP = 16  # of a step that takes SECONDS_A_TRANSFORMER_STEP
_FEW_TEXTS = 1_000  # are embedded anew while somebody waits for the training


def train(
    request: TrainingRequest, features: FeatureStore, previous: TrainedModel | None, progress: Progress
) -> TrainedModel:
    """Train a model. It is not published and has no version yet.

    Args:
        request: What to train on.
        features: The project's features.
        previous: The last model, whose TF-IDF map is used again.
        progress: Receives the progress.

    Raises:
        EncoderUnavailable: The sentence encoder or the transformer cannot be loaded.
        ClusterUnavailable: The Ray cluster cannot be reached, or a process died.
        CorruptModel: The fine-tuned encoders are damaged.
        LabelledTextsChanged: A labelled text was removed.
    """
    kind = catalog.CLASSIFIERS[request.classifier]
    if kind.transformer:
        labelled, fitted = _train_transformers(request, features, progress)
        return _as_model(request, labelled, fitted, previous)
    finetune_now = encoder_schedule.is_due(request, features, "now")
    spec, labelled = _prepare(request, features, previous, progress, finetune_now)
    if finetune_now:
        _finetune_encoders(request, features, spec, labelled, progress)
    fitted = _fit_best(request, features, spec, labelled, progress, waiting=request.finetune == "background")
    return _as_model(request, labelled, fitted, previous)


def finetune(
    request: TrainingRequest, features: FeatureStore, previous: TrainedModel | None, progress: Progress
) -> None:
    """Fine-tune encoders for later trainings, and embed all texts with them where they are better.

    Encoders that are not due are not made again, so this continues what was interrupted. The arguments and the errors
    are those of `train`.
    """
    due = encoder_schedule.is_due(request, features, "background")
    spec, labelled = _prepare(request, features, previous, progress, due)
    if due:
        _finetune_encoders(request, features, spec, labelled, progress)
    _fit_best(request, features, spec, labelled, progress, waiting=False)


def awaits_embedding(model: TrainedModel) -> bool:
    """Whether fine-tuned encoders are better than the embeddings of `model`, and texts are to be embedded with them."""
    losses = model.settings.get("losses")
    return losses is not None and model.feature_spec.embedding == "frozen" and is_better(losses)


def _prepare(
    request: TrainingRequest,
    features: FeatureStore,
    previous: TrainedModel | None,
    progress: Progress,
    finetuning: bool,
) -> tuple[FeatureSpec, LabelledItems]:
    """Compute the features that do not depend on labels, and find the labelled items whose text is stored."""
    unembedded, size = features.count_unembedded(), len(request.digests)
    finetuned = catalog.CLASSIFIERS[request.classifier].finetuned
    embedding, embedding_labelled, embedding_anew = _embedding_stages(features)
    progress.plan(
        {
            embedding: SECONDS_A_TEXT * unembedded,
            REDUCING: (0.5 + _SECONDS_A_TERM_VECTOR * unembedded) * features.are_texts,
            FINETUNING: features.seconds_a_step * features.finetuned.schedule.steps * request.fold_count * finetuning,
            embedding_labelled: SECONDS_A_TEXT * size * (request.fold_count + 1) * finetuning,
            FITTING: 0.5 + _SECONDS_A_LABEL * size * (request.fold_count + 1) * (1 + finetuned),
            embedding_anew: SECONDS_A_TEXT * features.count_texts() * finetuning,
        }
    )
    progress.report(embedding, 0, unembedded)
    features.embed(partial(progress.report, embedding))
    if features.are_texts:
        progress.report(REDUCING)
    spec = features.next_spec(previous.feature_spec if previous is not None else None)
    features.fill(spec, partial(progress.report, REDUCING if features.are_texts else embedding))
    return spec, LabelledItems.of(request, features.matrix(spec, request.digests)[1])


def _finetune_encoders(
    request: TrainingRequest, features: FeatureStore, spec: FeatureSpec, labelled: LabelledItems, progress: Progress
) -> None:
    _, embedding_labelled, _ = _embedding_stages(features)
    on_step, on_embedded = partial(progress.report, FINETUNING), partial(progress.report, embedding_labelled)
    encoder_schedule.finetune_encoders(request, features, spec, labelled.given, on_step, on_embedded)


def _fit_best(
    request: TrainingRequest,
    features: FeatureStore,
    spec: FeatureSpec,
    labelled: LabelledItems,
    progress: Progress,
    *,
    waiting: bool,
) -> Fitted:
    """Fit to the frozen embeddings, and to those of fine-tuned encoders if there are any.

    Returns what predicts the labels held out better: the choice is made by labels that neither has seen. If that is the
    fine-tuned one, all texts are embedded anew. If somebody is `waiting` and that is much work, it is left for
    `finetune`, and the frozen one is returned.
    """
    ensemble = None
    _, embedding_labelled, embedding_anew = _embedding_stages(features)
    if catalog.CLASSIFIERS[request.classifier].finetuned:
        ensemble = encoder_schedule.usable_ensemble(features, request.given, request.fold_count)
    folds = encoder_schedule.assign_folds(ensemble, labelled, request.fold_count, request.seed)
    if ensemble is None:
        return fit(request, features, spec, labelled, folds, partial(progress.report, FITTING))
    finetuned_spec = replace(spec, finetuned=ensemble.feature_keys)
    features.fill_labelled(finetuned_spec, labelled.keys, partial(progress.report, embedding_labelled))

    def report(before: int, done: int, total: int, fold: int | None = None) -> None:
        progress.report(FITTING, before * total + done, 2 * total, fold)

    frozen = fit(request, features, spec, labelled, folds, partial(report, 0))
    finetuned = fit(request, features, finetuned_spec, labelled, folds, partial(report, 1))
    losses: dict[str, float] = {each.spec.embedding: each.loss for each in (frozen, finetuned)}
    frozen, finetuned = (replace(each, settings={**each.settings, "losses": losses}) for each in (frozen, finetuned))
    if not is_better(losses):
        return frozen
    if waiting and features.count_lacking(finetuned_spec) > max(_FEW_TEXTS, features.count_texts() // 10):
        return frozen
    features.fill(finetuned_spec, partial(progress.report, embedding_anew))
    return finetuned


def _embedding_stages(features: FeatureStore) -> list[str]:
    """The stages of a job that embed contents, in order."""
    contents = _CONTENTS[features.kind]
    return [stage.format(contents) for stage in (EMBEDDING, EMBEDDING_LABELLED, EMBEDDING_ANEW)]


def is_better(losses: Mapping[str, float]) -> bool:
    """Whether classifiers on fine-tuned embeddings predict unseen labels better. `losses`: by embedding."""
    return losses["fine-tuned"] < losses["frozen"]


def _train_transformers(
    request: TrainingRequest, features: FeatureStore, progress: Progress
) -> tuple[LabelledItems, Fitted]:
    """Train one transformer per fold and one on all labels, which scores all texts while it is in memory."""
    stored = features.stored(request.digests)
    # A transformer takes minutes, so it learns from given labels alone.
    labelled = LabelledItems.of(request, [place for place, key in enumerate(request.given) if key in stored])
    folds = encoder_schedule.assign_folds(None, labelled, request.fold_count, request.seed)
    count, schedule = int(folds.max()) + 1, features.transformers.schedule
    stages = [
        (f"training transformer {number} of {count + 1}", f"scoring texts with transformer {number} of {count + 1}")
        for number in range(1, count + 2)
    ]
    training = SECONDS_A_TRANSFORMER_STEP * schedule.batch_size / _TEXTS_A_STEP * schedule.steps
    scored = [len(labelled.keys)] * count + [features.count_texts()]
    costs = {
        stage: cost
        for (train_stage, score_stage), texts in zip(stages, scored, strict=True)
        for stage, cost in ((train_stage, training), (score_stage, SECONDS_A_TEXT * texts))
    }
    progress.plan(costs | {FITTING: 0.5})

    def report(which: int, number: int, done: int, total: int) -> None:
        progress.report(stages[number][which], done, total, number if number < count else None)

    def score(number: int, feature_key: str, logits: Compute | RemoteCall) -> None:
        only = labelled.keys if number < count else None
        features.fill_with(logits, feature_key, partial(report, 1, number), only)

    texts = features.texts(labelled.keys)
    if len(texts) != len(labelled.digests):
        raise LabelledTextsChanged
    feature_keys = features.transformers.make(
        texts,
        labelled.labels,
        labelled.classes,
        labelled.weights,
        folds,
        request.seed,
        partial(report, 0),
        score,
    )
    spec = FeatureSpec(transformers=feature_keys)
    return labelled, fit(request, features, spec, labelled, folds, partial(progress.report, FITTING))


def _as_model(
    request: TrainingRequest,
    labelled: LabelledItems,
    fitted: Fitted,
    previous: TrainedModel | None,
) -> TrainedModel:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    is_as_before = previous is not None and previous.feature_spec.embedding == fitted.spec.embedding
    return TrainedModel(
        version="",
        classes=request.classes,
        feature_spec=fitted.spec,
        settings=fitted.settings,
        accuracy=_accuracy(fitted.out_of_sample[~labelled.pseudo], labelled.labels[~labelled.pseudo]),
        trained_at=now,
        since=previous.since if previous is not None and is_as_before else now,
        training_set=TrainingSet(
            labelled.digests, labelled.labels, fitted.folds, fitted.out_of_sample.astype(np.float32)
        ),
        final=fitted.final,
        by_fold=[] if fitted.spec.ensemble_keys else fitted.by_fold,
        multilabel=request.multilabel,
        classifier=request.classifier,
        control=request.control,
        fields=request.fields,
    )


def _accuracy(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """The share of items whose class, or whole set of classes, is predicted."""
    if labels.ndim == 1:
        return float(np.mean(probabilities.argmax(axis=1) == labels))
    return float(np.mean(((probabilities >= DECISION_THRESHOLD) == labels).all(axis=1)))
