"""What machines' labels say of each task: together one opinion beside the model's, as good as people's labels show.

A machine is whatever labels tasks but is no person, such as a language model. Its errors repeat from task to task, and
two machines may share theirs, so its labels are no further votes. All machines and the model are pooled into one
opinion (a logarithmic opinion pool: Genest and Zidek, "Combining probability distributions", 1986, section 3.2). With
Y_ij the label of machine j on task i, K classes and p_M the model's out-of-sample probabilities:

    p_i(k)      ~ p_M(k) * g_i(k)
    g_i(k)      ~ product over machines j and their signs s of exp(a_js F_ijs(k)), drawn to 1 / K so that no class has
                  more than MOST_CERTAIN
    F_ij1(k)    = log pi_j(k, Y_ij)
    F_ij2(k)    = log c_ij where k = Y_ij, log((1 - c_ij) / (K - 1)) elsewhere. c_ij: how sure the machine says it is
    pi_j(k, l)  = (C_j(k, l) + S h_j(l)) / (sum over l of C_j(k, l) + S)

C_j(k, l) counts the tasks that the machine gave the label l by how probably they are of class k, given the model,
people's labels by their confusions (`connector.active_learning.dawid_skene`) and the machine's own, in turn with pi_j.
A task that has people's labels itself is left out of its own count. h_j(l) is how often the machine says l at all. So
a machine of which nothing is known yet says nothing.

People err, so p is compared with their labels by their confusions: L_i(k) is the probability of all labels of task i if
it is of class k. All a_js, from 0 to 1, minimise, over the tasks with people's labels,

    - sum over i of log(sum over k of p_i(k) L_i(k)) + PENALTY * sum of all a_js

So machines that say the same share what one of them would get, and one that explains people's labels no better than
the model does gets nothing. None is believed more than its confusions say. Otherwise it would seem better than it is,
since people are asked for tasks on which it contradicts the model. A machine is left out before if it agrees with
people no more often than by chance, given how often both name each class. The model has no exponent: people's labels
are mostly on tasks that are hard for it, which says little about the others.

This pooled opinion takes the model's place in everything else. It is the prior of the consensus, where people's labels
count against it, and what ActiveLab asks about. Pure: arrays in, arrays out, nothing random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from connector.active_learning.dawid_skene import posterior_and_likelihood
from connector.active_learning.labels import Floats, Ints, Labels, checked_probs

PSEUDO_LABELS = 4.0  # S
ITERATIONS = 15
PENALTY = 2.0  # in nats, of a machine that counts as much as its confusions say
MOST_CERTAIN = 0.98  # as of an annotator (dawid_skene.MOST_ACCURATE)
LEAST = 1e-12
UNSURE, SURE = 0.01, 0.99  # bounds of a machine's own probability


@dataclass(frozen=True)
class MachineLabels:
    """A machine's labels of n tasks: class indices (n,), -1 for none, and how sure it says that it is (n,), or NaN."""

    label: Ints
    score: Floats

    def take(self, rows: Ints | NDArray[np.bool_]) -> MachineLabels:
        """Those of some tasks."""
        return MachineLabels(self.label[rows], self.score[rows])


@dataclass(frozen=True)
class Pool:
    """How the opinions of the model and of m machines are pooled.

    Attributes:
        weight: the sum (m,) of each machine's a_js. Zero: the machine counts for nothing.
        agreement: share (m,) of people's labels of the machine's tasks that it gave, too. NaN: they share no task.
        shared: how many tasks (m,) have its label and people's.
    """

    weight: Floats
    agreement: Floats
    shared: Ints


@dataclass(frozen=True)
class Pooled:
    """The pooled opinion on the labelled tasks and on others.

    Attributes:
        labelled: p (n, K).
        others: p (u, K).
        machines: g (u, K), what the machines alone say of the others.
        pool: how they were pooled.
    """

    labelled: Floats
    others: Floats
    machines: Floats
    pool: Pool


def pool(
    labels: Labels,
    pred_probs: Floats,
    pred_probs_others: Floats,
    machines: Sequence[MachineLabels],
    machines_others: Sequence[MachineLabels],
) -> Pooled:
    """Pools the model with the machines.

    Args:
        labels: people's labels of n tasks.
        pred_probs: the model's out-of-sample probabilities (n, K) of these tasks. Even ones if there is no model.
        pred_probs_others: the same (u, K) of other tasks.
        machines: each machine's labels of the n tasks.
        machines_others: each machine's labels of the other tasks.

    Raises:
        ValueError: one of the arrays is no probabilities.
    """
    k = labels.n_classes
    pred_probs = checked_probs("pred_probs", pred_probs, labels.n_tasks, k)
    others = checked_probs("pred_probs_others", pred_probs_others, len(pred_probs_others), k)
    votes = labels.votes()
    shares = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
    prior, likelihood = posterior_and_likelihood(labels, pred_probs)
    signs, signs_others, owner = [], [], []
    agreement, shared = np.full(len(machines), np.nan), np.zeros(len(machines), np.int64)
    for place, (mine, elsewhere) in enumerate(zip(machines, machines_others, strict=True)):
        rows = np.flatnonzero(mine.label >= 0)
        shared[place] = len(rows)
        if not len(rows):
            continue
        given = mine.label[rows]
        agreement[place] = float(shares[rows, given].mean())
        said = np.bincount(np.concatenate([given, elsewhere.label[elsewhere.label >= 0]]), minlength=k).astype(float)
        smoothing = PSEUDO_LABELS * said / said.sum()
        known, counts = _count(given, prior[rows], smoothing)
        by_chance = float(shares[rows].mean(axis=0) @ (np.bincount(given, minlength=k) / len(given)))
        if agreement[place] <= by_chance:
            continue
        truth = np.zeros((labels.n_tasks, k))
        truth[rows] = known
        signs.append(_by_confusions(mine.label, truth, counts, smoothing))
        signs_others.append(_from_table(elsewhere.label, _table(counts, smoothing)))
        owner.append(place)
        if len(np.unique(mine.score[rows][np.isfinite(mine.score[rows])])) > 1:
            signs.append(_by_score(mine, k))
            signs_others.append(_by_score(elsewhere, k))
            owner.append(place)
    exponents = _exponents(np.log(np.maximum(pred_probs, LEAST)), signs, likelihood)
    weight = np.bincount(np.array(owner, np.int64), exponents, len(machines)) if owner else np.zeros(len(machines))
    said_labelled = _together(signs, exponents, labels.n_tasks, k)
    said_others = _together(signs_others, exponents, len(others), k)
    return Pooled(
        _pooled(pred_probs, said_labelled),
        _pooled(others, said_others),
        said_others,
        Pool(np.asarray(weight, np.float64), agreement, shared),
    )


