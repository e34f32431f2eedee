"""Joins what was found of each question of a project, because one annotation answers all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import TypeVar

import numpy as np

from connector.active_learning.combine import DEFAULT_COMBINATION, Combination, combine
from connector.annotations.questions import Questions
from connector.sync.scoring import Scored

Key = TypeVar("Key", int, tuple[int, int])


class JointLabels(Mapping[Key, str]):
    """{task: joint label}, made when it is asked for: of many tasks, few are. Keys of other kinds work alike."""

    def __init__(self, questions: Questions, parts: Sequence[Mapping[Key, str]]) -> None:
        """`parts`: the labels of each question."""
        self._questions = questions
        self._parts: Sequence[Mapping[Key, str]] = parts

    def by_question(self, key: Key) -> dict[str, str]:
        """{control: label}, without those that have none."""
        parts = zip(self._questions.names, self._parts, strict=True)
        return {name: part[key] for name, part in parts if key in part}

    def __getitem__(self, key: Key) -> str:
        labels = self.by_question(key)
        if not labels:
            raise KeyError(key)
        return self._questions.joint(labels)

    def __contains__(self, key: object) -> bool:
        return any(key in part for part in self._parts)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    @cached_property
    def _keys(self) -> dict[Key, None]:
        return dict.fromkeys(chain.from_iterable(self._parts))


def join(questions: Questions, parts: Sequence[Scored], how: Combination = DEFAULT_COMBINATION) -> Scored:
    """What was found of a project with several questions. Labels are joint ones.

    A consensus is as probably right as the least certain of its labels. Shares are means over the questions.

    Args:
        questions: those of the project.
        parts: what was found of each, in their order.
        how: how scores are combined.
    """
    consensus = JointLabels(questions, [part.consensus for part in parts])
    predicted = JointLabels(questions, [part.predicted for part in parts])
    versions = [part.model_version for part in parts if part.model_version is not None]
    return Scored(
        labels=JointLabels(questions, [part.labels for part in parts]),
        consensus=consensus,
        quality=lowest([part.quality for part in parts]),
        scores=_scores(questions, parts, predicted, consensus, how),
        predicted=predicted,
        own_labels=JointLabels(questions, [part.own_labels for part in parts]),
        labels_changed=sum(part.labels_changed for part in parts),
        trained=any(part.trained for part in parts),
        model_version=max(versions, default=None),  # they begin with the time
        agreement=_mean([part.agreement for part in parts]),
        held_out=JointLabels(questions, [part.held_out for part in parts]),
        accuracy=_mean([part.accuracy for part in parts]),
        parts=list(parts),
    )


def without_hidden(questions: Questions, joint: Scored) -> Scored:
    """What `join` made, without consensus labels of questions that the form hides by the others. Scores stay.

    Some annotators of a task may have seen a question that its consensus hides.
    """
    if not questions.conditions:
        return joint
    parts = [
        replace(
            part,
            consensus={task: label for task, label in part.consensus.items() if task not in hidden},
            quality={task: quality for task, quality in part.quality.items() if task not in hidden},
            differing={task: one for task, one in part.differing.items() if task not in hidden},
        )
        for part, hidden in zip(joint.parts, _hidden_tasks(questions, joint), strict=True)
    ]
    consensus = JointLabels(questions, [part.consensus for part in parts])
    return replace(joint, consensus=consensus, quality=lowest([part.quality for part in parts]), parts=parts)


def _hidden_tasks(questions: Questions, joint: Scored) -> list[set[int]]:
    """Of each question, the tasks whose consensus hides it."""
    found: list[set[int]] = [set() for _ in joint.parts]
    consensus, hidden = JointLabels(questions, [part.consensus for part in joint.parts]), _Hidden(questions)
    for task in consensus:
        for place in hidden.places(consensus.by_question(task)):
            found[place].add(task)
    return found


def lowest(qualities: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """{task: the lowest of its qualities}."""
    result: dict[int, float] = {}
    for quality in qualities:
        for task, value in quality.items():
            result[task] = min(value, result.get(task, 1.0))
    return result


def _scores(
    questions: Questions,
    parts: Sequence[Scored],
    predicted: JointLabels[int],
    consensus: JointLabels[int],
    how: Combination,
) -> dict[int, float]:
    """{task: its combined score}.

    A question that the form hides does not count, by the task's consensus labels, and by the models' for the others.
    """
    tasks = sorted(set().union(*(part.scores for part in parts)))
    if not tasks:
        return {}
    scores = np.array([[part.scores.get(task, np.nan) for part in parts] for task in tasks], np.float64)
    if questions.conditions:
        hidden = _Hidden(questions)
        for row, task in zip(scores, tasks, strict=True):
            places = hidden.places({**predicted.by_question(task), **consensus.by_question(task)})
            if places and not np.isnan(np.delete(row, places)).all():
                row[places] = np.nan
    return dict(zip(tasks, combine(scores, how).tolist(), strict=True))


class _Hidden:
    """Which questions the form hides. Many tasks have the same labels."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._known: dict[tuple[tuple[str, str], ...], list[int]] = {}

    def places(self, labels: dict[str, str]) -> list[int]:
        """The places of the questions that are hidden, if these are the labels by control."""
        key = tuple(labels.items())
        if key not in self._known:
            shown = self._questions.shown_labels(labels)
            names = enumerate(self._questions.names)
            self._known[key] = [place for place, name in names if name in labels and name not in shown]
        return self._known[key]


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None
