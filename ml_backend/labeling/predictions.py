"""Answers tasks of Label Studio with the predictions of a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.classifiers.one_vs_rest import DECISION_THRESHOLD
from ml_backend.features.feature_store import FeatureStore
from ml_backend.labeling.controls import Control
from ml_backend.labeling.label_config import describe_change, match_control
from ml_backend.models.registry import TrainedModel
from ml_backend.schemas import Prediction, PredictResponse


def predict_tasks(
    model: TrainedModel, features: FeatureStore, controls: Sequence[Control], tasks: Sequence[Any]
) -> PredictResponse:
    """Predict the classes of tasks. Only classes that the labelling config still has are predicted.

    Args:
        model: The model.
        features: The project's features.
        controls: The controls of the project's labelling config.
        tasks: Tasks of Label Studio.

    Returns:
        One entry per task. It is empty without an answer, and its result is empty if none of several classes applies.
        `message` explains how the config differs from that of the model, or why there is no answer.

    Raises:
        EncoderUnavailable: The sentence encoder cannot be loaded.
        CorruptModel: The model's files are damaged.
    """
    control = match_control(controls, model.classes, model.multilabel, model.control)
    message = describe_change(model.version, controls, control, model.classes, model.multilabel)
    response = PredictResponse.empty(len(tasks), model.version, message)
    if control is None:
        return response
    control = control.with_fields(model.fields)
    texts = {place: text for place, task in enumerate(tasks) if (text := text_of(task, control))}
    if not texts:
        return response
    if not features.matches(model.feature_spec):
        response.message = f"Model version {model.version} was trained with another sentence encoder. Train again."
        return response
    probabilities = model.final.predict_proba(features.of_texts(model.feature_spec, list(texts.values())))
    valid = [index for index, class_ in enumerate(model.classes) if class_ in control.classes]
    for place, row in zip(texts, probabilities, strict=True):
        chosen, score = _choose(row[valid], model.multilabel)
        result = control.result_of([model.classes[valid[index]] for index in chosen])
        response.results[place] = Prediction(result=result, score=score, model_version=model.version)
    return response


def text_of(task: Any, control: Control) -> str:
    """What a task of Label Studio shows in a control. Empty if there is nothing, or only a link to a file."""
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
