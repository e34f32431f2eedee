"""The section of a report on annotators: labels, agreement, quality, confusions, alpha."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from connector.active_learning.agreement import in_pairs, krippendorff_alpha, ordinal_alpha
from connector.active_learning.annotator_quality import annotator_stats
from connector.active_learning.crowdlab import crowdlab
from connector.active_learning.interval import Interval
from connector.active_learning.labels import Floats, Ints, Labels
from connector.active_learning.multilabel import binary
from connector.active_learning.people import Estimate
from connector.annotations.label_config import Control
from connector.reporting.content import (
    Annotator,
    AnnotatorsSection,
    AnnotatorWarning,
    CheckedAnnotator,
    CheckedMachine,
    ClassAccuracy,
    Pair,
)
from connector.reporting.report_data import NAME_LENGTH, ReportData, quoted, shorten
from connector.simulation.confidence_intervals import wilson
from connector.sync.machine_summary import MachineSummary, machines_of
from connector.sync.people import PersonSummary, of_question, remedy, warning_words

ANNOTATORS = 100
CLASSES = 20  # of which the page says how often an annotator recognises them
PAIRED = 20  # annotators

Confusions = Counter[tuple[str, str]]  # how often an annotator gave (label, while this was the consensus)


def annotators_section(data: ReportData) -> AnnotatorsSection:
    """The annotators, their pairs and alpha. Ground truth counts as no annotator's work."""
    labels = Counter(annotator for _, annotator in data.labels)
    skips = Counter(row.annotator for row in data.rows if row.skipped)
    seconds: defaultdict[int, list[float]] = defaultdict(list)
    for row in data.rows:
        if row.label is not None and row.lead_time is not None and row.lead_time > 0:
            seconds[row.annotator].append(row.lead_time)
    everyone = sorted(labels.keys() | skips.keys(), key=lambda annotator: (-labels[annotator], annotator))
    confusions, quality = _confusions(data), _quality(data)
    annotators = [
        Annotator(
            data.name(annotator),
            labels[annotator],
            skips[annotator],
            _agreement(confusions[annotator]) if annotator in confusions else None,
            quality.get(annotator),
            *_confused(confusions[annotator], data),
            median(seconds[annotator]) if annotator in seconds else None,
        )
        for annotator in everyone[:ANNOTATORS]
    ]
    with_labels = [annotator for annotator in everyone if labels[annotator]]
    pairs, alpha, alpha_words = _together(data, with_labels)
    left_out, unpaired = (max(0, number) for number in (len(everyone) - ANNOTATORS, len(with_labels) - PAIRED))
    people = of_question(data.pulled, data.reviewed.scored.own)
    return AnnotatorsSection(
        annotators,
        left_out,
        pairs,
        unpaired,
        alpha,
        alpha_words,
        checked=[_checked(one, data) for one in people[:ANNOTATORS] if one.accuracy is not None],
        warnings=[warning for one in people for warning in _warnings(one, data)][:ANNOTATORS],
        machines=[_machine(one, data) for one in machines_of(data.pulled, data.reviewed.scored, people)],
    )


def _checked(one: PersonSummary, data: ReportData) -> CheckedAnnotator:
    return CheckedAnnotator(
        data.name(one.annotator),
        _of(one.accuracy),
        None if one.halves is None else (_interval_of(one.halves[0]), _interval_of(one.halves[1])),
        (one.on_truth, one.right_on_truth),
        one.pace,
        [
            ClassAccuracy(data.class_name(name), _interval_of(found))
            for name, found in list(one.by_class.items())[:CLASSES]
            if found is not None
        ],
    )


def _machine(one: MachineSummary, data: ReportData) -> CheckedMachine:
    return CheckedMachine(
        shorten(one.machine, NAME_LENGTH),
        one.labels,
        one.shared,
        _of(one.accuracy),
        (one.on_truth, one.right_on_truth),
        [
            ClassAccuracy(data.class_name(name), _interval_of(found))
            for name, found in list(one.by_class.items())[:CLASSES]
            if found is not None
        ],
        one.words(lambda name: quoted(data.class_name(name))),
    )


