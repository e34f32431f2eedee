"""How many labels are right, by an audit: tasks drawn uniformly at random and labelled as any others. Pure.

Nobody knows the true classes, and annotators err. So the true classes are sampled, by Gibbs sampling, from the model of
Dawid and Skene ("Maximum likelihood estimation of observer error-rates using the EM algorithm", 1979) in its Bayesian
form (Paun et al., "Comparing Bayesian models of annotation", TACL 6, 2018), with the classifier beside the annotators:

    t_i                the true class of a labelled task
    p_i                the classifier's out-of-sample probabilities, scaled by the temperature that fits the labels best
    m_i                the most probable class by p_i
    t_i = m_i          with probability r_i
    t_i = k, not m_i   with probability (1 - r_i) p_i(k) / (1 - p_i(m_i))
    Y_ij = l           with probability pi_j(t_i, l), the confusions of annotator j

There are two strata: "audited" tasks, which have no other labels than those of the audit, and "chosen" tasks, all
others, which were chosen because the classifier did badly there, or for another reason. What is learnt about the
classifier on chosen tasks does not say how it does on the tasks that nobody has labelled. Audited tasks do: they were
drawn from the same. Chosen tasks say how annotators err, and by that the labels of audited tasks are corrected.

    audited            r_i = theta(m_i), Beta distributed with the weight of PSEUDO_TASKS around a mean. The log odds of
                       that mean = those of the mean of p(m) over the audited and the unlabelled tasks with m, + b
    chosen             log odds of r_i = log odds of p_i(m_i) + d(m_i)

where b and d(m) are normal around 0.

Row k of pi_j is Dirichlet distributed around a table with a_j on its diagonal, and off it what annotators together
confuse. The weight of that table, the annotators' accuracies a_j, and the Beta distribution that those come from are
sampled, too, from grids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connector.active_learning.interval import Interval
from connector.active_learning.labels import Floats, Ints, Labels, checked_probs
from connector.active_learning.temperature import best_temperature, scaled

LEVEL = 0.95
DRAWS, BURN_IN = 1_500, 150  # fewer draws give narrower intervals, because the chain moves slowly
GRIDS_EVERY = 4  # draws: the grids take longer than all else
PSEUDO_TASKS = 2.0  # weight of the classifier's own probabilities, by label
SD_OFFSET = 1.0  # of b and d(m)
# With more classes, confusions have more entries than there are labels: one accuracy for each annotator instead.
MOST_CONFUSED = 12
MOST_CHOSEN = 5_000  # of the chosen tasks: more would take longer and say hardly more
# A classifier learns from annotators' errors, so its errors are not independent of theirs, as the model has it. On
# generated corpora, intervals of consensus labels were too narrow by this factor (docs/decisions/0083).
TOO_NARROW = 1.3
LEAST = 1e-9
MEAN_PRIOR = (5.0, 3.0)  # of the mean accuracy of annotators, which is Beta distributed

_OFFSETS = np.linspace(-4, 4, 33)
_ACCURACIES = (np.arange(40) + 0.5) / 40
_MEANS = (np.arange(20) + 0.5) / 20
_WEIGHTS = 2.0 ** np.arange(7)
_STRENGTHS = 2.0 ** np.arange(6)

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Accuracy:
    """Which share of labels is right, with 95 % credible intervals.

    Attributes:
        model: of the model's labels of all tasks, out-of-sample for labelled ones.
        consensus: of the consensus labels.
        project: of the consensus labels, and the model's where there are none.
        audited: how many tasks the audit has labelled.
        labelled: how many tasks have a consensus label.
        tasks: how many there are.
    """

    model: Interval
    consensus: Interval
    project: Interval
    audited: int
    labelled: int
    tasks: int


def estimate(
    labels: Labels,
    consensus: Ints,
    pred_probs: Floats,
    pred_probs_unlabeled: Floats,
    audited_only: Bools,
    *,
    audited: int,
    seed: int = 0,
) -> Accuracy | None:
    """The accuracies of all labels of a project. None if nothing was audited, or nothing is labelled.

    Args:
        labels: annotators' labels on n tasks.
        consensus: the consensus labels (n,).
        pred_probs: out-of-sample class probabilities (n, n_classes).
        pred_probs_unlabeled: those (u, n_classes) of all other tasks.
        audited_only: which of the tasks (n,) have labels of the audit only.
        audited: how many tasks the audit has labelled, of those and others.
        seed: of the sampling.

    Raises:
        ValueError: `pred_probs` are no probabilities. It names the first bad row.
    """
    pred_probs = checked_probs("pred_probs", pred_probs, labels.n_tasks, labels.n_classes)
    unlabelled = checked_probs(
        "pred_probs_unlabeled", pred_probs_unlabeled, len(pred_probs_unlabeled), labels.n_classes
    )
    if not audited_only.any():
        return None
    votes = labels.votes()
    temperature = best_temperature(votes, votes.sum(axis=1), pred_probs)
    rng = np.random.default_rng(seed)
    kept = kept_tasks(audited_only, rng)
    sampler = Sampler(
        part_of(labels, kept),
        scaled(pred_probs[kept], temperature),
        scaled(unlabelled, temperature),
        audited_only[kept],
    )
    chosen, total = int((~audited_only).sum()), labels.n_tasks + len(unlabelled)
    shares = sampler.shares(consensus[kept], rng)
    parts = np.array([len(unlabelled), int(audited_only.sum()), chosen]) / total
    model = shares[:, [0, 1, 2]] @ parts
    of_labelled = _widened(shares[:, [3, 4]] @ (parts[1:] / parts[1:].sum()))
    project = shares[:, 0] * parts[0] + of_labelled * parts[1:].sum()
    return Accuracy(_interval(model), _interval(of_labelled), _interval(project), audited, labels.n_tasks, total)


class Sampler:
    """The tables and the true classes, drawn in turn.

    The groups of theta are the classes that the classifier gives: those of the audited stratum come first, then those
    of the chosen one.
    """

    def __init__(self, labels: Labels, probs: Floats, unlabelled: Floats, audited: Bools) -> None:
        """`labels`: on n tasks. `probs` (n, K), `unlabelled` (u, K): scaled. `audited` (n,): the stratum."""
        self._task, self._label = labels.task, labels.label
        annotators, annotator = np.unique(labels.annotator, return_inverse=True)
        self._annotator = annotator.reshape(-1)
        self._size, self._classes, self._tasks = len(annotators), labels.n_classes, labels.n_tasks
        self._cell = self._annotator * self._classes + self._label
        self._rows = np.arange(labels.n_tasks)
        self._predicted, of_unlabelled = probs.argmax(axis=1), unlabelled.argmax(axis=1)
        self._audited = audited
        self._group = self._predicted + self._classes * ~audited
        self._unlabelled = np.bincount(of_unlabelled, minlength=self._classes)
        self._log_odds = _log_odds(probs.max(axis=1))
        self._mean_log_odds = self._mean_log_odds_of(probs, unlabelled, of_unlabelled)
        others = np.maximum(probs, LEAST)
        others[self._rows, self._predicted] = 0.0
        self._others = others / others.sum(axis=1, keepdims=True)
        votes = labels.votes()
        votes[self._rows, self._predicted] += 0.5
        self._true = votes.argmax(axis=1)
        self._accuracy: Floats = np.full(self._size, 0.8)
        self._weight, self._mean, self._strength = 4.0, 0.8, 4.0

    def shares(self, consensus: Ints, rng: np.random.Generator) -> Floats:
        """Draws (DRAWS, 5) of the share that is right: of the model's labels of the unlabelled, the audited and the
        chosen tasks, and of the consensus labels of the audited and the chosen ones."""
        found = np.zeros((DRAWS, 5))
        n_unlabelled, audited = max(int(self._unlabelled.sum()), 1), self._audited
        for draw in range(-BURN_IN, DRAWS):
            confusions = self.confusions(rng, with_grids=draw % GRIDS_EVERY == 0)
            right = self._true == self._predicted
            theta = self._theta(right, rng)
            offsets = self.offsets(right, rng)
            probably_right = np.where(audited, theta[self._predicted], sigmoid(self._log_odds + offsets[self._group]))
            self._true = self.classes_given(probably_right, confusions, rng)
            if draw < 0:
                continue
            model, labels = self._true == self._predicted, self._true == consensus
            found[draw] = (
                rng.binomial(self._unlabelled, theta).sum() / n_unlabelled,
                *(_mean(values[which]) for values in (model, labels) for which in (audited, ~audited)),
            )
        return found

    def _theta(self, right: Bools, rng: np.random.Generator) -> Floats:
        """How probably the classifier is right in the audited stratum (K,), by the class that it gives."""
        from scipy.special import betaln

        mine = self._predicted[self._audited]
        hits = np.bincount(mine, right[self._audited], self._classes)
        misses = np.bincount(mine, minlength=self._classes) - hits
        means = PSEUDO_TASKS * sigmoid(self._mean_log_odds + _OFFSETS[:, None])  # (offsets, K)
        others = PSEUDO_TASKS - means
        logs = (betaln(means + hits, others + misses) - betaln(means, others)).sum(axis=1)
        place = drawn((logs - 0.5 * (_OFFSETS / SD_OFFSET) ** 2)[None], rng)[0]
        return np.asarray(rng.beta(means[place] + hits, others[place] + misses))

    def offsets(self, right: Bools, rng: np.random.Generator) -> Floats:
        """By how much the log-odds that the classifier is right differ from what it says, for each group (2K,)."""
        odds = _OFFSETS[:, None] + self._log_odds
        logs = -np.logaddexp(0, np.where(right, -odds, odds))
        sums = [np.bincount(self._group, row, 2 * self._classes) for row in logs]
        of_groups = np.stack(sums, axis=1).astype(np.float64)
        of_groups -= 0.5 * (_OFFSETS / SD_OFFSET) ** 2
        step = _OFFSETS[1] - _OFFSETS[0]
        return np.asarray(_OFFSETS[drawn(of_groups, rng)] + rng.uniform(-step / 2, step / 2, len(of_groups)))

    def _mean_log_odds_of(self, probs: Floats, unlabelled: Floats, of_unlabelled: Ints) -> Floats:
        """The log odds of the mean of p(m) (K,) over the audited and the unlabelled tasks."""
        mine = self._audited
        label = np.concatenate([of_unlabelled, self._predicted[mine]])
        sums = np.bincount(label, np.concatenate([unlabelled, probs[mine]]).max(axis=1), self._classes)
        counts = np.bincount(label, minlength=self._classes)
        expected = np.divide(sums, counts, out=np.full(self._classes, 0.5), where=counts > 0)
        return _log_odds(expected)

    def classes_given(self, right: Floats, confusions: Floats, rng: np.random.Generator) -> Ints:
        """True classes (n,). `right` (n,): how probably the classifier is. `confusions` (annotators, K, K)."""
        prior = self._others * (1 - right)[:, None]
        prior[self._rows, self._predicted] = right
        logs = np.log(np.maximum(prior, LEAST))
        likely = np.log(np.maximum(confusions, LEAST)).transpose(1, 0, 2).reshape(self._classes, -1)
        for k in range(self._classes):
            logs[:, k] += np.bincount(self._task, likely[k, self._cell], self._tasks)
        return drawn(logs, rng)

    def confusions(self, rng: np.random.Generator, *, with_grids: bool) -> Floats:
        """pi_j (annotators, K, K) given the true classes."""
        k = self._classes
        cells = (self._annotator * k + self._true[self._task]) * k + self._label
        counts = np.bincount(cells, minlength=self._size * k * k).reshape(self._size, k, k).astype(np.float64)
        together = counts.sum(axis=0)
        wrong = _dirichlet(together + 1 / k, rng) * (1 - np.eye(k))
        wrong = np.maximum(wrong / wrong.sum(axis=1, keepdims=True), 1e-3) * (1 - np.eye(k))
        if k > MOST_CONFUSED:
            right = np.einsum("jkk->j", counts)
            prior = self._mean * self._strength, (1 - self._mean) * self._strength
            self._accuracy = np.clip(
                rng.beta(right + prior[0], counts.sum(axis=(1, 2)) - right + prior[1]), LEAST, 1 - LEAST
            )
            self._draw_annotators(rng)
            return _tables(wrong, self._accuracy)
        if with_grids:
            self._draw_grids(counts, wrong, rng)
        return _dirichlet(counts + self._weight * _tables(wrong, self._accuracy), rng)

    def _draw_grids(self, counts: Floats, wrong: Floats, rng: np.random.Generator) -> None:
        """The accuracy of each annotator, how close confusions are to the table of that accuracy, and the rest."""
        tables = _tables(wrong, _ACCURACIES)
        logs: Floats = _evidence(counts[:, None], self._weight * tables)
        a, b = self._mean * self._strength, (1 - self._mean) * self._strength
        logs += (a - 1) * np.log(_ACCURACIES) + (b - 1) * np.log(1 - _ACCURACIES)
        place = drawn(logs, rng)
        self._accuracy = np.asarray(_ACCURACIES[place], np.float64)
        of_weights = np.array([[_evidence(counts, weight * tables[place]).sum() for weight in _WEIGHTS]])
        self._weight = float(_WEIGHTS[drawn(of_weights, rng)[0]])
        self._draw_annotators(rng)

    def _draw_annotators(self, rng: np.random.Generator) -> None:
        """The Beta distribution that annotators' accuracies come from."""
        from scipy.special import gammaln

        a, b = _MEANS[:, None] * _STRENGTHS, (1 - _MEANS)[:, None] * _STRENGTHS
        logs = self._size * (gammaln(a + b) - gammaln(a) - gammaln(b))
        logs += (a - 1) * np.log(self._accuracy).sum() + (b - 1) * np.log(1 - self._accuracy).sum()
        logs += ((MEAN_PRIOR[0] - 1) * np.log(_MEANS) + (MEAN_PRIOR[1] - 1) * np.log(1 - _MEANS))[:, None]
        mean, strength = divmod(int(drawn(logs.reshape(1, -1), rng)[0]), len(_STRENGTHS))
        self._mean, self._strength = float(_MEANS[mean]), float(_STRENGTHS[strength])


