"""Which tasks people honestly differ on, and whether one more label would settle a task.

Every task is either clear or open. A clear task has one class, and labels differ from it by errors. An open task can be
read as either of two classes, and each annotator reads it as one of them at random. Errors come on top. Items that are
answered at random are from Beigman Klebanov and Beigman, "From annotator agreement to noise models" (Computational
Linguistics 35, 2009). The confusions are those of Dawid and Skene (1979), as in `dawid_skene`, whose symbols are used
here. The formulas below are ours:

    P(labels, clear, k)      = (1 - sum of the r_ab) p_M(k) * product over annotators j of the task of pi_j(k, Y_ij)
    P(labels, open, {a, b})  = r_ab * product over annotators j of the task of (pi_j(a, Y_ij) + pi_j(b, Y_ij)) / 2
    r_ab                     = r_t g_ab (p_M(a) + p_M(b)) / (K - 1)

The last factor sums to one over all pairs, so the model counts as one more reader. How undecided it is tells more, but
only if labels confirm that. Therefore the share r_t of open tasks is estimated for each of PARTS equal parts t of the
tasks, ordered by the model's highest probability. And g_ab is how often open tasks lie between a and b, relative to
pairs by chance: classes whose definitions overlap have many. Both are estimated from all tasks (empirical Bayes). With
o_i the posterior probability that a task is open, o_i(ab) that it lies between a and b, and S pseudo-tasks:

    share = (sum of o_i + 1) / (n + S)
    r_t   = (sum over the part of o_i + S share) / (n_t + S)
    g_ab  = (sum of o_i(ab) K (K - 1) / 2 + S) / (sum of o_i + S)

The confusions are estimated along with it (EM): a label on an open task counts for the class that the annotator read.
If it counted as an error instead, errors would explain all open tasks. Only tasks with two labels or more take part.

Of a task's pairs, only those of classes that it was given, or that the model finds likeliest, are looked at.
Pure: arrays in, arrays out, nothing random.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connector.active_learning.dawid_skene import LEAST, confusions, posterior
from connector.active_learning.labels import Floats, Ints, Labels, checked_probs
from connector.active_learning.temperature import best_temperature, scaled

LEAST_LABELS = 3  # two labels that differ say next to nothing
LIKELY = 0.5  # a task that is more probably open than clear is ambiguous
CERTAIN = 0.8  # from here on, further labels are hardly of use
SURE = 0.9  # the probability of a class that settles a task
PSEUDO_TASKS = 20.0  # S, with one open task among them
PARTS = 5
MOST_EXPECTED = 0.95  # of the sum of the r_ab
OTHERS = 2  # likely classes that no annotator gave
START_SHARE = 0.2  # EM that starts without open tasks finds none
ITERATIONS = 40
CODEBOOK_TASKS, CODEBOOK_SHARE = 5, 0.05  # fewer may be chance


@dataclass(frozen=True)
class Ambiguity:
    """What is known of n tasks, of k classes.

    Attributes:
        probability: that the task is open (n,). 0 if it has one label.
        ambiguous: whether it is more probably open than clear (n,). False below LEAST_LABELS.
        hopeless: whether it is open with CERTAIN (n,). False below LEAST_LABELS.
        pair: the two classes between which it lies if it is open (n, 2), ascending.
        soft: the probability (n, k) that a careful person reads the task as a class. If no task can be ambiguous, it is
            that of `dawid_skene.posterior`.
        settles: the probability (n,) that after one more label of an average annotator, the task is clear and of one
            class with SURE. NaN if it has one label, or if no task can be ambiguous.
        share: the estimated share of open tasks.
        annotators: those who share a task with others (a,), ascending.
        accuracy: how often each is right on clear tasks (a,), in the mean of the classes.
    """

    probability: Floats
    ambiguous: NDArray[np.bool_]
    hopeless: NDArray[np.bool_]
    pair: Ints
    soft: Floats
    settles: Floats
    share: float = 0.0
    annotators: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    accuracy: Floats = field(default_factory=lambda: np.zeros(0))


class ConfusedClasses(NamedTuple):
    """Two classes that the best annotators confuse: on `tasks`, among `of` tasks that some of them gave one of both."""

    first: int
    second: int
    tasks: int
    of: int


def ambiguity(labels: Labels, pred_probs: Floats) -> Ambiguity:
    """How probably each task is open, and what one more label would do.

    `pred_probs` (n_tasks, n_classes): out-of-sample class probabilities. Raises ValueError, naming the first bad row,
    if they are no probabilities.
    """
    pred_probs = checked_probs("pred_probs", pred_probs, labels.n_tasks, labels.n_classes)
    n, k = labels.n_tasks, labels.n_classes
    votes = labels.votes()
    counts = votes.sum(axis=1)
    no, zero = np.zeros(n, np.bool_), np.zeros(n)
    result = Ambiguity(
        zero, no, no.copy(), np.zeros((n, 2), np.int64), posterior(labels, pred_probs), np.full(n, np.nan)
    )
    shared = np.flatnonzero(counts > 1)
    if not ((votes > 0).sum(axis=1) > 1)[counts >= LEAST_LABELS].any():
        return result  # nothing can be ambiguous
    prior = np.maximum(scaled(pred_probs, best_temperature(votes, counts, pred_probs)), LEAST)[shared]
    task, annotator, label = _labels_on(shared, labels)
    annotators, annotator = np.unique(annotator, return_inverse=True)
    cell = annotator.reshape(-1) * k + label
    each = np.arange(len(cell))
    pairs = _Pairs.of(votes[shared], prior)
    part = np.searchsorted(np.quantile(prior.max(axis=1), np.arange(1, PARTS) / PARTS), prior.max(axis=1), side="right")
    sizes, all_pairs = np.bincount(part, minlength=PARTS), k * (k - 1) / 2

    is_open = np.where((votes[shared] > 0).sum(axis=1) > 1, 0.5, 0.0)
    read = result.soft[shared][task] * (1 - is_open)[task, None]  # as which class a label was meant (m, k)
    read[each, label] += is_open[task]
    shares, often = np.full(PARTS, START_SHARE), np.ones(k * k)
    for _ in range(ITERATIONS):
        confusion = confusions(each, cell, len(annotators), read.T)
        likely = np.maximum(confusion.transpose(1, 0, 2).reshape(k, -1)[:, cell].T, LEAST)
        clear = np.log(prior)
        for column, logs in enumerate(np.log(likely).T):
            clear[:, column] += np.bincount(task, logs, len(shared))
        of_clear = np.logaddexp.reduce(clear, axis=1)
        expected = shares[part][pairs.task] * often[pairs.kind] * pairs.model
        at_all = np.minimum(np.bincount(pairs.task, expected, len(shared)), MOST_EXPECTED)
        of_pairs = np.log(expected) + pairs.log_likelihood(likely)
        of_open = pairs.log_sum(of_pairs)
        log_odds = of_open - of_clear - np.log1p(-at_all)
        is_open = 1 / (1 + np.exp(np.clip(-log_odds, -700, 700)))
        share = float(is_open.sum() + 1) / (len(shared) + PSEUDO_TASKS)
        shares = (np.bincount(part, is_open, PARTS) + PSEUDO_TASKS * share) / (sizes + PSEUDO_TASKS)
        classes = np.exp(clear - of_clear[:, None])
        of_pair = is_open[pairs.task] * np.exp(of_pairs - of_open[pairs.task])
        often = (np.bincount(pairs.kind, of_pair, k * k) * all_pairs + PSEUDO_TASKS) / (is_open.sum() + PSEUDO_TASKS)
        read = (1 - is_open)[task, None] * classes[task] + pairs.readings(of_pair, likely)

    known = (1 - is_open)[:, None] * classes
    soft = known + pairs.halves(of_pair, known.shape)
    several = counts[shared] >= LEAST_LABELS
    result.probability[shared] = is_open
    result.ambiguous[shared] = several & (is_open > LIKELY)
    result.hopeless[shared] = several & (is_open > CERTAIN)
    result.pair[shared] = pairs.likeliest(of_pair)
    result.soft[shared] = soft
    average = np.einsum("j,jkl->kl", np.bincount(annotator.reshape(-1)) / len(cell), confusion)
    result.settles[shared] = _settles(known, soft, average)
    return replace(result, share=share, annotators=annotators, accuracy=np.einsum("jkk->j", confusion) / k)


def confused_classes(labels: Labels, found: Ambiguity) -> list[ConfusedClasses]:
    """The pairs of classes that the better half of the annotators confuse on ambiguous tasks, the most frequent first.

    Those who are best at telling classes apart should not differ. If they do, the definitions of the classes leave it
    open (the rule is ours). A pair counts from CODEBOOK_TASKS tasks and CODEBOOK_SHARE of those that it could be.
    """
    half = max(2, (len(found.annotators) + 1) // 2)
    best = found.annotators[np.argsort(-found.accuracy, kind="stable")[:half]]
    rows = np.isin(labels.annotator, best)
    given = np.zeros((labels.n_tasks, labels.n_classes), np.int64)
    np.add.at(given, (labels.task[rows], labels.label[rows]), 1)
    several = given.sum(axis=1) > 1
    result = []
    for first, second in np.unique(found.pair[found.ambiguous], axis=0).tolist():
        in_pair = found.ambiguous & (found.pair == (first, second)).all(axis=1)
        tasks = int((in_pair & (given[:, first] > 0) & (given[:, second] > 0)).sum())
        of = int((several & ((given[:, first] > 0) | (given[:, second] > 0))).sum())
        if tasks >= max(CODEBOOK_TASKS, CODEBOOK_SHARE * of):
            result.append(ConfusedClasses(first, second, tasks, of))
    return sorted(result, key=lambda pair: (-pair.tasks, pair.first, pair.second))


def _labels_on(tasks: Ints, labels: Labels) -> tuple[Ints, Ints, Ints]:
    """The labels (m,) on some of the tasks: which of them ascending, the annotator, and the label."""
    place = np.full(labels.n_tasks, -1)
    place[tasks] = np.arange(len(tasks))
    rows = np.flatnonzero(place[labels.task] >= 0)
    rows = rows[np.argsort(labels.task[rows], kind="stable")]
    return place[labels.task[rows]], labels.annotator[rows], labels.label[rows]


def _settles(known: Floats, soft: Floats, average: Floats) -> Floats:
    """The probability (n,) that after one more label, a class of a clear task has SURE.

    Args:
        known: the probability (n, k) that a task is clear and of a class.
        soft: the probability (n, k) that it is read as a class.
        average: the confusions (k, k) of an average annotator.
    """
    result = np.zeros(len(known))
    for column in average.T:
        given = soft @ column
        result += np.where((known * column).max(axis=1) >= SURE * given, given, 0.0)
    return result


@dataclass(frozen=True)
class _Pairs:
    """The pairs of classes between which tasks may lie.

    `task`, `first`, `second`, `kind` (p,): a task, two classes, and a number of both, by ascending task. `model` (p,):
    the factor of the model in r_ab. `pair`, `label` (q,): a pair, and the number of a label of its task.
    """

    task: Ints
    first: Ints
    second: Ints
    kind: Ints
    model: Floats
    pair: Ints
    label: Ints

    @classmethod
    def of(cls, votes: Floats, prior: Floats) -> _Pairs:
        """Those of the classes that tasks were given (n, k), and of OTHERS by the model (n, k)."""
        n, k = votes.shape
        candidate = votes > 0
        others = np.argsort(np.where(candidate, -1.0, prior), axis=1, kind="stable")[:, max(k - OTHERS, 0) :]
        candidate[np.arange(n)[:, None], others] = True
        task, name = np.nonzero(candidate)
        last = np.searchsorted(task, task, side="right") - 1
        first, offset = _counted(last - np.arange(len(task)))  # each candidate with all later ones of its task
        second = first + 1 + offset
        task, first, second = task[first], name[first], name[second]
        model = (prior[task, first] + prior[task, second]) / (k - 1)
        labels = votes.sum(axis=1).astype(np.int64)
        pair, offset = _counted(labels[task])
        return cls(
            task, first, second, first * k + second, model, pair, (np.cumsum(labels) - labels)[task][pair] + offset
        )

    def log_likelihood(self, likely: Floats) -> Floats:
        """log of the probability of the task's labels (p,). `likely`: pi_j(k, Y_ij) of each label (m, k)."""
        as_first, as_second = self._as_either(likely)
        logs = np.log((as_first + as_second) / 2)
        return np.asarray(np.bincount(self.pair, logs, len(self.task)), np.float64)

    def log_sum(self, logs: Floats) -> Floats:
        """log of the sum of exp(logs) (p,) over the pairs of each task (n,)."""
        return np.asarray(np.logaddexp.reduceat(logs, np.flatnonzero(np.diff(self.task, prepend=-1))), np.float64)

    def readings(self, probs: Floats, likely: Floats) -> Floats:
        """How probably a label's task is open and was read as a class (m, k). `probs`: of the pairs (p,)."""
        as_first, as_second = self._as_either(likely)
        each = probs[self.pair] / (as_first + as_second)
        row = self.label * likely.shape[1]
        read = np.bincount(row + self.first[self.pair], each * as_first, likely.size)
        read += np.bincount(row + self.second[self.pair], each * as_second, likely.size)
        return np.asarray(read.reshape(likely.shape), np.float64)

    def halves(self, probs: Floats, shape: tuple[int, int]) -> Floats:
        """How probably a task is open and read as a class, of this `shape` (n, k). `probs`: of the pairs (p,)."""
        row, size = self.task * shape[1], shape[0] * shape[1]
        found = np.bincount(row + self.first, probs / 2, size) + np.bincount(row + self.second, probs / 2, size)
        return np.asarray(found.reshape(shape), np.float64)

    def likeliest(self, probs: Floats) -> Ints:
        """The likeliest pair of each task (n, 2). `probs`: of the pairs (p,)."""
        order = np.lexsort((-probs, self.task))
        chosen = order[np.flatnonzero(np.diff(self.task[order], prepend=-1))]
        return np.stack([self.first[chosen], self.second[chosen]], axis=1)

    def _as_either(self, likely: Floats) -> tuple[Floats, Floats]:
        """The probability of each label (q,) if its task is read as the first class, and as the second."""
        return likely[self.label, self.first[self.pair]], likely[self.label, self.second[self.pair]]


def _counted(sizes: Ints) -> tuple[Ints, Ints]:
    """Each position in `sizes` (n,) as often as its size says, and beside it the count from 0."""
    which = np.repeat(np.arange(len(sizes)), sizes)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
