"""What all parts of a report stand on, and how they write labels, texts and people."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from connector.annotations.label_config import Control
from connector.annotations.records import Annotation, latest_labels
from connector.reporting.content import Text
from connector.state.pull import Pulled
from connector.state.rows import ProjectRecord
from connector.sync.scoring import Review

TEXT_LENGTH = 1000


@dataclass(frozen=True)
class Facts:
    """A project as it is read for a report.

    `emails` {annotator: e-mail address}; `record`: the project's row of the state; `rounds`: their summaries, oldest
    first.
    """

    pulled: Pulled
    reviewed: Review
    emails: Mapping[int, str]
    record: ProjectRecord
    rounds: list[dict[str, Any]]

    @property
    def control(self) -> Control:
        return self.pulled.control

    @property
    def last_round(self) -> dict[str, Any]:
        """The latest round's summary; empty before the first."""
        return self.rounds[-1] if self.rounds else {}

    @cached_property
    def rows(self) -> list[Annotation]:
        """What people did; what was imported as ground truth is nobody's work."""
        return [row for task in self.pulled.tasks.values() for row in task.annotations if not row.ground_truth]

    @cached_property
    def labels(self) -> dict[tuple[int, int], str]:
        """People's labels, each annotator's latest on a task: {(task, annotator): label}."""
        return latest_labels(self.rows)

    @cached_property
    def replayable(self) -> int:
        """How many tasks a replay could start with: those with a text and labels of two people or more."""
        counts = Counter(task for task, _ in self.labels if self.pulled.tasks[task].digest is not None)
        return sum(count > 1 for count in counts.values())

    @cached_property
    def said(self) -> dict[int, list[str]]:
        """The labels that each task's consensus stands on, ground truth too."""
        found: dict[int, list[str]] = {}
        for (task, _), label in sorted(self.reviewed.scored.labels.items()):
            found.setdefault(task, []).append(label)
        return found

    def name(self, annotator: int) -> str:
        """How an annotator is called: all whose accounts were deleted are one."""
        if not annotator:
            return "deleted users"
        return self.emails.get(annotator) or f"user {annotator}"

    def shown(self, label: str) -> str:
        """A label as a person reads it."""
        return shown(label, self.control)

    def texts(self, tasks: Iterable[int]) -> dict[int, Text]:
        """The beginnings of the tasks' texts."""
        wanted = list(tasks)
        found = self.pulled.texts(wanted)
        return {task: cut(found.get(task)) for task in wanted}

    def probability(self, task: int, label: str) -> float:
        """How probable the model finds the label; of a set, how sure it is of the class that it is least sure of."""
        probs = self.reviewed.pred_probs[task]
        if not self.control.multiple:
            return float(probs[self.control.classes.index(label)])
        chosen = set(self.control.classes_of(label))
        right = (p if name in chosen else 1 - p for name, p in zip(self.control.classes, probs, strict=True))
        return float(min(right))


def shown(label: str, control: Control) -> str:
    """A label as a person reads it: a class, or of multiple choice its classes; an empty set is said to be one."""
    return " + ".join(control.classes_of(label)) or "none of them"


def cut(text: str | None) -> Text:
    """The text's first TEXT_LENGTH characters, fewer where a letter would lose the marks that follow it."""
    if text is None:
        return Text(None)
    end = TEXT_LENGTH
    while 0 < end < len(text) and (_continues(text[end]) or text[end - 1] == "\u200d"):
        end -= 1
    end = end or TEXT_LENGTH  # nothing but marks
    return Text(text[:end], max(0, len(text) - end))


def _continues(letter: str) -> bool:
    """Whether it belongs to the letter before it: an accent, a vowel sign, a joiner."""
    return letter == "\u200d" or unicodedata.category(letter).startswith("M")
