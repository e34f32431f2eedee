"""The same classifiers as a model class of label-studio-ml, for teams that deploy with `label-studio-ml start`.

label-studio-ml has two lines, which call a model otherwise: `_Release1` is what 1.0.9 (PyPI) calls, `_Release2` what
2.x (its repository) calls, and `TextClassifier` is the one of them that fits what is installed. Both hand everything to
the service behind `ml-backend serve`, with its settings (docs/label-studio-ml.md).

`label-studio-ml init --script` copies this file away and imports it under another name: it imports by full names alone.
"""

import atexit
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from inspect import signature
from pathlib import Path
from threading import Lock
from typing import Any

from ml_backend.service import Service
from ml_backend.settings import Settings

try:
    from label_studio_ml import model as label_studio_ml
except ImportError as error:
    raise ImportError(
        f"ml_backend.model needs the extra label-studio-ml (there is no {error.name}); docs/label-studio-ml.md says "
        "how to install it."
    ) from error

_LOOK_SECONDS = 0.2
_opening = Lock()


class _Release1:
    """What 1.0.9 calls: `predict` on the instance of the last /setup, whatever its project, and `fit` on a new one."""

    label_config: str | None

    def predict(self, tasks: list[Any], **kwargs: Any) -> list[dict[str, Any]]:
        """One entry a task, as /predict of docs/backend-api.md has them."""
        return _predictions(_project_of(tasks), _asked().get("label_config") or self.label_config, tasks)

    def fit(self, tasks: Iterable[Any], workdir: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Do what an event asks for, a training behind it; the answer of /webhook in docs/backend-api.md.

        Without an `event` and its `data`, train on `tasks`, annotated ones as Label Studio exports them, and wait; the
        job that has ended.
        """
        if "event" in kwargs:
            return _handle(kwargs["event"], kwargs["data"])
        annotated = list(tasks)
        project = _project_of(annotated)
        told = {"project": {"id": int(project), "label_config": self.label_config or ""}}
        annotations = [{**row, "task": task["id"]} for task in annotated for row in task.get("annotations") or ()]
        _handle("ANNOTATIONS_CREATED", told | {"annotation": annotations, "task": annotated})
        return _ended(project, _handle("START_TRAINING", told))


class _Release2:
    """What 2.x calls: all of it on an instance made for the request."""

    project_id: str
    label_config: str | None
    get: Callable[[str], str | None]
    set: Callable[[str, str], None]

    def setup(self) -> None:
        """Let /setup tell the project's current model version; empty before the first training."""
        version = _service().version(self.project_id)
        if self.get("model_version") != version:
            self.set("model_version", version)

    def predict(self, tasks: list[Any], context: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """One entry a task, as /predict of docs/backend-api.md has them."""
        return _predictions(self.project_id, self.label_config, tasks)

    def fit(self, event: str, data: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Do what an event asks for, a training behind it; the answer of /webhook in docs/backend-api.md."""
        return _handle(event, data)


_IS_RELEASE_1 = "train_output" in signature(label_studio_ml.LabelStudioMLBase.__init__).parameters
_Release = _Release1 if _IS_RELEASE_1 else _Release2


class TextClassifier(_Release, label_studio_ml.LabelStudioMLBase):  # type: ignore[misc, valid-type]
    """Classifies the texts of a Label Studio project by a `Choices` on a `Text`."""

    # Those that 1.0.9 hands on; 2.x has a list of its own.
    TRAIN_EVENTS = (
        "ANNOTATION_CREATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_DELETED",
        "TASKS_DELETED",
        "START_TRAINING",
    )


class _Jobs:
    """1.0.9's jobs, done by the service of this process.

    Its own start a process for each event, which takes seconds to import PyTorch: a few annotators who are quick use up
    a machine. Of a project they know neither the model nor its version.
    """

    def run_job(self, model_class: Callable[..., Any], args: tuple[str, Mapping[str, Any], str]) -> None:
        """Have a model do what an event asks for."""
        event, data, job = args
        model_class().process_event(event, data, job, {})

    def get_result(self, model_version: str | None = None) -> dict[str, Any]:
        """What /setup tells as the model version: that of the project it asks for."""
        return {"job_id": _service().version(str(_asked().get("project", "")))}


if _IS_RELEASE_1:
    label_studio_ml.LabelStudioMLManager.get_job_manager = _Jobs  # it offers no other place to say so


def _service() -> Service:
    """The one of this process."""
    with _opening:
        return _opened()


@cache
def _opened() -> Service:
    # 1.0.9 logs nothing below an error, and only the log says why a training did not start.
    logging.getLogger("ml_backend").setLevel(logging.INFO)
    settings = Settings()
    if "model_dir" not in settings.model_fields_set and os.environ.get("MODEL_DIR"):  # label-studio-ml's own
        settings = settings.model_copy(update={"model_dir": Path(os.environ["MODEL_DIR"], "ml_backend_data")})
    service = Service(settings)
    atexit.register(service.close)
    return service


def _predictions(project: str, config: str | None, tasks: list[Any]) -> list[dict[str, Any]]:
    return [entry.model_dump() for entry in _service().predict(project, config or "", tasks).results]


def _handle(action: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """An event as Label Studio sent it; label-studio-ml has taken its action out."""
    return _service().webhook(json.dumps({**data, "action": action}).encode())


def _ended(project: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The job that a training was, when it has ended; where none was started, why."""
    while "job" in answer:
        job = _service().job(project, answer["job"])
        if not job.active:
            return vars(job)
        time.sleep(_LOOK_SECONDS)
    return answer


def _asked() -> dict[str, Any]:
    """The request that is being answered: 1.0.9 hands on neither its project nor its labelling config."""
    from flask import has_request_context, request

    return request.get_json() if has_request_context() else {}


def _project_of(tasks: list[Any]) -> str:
    """The id of the project that tasks are of; "0" where neither the request nor they say."""
    told = [_asked().get("project"), *(task.get("project") for task in tasks if isinstance(task, dict))]
    return next((str(found).partition(".")[0] for found in told if found), "0")
