"""What is known of each annotator of a project: how good, how fast, and what is wrong, with what a lead can do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import tzinfo
from typing import Any

import numpy as np
from dateutil.tz import tzlocal

from connector.active_learning import people as active_learning
from connector.active_learning.labels import Floats, Ints
from connector.active_learning.multilabel import binary
from connector.active_learning.people import LEAST_EVIDENCE, Answers, Estimate, Person, assess
from connector.active_learning.temperature import best_temperature, scaled
from connector.annotations.ground_truth import ground_truths
from connector.annotations.label_config import Control
from connector.annotations.records import Annotation, moment
from connector.backend import Probabilities
from connector.state.snapshot import ProjectSnapshot
from connector.sync.label_matrix import align_probabilities
from connector.sync.scoring import Scored

SUREST = 1_000_000  # what a warning says at most: beyond that, the model of annotators is less sure than its numbers


@dataclass(frozen=True)
class PersonWarning:
    """What is wrong with an annotator's labels.

    Attributes:
        kind: "random", "constant", "careless", "hasty" or "slow", as `active_learning.people` has them.
        one_in: at most one of so many honest annotators ever gets this warning.
        since: when it began, ISO 8601. None: with their first label.
        label: the class that a constant annotator gives.
    """

    kind: str
    one_in: int
    since: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class PersonSummary:
    """One annotator, for one question.

    Attributes:
        annotator: their id in Label Studio.
        control: the question, of several. "": there is one.
        answers: how many labels they gave.
        accuracy: how often they are right, by what the others and the model say. None: nothing can be compared.
        by_class: {class: how often they recognise it}. For multiple choice, how often they are right about it.
        halves: the accuracy in the first half of their labels and in the second.
        on_truth: how many tasks with a ground truth they labelled.
        right_on_truth: how many of these correctly.
        seconds: the median per label. None: unknown.
        pace: the median ratio of their times to those of the others.
        warnings: what is wrong.
    """

    annotator: int
    control: str
    answers: int
    accuracy: Estimate | None
    by_class: dict[str, Estimate | None]
    halves: tuple[Estimate, Estimate] | None
    on_truth: int
    right_on_truth: int
    seconds: float | None
    pace: float | None
    warnings: list[PersonWarning] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As a round remembers it."""
        return asdict(self)

    @property
    def is_to_be_looked_at(self) -> bool:
        """Whether a warning is a reproach."""
        return any(warning.kind != "slow" for warning in self.warnings)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PersonSummary:
        """That of a round."""
        halves = stored["halves"]
        return cls(
            **{
                **stored,
                "accuracy": estimate_of(stored["accuracy"]),
                "by_class": {name: estimate_of(found) for name, found in stored["by_class"].items()},
                "halves": (Estimate(**halves[0]), Estimate(**halves[1])) if halves else None,
                "warnings": [PersonWarning(**warning) for warning in stored["warnings"]],
            }
        )


def estimate_of(stored: Mapping[str, Any] | None) -> Estimate | None:
    """An estimate as a round remembers it."""
    return None if stored is None else Estimate(**stored)


def warning_words(warning: PersonWarning, shown_label: str, zone: tzinfo | None = None) -> str:
    """What is wrong, and how sure that is: what follows an annotator's name.

    Args:
        warning: the warning.
        shown_label: the class of a constant annotator, as a person reads it.
        zone: the time zone of dates, by default the local one.
    """
    words = {
        "random": "answers at random",
        "constant": f"always answers {shown_label}",
        "careless": "answers worse than before",
        "hasty": "is much faster than the others, and worse",
        "slow": "is much slower than the others, which is no reproach",
    }[warning.kind]
    if warning.since is not None:
        words += f" since {moment(warning.since).astimezone(zone or tzlocal()).date().isoformat()}"
    return f"{words} (at most 1 of {warning.one_in:,} honest annotators ever looks like this)"


def remedy(project_id: int, annotator: int, email: str | None) -> str:
    """What a lead can do about an annotator's labels."""
    return f"To leave these labels out: connector init --project {project_id} --exclude {email or annotator}"


def people_of(pulled: ProjectSnapshot, scored: Scored) -> list[PersonSummary]:
    """The annotators, those with most labels first, question by question. `scored`: of the whole project."""
    parts = scored.parts or [scored]
    several = pulled.questions.several
    found: list[PersonSummary] = []
    for part, one in zip(pulled.by_question(), parts, strict=True):
        found += of_question(part, one.own, part.control.name if several else "")
    return found


def of_question(
    pulled: ProjectSnapshot, probabilities: Probabilities | None, control_name: str = ""
) -> list[PersonSummary]:
    """The annotators of a project with one question, or of a part of it. `control_name`: how they name it.

    `probabilities`: the model's own, since no machine is to judge people.
    """
    rows = _latest(row for task in pulled.usable_tasks.values() for row in task.annotations)
    truths = ground_truths(row for task in pulled.usable_tasks.values() for row in task.annotations)
    if not rows:
        return []
    control = pulled.control
    tasks = sorted({row.task for row in rows})
    annotators = sorted({row.annotator for row in rows})
    place = {task: index for index, task in enumerate(tasks)}
    column = {annotator: index for index, annotator in enumerate(annotators)}
    task = np.array([place[row.task] for row in rows], np.int64)
    annotator = np.array([column[row.annotator] for row in rows], np.int64)
    seconds = np.array([row.lead_time or np.nan for row in rows], np.float64)
    probs = _known_probs(probabilities, tasks, control)
    labels, truth_labels = [row.label or "" for row in rows], [truths.get(task) for task in tasks]
    if control.multiple:
        people = _multiple(task, annotator, seconds, labels, truth_labels, probs, control, len(annotators))
    else:
        position = {name: index for index, name in enumerate(control.classes)}
        label = np.array([position[name] for name in labels], np.int64)
        truth = np.array([-1 if name is None else position[name] for name in truth_labels], np.int64)
        if probs is not None:
            probs = _tempered(probs, task, label)
        people = assess(Answers(task, annotator, label, seconds), probs, truth, len(control.classes), len(annotators))
    by_annotator: dict[int, list[Annotation]] = {}
    for row in rows:
        by_annotator.setdefault(row.annotator, []).append(row)
    summaries = [
        _summary(number, control_name, person, by_annotator[number], truths, control)
        for number, person in zip(annotators, people, strict=True)
        if number  # all deleted users count as one, who is nobody
    ]
    return sorted(summaries, key=lambda summary: (-summary.answers, summary.annotator))


