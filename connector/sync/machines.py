"""Machines' labels beside the model's probabilities: one opinion on every task, and labels to train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from connector.active_learning.labels import Floats, Ints
from connector.active_learning.machines import MachineLabels, Pool, Pooled, pool
from connector.active_learning.multilabel import binary
from connector.annotations.label_config import Control
from connector.backend import Probabilities
from connector.state.rows import MachineLabel
from connector.state.snapshot import ByMachine, ProjectSnapshot
from connector.sync.label_matrix import align_probabilities, class_sets, predicted_labels, single_labels

# All labels of machines together count as much in a training as people's, so that no number of them outvotes people.
MOST_TOGETHER = 1.0
LEAST_SURE = 0.65  # the probability from which on a label of machines is learnt from
MOST_LABELS = 2_000  # of machines in a training


@dataclass(frozen=True)
class Opinion:
    """What the model and the machines say together.

    Attributes:
        names: of the machines.
        pools: how they were pooled, for each class of multiple choice, else once.
        probabilities: of all tasks, in place of the model's alone. None without a model.
        labels: {task without labels of people: the machines' label}, to train on.
        weights: {task: how much that label counts, relative to a mean label of people}.
    """

    names: Sequence[str] = ()
    pools: Sequence[Pool] = ()
    probabilities: Probabilities | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    weights: Mapping[int, float] = field(default_factory=dict)


def weigh_machines(
    pulled: ProjectSnapshot,
    given: Mapping[tuple[int, int], str],
    own: Probabilities | None,
    held_out: Mapping[int, str],
) -> Opinion:
    """Pools the machines of a project with its model, by people's labels.

    Args:
        pulled: the project as it is now, or one of its questions.
        given: people's labels, {(task, annotator): label}.
        own: the model's own probabilities. None without a model.
        held_out: the test set, on which nothing is trained.
    """
    machines, control = pulled.machine_labels, pulled.control
    if not given or not any(machines.values()):
        return Opinion(list(machines), probabilities=own)
    labelled = sorted({task for task, _ in given})
    mine = set(labelled)
    others = [task.id for task in pulled.tasks.values() if task.digest is not None and task.id not in mine]
    tasks = _Tasks(labelled, others)
    pooled = (
        _pool_sets(given, tasks, control, own, machines)
        if control.multiple
        else [_pool_classes(given, tasks, control, own, machines)]
    )
    labels, weights = _to_train_on(others, [one.machines for one in pooled], control, held_out, len(labelled))
    pools = [one.pool for one in pooled]
    return Opinion(list(machines), pools, _replaced(own, tasks, pooled, control), labels, weights)


class _Tasks(NamedTuple):
    labelled: list[int]
    others: list[int]


def _pool_classes(
    given: Mapping[tuple[int, int], str],
    tasks: _Tasks,
    control: Control,
    own: Probabilities | None,
    machines: ByMachine,
) -> Pooled:
    """One class each: all classes at once."""
    probs, others = (_own_probabilities(own, some, control) for some in tasks)
    labels = [[_arrays(theirs, some, control) for theirs in machines.values()] for some in tasks]
    return pool(single_labels(given, tasks.labelled, control), probs, others, *labels)


def _pool_sets(
    given: Mapping[tuple[int, int], str],
    tasks: _Tasks,
    control: Control,
    own: Probabilities | None,
    machines: ByMachine,
) -> list[Pooled]:
    """Sets of classes: whether each class applies is a question of its own."""
    sets = class_sets(given, tasks.labelled, control)
    probs, others = (_own_probabilities(own, some, control) for some in tasks)
    labels = [[_sets(theirs, some, control) for theirs in machines.values()] for some in tasks]
    return [
        pool(
            sets.of(place),
            binary(probs[:, place]),
            binary(others[:, place]),
            *([MachineLabels(theirs[:, place], np.full(len(theirs), np.nan)) for theirs in some] for some in labels),
        )
        for place in range(len(control.classes))
    ]


def _own_probabilities(own: Probabilities | None, tasks: Sequence[int], control: Control) -> Floats:
    """The model's, even ones without a model."""
    size = len(control.classes)
    if own is None:
        return np.full((len(tasks), size), 0.5 if control.multiple else 1 / size)
    return align_probabilities(own, tasks, control)


def _arrays(labels: Mapping[int, MachineLabel], tasks: Sequence[int], control: Control) -> MachineLabels:
    position = {name: place for place, name in enumerate(control.classes)}
    label, score = np.full(len(tasks), -1, np.int64), np.full(len(tasks), np.nan)
    for place, task in enumerate(tasks):
        one = labels.get(task)
        if one is not None and one.label in position:
            label[place] = position[one.label]
            score[place] = np.nan if one.score is None else one.score
    return MachineLabels(label, score)


def _sets(labels: Mapping[int, MachineLabel], tasks: Sequence[int], control: Control) -> Ints:
    """Whether each class is in a machine's label (n, n_classes): 1 or 0, or -1 if there is no label."""
    chosen = np.full((len(tasks), len(control.classes)), -1, np.int64)
    for place, task in enumerate(tasks):
        if (one := labels.get(task)) is not None and one.label is not None:
            known = set(control.classes_of(one.label))
            chosen[place] = [name in known for name in control.classes]
    return chosen


def _to_train_on(
    others: Sequence[int], machines: Sequence[Floats], control: Control, held_out: Mapping[int, str], people: int
) -> tuple[dict[int, str], dict[int, float]]:
    """The machines' labels of tasks without labels of people, and how much each counts.

    A label that they are less than LEAST_SURE of is left out, of a set in the mean over its classes. The others count
    by how much surer they are than chance. All together count at most MOST_TOGETHER times as much as people's.

    Args:
        others: u tasks.
        machines: what the machines alone say of them (u, n_classes), of each class in a set (u, 2).
        control: the question.
        held_out: the test set.
        people: how many tasks have labels of people.
    """
    sure = np.mean([one.max(axis=1) for one in machines], axis=0)
    chance = 1 / machines[0].shape[1]
    certain = (sure - chance) / (1 - chance)
    usable = (sure >= LEAST_SURE) & ~np.isin(np.array(others, np.int64), list(held_out))
    rows = np.flatnonzero(usable)
    rows = np.sort(rows[np.argsort(-certain[rows], kind="stable")][:MOST_LABELS])
    if not len(rows):
        return {}, {}
    scale = min(1.0, MOST_TOGETHER * people / float(certain[rows].sum()))
    said = np.stack([one[rows, 1] for one in machines], axis=1) if control.multiple else machines[0][rows]
    chosen = [others[row] for row in rows.tolist()]
    labels = dict(zip(chosen, predicted_labels(said, control), strict=True))
    return labels, dict(zip(chosen, (scale * certain[rows]).tolist(), strict=True))


def _replaced(
    own: Probabilities | None, tasks: _Tasks, pooled: Sequence[Pooled], control: Control
) -> Probabilities | None:
    """The probabilities of all tasks with those that were pooled. Each task keeps its fold."""
    if own is None:
        return None
    ids = [*tasks.labelled, *tasks.others]
    fold = np.array([own.fold[own.place[task]] if task in own.place else -1 for task in ids], np.int8)
    joined = [np.concatenate([one.labelled, one.others]) for one in pooled]
    probs = np.stack([one[:, 1] for one in joined], axis=1) if control.multiple else joined[0]
    return replace(own, classes=tuple(control.classes), ids=np.array(ids, np.int64), pred_probs=probs, fold=fold)