def _warnings(one: PersonSummary, data: ReportData) -> Iterator[AnnotatorWarning]:
    email = data.emails.get(one.annotator)
    for warning in one.warnings:
        yield AnnotatorWarning(
            data.name(one.annotator),
            warning_words(warning, quoted(data.class_name(warning.label or ""))),
            remedy(data.pulled.project["id"], one.annotator, email) if warning.kind != "slow" else None,
        )


def _of(estimate: Estimate | None) -> Interval | None:
    return None if estimate is None else _interval_of(estimate)


def _interval_of(estimate: Estimate) -> Interval:
    return Interval(estimate.value, estimate.low, estimate.high)


def _confusions(data: ReportData) -> defaultdict[int, Confusions]:
    """{annotator: their labels beside the consensus}, on tasks that others labelled, too."""
    counts = Counter(task for task, _ in data.labels)
    consensus = data.reviewed.scored.consensus
    confusions: defaultdict[int, Confusions] = defaultdict(Counter)
    for (task, annotator), label in data.labels.items():
        if counts[task] > 1 and task in consensus:
            confusions[annotator][label, consensus[task]] += 1
    return confusions


def _agreement(confusions: Confusions) -> Interval:
    trials = confusions.total()
    equal = sum(times for (label, consensus), times in confusions.items() if label == consensus)
    return _interval(equal / trials, trials)


def _confused(confusions: Confusions, data: ReportData) -> tuple[str | None, str | None]:
    """The class an annotator most often assigns when the consensus differs, and the most frequent consensus then.

    Ties go to the class with the larger share of such labels, then to the config's first. For multiple choice, a class
    counts if the consensus lacks it. A class that the annotator leaves out counts, too, and the second value is None
    then. Both are None if all labels are the consensus.
    """
    classes_of = data.control.classes_of
    assigned, due, missing = Counter[str](), Counter[str](), Counter[str]()
    instead: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (label, consensus), times in confusions.items():
        theirs, right = classes_of(label), classes_of(consensus)
        for name in theirs:
            assigned[name] += times
            if name not in right:
                instead[name][consensus] += times
        for name in right:
            due[name] += times
            if name not in theirs:
                missing[name] += times
    wrong = [(name, instead[name].total(), assigned[name]) for name in data.control.classes if name in instead]
    lacking = [(name, missing[name], due[name]) for name in data.control.classes if missing[name]]
    left_out = lacking if data.control.multiple else []  # for single choice these are the same errors again
    if not wrong and not left_out:
        return None, None
    worst = max([*wrong, *left_out], key=lambda counted: (counted[1], counted[1] / counted[2]))
    if worst not in wrong:
        return data.class_name(worst[0]), None
    taken_for = min(instead[worst[0]].items(), key=lambda counted: (-counted[1], counted[0]))[0]
    return data.class_name(worst[0]), data.shown(taken_for)


def _quality(data: ReportData) -> dict[int, Interval]:
    """{annotator: CROWDLAB's quality with an interval}. Empty without a model.

    For multiple choice it is the mean of the qualities as to whether each class applies. Quality is a mean of numbers
    in [0, 1], one per label: its probability, and whether it is the consensus (`annotator_quality`). A mean q of n such
    numbers has a variance of at most q (1 - q) / n, which is that of a share (Bhatia and Davis, "A better bound on the
    variance", 2000). So Wilson's interval of a share q of n trials is conservative. n: their labels on tasks that
    others labelled, too, or all labels if there are none. That the weights are estimates themselves is neglected.
    """
    pred_probs, control = data.reviewed.pred_probs, data.control
    keys = sorted(key for key in data.labels if key[0] in pred_probs)
    if not keys:
        return {}
    tasks, annotators = sorted({task for task, _ in keys}), sorted({annotator for _, annotator in keys})
    task = _numbers([task for task, _ in keys], tasks)
    annotator = _numbers([annotator for _, annotator in keys], annotators)
    probs = np.array([pred_probs[number] for number in tasks])

    def of(label: Ints, probs: Floats) -> Floats:
        labels = Labels(task, annotator, label, len(tasks), probs.shape[1])
        return annotator_stats(labels, crowdlab(labels, probs)).quality

    labels = [data.labels[key] for key in keys]
    if control.multiple:
        by_class = [of(has * 1, binary(probs[:, index])) for index, has in enumerate(_by_class(labels, control))]
        quality = np.asarray(np.mean(by_class, axis=0), np.float64)
    else:
        quality = of(_numbers(labels, control.classes), probs)
    shared = (np.bincount(task) > 1)[task]
    own, with_others = np.bincount(annotator), np.bincount(annotator[shared], minlength=len(annotators))
    trials = np.where(with_others > 0, with_others, own)
    return {
        number: _interval(min(max(float(value), 0.0), 1.0), int(n))
        for number, value, n in zip(annotators, quality, trials, strict=True)
    }


