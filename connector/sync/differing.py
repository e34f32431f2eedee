"""How people differ on the tasks of a project: `connector.active_learning.ambiguity`, by tasks and names of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from connector.active_learning.ambiguity import Ambiguity, ConfusedClasses


class Differing(NamedTuple):
    """How people differ on a task.

    Attributes:
        probability: that they honestly differ.
        ambiguous: whether that is likely.
        hopeless: whether it is so likely that further labels are hardly of use.
        settles: the probability that one more label settles the task. NaN: unknown.
        soft: the probability of each class, in the config's order.
    """

    probability: float
    ambiguous: bool
    hopeless: bool
    settles: float
    soft: list[float]


class ConfusedPair(NamedTuple):
    """Two classes that the best annotators confuse: on `tasks`, of `of` tasks that they gave one of both."""

    classes: tuple[str, str]
    tasks: int
    of: int


def differing_by_task(found: Ambiguity, tasks: Sequence[int]) -> dict[int, Differing]:
    """{task: how people differ on it}. `tasks`: in the order of the arrays."""
    columns = (found.probability, found.ambiguous, found.hopeless, found.settles, found.soft)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return {task: Differing(*row) for task, row in zip(tasks, rows, strict=True)}


def confused_by_name(confused: Iterable[ConfusedClasses], classes: Sequence[str]) -> list[ConfusedPair]:
    """The pairs of classes by their names. `classes`: all of them, in the config's order."""
    return [ConfusedPair((classes[one.first], classes[one.second]), one.tasks, one.of) for one in confused]


def highest(probabilities: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """{task: the highest of its probabilities}."""
    result: dict[int, float] = {}
    for of_question in probabilities:
        for task, value in of_question.items():
            result[task] = max(value, result.get(task, 0.0))
    return result