def sigmoid(odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-odds)))


def _log_odds(probs: Floats) -> Floats:
    bounded = np.clip(probs, 0.01, 0.99)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _tables(wrong: Floats, accuracy: Floats) -> Floats:
    """Confusions (a, K, K) with `accuracy` (a,) on the diagonals, and off them in proportion to `wrong` (K, K)."""
    share = accuracy[:, None, None]
    return np.asarray(wrong * (1 - share) + np.eye(len(wrong)) * share, np.float64)


def _evidence(counts: Floats, prior: Floats) -> Floats:
    """The log-likelihood of counts (…, K, K) under Dirichlet priors (…, K, K) of the rows, summed over the rows."""
    from scipy.special import gammaln

    prior = prior + 1e-6
    rows = gammaln(prior.sum(axis=-1)) - gammaln((prior + counts).sum(axis=-1))
    return np.asarray((rows + (gammaln(prior + counts) - gammaln(prior)).sum(axis=-1)).sum(axis=-1), np.float64)


def _dirichlet(weights: Floats, rng: np.random.Generator) -> Floats:
    """One draw for each row (…, K)."""
    drawn = np.maximum(rng.standard_gamma(weights + 1e-6), 1e-300)
    return np.asarray(drawn / drawn.sum(axis=-1, keepdims=True), np.float64)


