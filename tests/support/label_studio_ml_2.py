"""What label-studio-ml 2.x does with a model class, and no more. No registry has it, so no test can install it.

It follows HumanSignal/label-studio-ml-backend at commit d02cedf of 2026-08-20 (version 2.0.1dev0).
tests/ml_backend/label_studio_ml/recorded.json has what that version answered with our class. A test compares the two.
"""

from __future__ import annotations

import traceback
from types import ModuleType
from typing import Any

from label_studio_sdk.label_interface import LabelInterface

TRAIN_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")


class AnswerException(Exception):
    """What its server answers with another status than 500."""

    def __init__(self, status: int, msg: str = "", result: Any = None) -> None:
        super().__init__(msg)
        self.status, self.msg, self.result = status, msg, result


class StandIn:
    """The base class. What an instance sets is in one cache of all requests, and only strings can be kept there."""

    cache: dict[tuple[str, str], str]

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.use_label_config(label_config)
        if not self.model_version:
            self.set("model_version", "0.0.1")
        self.at_first_version()
        self.setup()

    def at_first_version(self) -> None:
        """Where a test lets another request begin or end."""

    def setup(self) -> None:
        """For models to override."""

    def use_label_config(self, label_config: str) -> None:
        self.label_interface = LabelInterface(config=label_config)
        if self.get("label_config") != label_config:
            self.set("label_config", label_config)

    def set_extra_params(self, extra_params: Any) -> None:
        self.set("extra_params", extra_params)

    @property
    def label_config(self) -> str | None:
        return self.get("label_config")

    @property
    def model_version(self) -> str | None:
        return self.get("model_version") or None

    def get(self, key: str) -> str | None:
        return self.cache.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        if not isinstance(value, str):
            raise ValueError("Value must be a string")
        self.cache[self.project_id, key] = value


class Server:
    """Its routes, without HTTP."""

    def __init__(self, model_class: Any) -> None:
        self._model_class = model_class

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """The status and the JSON of the answer. A route may change the body."""
        if path == "webhook":  # whose errors are no JSON
            return self._webhook(body)
        try:
            return 200, self._predict(body) if path == "predict" else self._setup(body)
        except AnswerException as error:
            result = error.result if "traceback" in error.result else {"traceback": traceback.format_exc()}
            return error.status, {"status": error.status, "detail": error.msg, "request": {}, "result": result}
        except Exception as error:
            result = {"traceback": traceback.format_exc()}
            detail = f"{type(error).__name__}: {error}"
            return 500, {"status": 500, "detail": detail, "request": {}, "result": result}

    def _predict(self, body: dict[str, Any]) -> Any:
        project = str(body.get("project")).split(".", 1)[0]
        parameters = body.get("params", {})
        context = parameters.pop("context", {})
        model = self._model_class(project_id=project, label_config=body.get("label_config"))
        return {"results": model.predict(body.get("tasks"), context=context, **parameters)}

    def _setup(self, body: dict[str, Any]) -> Any:
        project = body.get("project").split(".", 1)[0]  # type: ignore[union-attr]
        model = self._model_class(project_id=project, label_config=body.get("schema"))
        if body.get("extra_params"):
            model.set_extra_params(body["extra_params"])
        return {"model_version": model.get("model_version")}

    def _webhook(self, body: dict[str, Any]) -> tuple[int, Any]:
        event = body.pop("action")
        if event not in TRAIN_EVENTS:
            return 200, {"status": "Unknown event"}
        model = self._model_class(str(body["project"]["id"]), label_config=body["project"]["label_config"])
        return 201, {"result": model.fit(event, body), "status": "ok"}


def modules() -> dict[str, ModuleType]:
    """The modules that our class imports, each with what it uses of it, and a cache of their own."""
    model, exceptions, package, flask = map(
        ModuleType, ("label_studio_ml.model", "label_studio_ml.exceptions", "label_studio_ml", "flask")
    )
    vars(model).update(LabelStudioMLBase=type("LabelStudioMLBase", (StandIn,), {"cache": {}}))
    vars(exceptions).update(AnswerException=AnswerException)
    vars(package).update(model=model, exceptions=exceptions)
    vars(flask).update(has_request_context=lambda: True)
    return {module.__name__: module for module in (model, exceptions, package, flask)}
