"""What of a project cannot be used: tasks and annotations, by id, with the cause. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.annotations.form.regions import quoted
from connector.annotations.questions import Questions
from connector.annotations.records import Task
from connector.formatting import count, with_article

_IDS = 5  # that a sentence names for one cause
_CAUSES = 5  # that a sentence names


@dataclass(frozen=True)
class LeftOut:
    """What is left out of learning and of the queue.

    Attributes:
        without_text: {task: why it has no text}.
        lacking: {task: which of several fields it lacks}.
        answered: Those tasks without a text on which people have answered all the same.
        unreadable: {annotation: why its answer, or a part of it, cannot be read}.
        unknown: {annotation: its choices that the labelling config no longer has}.
        unanswered: Annotations without an answer in any control that their form shows, skips aside.
        excluded: Annotations by annotators whom `init --exclude` leaves out.
    """

    without_text: dict[int, str]
    lacking: dict[int, str]
    answered: list[int]
    unreadable: dict[int, str]
    unknown: dict[int, str]
    unanswered: list[int]
    excluded: list[int]

    @classmethod
    def of(cls, tasks: Iterable[Task]) -> LeftOut:
        """What is left out of `tasks`."""
        tasks = list(tasks)
        rows = [row for task in tasks for row in task.annotations if not row.skipped]
        without = {task.id: task.problem for task in tasks if task.digest is None}
        return cls(
            without,
            {task.id: task.problem for task in tasks if task.digest is not None and task.problem},
            sorted({row.task for row in rows} & without.keys()),
            {row.id: row.problem for row in rows if row.unreadable},
            {row.id: row.problem for row in rows if row.unknown},
            sorted(row.id for row in rows if row.label is None and not row.problem),
            sorted(row.id for row in rows if row.excluded),
        )

    def sentences(self, controls: Sequence[str], content: str = "text", *, hides: bool = False) -> list[str]:
        """How many there are of each kind, with the first ids and their causes.

        Args:
            controls: Their names.
            content: What a task should have.
            hides: Whether the form hides some controls by the answers to others.
        """
        parts = []
        if self.without_text:
            answered = f", {len(self.answered)} of them with annotations" if self.answered else ""
            what = f"{count(len(self.without_text), 'task')} without {with_article(content)}{answered}"
            parts.append(f"{what}: {with_causes(self.without_text)}")
        if self.unreadable:
            what = f"{count(len(self.unreadable), 'annotation')} with an answer that cannot be read"
            parts.append(f"{what}: {with_causes(self.unreadable)}")
        if self.unknown:
            what = f"{count(len(self.unknown), 'annotation')} with an answer that the config no longer has"
            parts.append(f"{what}: {with_causes(self.unknown)}")
        if self.unanswered:
            named = " or ".join(map(quoted, controls))
            shown = " that the form shows" if hides else ""
            what = f"{count(len(self.unanswered), 'annotation')} without an answer in {named}{shown}"
            parts.append(f"{what}: {with_causes(dict.fromkeys(self.unanswered, ''))}")
        if self.excluded:
            what = f"{count(len(self.excluded), 'annotation')} by annotators whom init --exclude leaves out"
            parts.append(f"{what}: {with_causes(dict.fromkeys(self.excluded, ''))}")
        return parts


def without_content(answers: Mapping[str, Sequence[int]]) -> list[str]:
    """A sentence for each control that annotations answer on tasks that lack what it is about. {control: their ids}."""
    return [
        f"{count(len(ids), 'answer')} in {quoted(name)} on a task that lacks what it is about: "
        f"{with_causes(dict.fromkeys(ids, ''))}"
        for name, ids in answers.items()
    ]


def with_causes(causes: Mapping[int, str]) -> str:
    """The first ids, by their causes: "7, 9 (it has no 'text'), 11 ('text' is blank)"."""
    by_cause: dict[str, list[int]] = {}
    for number, cause in sorted(causes.items()):
        by_cause.setdefault(cause, []).append(number)
    parts = []
    for cause, ids in list(by_cause.items())[:_CAUSES]:
        shown = ", ".join(map(str, ids[:_IDS])) + (", …" if len(ids) > _IDS else "")
        parts.append(f"{shown} ({cause})" if cause else shown)
    return ", ".join(parts) + (", …" if len(by_cause) > _CAUSES else "")


def data_keys(raws: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of the tasks' data, as Label Studio gives them, in their order."""
    return list(dict.fromkeys(key for raw in raws if isinstance(raw.get("data"), dict) for key in raw["data"]))


def no_text_at_all(questions: Questions, present: list[str], project: int) -> str:
    """What to do if no task of a project has anything to read. `present`: the keys that the tasks have."""
    if set(questions.data_keys) & set(present) or not present:
        return f"Import tasks with {' and '.join(questions.contents)} under {questions.shown_keys}."
    named = ", ".join(f"'{other}'" for other in present[:10]) + (", …" if len(present) > 10 else "")
    if questions.fields:
        return f"The tasks have {named}. Name some of these with connector init --project {project} --fields KEYS."
    usable = next((other for other in present if re.fullmatch(r"[\w.\[\]]+", other, re.ASCII)), None)
    example = f', such as value="${usable}"' if usable else ""
    show = f"let the {questions.objects} show one of these{example}"
    return f"The tasks have {named}. In Settings, Labeling Interface, {show}."
