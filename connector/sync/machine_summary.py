"""What is known of each machine of a project: how often it is right, and in which classes it is as good as people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from connector.active_learning.dawid_skene import posterior
from connector.active_learning.people import Estimate, judge
from connector.annotations.ground_truth import ground_truths
from connector.annotations.label_config import Control
from connector.formatting import listed
from connector.state.rows import MachineLabel
from connector.state.snapshot import ProjectSnapshot
from connector.sync.label_matrix import class_sets, single_labels
from connector.sync.people import PersonSummary, estimate_of
from connector.sync.scoring import Scored

AS_GOOD = 0.05  # how far below people a machine that is called as good may be at most
LEAST_SHARED = 10  # tasks with labels of both, before anything is said


@dataclass(frozen=True)
class MachineSummary:
    """One machine, for one question.

    Attributes:
        machine: its name.
        control: the question, of several. "": there is one.
        labels: how many labels it gave.
        shared: how many of these on tasks that people have labelled, too.
        accuracy: how often it is right, by what people say. None: they share no task.
        by_class: {class: how often it recognises it}. For multiple choice, how often it is right about it.
        on_truth: how many tasks with a ground truth it labelled.
        right_on_truth: how many of these correctly.
        weight: how much it counts beside the model. 0: for nothing. Of multiple choice, the mean over the classes.
        as_good: the classes that it recognises as well as people do.
        worse: the classes that it recognises less well.
    """

    machine: str
    control: str
    labels: int
    shared: int
    accuracy: Estimate | None
    by_class: dict[str, Estimate | None]
    on_truth: int
    right_on_truth: int
    weight: float
    as_good: list[str]
    worse: list[str]

    def words(self, shown: Callable[[str], str]) -> str:
        """What follows from it, in sentences. `shown`: writes the name of a class."""
        parts = [
            f"as good as people on {listed([shown(name) for name in self.as_good])}" if self.as_good else "",
            f"less good on {listed([shown(name) for name in self.worse])}" if self.worse else "",
        ]
        sentences = [", ".join(filter(None, parts)), self.verdict]
        return " ".join(f"{one[0].upper()}{one[1:]}." for one in sentences if one)

    @property
    def verdict(self) -> str:
        """What its labels are good for, in words, without the names of classes."""
        if not self.labels:
            return "it has no label that can be read"
        if not self.shared:
            return "it counts once people have labelled some of its tasks"
        if not self.weight:
            return "it counts for nothing now: it adds nothing to what the model knows"
        return "its labels count, as far as they agree with people's"

    def to_json(self) -> dict[str, Any]:
        """As a round remembers it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> MachineSummary:
        """That of a round."""
        return cls(
            **{
                **stored,
                "accuracy": estimate_of(stored["accuracy"]),
                "by_class": {name: estimate_of(found) for name, found in stored["by_class"].items()},
            }
        )


def machines_of(pulled: ProjectSnapshot, scored: Scored, people: Sequence[PersonSummary]) -> list[MachineSummary]:
    """The machines in the order in which they were added, question by question.

    Args:
        pulled: the project as it is now.
        scored: its labels, and what was found.
        people: what is known of its annotators.
    """
    several, found = pulled.questions.several, list[MachineSummary]()
    for part, one in zip(pulled.by_question(), scored.parts or [scored], strict=True):
        name = part.control.name if several else ""
        mine = [person for person in people if person.control == name]
        found += _of_question(part, one, mine, name)
    return found


def _of_question(
    pulled: ProjectSnapshot, scored: Scored, people: Sequence[PersonSummary], control_name: str
) -> list[MachineSummary]:
    machines, control = pulled.machine_labels, pulled.control
    if not machines:
        return []
    truths = ground_truths(row for task in pulled.usable_tasks.values() for row in task.annotations)
    tasks = sorted({task for task, _ in scored.labels})
    said = _what_people_say(scored, tasks, control) if any(machines.values()) else []
    team = {name: _mean([one.by_class.get(name) for one in people]) for name in control.classes}
    found = []
    for place, (machine, labels) in enumerate(machines.items()):
        accuracy, by_class = _judge(labels, tasks, said, control)
        tested = [task for task in labels if task in truths]
        pools = scored.opinion.pools
        found.append(
            MachineSummary(
                machine=machine,
                control=control_name,
                labels=len(labels),
                shared=sum(task in labels for task in tasks),
                accuracy=accuracy,
                by_class=by_class,
                on_truth=len(tested),
                right_on_truth=sum(labels[task].label == truths[task] for task in tested),
                weight=float(np.mean([pool.weight[place] for pool in pools])) if pools else 0.0,
                as_good=[name for name, one in by_class.items() if _is_as_good(one, team[name])],
                worse=[name for name, one in by_class.items() if _is_worse(one, team[name])],
            )
        )
    return found


def _what_people_say(scored: Scored, tasks: Sequence[int], control: Control) -> list[Any]:
    """The probability of each class by people's labels alone: [(n, K)], or of each class of a set [(n, 2), …]."""
    if not tasks:
        return []
    if not control.multiple:
        return [posterior(single_labels(scored.labels, tasks, control), _even(len(tasks), len(control.classes)))]
    sets = class_sets(scored.labels, tasks, control)
    return [posterior(sets.of(place), _even(len(tasks), 2)) for place in range(len(control.classes))]


def _even(rows: int, classes: int) -> Any:
    return np.full((rows, classes), 1 / classes)


def _judge(
    labels: Mapping[int, MachineLabel], tasks: Sequence[int], said: Sequence[Any], control: Control
) -> tuple[Estimate | None, dict[str, Estimate | None]]:
    """The accuracy of a machine, and by class."""
    rows = [row for row, task in enumerate(tasks) if task in labels]
    given = [control.classes_of(labels[tasks[row]].label or "") for row in rows]
    if not rows:
        return None, dict.fromkeys(control.classes)
    if not control.multiple:
        position = {name: place for place, name in enumerate(control.classes)}
        known = [place for place, names in enumerate(given) if names and names[0] in position]
        label = np.array([position[given[place][0]] for place in known], np.int64)
        accuracy, by_class = judge(said[0][[rows[place] for place in known]], label)
        return accuracy, dict(zip(control.classes, by_class, strict=True))
    of_classes = {
        name: judge(said[place][rows], np.array([name in names for names in given], np.int64))[0]
        for place, name in enumerate(control.classes)
    }
    return _mean(list(of_classes.values())), of_classes


def _mean(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """The means of the values and of the ends of the intervals, which is no shorter than that of the mean."""
    known = [one for one in estimates if one is not None and one.n]
    if not known:
        return None
    weights = [one.n for one in known]
    value, low, high = (
        float(np.average([getattr(one, name) for one in known], weights=weights)) for name in ("value", "low", "high")
    )
    return Estimate(value, low, high, sum(weights))


def _is_as_good(machine: Estimate | None, people: Estimate | None) -> bool:
    if machine is None or people is None or machine.n < LEAST_SHARED:
        return False
    return machine.low >= people.value - AS_GOOD


def _is_worse(machine: Estimate | None, people: Estimate | None) -> bool:
    if machine is None or people is None or machine.n < LEAST_SHARED:
        return False
    return machine.high < people.value
