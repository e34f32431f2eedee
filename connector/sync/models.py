"""The models of a project at the ML backend: which serve, and whether one is lost. Free of NumPy."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.annotations.questions import Questions
from connector.errors import ConnectorError
from connector.state.project_state import ProjectState

if TYPE_CHECKING:
    from connector.backend import Backend


@dataclass(frozen=True)
class ServedModels:
    """The models that the ML backend has of a project.

    Attributes:
        of_controls: {control: its model as the ML backend describes it}, without those that have none.
        is_lost: whether the model that the state names is gone. One of a question that is not served just now is not.
    """

    of_controls: Mapping[str, Mapping[str, Any]]
    is_lost: bool

    @classmethod
    def read(cls, project_id: int, questions: Questions, backend: Backend, known: str | None) -> ServedModels:
        """Asks the ML backend. `known`: the model version that the state names."""
        models = {name: backend.model(questions.model_key(project_id, name)) for name in questions.names}
        of_controls = {name: model for name, model in models.items() if model is not None}
        keys = [questions.model_key(project_id, name) for name in questions.missing]
        is_lost = known is not None and not of_controls and not any(backend.model(key) is not None for key in keys)
        return cls(of_controls, is_lost)

    @property
    def newest(self) -> dict[str, Any] | None:
        """The newest of the models, or None without any. `in_training`: whether one of them is."""
        if not self.of_controls:
            return None
        models = self.of_controls.values()
        newest = max(models, key=lambda model: str(model["model_version"]))
        return {**newest, "in_training": any(model.get("in_training") for model in models)}


def lost_model(model_version: str | None) -> str:
    """What a sync says if the ML backend has lost the project's model."""
    return (
        f"The ML backend has lost the project's model ({model_version}). Start it with the folder that it had "
        "before, or let a sync train a new one (without --train never or --dry-run)."
    )


def forget_former_models(state: ProjectState, backend: Backend) -> None:
    """Deletes the models of questions that init no longer serves, or else /predict would go on answering them."""
    found = state.record().found or {}
    left = list(found.get("former_models", ()))
    for key in tuple(left):
        with contextlib.suppress(ConnectorError):  # its training runs. The next sync tries again
            model = backend.model(key)
            if model is not None and model["model_version"] == state.record().model_version:
                state.put(model_version=None)  # or else it would count as lost
            backend.forget_model(key)
            left.remove(key)
    if left != found.get("former_models", []):
        state.put(found={**found, "former_models": left})
