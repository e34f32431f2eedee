"""Handles Label Studio's events: stores the annotations that they report, and trains on "Start Training".

The shapes are those that Label Studio 1.23.2 sends (tests/ml_backend/webhooks). Any other event, and one that cannot be
read, does nothing. A deleted project keeps its models, because Label Studio notifies no project's webhook of it.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, model_validator

from ml_backend.errors import BackendError, InvalidRequest
from ml_backend.jobs.records import Job
from ml_backend.labeling.controls import Control, read_answers
from ml_backend.labeling.controls.choices import Choices
from ml_backend.labeling.form.conditions import Condition
from ml_backend.labeling.label_config import match_models
from ml_backend.labeling.predictions import text_of
from ml_backend.labeling.training_labels import training_request
from ml_backend.models.registry import TrainedModel
from ml_backend.project import Projects, question_name
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
        conditions: Callable[[str], Mapping[str, tuple[Condition, ...]]],
        start: Callable[[str, TrainingRequest], Job],
    ) -> None:
        """Handle events.

        Args:
            settings: The server's settings, which apply to trainings.
            projects: The projects.
            controls: Reads the controls of a labelling config.
            conditions: Reads when the form shows each of them.
            start: Starts a training of a project, and returns at once.
        """
        self._settings = settings
        self._projects = projects
        self._controls = controls
        self._conditions = conditions
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
        controls = self._controls(event.project.label_config)
        tasks = {task.id: {"data": task.data} for task in event.task}
        for question in self._questions(event.project):
            control = question.control
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
            are_texts = control is None or (control.kind == "text" and not control.has_links)
            self._projects.create(question.name).dataset.add_annotations(annotations, are_texts=are_texts)

    def _forget_annotations(self, event: _AnnotationsDeleted) -> None:
        for project in self._projects.opened(str(event.project.id)):
            project.dataset.forget_annotations([row.id for row in event.annotations])

    def _forget_tasks(self, event: _TasksDeleted) -> None:
        for project in self._projects.opened(str(event.project.id)):
            project.dataset.forget_items([row.id for row in event.tasks])

    def _train(self, project: _Project) -> dict[str, Any]:
        """Train the questions that have a model, or all if none has. Returns the answer for the first one."""
        questions = self._questions(project)
        served = [question for question in questions if question.has_model]
        answers = {
            question.name: self._train_question(question, project.label_config) for question in served or questions
        }
        return answers.get(str(project.id)) or next(iter(answers.values()))

    def _train_question(self, question: "_Question", config: str) -> dict[str, Any]:
        control = question.control
        try:
            if control is None:
                raise InvalidRequest(
                    "The labelling config cannot be read or has no control that can be served. Correct it."
                )
            shown_when = self._conditions(config).get(control.name, ())
            request = training_request(self._projects.create(question.name), control, self._settings, shown_when)
            job = self._start(question.name, request).job
        except BackendError as error:
            # Label Studio does not show the answer, so the log has the sentence, too.
            log.warning("Project %s: Start Training starts nothing. %s", question.name, error)
            return {"detail": str(error)}
        log.info("Project %s: Start Training starts job %s.", question.name, job)
        return {"job": job}

    def _questions(self, project: _Project) -> list["_Question"]:
        """The questions of a project, at least one, in the order of the config.

        Those with a model keep its name. If there are some, those that nobody has asked for yet are left out.
        """
        name = str(project.id)
        stored = self._projects.opened(name)
        # The annotator waits for this answer.
        serving = [(opened.name, model) for opened in stored if (model := opened.serving) is not None]
        models = [model for _, model in serving]
        if serving and not project.label_config:  # then the classes are the best guess, and no annotation can be read
            return [_Question(key, _guess(model), has_model=True) for key, model in serving]
        controls = self._controls(project.label_config)
        matched = {
            control.name: _Question(key, control.with_fields(model.fields), has_model=True)
            for (key, model), control in zip(serving, match_models(models, controls), strict=True)
            if control is not None
        }
        # If no model fits, the config is another one, and the first control gets the project's own name again.
        is_new, known = not matched, {opened.name for opened in stored}
        taken = set() if is_new else {key for key, _ in serving}
        for control in controls:
            if control.name not in matched:
                key = question_name(name, control.name) if name in taken else name
                if key not in taken and (is_new or key in known):
                    matched[control.name] = _Question(key, control, has_model=False)
                taken.add(key)
        found = [matched[control.name] for control in controls if control.name in matched]
        return found or [_Question(name, None, has_model=False)]


class _Question(NamedTuple):
    """A question of a project: its name, and the control that asks it. None: the config has none to serve."""

    name: str
    control: Control | None
    has_model: bool


def _guess(model: TrainedModel) -> Control:
    """The control of a model without a config."""
    return Choices(model.control, "", "", tuple(model.classes), {}, multiple=model.multilabel, fields=model.fields)
