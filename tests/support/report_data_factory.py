"""Projects that tests of the report make up: what people said, what the model says, and the rounds."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np

from connector.annotations.controls.choices import Choices
from connector.annotations.label_config import Control
from connector.annotations.questions import Questions
from connector.annotations.records import Annotation, Task, digest
from connector.backend import Probabilities
from connector.progress import Reporter
from connector.reporting.report_data import ReportData
from connector.state.snapshot import ProjectSnapshot
from connector.sync.review import review
from support.record_factory import project_record

CLASSES = ("Polite", "Impolite", "Rude")
START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SYNCED = {"window": 10, "strategy": "activelab-weighted"}
SURE = (0.96, 0.02, 0.02)
TRAINED = [{"round": 1, "at": START.isoformat(), "annotations": 9, "labels": 9, "model_version": "model-1"}]
Label = str | Sequence[str] | None


def control(classes: Sequence[str] = CLASSES, *, multiple: bool = False) -> Control:
    spellings = {name: name for name in classes}
    return Choices("politeness", "text", "text", tuple(classes), spellings, multiple=multiple, none_counts=multiple)


class Served:
    """An ML backend with the model's probabilities of tasks; None: it has no model yet."""

    def __init__(self, probs: Mapping[int, Sequence[float]] | None, control: Control) -> None:
        self._probs, self._control = probs, control

    def check(self) -> None:
        pass

    def put_items(self, *items: Any) -> None:
        pass

    def probabilities(self, project: str) -> Probabilities | None:
        if self._probs is None:
            return None
        ids = np.array(sorted(self._probs), np.int64)
        rows = np.array([self._probs[int(task)] for task in ids])
        fold = np.zeros(len(ids), np.int8)
        return Probabilities("model-1", self._control.classes, ids, rows, fold, self._control.multiple)


class Made:
    """A project that a test makes up: tasks 1 to `tasks`, and what annotators said of them in turn."""

    def __init__(self, tasks: int, control: Control) -> None:
        self.control = control
        self._rows: dict[int, list[Annotation]] = {task: [] for task in range(1, tasks + 1)}
        self.texts = {task: f"Text {task}" for task in self._rows}

    def say(self, task: int, annotator: int, label: Label, *, truth: bool = False, seconds: float | None = 5.0) -> None:
        number = sum(map(len, self._rows.values())) + 1
        at = (START + timedelta(minutes=number)).isoformat()
        known = None if label is None else self.control.label_of([label] if isinstance(label, str) else label)
        self._rows[task].append(
            Annotation(number, task, annotator, known, label is None, truth, at, False, at, seconds)
        )

    def facts(
        self,
        probs: Mapping[int, Sequence[float]] | None = None,
        *,
        emails: Mapping[int, str] | None = None,
        rounds: Iterable[dict[str, Any]] = (),
        with_backend: bool = True,
        **known: Any,
    ) -> ReportData:
        tasks = {
            task: Task(task, digest(self.texts[task]), bool(rows), 1, START.isoformat(), tuple(rows))
            for task, rows in self._rows.items()
        }

        def texts(ids: Iterable[int]) -> dict[int, str]:
            return {task: self.texts[task] for task in ids}

        pulled = ProjectSnapshot({"id": 7, "title": "Requests"}, Questions((self.control,)), tasks, {}, False, texts)
        served: Any = Served(probs, self.control) if with_backend else None
        record = project_record(**{"queue_version": "v1", "window_options": SYNCED, **known})
        return ReportData(pulled, review(pulled, served, Reporter()), emails or {}, record, list(rounds))


def make(tasks: int, classes: Sequence[str] = CLASSES, *, multiple: bool = False) -> Made:
    """A project of so many tasks that nobody has labelled yet."""
    return Made(tasks, control(classes, multiple=multiple))
