"""The same classifiers as a model class of label-studio-ml, for teams that deploy with `label-studio-ml start`.

label-studio-ml has two lines, which call a model differently. 1.0.9 (PyPI) calls `_Release1`, and 2.x (its repository)
calls `_Release2`. `TextClassifier` derives from the one that fits the installed version. Both delegate to the service
behind `ml-backend serve`, with its settings (docs/label-studio-ml.md).

`label-studio-ml init --script` copies this file and imports it under another name, so it uses absolute imports only.
"""

import atexit
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, cached_property
from inspect import signature
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import ValidationError

from ml_backend.errors import BackendError, InvalidRequest, NotFound
from ml_backend.schemas import PredictRequest, describe
from ml_backend.service import Service
from ml_backend.settings import Settings

try:
    from label_studio_ml import model as label_studio_ml
except ImportError as error:
    raise ImportError(
        f"ml_backend.model needs the extra label-studio-ml ({error.name} is not installed). docs/label-studio-ml.md "
        "explains how to install it."
    ) from error

_POLL_SECONDS = 0.2
_opening = Lock()


class _Release1:
    """The calls of 1.0.9: `predict` on the instance of the last /setup, of any project, and `fit` on a new one."""

    label_config: str | None

    def predict(self, tasks: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Return one entry per task, as /predict of docs/backend-api.md does."""
        return _predictions(_project_of(tasks), _of_request("label_config", self.label_config), tasks)

    def fit(self, tasks: Iterable[Any], workdir: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Handle an event, whose training runs in the background. Returns the answer of /webhook.

        Without an `event` and its `data`, train on the annotated `tasks`, as Label Studio exports them. Returns the job
        when it has ended.
        """
        if "event" in kwargs:
            return _handle(kwargs["event"], kwargs["data"])
        annotated = list(tasks)
        project = _project_of(annotated)
        event = {"project": {"id": int(project), "label_config": self.label_config or ""}}
        annotations = [{**row, "task": task["id"]} for task in annotated for row in task.get("annotations") or ()]
        _handle("ANNOTATIONS_CREATED", event | {"annotation": annotations, "task": annotated})
        return _ended(project, _handle("START_TRAINING", event))


class _Release2:
    """The calls of 2.x, each on an instance that is made for the request.

    2.x keeps what an instance sets in a cache that all requests of the project share. There, another request could
    replace the config between two calls, or the model version by 2.x's own first one. So an instance keeps its own.
    """

    project_id: str
    label_config: str | None

    @cached_property
    def _own(self) -> dict[str, Any]:
        return {}

    def get(self, key: str) -> Any:
        """Return what this instance has set. The model version is the project's, empty before the first training."""
        return _service().version(self.project_id) if key == "model_version" else self._own.get(key)

    def set(self, key: str, value: Any) -> None:
        """Keep a value for this request."""
        self._own[key] = value

    def has(self, key: str) -> bool:
        """Whether this instance has set a value."""
        return key in self._own

    def use_label_config(self, label_config: str) -> None:
        """Keep the config of the request. If 2.x cannot read it, the answers have no prediction."""
        with suppress(Exception):
            super().use_label_config(label_config)  # type: ignore[misc]
        self.set("label_config", label_config)

    def predict(self, tasks: Any, context: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return one entry per task, as /predict of docs/backend-api.md does."""
        return _predictions(self.project_id, self.label_config, tasks)

    def fit(self, event: str, data: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Handle an event, whose training runs in the background. Returns the answer of /webhook."""
        return _handle(event, data)


_IS_RELEASE_1 = "train_output" in signature(label_studio_ml.LabelStudioMLBase.__init__).parameters
_Release = _Release1 if _IS_RELEASE_1 else _Release2


class TextClassifier(_Release, label_studio_ml.LabelStudioMLBase):  # type: ignore[misc, valid-type]
    """Classifies the texts of a Label Studio project with a control that can be served."""

    # The events that 1.0.9 passes on. 2.x has its own list.
    TRAIN_EVENTS = (
        "ANNOTATION_CREATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_DELETED",
        "TASKS_DELETED",
        "START_TRAINING",
    )


class _Jobs:
    """Runs the jobs of 1.0.9 in the service of this process.

    Its own job manager starts a process for each event, which imports PyTorch for seconds. A few quick annotators would
    overload a machine. It also knows neither the model of a project nor its version.
    """

    def run_job(self, model_class: Callable[..., Any], args: tuple[str, Mapping[str, Any], str]) -> None:
        """Let a model handle an event."""
        event, data, job = args
        model_class().process_event(event, data, job, {})

    def get_result(self, model_version: str | None = None) -> dict[str, Any]:
        """Return the model version for /setup: that of the requested project."""
        return {"job_id": _service().version(str(_of_request("project") or ""))}


if _IS_RELEASE_1:
    label_studio_ml.LabelStudioMLManager.get_job_manager = _Jobs  # it offers no other way to replace it


def _service() -> Service:
    """The service of this process."""
    with _opening:
        return _opened()


@cache
def _opened() -> Service:
    # 1.0.9 logs errors only, but the log explains why a training did not start.
    logging.getLogger("ml_backend").setLevel(logging.INFO)
    settings = Settings()
    if "model_dir" not in settings.model_fields_set and os.environ.get("MODEL_DIR"):  # label-studio-ml's variable
        settings = settings.model_copy(update={"model_dir": Path(os.environ["MODEL_DIR"], "ml_backend_data")})
    service = Service(settings)
    atexit.register(service.close)
    return service


def _predictions(project: str, config: str | None, tasks: Any) -> list[dict[str, Any]]:
    """One entry per task. What `ml-backend serve` refuses gets the same status and sentence."""
    body = {"project": project, "label_config": config, "tasks": tasks}
    try:
        request = PredictRequest.model_validate({name: value for name, value in body.items() if value is not None})
        answer = _service().predict(project, request.label_config or "", request.tasks)
    except ValidationError as error:
        raise _refusal(describe(error.errors()[0]), InvalidRequest.status) from error
    except BackendError as error:
        raise _refusal(str(error), error.status) from error
    return [entry.model_dump() for entry in answer.results]


def _refusal(sentence: str, status: int) -> Exception:
    """The exception that label-studio-ml answers with this status and sentence, and without a traceback."""
    from flask import has_request_context
    from label_studio_ml.exceptions import AnswerException

    return AnswerException(status, sentence, {"traceback": ""}) if has_request_context() else InvalidRequest(sentence)


def _handle(action: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Handle an event of Label Studio, from which label-studio-ml has removed the action."""
    return _service().webhook(json.dumps({**data, "action": action}).encode())


def _ended(project: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Wait for a training, and return its job. If none was started, returns the reason."""
    while "job" in answer:
        try:
            job = _service().job(project, answer["job"])
        except NotFound:  # it trains a further question
            return answer
        if not job.active:
            return vars(job)
        time.sleep(_POLL_SECONDS)
    return answer


def _of_request(name: str, otherwise: Any = None) -> Any:
    """A value in the body of the current request, which 1.0.9 does not pass on. Outside of one, `otherwise`."""
    from flask import has_request_context, request

    return request.get_json().get(name) if has_request_context() else otherwise


def _project_of(tasks: Any) -> str:
    """The id of the project of the tasks, or "0" if neither the request nor the tasks name it."""
    each = tasks if isinstance(tasks, list) else [tasks]
    candidates = [_of_request("project"), *(task.get("project") for task in each if isinstance(task, dict))]
    return next((str(project).partition(".")[0] for project in candidates if project), "0")