def _latest(rows: Iterable[Annotation]) -> list[Annotation]:
    """Each annotator's latest label on each task, without ground truth, in the order of time."""
    latest: dict[tuple[int, int], Annotation] = {}
    for row in sorted(rows, key=lambda row: (moment(row.updated_at), row.id)):
        if row.label is not None and not row.ground_truth:
            latest[row.task, row.annotator] = row
    return sorted(latest.values(), key=lambda row: (moment(row.created_at or row.updated_at), row.id))


def _known_probs(probabilities: Probabilities | None, tasks: Sequence[int], control: Control) -> Floats | None:
    """The model's probabilities (len(tasks), n_classes), NaN for tasks that it does not know. None without a model."""
    if probabilities is None:
        return None
    probs = align_probabilities(probabilities, tasks, control)
    probs[[task not in probabilities.place for task in tasks]] = np.nan
    return probs


def _tempered(probs: Floats, task: Ints, label: Ints) -> Floats:
    """The probabilities at the temperature that fits the labels best."""
    known = ~np.isnan(probs[:, 0])
    if not known.any():
        return probs
    votes = np.bincount(task * probs.shape[1] + label, minlength=probs.size).reshape(probs.shape).astype(np.float64)
    tempered = probs.copy()
    tempered[known] = scaled(
        probs[known], best_temperature(votes[known], votes[known].sum(axis=1), np.ascontiguousarray(probs[known]))
    )
    return tempered


def _multiple(
    task: Ints,
    annotator: Ints,
    seconds: Floats,
    labels: Sequence[str],
    truths: Sequence[str | None],
    probs: Floats | None,
    control: Control,
    n_annotators: int,
) -> list[Person]:
    """The annotators of multiple choice: whether each class applies is a question of its own.

    Shares are means over the classes. Evidence, too: the mean of several likelihood ratios of the same labels is one
    again (Vovk and Wang, "E-values: calibration, combination and applications", 2021).
    """
    chosen = {label: frozenset(control.classes_of(label)) for label in {*labels, *filter(None, truths)}}
    by_class: list[list[Person]] = []
    for index, name in enumerate(control.classes):
        label = np.array([name in chosen[one] for one in labels], np.int64)
        truth = np.array([-1 if one is None else name in chosen[one] for one in truths], np.int64)
        part = None if probs is None else _tempered(binary(probs[:, index]), task, label)
        by_class.append(assess(Answers(task, annotator, label, seconds), part, truth, 2, n_annotators))
    return [_joined([people[number] for people in by_class]) for number in range(n_annotators)]


def _joined(classes: Sequence[Person]) -> Person:
    """One annotator by what was found of each class."""
    halves = [person.halves for person in classes if person.halves is not None]
    evidence: dict[str, list[active_learning.PersonWarning]] = {}
    for warning in (warning for person in classes for warning in person.warnings):
        kind = "random" if warning.kind == "constant" else warning.kind
        evidence.setdefault(kind, []).append(warning)
    warnings = []
    for kind, found in evidence.items():
        mean = sum(warning.evidence for warning in found) / len(classes)
        if mean >= LEAST_EVIDENCE:
            surest = max(found, key=lambda warning: warning.evidence)
            warnings.append(active_learning.PersonWarning(kind, mean, surest.since))
    first, accuracies = classes[0], [person.accuracy for person in classes if person.accuracy is not None]
    return replace(
        first,
        accuracy=_mean(accuracies) if accuracies else None,
        by_class=[person.accuracy for person in classes],
        halves=(_mean([one for one, _ in halves]), _mean([other for _, other in halves])) if halves else None,
        warnings=warnings,
    )


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """The means of the values and of the ends of the intervals, which is no shorter than that of the mean."""
    value, low, high = (float(np.mean([getattr(one, name) for one in estimates])) for name in ("value", "low", "high"))
    return Estimate(value, low, high, estimates[0].n)


def _summary(
    annotator: int,
    control_name: str,
    person: Person,
    rows: Sequence[Annotation],
    truths: Mapping[int, str],
    control: Control,
) -> PersonSummary:
    tested = [row for row in rows if row.task in truths]
    return PersonSummary(
        annotator=annotator,
        control=control_name,
        answers=person.answers,
        accuracy=person.accuracy,
        by_class=dict(zip(control.classes, person.by_class, strict=True)),
        halves=person.halves,
        on_truth=len(tested),
        right_on_truth=sum(row.label == truths[row.task] for row in tested),
        seconds=person.seconds,
        pace=person.pace,
        warnings=[
            PersonWarning(
                warning.kind,
                min(int(warning.evidence), SUREST),
                (rows[warning.since].created_at or rows[warning.since].updated_at) if warning.since else None,
                None if warning.label is None else control.classes[warning.label],
            )
            for warning in person.warnings
        ],
    )