def drawn(logs: Floats, rng: np.random.Generator) -> Ints:
    """A column for each row of unnormalised log-probabilities (n, K)."""
    probs = np.exp(logs - logs.max(axis=1, keepdims=True))
    edges = probs.cumsum(axis=1)
    return np.asarray((rng.random((len(logs), 1)) * edges[:, -1:] > edges).sum(axis=1), np.int64)


def kept_tasks(audited_only: Bools, rng: np.random.Generator) -> Ints:
    """The positions of the audited tasks and of at most MOST_CHOSEN others."""
    chosen = np.flatnonzero(~audited_only)
    if len(chosen) > MOST_CHOSEN:
        chosen = rng.choice(chosen, MOST_CHOSEN, replace=False)
    return np.sort(np.concatenate([np.flatnonzero(audited_only), chosen]))


def part_of(labels: Labels, tasks: Ints) -> Labels:
    """The labels of some tasks, ascending, which are numbered anew."""
    if len(tasks) == labels.n_tasks:
        return labels
    place = np.full(labels.n_tasks, -1)
    place[tasks] = np.arange(len(tasks))
    mine = place[labels.task] >= 0
    return Labels(place[labels.task[mine]], labels.annotator[mine], labels.label[mine], len(tasks), labels.n_classes)


def _widened(shares: Floats) -> Floats:
    """Draws that lie TOO_NARROW times as far from their mean."""
    return np.asarray(np.clip(shares.mean() + TOO_NARROW * (shares - shares.mean()), 0, 1))


def _mean(values: Bools) -> float:
    return float(values.mean()) if len(values) else 0.0


def _interval(draws: Floats) -> Interval:
    outside = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [outside, 1 - outside])
    value = float(draws.mean())
    return Interval(value, min(value, float(low)), max(value, float(high)))  # few draws may be far from all others
