"""Strategies: by which scores tasks are chosen, and which consensus label the model is trained on. Pure.

A score function takes out-of-sample probabilities `pred_probs` (n, n_classes) of the labelled tasks and
`pred_probs_unlabeled` (u, n_classes) of the others. It returns scores (n,) and (u,) on one scale. The lowest is worth
most.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from connector.active_learning import activelab, cleanlab_scorer
from connector.active_learning.consensus import (
    ConsensusMethod,
    by_crowdlab,
    by_crowdlab_among_given,
    by_majority,
    by_posterior,
)
from connector.active_learning.labels import Floats, Labels, ScoreFunction
from connector.active_learning.strategy_names import DEFAULT_STRATEGY


@dataclass(frozen=True)
class Strategy:
    """One way to choose tasks and to find the labels to train on.

    Attributes:
        scores: scores all tasks once there is a model.
        relabels: whether labelled tasks are asked for again.
        consensus: finds the label to train on, once there is a model. The majority decides before.
        class_consensus: the same for one class of multiple choice, a yes-or-no question.
        spread_start: whether the first tasks are spread over the embedding space, else they are random.
        distinct: whether near-duplicates of a task wait until it is labelled.
        highest_score: the highest attainable score, of a task whose annotation is worth nothing. None: the scores say
            nothing of what an annotation is worth.
    """

    scores: ScoreFunction
    relabels: bool = True
    consensus: ConsensusMethod = by_majority
    class_consensus: ConsensusMethod = by_majority
    spread_start: bool = False
    distinct: bool = False
    highest_score: float | None = None


@dataclass(frozen=True)
class Scorer:
    """What the setting CONNECTOR_SCORER replaces: ActiveLab's scores, and the consensus on one class of several."""

    scores: ScoreFunction
    class_consensus: ConsensusMethod


def at_random(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
    """Uniform random numbers, seeded by the labels."""
    seed = zlib.crc32(np.concatenate([labels.task, labels.annotator, labels.label]).astype("<i8").tobytes())
    rng = np.random.default_rng(seed)
    return rng.random(len(pred_probs)), rng.random(len(pred_probs_unlabeled))


def least_confidence(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
    """The highest probability (Lewis and Gale, "A sequential algorithm for training text classifiers", 1994)."""
    return pred_probs.max(axis=1), pred_probs_unlabeled.max(axis=1, initial=0.0)


def margin(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
    """The highest probability less the second (Scheffer et al., "Active hidden Markov models", 2001)."""

    def lead(probs: Floats) -> Floats:
        ordered = np.sort(probs, axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2], np.float64)

    return lead(pred_probs), lead(pred_probs_unlabeled)


def entropy(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
    """The negative entropy of the probabilities, in nats (Settles, "Active learning literature survey", 2009, 3.1)."""
    return _negative_entropy(pred_probs), _negative_entropy(pred_probs_unlabeled)


def disagreement(labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
    """The negative vote entropy, in nats, of a committee of a task's annotators and, with one soft vote, the model.

    Dagan and Engelson, "Committee-based sampling for training probabilistic classifiers" (1995). For a new task it is
    the negative entropy of the model's probabilities.
    """
    votes = labels.votes()
    committee = (votes + pred_probs) / (votes.sum(axis=1, keepdims=True) + 1)
    return _negative_entropy(committee), _negative_entropy(pred_probs_unlabeled)


def _negative_entropy(probs: Floats) -> Floats:
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    return np.asarray((probs * logs).sum(axis=1), np.float64)


STRATEGIES: dict[str, Strategy] = {
    "random": Strategy(at_random),
    "random-new": Strategy(at_random, relabels=False),
    "least-confidence": Strategy(least_confidence, relabels=False, highest_score=1.0),
    "margin": Strategy(margin, relabels=False, highest_score=1.0),
    "entropy": Strategy(entropy, relabels=False, highest_score=0.0),
    "disagreement": Strategy(disagreement, highest_score=0.0),
    "activelab": Strategy(activelab.scores, consensus=by_crowdlab, class_consensus=by_crowdlab, highest_score=1.0),
    "activelab-weighted": Strategy(
        activelab.scores,
        consensus=by_posterior,
        class_consensus=by_crowdlab_among_given,  # class by class better than the posterior (docs/selection.md)
        spread_start=True,
        distinct=True,
        highest_score=1.0,
    ),
}
SCORERS: dict[str, Scorer] = {
    "activelab": Scorer(activelab.scores, by_crowdlab_among_given),
    "cleanlab": Scorer(cleanlab_scorer.scores, cleanlab_scorer.consensus),
}


def find_strategy(name: str = DEFAULT_STRATEGY, scorer: str = "activelab") -> Strategy:
    """The strategy `name`, with the functions of the scorer that the setting CONNECTOR_SCORER names."""
    strategy, ours, chosen = STRATEGIES[name], SCORERS["activelab"], SCORERS[scorer]
    return replace(
        strategy,
        scores=chosen.scores if strategy.scores is ours.scores else strategy.scores,
        class_consensus=(
            chosen.class_consensus if strategy.class_consensus is ours.class_consensus else strategy.class_consensus
        ),
    )