def _count(given: Ints, prior: Floats, smoothing: Floats) -> tuple[Floats, Floats]:
    """How probable each class is with a machine's labels (n,) (n, K), and C (K, K). `prior` (n, K): without them."""
    truth = prior
    for _ in range(ITERATIONS):
        counts = np.zeros((prior.shape[1], prior.shape[1]))
        np.add.at(counts.T, given, truth)
        truth = prior * _table(counts, smoothing).T[given]
        truth = truth / truth.sum(axis=1, keepdims=True)
    counts = np.zeros(counts.shape)
    np.add.at(counts.T, given, truth)
    return truth, counts


def _table(counts: Floats, smoothing: Floats) -> Floats:
    """pi (K, K) from C (K, K) and S h (K,)."""
    return np.asarray((counts + smoothing) / (counts.sum(axis=1, keepdims=True) + smoothing.sum()), np.float64)


def _by_confusions(label: Ints, truth: Floats, counts: Floats, smoothing: Floats) -> Floats:
    """F (n, K) of the labelled tasks, each left out of its own count. Zero without a label of the machine."""
    found = np.zeros(truth.shape)
    rows = np.flatnonzero(label >= 0)
    given, own = label[rows], truth[rows]
    right = np.maximum(counts.T[given] - own, 0) + smoothing[given][:, None]
    found[rows] = np.log(np.maximum(right / (np.maximum(counts.sum(axis=1) - own, 0) + smoothing.sum()), LEAST))
    return found


def _from_table(label: Ints, table: Floats) -> Floats:
    """F (u, K) of the other tasks."""
    found = np.zeros((len(label), len(table)))
    rows = np.flatnonzero(label >= 0)
    found[rows] = np.log(np.maximum(table.T[label[rows]], LEAST))
    return found


def _by_score(mine: MachineLabels, k: int) -> Floats:
    """F (n, K) by how sure the machine says that it is. Zero if it does not say."""
    found = np.zeros((len(mine.label), k))
    rows = np.flatnonzero((mine.label >= 0) & np.isfinite(mine.score))
    sure = np.clip(mine.score[rows], UNSURE, SURE)
    found[rows] = np.log((1 - sure) / (k - 1))[:, None]
    found[rows, mine.label[rows]] = np.log(sure)
    return found


def _exponents(logs: Floats, signs: Sequence[Floats], likelihood: Floats) -> Floats:
    """The a_js (s,). `logs`: log p_M (n, K). `signs`: s times F (n, K). `likelihood`: log L (n, K)."""
    if not signs:
        return np.zeros(0)
    stacked = np.stack(signs)

    def loss(exponents: Floats) -> tuple[float, Floats]:
        total = logs + np.tensordot(exponents, stacked, 1)
        probs, sums = _softmax(total)
        with_labels, sums_with_labels = _softmax(total + likelihood)
        explained = float((sums_with_labels - sums).sum())
        gradient = np.tensordot(stacked, probs - with_labels, 2)
        return PENALTY * float(exponents.sum()) - explained, np.asarray(gradient + PENALTY, np.float64)

    start = np.full(len(signs), 0.5)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(signs))
    return np.asarray(found.x, np.float64)


def _softmax(logs: Floats) -> tuple[Floats, Floats]:
    """Probabilities (n, K), and the logarithms (n,) of the sums that they were divided by."""
    highest = logs.max(axis=1, keepdims=True)
    probs = np.exp(logs - highest)
    sums = probs.sum(axis=1, keepdims=True)
    return np.asarray(probs / sums, np.float64), np.asarray((np.log(sums) + highest)[:, 0], np.float64)


def _together(signs: Sequence[Floats], exponents: Floats, rows: int, k: int) -> Floats:
    """g (rows, K)."""
    total = np.zeros((rows, k))
    for sign, exponent in zip(signs, exponents, strict=True):
        total += exponent * sign
    probs, _ = _softmax(total)
    # The share of chance with which the highest is MOST_CERTAIN.
    highest = probs.max(axis=1, keepdims=True)
    chance = np.clip((highest - MOST_CERTAIN) / np.maximum(highest - 1 / k, LEAST), 0, 1)
    return np.asarray((1 - chance) * probs + chance / k, np.float64)


def _pooled(pred_probs: Floats, machines: Floats) -> Floats:
    """p (n, K)."""
    return _softmax(np.log(np.maximum(pred_probs, LEAST)) + np.log(machines))[0]
