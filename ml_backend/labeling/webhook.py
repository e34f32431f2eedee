"""Handles Label Studio's events: stores the annotations that they report, and trains on "Start Training".

The shapes are those that Label Studio 1.23.2 sends (tests/ml_backend/webhooks). Any other event, and one that cannot be
read, does nothing. A deleted project keeps its models, because Label Studio notifies no project's webhook of it.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, model_validator

from ml_backend.errors import BackendError, InvalidRequest
from ml_backend.jobs.records import Job
from ml_backend.labeling.controls import Control, read_answers
from ml_backend.labeling.controls.choices import Choices
from ml_backend.labeling.label_config import match_control
from ml_backend.labeling.predictions import text_of
from ml_backend.labeling.training_labels import training_request
from ml_backend.project import Projects
from ml_backend.settings import Settings
from ml_backend.storage.dataset import Annotation
from ml_backend.training.request import TrainingRequest

log = logging.getLogger(__name__)

_Id = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
_OneOrMore = BeforeValidator(lambda value: value if isinstance(value, list) else [value])


class _Row(BaseModel):
    id: _Id


class _Project(_Row):
    label_config: str = ""


class _Task(_Row):
    data: Any = None


class _Annotation(_Row):
    task: _Id
    result: Any = None
    was_cancelled: bool = False
    ground_truth: bool = False
    updated_at: AwareDatetime | None = None


class _Event(BaseModel):
    action: str
    project: _Project

    @model_validator(mode="before")
    @classmethod
    def _find_project(cls, body: Any) -> Any:
        """An event has its project as an object. The id alone, or the project of an annotation, is accepted, too."""
        if not isinstance(body, dict) or isinstance(body.get("project"), dict):
            return body
        annotation = body.get("annotation")
        project = body.get("project") or (annotation.get("project") if isinstance(annotation, dict) else None)
        return body | {"project": {"id": project}}


class _Annotated(_Event):
    annotation: Annotated[list[_Annotation], _OneOrMore]
    task: Annotated[list[_Task], _OneOrMore] = []


class _AnnotationsDeleted(_Event):
    annotations: list[_Row]


class _TasksDeleted(_Event):
    tasks: list[_Row]


class WebhookHandler:
    """What is done at each event. Safe to call from several threads."""

    def __init__(
        self,
        settings: Settings,
        projects: Projects,
        controls: Callable[[str], tuple[Control, ...]],
        start: Callable[[str, TrainingRequest], Job],
    ) -> None:
        """Handle events.

        Args:
            settings: The server's settings, which apply to trainings.
            projects: The projects.
            controls: Reads a labelling config.
            start: Starts a training of a project, and returns at once.
        """
        self._settings = settings
        self._projects = projects
        self._controls = controls
        self._start = start

    def handle(self, body: bytes) -> dict[str, Any]:
        """Handle an event. Returns `job` if it started a training, or `detail`, the reason why it did not."""
        try:
            event = json.loads(body)
            action = _Event.model_validate(event).action
            if action in ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED"):
                self._store_annotations(_Annotated.model_validate(event))
            elif action == "ANNOTATIONS_DELETED":
                self._forget_annotations(_AnnotationsDeleted.model_validate(event))
            elif action == "TASKS_DELETED":
                self._forget_tasks(_TasksDeleted.model_validate(event))
            elif action == "START_TRAINING":
                return self._train(_Event.model_validate(event).project)
        except (ValueError, RecursionError):  # no JSON, JSON that nests too deeply, or another shape
            log.info("The webhook ignores an event that it cannot read.")
        return {}

    def _store_annotations(self, event: _Annotated) -> None:
        name = str(event.project.id)
        controls = self._controls(event.project.label_config)
        control = self._control(name, controls, event.project.label_config)
        tasks = {task.id: {"data": task.data} for task in event.task}
        annotations = [
            Annotation(
                id=row.id,
                item=row.task,
                text=text_of(tasks.get(row.task), control) if control is not None else "",
                data_key=control.data_key if control is not None else "",
                answers=None if row.was_cancelled else read_answers(row.result, controls),
                ground_truth=row.ground_truth,
                updated_at=row.updated_at.timestamp() if row.updated_at is not None else time.time(),
            )
            for row in event.annotation
        ]
        self._projects.create(name).dataset.add_annotations(annotations)

    def _forget_annotations(self, event: _AnnotationsDeleted) -> None:
        project = self._projects.get(str(event.project.id))
        if project is not None:
            project.dataset.forget_annotations([row.id for row in event.annotations])

    def _forget_tasks(self, event: _TasksDeleted) -> None:
        project = self._projects.get(str(event.project.id))
        if project is not None:
            project.dataset.forget_items([row.id for row in event.tasks])

    def _train(self, event_project: _Project) -> dict[str, Any]:
        name = str(event_project.id)
        control = self._control(name, self._controls(event_project.label_config), event_project.label_config)
        try:
            if control is None:
                raise InvalidRequest(
                    "The labelling config cannot be read or has no control that can be served. Correct it."
                )
            request = training_request(self._projects.create(name), control, self._settings)
            return {"job": self._start(name, request).job}
        except BackendError as error:
            # Label Studio does not show the answer, so the log has the sentence, too.
            log.warning("Project %s: Start Training starts nothing. %s", name, error)
            return {"detail": str(error)}

    def _control(self, name: str, controls: Sequence[Control], config: str) -> Control | None:
        """The one of the `controls` of a config that the project's model answers, else the first."""
        project = self._projects.get(name)
        model = project.serving if project is not None else None  # the annotator waits for this answer
        if model is None:
            return next(iter(controls), None)
        if not config:  # then the model's classes are the best guess, and no annotation can be read
            return Choices(
                model.control, "", "", tuple(model.classes), {}, multiple=model.multilabel, fields=model.fields
            )
        control = match_control(controls, model.classes, model.multilabel, model.control)
        return control.with_fields(model.fields) if control is not None else next(iter(controls), None)
