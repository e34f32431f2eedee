"""The data that all sections of a report share, and how they write labels, texts and names."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from connector.annotations.label_config import Control
from connector.annotations.records import Annotation, latest_labels, readable
from connector.reporting.content import Text
from connector.state.rows import ProjectRecord
from connector.state.snapshot import ProjectSnapshot
from connector.sync.review import Review
from connector.sync.scoring import Scored

if TYPE_CHECKING:
    from connector.reporting.thumbnails import Thumbnails

# Characters that the page shows of a text, of a name (a class, a label, an e-mail address, a title) and of a sentence.
# With the largest lengths of lists they keep the page below 5 MB, images aside. An e-mail address has at most 254.
TEXT_LENGTH = 1000
NAME_LENGTH = 254
SENTENCE_LENGTH = 1500


@dataclass(frozen=True)
class ReportData:
    """A project as it was read for a report.

    `emails` {annotator: e-mail address}. `record`: the project's row of the state. `rounds`: the summaries of the
    rounds, oldest first. `parts`: of several questions, the data of each. Then labels are joint ones.
    """

    pulled: ProjectSnapshot
    reviewed: Review
    emails: Mapping[int, str]
    record: ProjectRecord
    rounds: list[dict[str, Any]]
    parts: list[ReportData] = field(default_factory=list)
    thumbnails: Thumbnails | None = None

    @classmethod
    def of(
        cls,
        pulled: ProjectSnapshot,
        reviewed: Sequence[Review],
        joined: Scored,
        emails: Mapping[int, str],
        record: ProjectRecord,
        rounds: list[dict[str, Any]],
        thumbnails: Thumbnails | None = None,
    ) -> ReportData:
        """The data of a project.

        `reviewed`: the review of each question. `joined`: what they are together. `thumbnails`: makes small pictures.
        """
        if not pulled.questions.several:
            return cls(pulled, reviewed[0], emails, record, rounds, thumbnails=thumbnails)
        parts = [
            cls(part, review, emails, record, _of_question(rounds, part.control.name), thumbnails=thumbnails)
            for part, review in zip(pulled.by_question(), reviewed, strict=True)
        ]
        return cls(pulled, Review(joined, joined.quality), emails, record, rounds, parts, thumbnails)

    @property
    def control(self) -> Control:
        return self.pulled.control

    @property
    def last_round(self) -> dict[str, Any]:
        """The latest round's summary, empty before the first round."""
        return self.rounds[-1] if self.rounds else {}

    @cached_property
    def rows(self) -> list[Annotation]:
        """The annotations by people, without those that are marked as ground truth. Labels are those that count."""
        return [row for task in self.pulled.usable_tasks.values() for row in task.annotations if not row.ground_truth]

    @cached_property
    def labels(self) -> dict[tuple[int, int], str]:
        """Each annotator's latest label on each task, without ground truth: {(task, annotator): label}."""
        return latest_labels(self.rows)

    @cached_property
    def replayable(self) -> int:
        """How many tasks a replay could start with: those with a text and labels by two people or more."""
        counts = Counter(task for task, _ in self.labels)
        return sum(count > 1 for count in counts.values())

    @cached_property
    def labels_of(self) -> dict[int, list[str]]:
        """The labels from which each task's consensus was computed, ground truth included: {task: labels}."""
        by_task: dict[int, list[str]] = {}
        for (task, _), label in sorted(self.reviewed.scored.labels.items()):
            by_task.setdefault(task, []).append(label)
        return by_task

    def name(self, annotator: int) -> str:
        """How the page calls an annotator. All accounts that were deleted are one."""
        if not annotator:
            return "deleted users"
        return shorten(self.emails.get(annotator) or f"user {annotator}", NAME_LENGTH)

    def class_name(self, name: str) -> str:
        """A class as the page writes it."""
        return shorten(name, NAME_LENGTH)

    def shown(self, label: str) -> str:
        """A label as a person reads it."""
        return shown(label, self.control)

    def texts(self, tasks: Iterable[int]) -> dict[int, Text]:
        """The beginnings of the tasks' texts. The addresses of images are without their queries."""
        ids = list(tasks)
        whole = self.pulled.texts(ids)
        images: dict[int, bytes] = {}
        if self.thumbnails is not None:
            from connector.reporting.thumbnails import short_address

            images = self.thumbnails.of(self.pulled, ids)
            questions = self.pulled.questions
            whole = {task: questions.with_addresses(text, short_address) for task, text in whole.items()}
        return {task: replace(cut(whole.get(task)), image=images.get(task, b"")) for task in ids}

    def probability(self, task: int, label: str) -> float:
        """The model's probability of the label. For a set of classes, that of its least certain class."""
        probs = self.reviewed.pred_probs[task]
        if not self.control.multiple:
            return float(probs[self.control.classes.index(label)])
        chosen = set(self.control.classes_of(label))
        right = (p if name in chosen else 1 - p for name, p in zip(self.control.classes, probs, strict=True))
        return float(min(right))


def _of_question(rounds: Iterable[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """The summaries of those rounds that had the question, with its figures."""
    found = ((one, {row["control"]: row for row in one.get("questions", ())}.get(name)) for one in rounds)
    return [{**one, **row} for one, row in found if row is not None]


def shown(label: str, control: Control) -> str:
    """A label as a person reads it: a class, or for multiple choice its classes, "none of them" for an empty set."""
    return shorten(" + ".join(control.classes_of(label)) or "none of them", NAME_LENGTH)


def quoted(name: str) -> str:
    """A class or a label within a sentence."""
    return f"“{name}”"


def shorten(text: str, length: int) -> str:
    """The text, or its beginning and "…" if it has more than `length` characters."""
    return text if len(text) <= length else text[: _end(text, length - 1)] + "…"


def cut(text: str | None) -> Text:
    """The first TEXT_LENGTH characters of the text."""
    if text is None:
        return Text(None)
    text = readable(text)
    end = _end(text, TEXT_LENGTH)
    return Text(text[:end], len(text) - end)


def _end(text: str, length: int) -> int:
    """Where to cut the text to at most `length` characters without taking a letter's marks from it."""
    if len(text) <= length:
        return len(text)
    end = length
    while end > 0 and (_continues(text[end]) or text[end - 1] == "\u200d"):
        end -= 1
    return end or length  # it holds nothing but marks


def _continues(letter: str) -> bool:
    """Whether it belongs to the letter before it: an accent, a vowel sign, a joiner."""
    return letter == "\u200d" or unicodedata.category(letter).startswith("M")
