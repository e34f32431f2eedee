"""Answers tasks of Label Studio with the predictions of a model."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ml_backend.classifiers.one_vs_rest import DECISION_THRESHOLD
from ml_backend.features.feature_store import FeatureStore
from ml_backend.labeling.controls import Control
from ml_backend.labeling.form.conditions import Condition, shown_labels
from ml_backend.labeling.form.data import LINK_MARK
from ml_backend.labeling.label_config import describe_changes, match_models
from ml_backend.labeling.objects.medium import PAGE_SEPARATOR
from ml_backend.models.registry import TrainedModel
from ml_backend.schemas import PredictResponse

# A kind, {key: the id of a task and the addresses of the parts that it shows} → {key: its small copy}
FetchMedia = Callable[[str, Mapping[int, tuple[int, Sequence[str]]]], Mapping[int, bytes]]


class _Answer(NamedTuple):
    """A model's answer to a task: classes, and its confidence."""

    classes: list[str]
    score: float


class _Answers(NamedTuple):
    """What a model answers: the control, the answers by the places of their tasks, and why there are no others."""

    control: Control | None
    by_task: dict[int, _Answer]
    message: str


def predict_tasks(
    models: Sequence[tuple[TrainedModel, FeatureStore]],
    controls: Sequence[Control],
    conditions: Mapping[str, Sequence[Condition]],
    tasks: Sequence[Any],
    fetch: FetchMedia = lambda kind, wanted: {},
) -> PredictResponse:
    """Predict the classes of tasks. Only classes that the labelling config still has are predicted.

    Args:
        models: The model of each question, at least one, with the features of its texts.
        controls: The controls of the project's labelling config.
        conditions: When the form shows each control, by its name. A question that it hides is not answered.
        tasks: Tasks of Label Studio.
        fetch: Gives small copies of the media that are not stored, as far as it can.

    Returns:
        One entry per task, with the answers to all questions in the order of the config. It is empty without an answer,
        and its result is empty if none of several classes applies. Its score is the mean over the answers, and its
        version the newest one. `message` explains how the config differs from that of a model, or why there is no
        answer.

    Raises:
        EncoderUnavailable: The sentence encoder cannot be loaded.
        CorruptModel: A model's files are damaged.
    """
    only_models = [model for model, _ in models]
    matched = match_models(only_models, controls)
    changes = describe_changes(only_models, controls, matched)
    answers = [
        _answer(model, features, control, change, tasks, fetch)
        for (model, features), control, change in zip(models, matched, changes, strict=True)
    ]
    version = max(model.version for model in only_models)  # names sort by time
    message = " ".join(filter(None, (found.message for found in answers)))
    response = PredictResponse.empty(len(tasks), version, message)
    given = {found.control.name: (found.control, found.by_task) for found in answers if found.control is not None}
    given = {control.name: given[control.name] for control in controls if control.name in given}
    known = {name: _decidable(conditions.get(name, ()), given.keys()) for name in given}
    for place, entry in enumerate(response.results):
        labels = {name: by_task[place].classes for name, (_, by_task) in given.items() if place in by_task}
        shown = shown_labels(known, labels)
        entry.result = [region for name, classes in shown.items() for region in given[name][0].result_of(classes)]
        if shown:
            entry.score = sum(given[name][1][place].score for name in shown) / len(shown)
    return response


def _decidable(conditions: Iterable[Condition], answered: Collection[str]) -> list[Condition]:
    """The conditions on controls that a model answers. Without a prediction, it is open whether the others are met."""
    return [condition for condition in conditions if not condition.control or condition.control in answered]


def _answer(
    model: TrainedModel,
    features: FeatureStore,
    control: Control | None,
    message: str,
    tasks: Sequence[Any],
    fetch: FetchMedia,
) -> _Answers:
    """The answers of one model in a control."""
    answers = _Answers(control, {}, message)
    if control is None:
        return answers
    read = control.with_fields(model.fields)
    texts = {place: text for place, task in enumerate(tasks) if (text := text_of(task, read))}
    kind = features.kind
    if not texts or kind != read.kind:
        return answers
    if not features.matches(model.feature_spec):
        message = f"Model version {model.version} was trained with another encoder. Train again."
        return answers._replace(message=message)
    places, vectors = _vectors(model, features, texts, tasks, fetch)
    if not places:
        return answers
    probabilities = model.final.predict_proba(vectors)
    valid = [index for index, class_ in enumerate(model.classes) if class_ in control.classes]
    for place, row in zip(places, probabilities, strict=True):
        chosen, score = _choose(row[valid], model.multilabel)
        answers.by_task[place] = _Answer([model.classes[valid[index]] for index in chosen], score)
    return answers


def _vectors(
    model: TrainedModel, features: FeatureStore, contents: Mapping[int, str], tasks: Sequence[Any], fetch: FetchMedia
) -> tuple[list[int], npt.NDArray[np.float32]]:
    """The places of those contents that are known, and their features (n, d). `contents`: by place, at least one."""
    kind = features.kind
    is_plain = {place: kind == "text" and LINK_MARK not in content for place, content in contents.items()}
    plain, named = ([place for place in contents if is_plain[place] == wanted] for wanted in (True, False))
    places, parts = [*plain], []

    def missing(positions: Sequence[int]) -> Mapping[int, bytes]:
        if kind == "text":
            return {}
        owners = {position: named[position] for position in positions}
        media = {at: (_id_of(tasks[own]), contents[own].split(PAGE_SEPARATOR)) for at, own in owners.items()}
        return fetch(kind, media)

    if plain:
        parts.append(features.of_texts(model.feature_spec, [contents[place] for place in plain]))
    if named:
        vectors, known = features.of_addresses(model.feature_spec, [contents[place] for place in named], missing)
        if known:
            parts.append(vectors)
            places += [named[position] for position in known]
    return places, np.vstack(parts) if parts else np.zeros((0, 0), np.float32)


def _id_of(task: Any) -> int:
    """The id of a task, or 0: Label Studio's addresses of its storages need it."""
    found = task.get("id")
    return found if isinstance(found, int) else 0


def text_of(task: Any, control: Control) -> str:
    """What a task of Label Studio shows in a control: a text, a link, or an address. Empty if there is nothing."""
    return control.shown(task.get("data") if isinstance(task, dict) else None).text or ""


def _choose(probabilities: npt.NDArray[np.float64], multilabel: bool) -> tuple[list[int], float]:
    """The positions of the predicted classes, and the confidence of the model.

    With `multilabel`, these are all classes that rather apply than not. The confidence is that of the least certain
    class, yes or no.
    """
    if not multilabel:
        best = int(probabilities.argmax())
        return [best], float(probabilities[best])
    confidence = np.maximum(probabilities, 1 - probabilities).min()
    return np.flatnonzero(probabilities >= DECISION_THRESHOLD).tolist(), float(confidence)
