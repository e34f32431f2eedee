"""The part of a report on annotators: labels, agreement, quality, confusions, alpha."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from connector.active_learning.agreement import Ints, in_pairs, krippendorff_alpha
from connector.active_learning.annotator_quality import annotator_stats
from connector.active_learning.crowdlab import Floats, Labels, crowdlab
from connector.active_learning.multilabel import binary
from connector.annotations.label_config import Control
from connector.reporting.content import Annotator, Interval, Pair, People
from connector.reporting.report_data import Facts
from connector.simulation.confidence_intervals import wilson

ANNOTATORS = 100
PAIRED = 20  # annotators

Heard = Counter[tuple[str, str]]  # how often an annotator gave a label, and what the consensus was then


def people(facts: Facts) -> People:
    """What the report tells of annotators; ground truth is no label of theirs."""
    labels = Counter(annotator for _, annotator in facts.labels)
    skips = Counter(row.annotator for row in facts.rows if row.skipped)
    seconds: defaultdict[int, list[float]] = defaultdict(list)
    for row in facts.rows:
        if row.label is not None and row.lead_time is not None and row.lead_time > 0:
            seconds[row.annotator].append(row.lead_time)
    everyone = sorted(labels.keys() | skips.keys(), key=lambda one: (-labels[one], one))
    heard, quality = _heard(facts), _quality(facts)
    annotators = [
        Annotator(
            facts.name(one),
            labels[one],
            skips[one],
            _agreement(heard[one]) if one in heard else None,
            quality.get(one),
            *_confused(heard[one], facts),
            median(seconds[one]) if one in seconds else None,
        )
        for one in everyone[:ANNOTATORS]
    ]
    with_labels = [one for one in everyone if labels[one]]
    pairs, alpha, words = _together(facts, with_labels)
    left_out, unpaired = (max(0, number) for number in (len(everyone) - ANNOTATORS, len(with_labels) - PAIRED))
    return People(annotators, left_out, pairs, unpaired, alpha, words)


def _heard(facts: Facts) -> defaultdict[int, Heard]:
    """{annotator: their labels beside the consensus}, on tasks that others labelled, too."""
    counts = Counter(task for task, _ in facts.labels)
    consensus = facts.reviewed.scored.consensus
    heard: defaultdict[int, Heard] = defaultdict(Counter)
    for (task, annotator), label in facts.labels.items():
        if counts[task] > 1 and task in consensus:
            heard[annotator][label, consensus[task]] += 1
    return heard


def _agreement(heard: Heard) -> Interval:
    trials = heard.total()
    return _interval(sum(times for (label, said), times in heard.items() if label == said) / trials, trials)


def _confused(heard: Heard, facts: Facts) -> tuple[str | None, str | None]:
    """The class that they give most often where the consensus is another, and what it says most often then.

    Ties go to the class of which that is a larger share, then to the config's first. Of multiple choice a class counts
    where the consensus lacks it, and, by itself, where they leave out one that the consensus has: then what the
    consensus says is None. Both are None where all labels are the consensus.
    """
    classes_of = facts.control.classes_of
    given, due, missing = Counter[str](), Counter[str](), Counter[str]()
    instead: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (label, said), times in heard.items():
        theirs, right = classes_of(label), classes_of(said)
        for name in theirs:
            given[name] += times
            if name not in right:
                instead[name][said] += times
        for name in right:
            due[name] += times
            if name not in theirs:
                missing[name] += times
    wrong = [(name, instead[name].total(), given[name]) for name in facts.control.classes if name in instead]
    lacking = [(name, missing[name], due[name]) for name in facts.control.classes if missing[name]]
    left_out = lacking if facts.control.multiple else []  # of a single choice these are the same errors again
    if not wrong and not left_out:
        return None, None
    worst = max([*wrong, *left_out], key=lambda found: (found[1], found[1] / found[2]))
    if worst not in wrong:
        return worst[0], None
    taken_for = min(instead[worst[0]].items(), key=lambda found: (-found[1], found[0]))[0]
    return worst[0], facts.shown(taken_for)


def _quality(facts: Facts) -> dict[int, Interval]:
    """{annotator: CROWDLAB's quality with an interval}; empty without a model.

    Of multiple choice it is the mean over the classes of the quality as to whether each applies. Quality is a mean of
    numbers in [0, 1], one a label: how probable it is, and whether it is the consensus (`annotator_quality`). A
    mean q of n such numbers has a variance of at most q (1 - q) / n (Bhatia and Davis, "A better bound on the
    variance", 2000), which is that of a share; so Wilson's interval of a share q of n trials is none too narrow. n:
    their labels on tasks that others labelled, too, or all where there are none. That the weights are estimates
    themselves is left out.
    """
    pred_probs, control = facts.reviewed.pred_probs, facts.control
    keys = sorted(key for key in facts.labels if key[0] in pred_probs)
    if not keys:
        return {}
    tasks, annotators = sorted({task for task, _ in keys}), sorted({annotator for _, annotator in keys})
    task = _numbers([task for task, _ in keys], tasks)
    annotator = _numbers([annotator for _, annotator in keys], annotators)
    probs = np.array([pred_probs[one] for one in tasks])

    def of(label: Ints, probs: Floats) -> Floats:
        labels = Labels(task, annotator, label, len(tasks), probs.shape[1])
        return annotator_stats(labels, crowdlab(labels, probs)).quality

    labels = [facts.labels[key] for key in keys]
    if control.multiple:
        by_class = [of(has * 1, binary(probs[:, index])) for index, has in enumerate(_by_class(labels, control))]
        quality = np.asarray(np.mean(by_class, axis=0), np.float64)
    else:
        quality = of(_numbers(labels, control.classes), probs)
    shared = (np.bincount(task) > 1)[task]
    own, with_others = np.bincount(annotator), np.bincount(annotator[shared], minlength=len(annotators))
    trials = np.where(with_others > 0, with_others, own)
    return {
        one: _interval(min(max(float(value), 0.0), 1.0), int(n))
        for one, value, n in zip(annotators, quality, trials, strict=True)
    }


def _together(facts: Facts, annotators: Sequence[int]) -> tuple[list[Pair], float | None, str]:
    """The pairs among the first of the annotators, alpha of all, and what it says."""
    keys, labels = list(facts.labels), list(facts.labels.values())
    task = _numbers([task for task, _ in keys], sorted({task for task, _ in keys}))
    annotator = _numbers([annotator for _, annotator in keys], annotators)
    label = _numbers(labels, sorted(set(labels)))
    names = [facts.name(one) for one in annotators[:PAIRED]]
    pairs = [
        Pair(names[one.first], names[one.second], one.tasks, one.equal / one.tasks)
        for one in in_pairs(task, annotator, label, len(names))
    ]
    alpha = krippendorff_alpha(task, _by_class(labels, facts.control))
    return pairs, alpha, _alpha_words(alpha, several=len(set(task.tolist())) < len(keys), sets=facts.control.multiple)


def _alpha_words(alpha: float | None, *, several: bool, sets: bool) -> str:
    """What alpha says, by the bounds of Krippendorff, Content Analysis, 4th edition (2018), chapter 12."""
    if alpha is None and not several:
        return "No two people have labelled the same task: nothing can be said of their agreement."
    if alpha is None:
        same = "the same" if sets else "one class"
        return f"All labels of tasks that several people labelled are {same}: that is no agreement beyond chance."
    shown = round(alpha, 2)
    if alpha >= 0.8:
        said = "The labels are reliable by Krippendorff's bound of 0.8"
    elif alpha >= 2 / 3:
        said = "The labels allow tentative conclusions by Krippendorff's bounds of 0.667 and 0.8"
    elif shown > 0:
        said = "The labels are less reliable than Krippendorff asks for, 0.667 at least"
    elif shown == 0:
        said = "People agree no more than by chance"
    else:
        said = "People agree less than by chance"
    how = " Two sets differ by as many classes as are in one of them alone." if sets else ""
    return f"{said}; 1 would be perfect, 0 chance.{how}"


def _by_class(labels: Sequence[str], control: Control) -> Iterator[NDArray[np.bool_]]:
    """For each class, which of the labels (m,) have it."""
    kinds = sorted(set(labels))
    sets, kind = [frozenset(control.classes_of(one)) for one in kinds], _numbers(labels, kinds)
    for name in control.classes:
        yield np.array([name in one for one in sets], np.bool_)[kind]


def _interval(share: float, trials: int) -> Interval:
    return Interval(share, *wilson(share, trials))


def _numbers(values: Sequence[int] | Sequence[str], known: Sequence[int] | Sequence[str]) -> Ints:
    """Where each of the values stands among the known ones."""
    place = {value: index for index, value in enumerate(known)}
    return np.array([place[value] for value in values], np.int64)