def _together(data: ReportData, annotators: Sequence[int]) -> tuple[list[Pair], float | None, str]:
    """The pairs among the first PAIRED annotators, alpha of all, and what it means."""
    keys, labels = list(data.labels), list(data.labels.values())
    task = _numbers([task for task, _ in keys], sorted({task for task, _ in keys}))
    annotator = _numbers([annotator for _, annotator in keys], annotators)
    label = _numbers(labels, sorted(set(labels)))
    names = [data.name(number) for number in annotators[:PAIRED]]
    pairs = [
        Pair(names[pair.first], names[pair.second], pair.tasks, pair.equal / pair.tasks)
        for pair in in_pairs(task, annotator, label, len(names))
    ]
    control = data.control
    if control.ordered:
        alpha = ordinal_alpha(task, _numbers(labels, control.classes), len(control.classes))
    else:
        alpha = krippendorff_alpha(task, _by_class(labels, control))
    return pairs, alpha, _alpha_words(alpha, several=len(set(task.tolist())) < len(keys), control=control)


def _alpha_words(alpha: float | None, *, several: bool, control: Control) -> str:
    """What alpha means, by the bounds of Krippendorff, Content Analysis, 4th edition (2018), chapter 12."""
    if alpha is None and not several:
        return "No two people have labelled the same task: their agreement is unknown."
    if alpha is None:
        same = "the same" if control.multiple else "one class"
        return f"All labels of tasks that several people labelled are {same}, which is no agreement beyond chance."
    shown = round(alpha, 2)
    if alpha >= 0.8:
        verdict = "The labels are reliable by Krippendorff's bound of 0.8"
    elif alpha >= 2 / 3:
        verdict = "The labels allow tentative conclusions by Krippendorff's bounds of 0.667 and 0.8"
    elif shown > 0:
        verdict = "The labels are less reliable than Krippendorff asks for, 0.667 at least"
    elif shown == 0:
        verdict = "People agree no more than by chance"
    else:
        verdict = "People agree less than by chance"
    how = " Two sets differ by as many classes as are in only one of them." if control.multiple else ""
    if control.ordered:
        how = " Two labels count as further apart if more labels lie between them."
    return f"{verdict}. 1 would be perfect agreement, 0 is chance.{how}"


def _by_class(labels: Sequence[str], control: Control) -> Iterator[NDArray[np.bool_]]:
    """For each class, which of the labels (m,) have it."""
    kinds = sorted(set(labels))
    sets, kind = [frozenset(control.classes_of(label)) for label in kinds], _numbers(labels, kinds)
    for name in control.classes:
        yield np.array([name in chosen for chosen in sets], np.bool_)[kind]


def _interval(share: float, trials: int) -> Interval:
    return Interval(share, *wilson(share, trials))


def _numbers(values: Sequence[int] | Sequence[str], order: Sequence[int] | Sequence[str]) -> Ints:
    """The position of each of the values in `order`."""
    place = {value: index for index, value in enumerate(order)}
    return np.array([place[value] for value in values], np.int64)
