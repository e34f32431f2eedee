"""What Label Studio sends for a few labelled texts, and ml_backend.model imported on stand-ins of label-studio-ml."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ml_backend.labeling.label_config import find_controls
from ml_backend.service import Service
from ml_backend.settings import Settings
from support.webhook_events import EVENTS, RECORDED

CONFIG = RECORDED["setup"]["schema"]
OTHER_CONFIG = CONFIG.replace('"politeness"', '"tone"')
CLASSES = ["Polite", "Impolite"]

Labelled = list[tuple[str, str]]  # texts, each with its class


def annotated(project: int, number: int, text: str, label: str, config: str = CONFIG) -> dict[str, Any]:
    """The recorded event of an annotation, of another project, task and label."""
    event = deepcopy(EVENTS["annotation_created"])
    event["project"] |= {"id": project, "label_config": config}
    event["task"] |= {"id": number, "project": project, "data": {"text": text}}
    event["annotation"] |= {"id": number, "task": number, "project": project}
    (control,) = find_controls(config)
    event["annotation"]["result"][0] |= {"from_name": control.name, "value": {"choices": [label]}}
    return event


def button(project: int, config: str = CONFIG) -> dict[str, Any]:
    """The recorded Start Training, of another project."""
    event = deepcopy(EVENTS["start_training"])
    event["project"] |= {"id": project, "label_config": config}
    return event


def asked(project: int, labelled: Labelled, config: str = CONFIG) -> dict[str, Any]:
    """The recorded body of /predict, of other tasks."""
    recorded = deepcopy(RECORDED["predict"])
    first = recorded["tasks"][0]
    tasks = [
        first | {"id": number, "project": project, "data": {"text": text}} for number, (text, _) in enumerate(labelled)
    ]
    return recorded | {"project": f"{project}.1700000000", "label_config": config, "tasks": tasks}


def labels_of(results: list[dict[str, Any]]) -> list[str]:
    return [entry["result"][0]["value"]["choices"][0] for entry in results]


@contextmanager
def imported(
    modules: Mapping[str, ModuleType], directory: Path, make_service: Callable[[Settings], Service]
) -> Iterator[ModuleType]:
    """ml_backend.model on stand-ins for what it imports, in label-studio-ml's own MODEL_DIR; trains in this process."""
    with pytest.MonkeyPatch.context() as patched:
        for name, module in modules.items():
            patched.setitem(sys.modules, name, module)
        patched.delitem(sys.modules, "ml_backend.model", raising=False)
        patched.delenv("ML_BACKEND_MODEL_DIR", raising=False)
        patched.setenv("MODEL_DIR", str(directory))
        imported_model = importlib.import_module("ml_backend.model")
        patched.setattr(imported_model, "Service", make_service)
        yield imported_model
        imported_model._opened().close()
    sys.modules.pop("ml_backend.model", None)
