"""From the scores of several questions to one score per task: one annotation answers all of them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from connector.active_learning.labels import Floats

Combination = Literal["mean", "minimum", "mean-rank"]
DEFAULT_COMBINATION: Combination = "mean"


def combine(scores: Floats, how: Combination = DEFAULT_COMBINATION) -> Floats:
    """One score for each of n tasks, the lowest worth most.

    Args:
        scores: (n, n_questions) The scores by question, lowest first. NaN: the question does not count for the task.
            At least one counts.
        how: "mean", "minimum", or "mean-rank": the mean of the ranks among all tasks, as shares of their number.

    Returns:
        (n,)
    """
    if how == "minimum":
        return np.asarray(np.nanmin(scores, axis=1), np.float64)
    if how == "mean-rank":
        scores = np.stack([_ranks(column) for column in scores.T], axis=1)
    return np.asarray(np.nanmean(scores, axis=1), np.float64)


def _ranks(scores: Floats) -> Floats:
    """The place of each score (n,) among those that are not NaN, as a share of their number. Ties share a place."""
    from scipy.stats import rankdata  # scipy.stats takes a second to import, and the default does without

    counted = ~np.isnan(scores)
    ranks = np.full(len(scores), np.nan)
    ranks[counted] = rankdata(scores[counted]) / max(1, counted.sum())
    return ranks
